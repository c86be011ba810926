# make run · make test · make check · make bench: each makes the environment first, where it is missing or stale.
#   EXTRAS=gpu,train,dev   another vLLM build     VENV=DIR   another environment     RECIPE=FILE   another run
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= cpu,train,dev
RECIPE ?= flows/recipes/quickstart.toml
BIN := $(VENV)/bin
comma := ,
READY := $(VENV)/.ready-$(subst $(comma),-,$(EXTRAS))

# CPU torch comes from a folder of wheels where PIP_FIND_LINKS names one, else from PyTorch's CPU index.
# The exact versions are those of the CPU build; a GPU's vLLM brings its own torch.
ifneq (,$(findstring gpu,$(EXTRAS)))
PIN := --torch-backend auto
else
PIN := -c constraints.txt $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend cpu)
endif

.PHONY: run test check bench format env clean
.DEFAULT_GOAL := env

run: $(READY)
	$(BIN)/python -m flows.pipeline $(RECIPE)

test: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/test_architecture.py

bench: $(READY)
	$(BIN)/python benchmarks/engine.py all

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

env: $(READY)
	@echo "$(BIN)/synth --help"

$(READY): pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' constraints.txt)
	$(BIN)/uv pip install --python $(BIN)/python $(PIN) --compile-bytecode --editable '.[$(EXTRAS)]'
	rm -f $(VENV)/.ready-*
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
