"""Who was still in after each stage, from the verdicts of a run folder."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from projects import edit, make_project

from synth import quality, report
from synth.errors import DataError
from synth.recipe import Recipe, load_recipe
from synth.store import Dataset, to_table, write_parquet
from synth.types import Message, Record, Verdict

KEPT = [Verdict("truncated", True), Verdict("length", True), Verdict("rubric", True, 4.0)]


def row(number: int, question: str, *verdicts: Verdict, answer: str = "Yes, it is so.") -> Record:
    """A row that its last verdict rejects, if any does."""
    turns: list[Message] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    keep = all(verdict.keep for verdict in verdicts)
    status = "kept" if keep else "rejected"
    return Record(turns if question else (), "seed", id=f"{number:04}", status=status, verdicts=verdicts)  # type: ignore[arg-type]


ROWS = [
    row(0, "Write a poem about the sea.", *KEPT, Verdict("exact", True)),
    row(1, "Write a poem about a hill.", *KEPT, Verdict("exact", True)),
    row(2, "Write a poem about a hill!", *KEPT, Verdict("exact", False, None, "repeats another")),
    row(3, "Name a bird.", *KEPT[:2], Verdict("rubric", False, 1.0, "scored too low")),
    row(
        4,
        "Name a tree.",
        Verdict("truncated", True),
        Verdict("length", False, 1.0, "too short"),
        answer="Oak",
    ),
    row(5, "", Verdict("template", False, None, "the reply has no question")),
]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(make_project(tmp_path / "project", "http://127.0.0.1:9/v1"))


def dataset_of(folder: Path, records: Sequence[Record], *, stage: str = "curated") -> Dataset:
    for number in range(0, len(records), 4):
        write_parquet(folder / stage / f"part-{number:05}.parquet", to_table(records[number : number + 4]))
    return Dataset(folder)


def test_each_stage_has_the_rows_that_all_before_it_kept(tmp_path: Path, recipe: Recipe) -> None:
    found = quality.of(dataset_of(tmp_path / "run", ROWS), recipe)
    assert found["planned"] == 6
    rows = {stage["stage"]: stage["rows"] for stage in found["stages"]}
    assert rows == {"made": 5, "after filters": 4, "after judges": 3, "after exact": 2}


def test_before_curation_there_are_the_stages_of_generation_alone(tmp_path: Path, recipe: Recipe) -> None:
    raw = [row for row in ROWS if "exact" not in [verdict.by for verdict in row.verdicts]]
    found = quality.of(dataset_of(tmp_path / "run", raw, stage="raw"), recipe)
    assert [stage["stage"] for stage in found["stages"]] == ["made", "after filters", "after judges"]


def test_of_two_selectors_of_one_name_the_one_that_had_the_last_word_counts(tmp_path: Path) -> None:
    file = make_project(tmp_path / "project", "http://127.0.0.1:9/v1")
    edit(file, "[run]", '[[select]]\nuse = "exact"\n\n[run]')
    twice = row(
        6, "Write prose.", *KEPT, Verdict("exact", True), Verdict("exact", False, None, "repeats another")
    )
    both = [row(n, f"Ask {n}", *KEPT, Verdict("exact", True), Verdict("exact", True)) for n in (0, 1)]
    found = quality.of(dataset_of(tmp_path / "run", [*both, ROWS[2], twice]), load_recipe(file))
    rows = [(stage["stage"], stage["rows"]) for stage in found["stages"]]
    assert rows[-3:] == [("after judges", 4), ("after exact", 3), ("after exact", 2)]


def test_figures_are_of_the_users_turns_and_of_the_answers(tmp_path: Path, recipe: Recipe) -> None:
    found = quality.of(dataset_of(tmp_path / "run", ROWS), recipe)
    made, *_, last = found["stages"]
    assert made["question_lengths"]["p50"] == 6 and made["answer_lengths"]["p5"] < 4
    assert made["near_duplicates"]["value"] == 2 / 5 and last["near_duplicates"]["value"] == 0
    assert found["pairs"][0] == {"verb": "write", "object": "poem", "rows": [3, 3, 3, 2]}
    assert made["pairs"] == {"questions": 5, "different": 3}
    assert made["measured"] == made["rows"] == 5


def test_stages_are_drawn_at_the_size_of_the_smallest_that_is_not_too_small(
    tmp_path: Path, recipe: Recipe
) -> None:
    topics = [f"Tell me about topic number {n} of {n % 7} things" for n in range(60)]
    low = Verdict("rubric", False, 1.0, "scored too low")
    rows = [
        row(n, topic, *KEPT[:2], *([KEPT[2], Verdict("exact", n % 10 == 0)] if n < 40 else [low]))
        for n, topic in enumerate(topics)
    ]
    found = quality.of(dataset_of(tmp_path / "run", rows), recipe)
    assert [stage["rows"] for stage in found["stages"]] == [60, 60, 40, 4]
    assert found["drawn"]["rows"] == 40 and found["drawn"]["question_words"] == 360
    vendi = [stage["vendi"] for stage in found["stages"]]
    assert vendi[0]["low"] < vendi[0]["value"] < vendi[0]["high"]
    assert vendi[2]["low"] is None and vendi[2]["value"] > 1
    assert vendi[3]["value"] is None  # 4 rows say nothing of 40


def test_a_large_stage_is_measured_on_a_sample_that_says_so(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "SAMPLE", 20)
    monkeypatch.setattr(quality, "QUERIES", 10)
    rows = [row(n, f"Why is {n} so different from {n * n}?", *KEPT) for n in range(50)]
    found = quality.of(dataset_of(tmp_path / "run", rows), recipe)
    made = found["stages"][0]
    assert (made["rows"], made["measured"]) == (50, 20)
    assert made["near_duplicates"]["high"] > 0 and made["question_lengths"]["median_low"] == 7
    assert ("rows measured", ["20"] * 4) in report.quality_lines(found)


def test_quality_is_kept_until_the_rows_change(tmp_path: Path, recipe: Recipe) -> None:
    dataset = dataset_of(tmp_path / "run", ROWS)
    first = quality.of(dataset, recipe)
    written = (dataset.folder / "quality.json").read_bytes()
    assert json.loads(written) == first == quality.of(dataset, recipe)
    (dataset.folder / "quality.json").unlink()
    assert quality.of(dataset, recipe) == first
    assert (dataset.folder / "quality.json").read_bytes() == written
    dataset_of(tmp_path / "run", ROWS[:4])
    (dataset.folder / "curated" / "part-00004.parquet").unlink()
    assert quality.of(dataset, recipe)["planned"] == 4


def test_a_run_that_made_nothing_has_no_figures(tmp_path: Path, recipe: Recipe) -> None:
    found = quality.of(dataset_of(tmp_path / "run", [ROWS[5]]), recipe)
    assert [stage["rows"] for stage in found["stages"]] == [0] * 4
    assert {cell for label, cells in report.quality_lines(found)[1:-1] for cell in cells} == {"-"}


def test_without_rows_it_says_what_to_do(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(DataError, match="has no rows; run `synth generate` first"):
        quality.of(Dataset(tmp_path / "run"), recipe)
