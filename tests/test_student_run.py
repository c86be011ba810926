"""A run's student: what lies in its folder is noted, and a card with scores leaves it whole."""

from pathlib import Path

import orjson
from projects import edit, start_synth
from tiny import saved

from synth.pipeline import curate, generate, open_run, train
from synth.store import sha256
from synth.student.publish import describe

STUDENT = """
[student]
model = "MODEL"
[train]
epochs = 0.5
learning_rate = 1e-3
max_length = 64
"""


def test_a_student_names_its_recipe_and_a_card_with_scores_leaves_it_done(
    recipe: Path, tmp_path: Path, one_thread: None
) -> None:
    model = saved(tmp_path / "model", "LlamaForCausalLM")
    edit(recipe, "[run]", STUDENT.replace("MODEL", str(model)) + "[run]")
    said: list[str] = []
    run = open_run(recipe, say=said.append)
    generate(run)
    curate(run)
    refused = start_synth("train", recipe, "--processes", "3", cwd=tmp_path)
    assert "batch_size = 8 rows can't be shared evenly by 3 processes" in refused.communicate()[1]
    assert refused.returncode == 4
    entry = train(run)

    student = run.folder / "student"
    noted = {name: file["sha256"] for name, file in run.dataset.manifest["stages"]["train"]["files"].items()}
    assert noted == {f"student/{file.relative_to(student)}": sha256(file) for file in student.rglob("*.*")}
    assert (student / "recipe.toml").read_text() == recipe.read_text()
    assert "by the recipe `small` (`recipe.toml`)" in (student / "README.md").read_text()
    assert orjson.loads((student / "manifest.json").read_bytes())["trained"]["processes"] == 1

    run.dataset.rewritten("train", describe(student, ["exact_match, 40 held-out questions: student 50.0%"]))
    assert "- exact_match, 40 held-out questions" in (student / "README.md").read_text()
    assert train(run)["trained_tokens"] == entry["trained_tokens"]
    assert said[-1] == "train: done before, 0 steps"
