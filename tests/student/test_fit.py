"""All weights or an adapter; memory that is too small; a loss that is not finite."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from synth.errors import TrainError
from synth.report import _speed
from synth.student import loading
from synth.student.job import Job
from synth.student.train import Trained, train
from synth.student.watch import TrainStep
from synth.tables import Train

Adapter: TypeAlias = Literal["lora", "qlora", "none"]
CONFIG = Train(epochs=2, learning_rate=5e-3, batch_size=8, max_length=64, lora_rank=8, save_steps=3)


@pytest.fixture
def data(rows: list[dict[str, Any]], write: Callable[..., Path]) -> Path:
    """Forty rows to train on and eight held out."""
    write(rows[:8], "validation")
    return write(rows)


def losses(out: Path) -> list[float]:
    """The loss of each step, in nats a trained token."""
    return list(orjson.loads((out / "manifest.json").read_bytes())["losses"])


def test_without_an_adapter_all_weights_are_trained_and_no_adapter_is_left(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    out, steps = tmp_path / "student", list[TrainStep]()
    done = train(
        Job(CONFIG.model_copy(update={"adapter": "none"}), model_folder, data, out), on_step=steps.append
    )
    assert done.final_loss < 0.9 * done.first_loss
    assert done.base_validation_loss is not None
    assert done.validation_loss is not None
    assert done.validation_loss < 0.9 * done.base_validation_loss
    assert not (out / "adapter").exists()
    base, student = load_file(model_folder / "model.safetensors"), load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in student.values()} == {torch.bfloat16}
    assert all(not torch.equal(base[name], student[name]) for name in base)
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
    assert "all weights trained" in (out / "README.md").read_text(encoding="utf-8")


def test_speed_is_told_beside_the_peak_of_the_device(model_folder: Path, data: Path, tmp_path: Path) -> None:
    steps = list[TrainStep]()
    done = train(Job(CONFIG, model_folder, data, tmp_path / "student"), on_step=steps.append)
    assert done.mfu is not None
    assert 0 < done.mfu < 1
    assert done.peak_teraflops > 0
    assert done.device
    assert done.learning_rate == 5e-3
    assert all(step.mfu is not None for step in steps)
    assert re.fullmatch(
        r"[\d,]+ tokens/s, learning rate 0\.005, model FLOPs utilisation \d+% of [\d.]+ teraflop/s \(.*\)",
        _speed(asdict(done)),
    )
    assert TrainStep(1, 2, 0.5, 1234.4, 0.312).speed == "1,234 tokens/s, MFU 31%"
    assert TrainStep(1, 2, 0.5, 1234.4).speed == "1,234 tokens/s"


def test_a_machine_that_does_not_compute_in_bfloat16_trains_in_float32(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    done = train(Job(CONFIG, model_folder, data, tmp_path / "student"), on_step=lambda _: None)
    assert "float32" in done.device or torch.cuda.is_available()
    assert done.final_loss < 0.95 * done.first_loss


def test_adapters_over_four_bits_need_a_gpu(model_folder: Path, data: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    config = CONFIG.model_copy(update={"adapter": "qlora"})
    with pytest.raises(TrainError, match=r"needs a GPU, and none is visible; write adapter = \"lora\""):
        train(Job(config, model_folder, data, tmp_path / "student"), on_step=lambda _: None)


def test_a_setting_that_the_trainer_does_not_know_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    job = Job(Train(trainer={"neftune_alpha": 5}), tmp_path, tmp_path / "no data", tmp_path / "student")
    with pytest.raises(TrainError, match=r"train\.trainer\.neftune_alpha: .*did you mean"):
        train(job, on_step=lambda _: None)
    assert not (tmp_path / "student").exists()


def small_memory(holds: int, from_step: int = 1) -> Callable[..., PreTrainedModel]:
    """Loads a model that has no memory for a forward pass of more than so many rows, from a step on."""
    load, passes = loading.load, 0

    def load_small(model: Path, longest: int, adapter: Adapter) -> PreTrainedModel:
        loaded = load(model, longest, adapter)

        def forward(module: PreTrainedModel, _: object, inputs: dict[str, torch.Tensor]) -> None:
            nonlocal passes
            passes += module.training
            if module.training and passes >= from_step and len(inputs["input_ids"]) > holds:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        loaded.register_forward_pre_hook(forward, with_kwargs=True)
        return loaded

    return load_small


@pytest.mark.parametrize("from_step", [1, 5])
def test_where_memory_is_short_a_forward_pass_is_halved_and_a_step_keeps_its_rows(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_step: int
) -> None:
    def trained(name: str) -> tuple[Trained, list[float], list[int], list[str]]:
        steps, said = list[int](), list[str]()
        job = Job(CONFIG, model_folder, data, tmp_path / name)
        done = train(job, on_step=lambda step: steps.append(step.step), say=said.append)
        return done, losses(job.out), steps, said

    whole, expected, _, nothing = trained("whole")
    monkeypatch.setattr(loading, "load", small_memory(3, from_step))
    done, found, steps, said = trained("small")
    assert (whole.micro_batch, done.micro_batch, nothing) == (8, 2, [])
    assert found == pytest.approx(expected, rel=2e-2)
    assert steps == ([*range(1, 11)] if from_step == 1 else [1, 2, 3, 4, *range(4, 11)])
    assert said == [
        "train: 8 rows at once don't fit into memory; going on with 4, 2 times a step",
        "train: 4 rows at once don't fit into memory; going on with 2, 4 times a step",
    ]


def test_where_memory_does_not_hold_a_row_the_mend_is_named(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load", small_memory(0))
    with pytest.raises(TrainError, match=r"memory does not hold one row; lower \[train\] max_length"):
        train(Job(CONFIG, model_folder, data, tmp_path / "student"), on_step=lambda _: None)


def poisoned(at: int) -> Callable[..., PreTrainedModel]:
    """Loads a model whose forward pass number `at` in training gives no number."""
    load, passes = loading.load, 0

    def load_poisoned(model: Path, longest: int, adapter: Adapter) -> PreTrainedModel:
        loaded = load(model, longest, adapter)

        def forward(module: PreTrainedModel, _: object, output: CausalLMOutput) -> None:
            nonlocal passes
            passes += module.training
            if module.training and passes == at:
                output.logits = output.logits * float("nan")

        loaded.register_forward_hook(forward)
        return loaded

    return load_poisoned


def test_a_loss_that_is_no_number_names_the_rows_of_its_forward_pass_and_leaves_the_checkpoint(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = list[int]()
    monkeypatch.setattr(loading, "load", poisoned(at=10))
    job = Job(CONFIG.model_copy(update={"micro_batch": 4}), model_folder, data, tmp_path / "student")
    with pytest.raises(
        TrainError, match=r"step 5: the loss is nan in the batch of the rows (row-\d{3}(, |;)){4}"
    ):
        train(job, on_step=lambda step: steps.append(step.step))
    assert steps == [1, 2, 3, 4]
    assert (job.checkpoints / "checkpoint-3" / "trainer_state.json").is_file()
