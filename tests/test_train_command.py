"""`synth train` on any chat dataset, and its rehearsal."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
from projects import jsonl
from typer.testing import CliRunner

from synth.cli import app
from synth.errors import DataError, RecipeError
from synth.pipeline import open_run
from synth.previews import training
from synth.recipe import load_recipe

RECIPE = """
name = "words"

[student]
model = "MODEL"
template = "own.jinja"

[[filter]]
use = "length"
min_words = 2

[train]
epochs = 2
learning_rate = 1e-3
batch_size = 2
max_length = 16
longer = "cut_turns"
packing = true

[[train.replay]]
path = "more.jsonl"
weight = 0.5
"""
LONG = "a cat has four legs, four legs, four legs, four legs."
ROWS: list[dict[str, Any]] = [
    {"instruction": "what is the sky?", "output": "the sky is blue."},
    {"instruction": "what has four legs?", "output": "a cat has four legs."},
    {"instruction": "name a fruit", "output": "apples are a fruit."},
    {"instruction": "what is late?", "output": "no"},
    {"instruction": "what has legs?", "output": LONG},
    {
        "messages": [
            {"role": "user", "content": "is it late?"},
            {"role": "assistant", "content": "no, it is blue."},
            {"role": "user", "content": "what has legs?"},
            {"role": "assistant", "content": LONG},
        ]
    },
]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe beside six rows, of which one is rejected, one left out and one cut."""
    model = tiny.saved(tmp_path / "tiny", "LlamaForCausalLM")
    jsonl(tmp_path / "rows.jsonl", ROWS)
    jsonl(tmp_path / "more.jsonl", ROWS[:1] * 3 + [{"question": "is it?", "answer": "yes, it is."}])
    (tmp_path / "own.jinja").write_text(tiny.TEMPLATE)
    (tmp_path / "words.toml").write_text(RECIPE.replace("MODEL", str(model)))
    return tmp_path / "words.toml"


def synth(*arguments: str) -> str:
    """What the command prints, run in this process."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("one_thread")
def test_a_dataset_is_rehearsed_and_then_trained_on(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = recipe.parent
    monkeypatch.chdir(root)
    lines = synth("train", "rows.jsonl", "--recipe", "words.toml", "--dry-run").splitlines()
    [run] = (root / "data" / "runs").glob("words-*")
    assert re.fullmatch(r"<user> ?what .*<assistant>⟦.*<end>⟧ ?", lines[0])
    assert "rows: 7 planned = 6 trained on + 1 left out" in lines
    assert "longer than 16 tokens: those left out, and 1 cut after an answer" in lines
    assert f"replay: 2 of 2 rows asked of {root / 'more.jsonl'}" in lines
    assert "steps: 6 in 2 epochs" in lines
    assert re.fullmatch(r"tokens fill \d+\.\d% of the positions that are computed \(.*, packed\)", lines[-1])
    assert not (run / "student").exists()

    assert "student: 6 rows, 6 steps" in synth("train", "rows.jsonl", "--recipe", "words.toml")
    done = json.loads((run / "student" / "manifest.json").read_text())
    assert (done["trained"]["rows"], done["trained"]["left_out_rows"], done["trained"]["cut_rows"]) == (
        6,
        1,
        1,
    )
    assert (run / "student" / "chat_template.jinja").read_text() == tiny.TEMPLATE


def test_what_can_not_be_rehearsed_is_named(recipe: Path) -> None:
    text = recipe.read_text() + '\n[seeds]\npath = "rows.jsonl"\n\n[[generate]]\nuse = "existing"\n'
    recipe.write_text(text)
    with pytest.raises(DataError, match="run `synth curate` first"):
        training(open_run(recipe))
    recipe.write_text(text.replace("[train]", '[train]\nmethod = "on_policy"'))
    with pytest.raises(RecipeError, match=r'train.method: has no --dry-run yet; "sft" has'):
        training(open_run(recipe))


def test_a_template_is_one_that_ships_or_a_file(recipe: Path) -> None:
    assert load_recipe_template(recipe) == str(recipe.parent / "own.jinja")
    recipe.write_text(recipe.read_text().replace("own.jinja", "llama3"))
    assert load_recipe_template(recipe) == "llama3"
    recipe.write_text(recipe.read_text().replace("llama3", "lama3"))
    with pytest.raises(RecipeError, match=r"student\.template"):
        load_recipe_template(recipe)


def load_recipe_template(recipe: Path) -> str | None:
    """The template as the recipe names it, once its path is resolved."""
    whole = '\n[seeds]\npath = "rows.jsonl"\n\n[[generate]]\nuse = "existing"\n'
    student = load_recipe(recipe, change=lambda text: text + whole).student
    return student.template if student else None
