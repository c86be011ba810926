import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from projects import curated, edit, hashes, lines, start_synth
from projects import jsonl as write

from synth.edits import of_rows
from synth.errors import DataError, RecipeError
from synth.pipeline import curate, generate, open_run

RECIPE = """
name = "clean"                  # a comment that stays

[[filter]]
use = "length"
min_words = 2

[[select]]
use = "exact"
"""
ROWS: list[dict[str, Any]] = [
    {"instruction": "Why?", "input": "", "output": "Because it is so.", "from": "me"},
    {"instruction": "Why?", "input": "", "output": "Because it is so.", "from": "me"},
    {"instruction": "Who?", "input": "", "output": "Nobody", "from": None},
    {"instruction": "How?", "input": "", "output": "By all means there are.", "from": "you"},
    {"instruction": "why", "input": "", "output": "because it is so", "from": "you"},
]


def jsonl(path: Path, rows: list[Any] = ROWS) -> Path:
    return write(path, rows)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "clean.toml").write_text(RECIPE)
    return tmp_path / "clean.toml"


def test_every_row_comes_back_in_its_order_and_format_with_what_was_decided(
    recipe: Path, tmp_path: Path
) -> None:
    run = curated(recipe, jsonl(tmp_path / "old.jsonl"))
    assert str(run.dataset.counts()) == "5 planned = 2 kept + 3 rejected (exact 2, length 1) + 0 failed"
    back = lines(run.folder / "annotated")
    assert [{key: row[key] for key in ROWS[0]} for row in back] == ROWS
    assert [row["synth"]["status"] for row in back] == ["kept", "rejected", "rejected", "kept", "rejected"]
    assert [row["synth"]["duplicate_of"] for row in back] == [None, "1", None, None, "1"]
    assert back[2]["synth"] == {
        "status": "rejected",
        "rejected_by": "length",
        "reason": "fewer than 2 words",
        "duplicate_of": None,
        "scores": {"length": 1.0},
    }
    assert lines(run.folder / "kept") == [ROWS[0], ROWS[3]]


def test_parquet_comes_back_with_its_own_schema(recipe: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS).assign(made=pd.Timestamp("2026-01-02"), weight=0.5)
    frame.to_parquet(tmp_path / "old.parquet")
    run = curated(recipe, tmp_path / "old.parquet")
    kept = pd.read_parquet(run.folder / "kept")
    pd.testing.assert_frame_equal(kept, frame.iloc[[0, 3]].reset_index(drop=True))
    whole = pd.read_parquet(run.folder / "annotated")
    assert list(whole) == [*frame, "synth"] and len(whole) == 5
    assert whole["synth"][1]["reason"] == "repeats another row"


def test_a_folder_of_files_is_one_dataset_and_a_list_in_json_too(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    jsonl(tmp_path / "parts" / "a.jsonl", ROWS[:3])
    jsonl(tmp_path / "parts" / "b.jsonl", ROWS[3:])
    (tmp_path / "parts" / "README.md").write_text("# A card")
    (tmp_path / "old.json").write_text(json.dumps(ROWS))
    for place in ("parts", "old.json"):
        assert curated(recipe, tmp_path / place).dataset.counts().of("kept") == 2


def test_a_rerun_and_the_run_folder_leave_every_byte(recipe: Path, tmp_path: Path) -> None:
    first = curated(recipe, jsonl(tmp_path / "old.jsonl"))
    before = hashes(first.folder)
    again = curated(recipe, tmp_path / "old.jsonl")
    by_folder = open_run(first.folder)
    assert by_folder.checked.key == first.checked.key and again.folder == first.folder == by_folder.folder
    assert hashes(first.folder) == before
    assert "# a comment that stays" in (first.folder / "recipe.toml").read_text()


def test_rows_that_are_none_are_rejected_with_the_reason_and_stay_in_the_count(
    recipe: Path, tmp_path: Path
) -> None:
    odd = [ROWS[0], {"instruction": "Why?"}, {**ROWS[0], "instruction": "", "output": " "}, ROWS[3]]
    run = curated(recipe, jsonl(tmp_path / "old.jsonl", odd))
    back = lines(run.folder / "annotated")
    reasons = [row["synth"]["reason"] for row in back]
    assert reasons == [None, "is in no format that is known", "has no text", None]
    assert [{key: row[key] for key in row if key != "synth"} for row in back] == odd


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([{"text": "Why?"}], "its first row has the columns text; rows have messages"),
        ([{"messages": [{"role": "user"}]}], "its first row a turn has no text"),
        ([], "has no seeds; put at least one line in"),
    ],
)
def test_a_file_of_something_else_is_refused_before_anything_is_written(
    recipe: Path, tmp_path: Path, rows: list[Any], wrong: str
) -> None:
    with pytest.raises((RecipeError, DataError), match=wrong):
        curated(recipe, jsonl(tmp_path / "old.jsonl", rows))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ('[[filter]]\nuse = "rubric"\n', r'judge: missing; "rubric" asks a model: add \[judge\]'),
        ("[run]\ntarget = 3\n", r"run\.target: rows that exist can't be made again; remove it"),
    ],
)
def test_what_rows_can_not_give_is_said_before_anything_is_written(
    recipe: Path, tmp_path: Path, more: str, wrong: str
) -> None:
    recipe.write_text(RECIPE + more)
    with pytest.raises(RecipeError, match=wrong):
        curated(recipe, jsonl(tmp_path / "old.jsonl"))
    assert not (tmp_path / "data").exists()


