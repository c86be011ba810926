from collections.abc import Sequence
from dataclasses import replace

import pytest
from rows import record, selected

from synth.selectors.consistent import Consistent, final
from synth.steps import Selection
from synth.types import Record, Verdict


def rows(*said: tuple[str, str]) -> list[Record]:
    return [record(answer, question=question) for question, answer in said]


def kept(said: Sequence[Selection]) -> list[bool]:
    return [each.verdict.keep for each in said]


SUM = rows(
    ("What is 2 + 3?", "It is\n#### 5"),
    ("what is  2 + 3?", "2 and 3 make six, so the answer is 6."),
    ("What is 2 - 3?", "#### -1"),
    ("What is 2 + 3?", "We count on from 2. The answer is: 5 apples."),
    ("What is 2 + 3?", "That depends on what one means by a sum, and there is much to say about it."),
)


def test_all_rows_of_a_contradiction_go_and_those_without_a_result_contradict_nobody() -> None:
    found = selected(Consistent(), SUM)
    assert kept(found) == [False, False, True, False, True]
    assert {each.verdict.reason for each in found} == {"", "the same question has another answer"}
    assert [each.duplicate_of for each in found] == [None] * 5


def test_the_majority_may_stay_and_is_named() -> None:
    found = selected(Consistent(keep="majority"), SUM)
    assert kept(found) == [True, False, True, True, True]
    assert (found[1].duplicate_of, found[1].verdict.reason) == ("0000", "contradicts the majority")
    tie = selected(Consistent(keep="majority"), SUM[:2])
    assert kept(tie) == [False, False]
    assert tie[0].verdict.reason == "the same question has other answers as often"


def test_the_side_of_the_best_row_may_stay() -> None:
    scored = [replace(row, verdicts=(Verdict("rubric", True, n),)) for n, row in enumerate(SUM[:2])]
    found = selected(Consistent(keep="best", by="rubric"), [*scored, SUM[3]])
    assert kept(found) == [False, True, False]
    assert [each.duplicate_of for each in found] == ["0001", None, "0001"]
    assert kept(selected(Consistent(keep="best"), SUM)) == [True, False, True, True, True]


def test_samples_of_one_seed_that_agree_or_are_open_ended_stay() -> None:
    poems = rows(
        *(("Write a poem on rain.", f"Rain {n} falls on the roof,\nand more of it follows.") for n in "ab")
    )
    steps = rows(("How many?", "3 x 4 = 12\n#### 12"), ("How many?", "\\boxed{12}"), ("How many?", "12."))
    assert kept(selected(Consistent(), [*poems, *steps])) == [True] * 5
    assert kept(selected(Consistent(compare="text"), [*poems, *steps[:1]])) == [False, False, True]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("#### 1,000", "The answer is $1000."),
        ("Yes.", "yes, it does: water boils there at 90 degrees."),
        ("True", "Yes - and here is why it is so."),
        ("(B)", "B. The second one"),
        ("Answer: B", "b."),
        ('{"a": 1, "b": [2]}', '```json\n{"b": [2], "a": 1}\n```'),
        ("Paris", "**Paris**."),
        ("The answer is 1/2.", "\\boxed{0.5}"),
        ("18", "18 apples"),
    ],
)
def test_ways_to_say_the_same_are_one_result(one: str, other: str) -> None:
    assert final(one) == final(other) != None  # noqa: E711


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("#### 12", "#### -12"),
        ("Yes.", "No."),
        ("(A)", "(B)"),
        ("Answer: A", "Answer: C"),
        ('{"a": 1}', '{"a": 2}'),
        ("Paris", "Rome"),
        ("Yes, it is.", "No, it is not, for the reason that it never was."),
    ],
)
def test_other_results_are_others(one: str, other: str) -> None:
    assert None is not final(one) != final(other) is not None


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "No problem, here is a poem about the rain that falls.",
        "True love is what the two of them have found at last.",
        "I. Introduction\nThe essay begins with a long view of the hills.",
        "The answer is that it depends on many things that nobody knows.",
        "There were 3 of them in 1999, and later there were more.",
        "\u8fd9\u662f\u4e00\u4e2a\u5f88\u957f\u7684\u56de\u7b54" * 20,
        "Yes and no: it depends on the weather of the day.",
    ],
)
def test_an_open_answer_comes_to_no_result(answer: str) -> None:
    assert final(answer) is None


def test_the_same_question_under_another_system_turn_is_another_question() -> None:
    one = replace(SUM[0], messages=({"role": "system", "content": "Count in base 4."}, *SUM[0].messages))
    assert kept(selected(Consistent(), [one, SUM[1]])) == [True, True]


def test_no_rows_contradict_nothing() -> None:
    assert selected(Consistent(), []) == []
