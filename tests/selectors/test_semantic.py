from dataclasses import replace
from pathlib import Path

import pytest
from rows import record, selected

from synth.compute import vectors as module
from synth.selectors.semantic import Semantic, numbers_of
from synth.types import Record, Verdict

QUESTIONS = [
    "Why are most plants green?",
    "What was Mark Twain's real name?",
    "Why are plants green?",
    "How long does a tennis match take?",
    "What was Mark Twain's actual name?",
]
ROWS = [record(f"Answer {n}.", question=text) for n, text in enumerate(QUESTIONS)]


def scored(row: Record, score: float) -> Record:
    return replace(row, verdicts=(Verdict("rubric", True, score), Verdict("length", True, 9 - score)))


@pytest.mark.parametrize("exact", [0, 20_000])
def test_a_row_that_means_the_same_names_the_one_that_stays_and_how_near_it_is(
    tmp_path: Path, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXACT", exact)
    found = selected(Semantic(threshold=0.94), ROWS, tmp_path)
    assert [said.duplicate_of for said in found] == [None, None, "0000", None, "0001"]
    assert [said.verdict.keep for said in found] == [True, True, False, True, False]
    assert found[2].verdict.reason == "means the same as another row"
    assert found[2].verdict.score == pytest.approx(0.9635, abs=0.005)


def test_the_best_scored_row_stays_not_the_first(tmp_path: Path) -> None:
    rows = [scored(row, score) for row, score in zip(ROWS, [3, 5, 4, 1, 2], strict=True)]
    found = selected(Semantic(threshold=0.94, by="rubric"), rows, tmp_path)
    assert [said.duplicate_of for said in found] == ["0002", None, None, None, "0001"]
    found = selected(Semantic(threshold=0.94, by="length"), rows, tmp_path)
    assert [said.duplicate_of for said in found] == [None, "0004", "0000", None, None]


def test_every_row_that_goes_resembles_the_row_that_it_names(tmp_path: Path) -> None:
    """b is near a and c, which are not near one another: with b gone both stay."""
    chain = [
        record("Yes.", question=text)
        for text in (
            "Why are most plants green?",
            "Why are plants green?",
            "Why are plants green in summer?",
        )
    ]
    found = selected(Semantic(threshold=0.93), chain, tmp_path)
    assert [said.duplicate_of for said in found] == [None, "0000", None]


def test_another_threshold_reads_the_vectors_that_are_there(tmp_path: Path) -> None:
    strict = selected(Semantic(threshold=0.999), ROWS, tmp_path)
    assert all(said.verdict.keep for said in strict)
    (file,) = tmp_path.iterdir()
    made = file.stat().st_mtime_ns
    loose = selected(Semantic(threshold=0.1), ROWS, tmp_path)
    assert sum(said.verdict.keep for said in loose) < 4
    assert [each.stat().st_mtime_ns for each in tmp_path.iterdir()] == [made]


def test_answers_may_be_compared_and_empty_texts_resemble_nothing(tmp_path: Path) -> None:
    rows = [record("", question="a b c"), record("", question="d e f"), *[record("Because it is so.")] * 2]
    found = selected(Semantic(on="answer"), rows, tmp_path)
    assert [said.duplicate_of for said in found] == [None, None, None, "0002"]


def test_no_rows_give_no_selections(tmp_path: Path) -> None:
    assert selected(Semantic(), [], tmp_path) == []


def test_the_model_is_part_of_the_runs_name() -> None:
    assert list(Semantic().versions()) == ["embeddings.words"]


SEASONS = [
    record("Yes.", question=f"Which episodes of season {number} of the series did she direct?")
    for number in ("three", "four", "3", "III")
]


@pytest.mark.parametrize("exact", [0, 20_000])
def test_rows_that_differ_in_a_number_are_different_however_alike_they_are(
    tmp_path: Path, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXACT", exact)
    found = selected(Semantic(threshold=0.8), SEASONS, tmp_path)
    assert [said.duplicate_of for said in found] == [None, None, "0000", None]
    found = selected(Semantic(threshold=0.8, numbers=False), SEASONS, tmp_path)
    assert [said.duplicate_of for said in found] == [None, "0000", "0000", "0000"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("She buys two eggs at $1,200.50, then 2 more.", ("1200.50", "2")),
        ("the first of which", ("1",)),
        ("one of them is tense, weighed and attentive", ()),
        ("Ten and twelve; 007", ("007", "10", "12")),
        ("", ()),
    ],
)
def test_numbers_are_read_in_digits_and_in_words(text: str, numbers: tuple[str, ...]) -> None:
    assert numbers_of(text) == numbers