def test_the_command_names_what_is_missing_and_does_the_rest(recipe: Path, tmp_path: Path) -> None:
    jsonl(tmp_path / "old.jsonl")
    done = start_synth("curate", "old.jsonl", "--recipe", recipe.name, cwd=tmp_path)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0 and "rows: 5 planned = 2 kept" in out, err
    none = start_synth("curate", "gone.jsonl", "--recipe", recipe.name, cwd=tmp_path)
    _, err = none.communicate(timeout=60)
    assert none.returncode == 2 and "gone.jsonl: no such file; correct the path" in err


def test_other_selectors_take_the_rows_of_the_earlier_run(recipe: Path, tmp_path: Path) -> None:
    first = curated(recipe, jsonl(tmp_path / "old.jsonl"))
    edit(recipe, 'use = "exact"', 'use = "exact"\non = "question"')
    said: list[str] = []
    run = open_run(recipe, change=of_rows(recipe, str(tmp_path / "old.jsonl")), say=said.append)
    generate(run)
    curate(run)
    assert said == [f"generate: the rows are those of {first.folder.name}, 0 requests"]
    assert run.folder != first.folder
    assert hashes(run.folder, ("raw",)) == hashes(first.folder, ("raw",))
    assert run.dataset.manifest["stages"]["generate"]["from"] == first.folder.name
    assert generate(run).planned == 5 and said[-1] == "generate: done before, 0 requests"


def test_many_rows_are_made_by_several_processes_to_the_same_bytes(recipe: Path, tmp_path: Path) -> None:
    many = [{**ROWS[0], "output": f"Because it is so for {n}."} for n in range(40)]
    recipe.write_text(RECIPE + "[run]\nshard_rows = 8\n")
    run = curated(recipe, jsonl(tmp_path / "old.jsonl", many))
    assert len(run.dataset.shards("raw")) == 5 and run.dataset.counts().of("kept") == 40
    before = hashes(run.folder)
    gone = run.dataset.shards("raw")[2]
    gone.unlink()
    curated(recipe, tmp_path / "old.jsonl")
    assert hashes(run.folder) == before
    assert [row["output"] for row in lines(run.folder / "kept")] == [row["output"] for row in many]
    one = curated(recipe, jsonl(tmp_path / "one.jsonl", many[:8]))
    assert one.dataset.counts().of("kept") == 8


def test_a_row_that_a_filter_can_not_judge_is_named_whichever_process_met_it(
    recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(RECIPE + '[[filter]]\nuse = "maths"\n[run]\nshard_rows = 2\n')
    with pytest.raises(DataError, match='maths needs a number in the field "answer"'):
        curated(recipe, jsonl(tmp_path / "old.jsonl"))
