from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rows import record, selected

from synth.selectors.diverse import Diverse
from synth.steps import Selection
from synth.types import Verdict

QUESTIONS = [
    "Why are most plants green?",
    "What was Mark Twain's real name?",
    "Why are plants green?",
    "How long does a tennis match take?",
]
QUALITY = [2.0, 5.0, 4.0, 1.0]
COMPLEXITY: list[float | None] = [3.0, 1.0, 1.0, None]


def select(step: Diverse, folder: Path) -> list[Selection]:
    rows = [
        replace(
            record("Yes.", question=question),
            verdicts=(Verdict("quality", True, quality), Verdict("complexity", True, complexity)),
        )
        for question, quality, complexity in zip(QUESTIONS, QUALITY, COMPLEXITY, strict=True)
    ]
    return selected(step, rows, folder)


def kept(said: Sequence[Selection]) -> list[bool]:
    return [each.verdict.keep for each in said]


def test_the_better_of_two_rows_that_are_near_stays(tmp_path: Path) -> None:
    found = select(Diverse(by=("quality",)), tmp_path)
    assert kept(found) == [False, True, True, True]
    assert found[0].duplicate_of == "0002"
    assert found[0].verdict.reason == "too near a better row"
    assert found[0].verdict.score == pytest.approx(0.9635, abs=0.005)
    assert [each.verdict.score for each in found[1:]] == [5.0, 4.0, 1.0]


def test_several_scores_are_multiplied_and_a_row_that_lacks_one_is_worst(tmp_path: Path) -> None:
    found = select(Diverse(by=("quality", "complexity")), tmp_path)
    assert kept(found) == [True, True, False, True]
    assert [each.verdict.score for each in found] == [6.0, 5.0, pytest.approx(0.9635, abs=0.005), None]
    assert found[2].duplicate_of == "0000"


def test_it_ends_with_the_rows_asked_for(tmp_path: Path) -> None:
    found = select(Diverse(by=("quality",), rows=2), tmp_path)
    assert kept(found) == [False, True, True, False]
    assert {(each.verdict.reason, each.duplicate_of) for each in (found[0], found[3])} == {
        ("enough better rows are taken", None)
    }
    assert [each.verdict.score for each in found] == QUALITY


def test_without_scores_the_first_rows_are_taken(tmp_path: Path) -> None:
    assert kept(select(Diverse(), tmp_path)) == [True, True, False, True]
    assert kept(select(Diverse(rows=1), tmp_path)) == [True, False, False, False]


def test_the_threshold_decides_what_is_near(tmp_path: Path) -> None:
    assert kept(select(Diverse(threshold=0.999), tmp_path)) == [True] * 4
    assert sum(kept(select(Diverse(threshold=0.01), tmp_path))) < 3
