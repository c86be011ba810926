from dataclasses import replace

import pytest
from pydantic import ValidationError
from rows import record, selected

from synth.selectors.agreement import Agreement
from synth.types import Record


def row(answer: str, seed: str = "s", strategy: str = "template") -> Record:
    return replace(record(answer), seed_id=seed, strategy=strategy)


def said(step: Agreement, *rows: Record) -> list[tuple[float | None, str]]:
    return [(each.verdict.score, each.verdict.reason) for each in selected(step, rows)]


OTHER = "comes to another answer than most"


def test_the_majority_is_kept_and_the_score_is_its_share() -> None:
    rows = row("It is 18."), row("9 * 2 = 18"), row("#### 18.0"), row("It is 20.")
    assert said(Agreement(), *rows) == [(0.75, ""), (0.75, ""), (0.75, ""), (0.25, OTHER)]


def test_seeds_and_strategies_are_apart() -> None:
    rows = row("18"), row("20", "t"), row("18"), row("20", "t"), row("18", strategy="code"), row("17", "t")
    found = said(Agreement(), *rows)
    assert [reason for _, reason in found] == ["", "", "", "", "fewer than 2 rows of its seed", OTHER]


def test_fewer_than_the_share_and_a_tie_are_rejected() -> None:
    third = [row("1"), row("1"), row("2"), row("3"), row("4")]
    assert said(Agreement(), *third)[0] == (0.4, "fewer than 50% agree")
    assert said(Agreement(share=0.4), *third)[0] == (0.4, "")
    assert said(Agreement(), row("1"), row("2")) == [(0.5, "a tie for the most")] * 2


def test_a_row_without_an_answer_counts_against_the_others_and_is_none_itself() -> None:
    rows = [row("I do not know."), row("Who can say?"), row("18"), row("18"), row("None at all.")]
    found = said(Agreement(), *rows)
    assert found[0] == (None, "comes to no final answer")
    assert found[2] == (0.4, "fewer than 50% agree")
    assert said(Agreement(share=0.4), *rows)[2] == (0.4, "")


def test_answers_may_be_labels_or_words() -> None:
    choice = Agreement(answer="choice", labels=("A", "B"))
    rows = row("B) because it is so"), row("The answer is B."), row("A"), row("Neither.")
    assert [s for s, _ in said(choice, *rows)] == [0.5, 0.5, 0.25, None]
    text = Agreement(answer="text")
    rows = row("#### the Seine"), row("The answer is: Seine."), row("seine"), row("The Rhine")
    assert [s for s, _ in said(text, *rows)] == [0.75, 0.75, 0.75, 0.25]


def test_numbers_are_equal_exactly() -> None:
    assert [s for s, _ in said(Agreement(), row("1/3"), row("2/6"), row("0.333333333333"))] == [
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        pytest.approx(1 / 3),
    ]


@pytest.mark.parametrize("keys", [{"answer": "choice"}, {"labels": ["A", "B"]}])
def test_labels_and_choice_go_together(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="go together"):
        Agreement.model_validate(keys)
