"""Curated runs with another threshold, and decontamination by the project's own evaluation items."""

import json
from pathlib import Path

import pytest
from projects import curated, edit, jsonl, lines, start_synth

from synth import page
from synth.edits import with_key
from synth.errors import RecipeError
from synth.pipeline import curate, generate, open_run

RECIPE = """
name = "near"
[[filter]]
use = "length"
[[select]]
use = "minhash"
on = "answer"
threshold = 0.8                  # what repeats another
"""
WORDS = [f"w{n}" for n in range(44)]
ANSWERS = [
    " ".join(WORDS),
    " ".join([*WORDS[:-1], "end"]),
    " ".join([*WORDS[:-5], *["that", "is", "quite", "another", "end"]]),
]
"""40 shingles of five words: the second shares 39 of 41 with the first, the third 35 of 45."""
ROWS = [{"prompt": "Why?", "completion": answer} for answer in ANSWERS]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "near.toml").write_text(RECIPE)
    return tmp_path / "near.toml"


def test_another_threshold_is_another_run_of_the_same_rows_and_asks_nothing(
    recipe: Path, tmp_path: Path
) -> None:
    first = curated(recipe, jsonl(tmp_path / "old.jsonl", ROWS))
    back = lines(first.folder / "annotated")
    assert [row["synth"]["status"] for row in back] == ["kept", "rejected", "kept"]
    assert back[1]["synth"]["duplicate_of"] == "1"
    assert back[1]["synth"]["scores"]["minhash"] == pytest.approx(39 / 41, abs=1e-4)
    said: list[str] = []
    for threshold, kept in ((0.7, 1), (0.97, 3), (0.8, 2)):
        run = open_run(
            first.folder,
            say=said.append,
            change=with_key(first.folder, "select", "minhash", "threshold", threshold),
        )
        generate(run)
        curate(run)
        assert run.dataset.counts().of("kept") == kept
        assert (run.folder == first.folder) == (threshold == 0.8)
        assert f"threshold = {threshold} " in (run.folder / "recipe.toml").read_text()
        [pairs], [known] = (
            list((folder / "index").glob("minhash-*")) for folder in (run.folder, first.folder)
        )
        assert pairs.name == known.name and pairs.samefile(known)
    assert said[0] == f"generate: the rows are those of {first.folder.name}, 0 requests"
    assert said[-1] == "generate: done before, 0 requests"


def test_the_command_says_what_there_is_to_mend(recipe: Path, tmp_path: Path) -> None:
    run = curated(recipe, jsonl(tmp_path / "old.jsonl", ROWS))
    done = start_synth("dedup", run.folder, "--threshold", "0.97", cwd=tmp_path)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0 and "3 planned = 3 kept" in out, err
    wrong = start_synth("dedup", run.folder, "--threshold", "0.9", "--step", "semantic", cwd=tmp_path)
    _, err = wrong.communicate(timeout=60)
    assert wrong.returncode == 2 and 'has no step "semantic"; add [[select]] use = "semantic"' in err


def test_the_items_of_data_eval_and_of_named_files_are_found_and_decide_the_runs_name(
    recipe: Path, tmp_path: Path
) -> None:
    edit(
        recipe,
        'use = "minhash"\non = "answer"\nthreshold = 0.8',
        'use = "decontaminate"\nagainst = ["more.jsonl"]',
    )
    rows = [
        {"prompt": "Which river flows through the old town of Bern?", "completion": "The Aare."},
        {"prompt": "How many moons has the planet Mars in all?", "completion": "Two."},
        {"prompt": "What do ants carry home in late autumn?", "completion": "Seeds."},
    ]
    own, more = tmp_path / "data" / "eval" / "own.jsonl", tmp_path / "more.jsonl"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"question": rows[0]["prompt"]}) + "\n")
    more.write_text(json.dumps({"question": rows[1]["prompt"].upper()}) + "\n")
    run = curated(recipe, jsonl(tmp_path / "old.jsonl", rows))
    found = [row["synth"] for row in lines(run.folder / "annotated")]
    assert [each["status"] for each in found] == ["rejected", "rejected", "kept"]
    assert found[0]["reason"] == "an evaluation item, word for word"
    assert found[0]["duplicate_of"].endswith("own.jsonl:1") and found[1]["duplicate_of"].endswith(
        "more.jsonl:1"
    )
    shown = page.render(run.dataset, run.recipe)
    assert "Evaluation items found in rows" in shown and rows[1]["prompt"].upper() in shown
    for file in (own, more):
        file.write_text(json.dumps({"question": "Why is the sea salty, and lakes are not?"}) + "\n")
        again = curated(recipe, tmp_path / "old.jsonl")
        assert again.folder != run.folder
        run = again
    assert run.dataset.counts().of("kept") == 3
    more.unlink()
    with pytest.raises(RecipeError, match=r"select\[0\]: .*more\.jsonl: no such file of evaluation items"):
        curated(recipe, tmp_path / "old.jsonl")
