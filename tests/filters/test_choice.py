from dataclasses import replace

import pytest
from rows import record

from synth.answers import choice
from synth.errors import DataError
from synth.filters.choice import Choice
from synth.steps import build
from synth.types import JSON, Verdict

ABCD = ("A", "B", "C", "D")
WORDS = ("positive", "negative", "not sure", "not")


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "B",
            "b",
            "B.",
            "(B)",
            "[B]",
            "**B**",
            "`B`",
            '"B"',
            "B) Paris",
            "B. Paris",
            "B: Paris",
            "B - Paris",
        ),
        *(
            "Answer: B",
            "answer: b.",
            "**Answer:** B",
            "**Answer: B**",
            "The answer is (B).",
            "The answer is B) Paris",
        ),
        *(
            "A and C are wrong.\n\nAnswer: B",
            "\\boxed{B}",
            "#### B",
            "It can't be A.\n\nB",
            "B\nbecause of it",
        ),
        *("The answer is B because it is the capital.", "The correct answer is: B", "B) A good one."),
    ],
)
def test_a_letter_is_found_in_every_dress(answer: str) -> None:
    assert choice(answer, ABCD) == "B"
    assert choice(answer, ["B"]) == "B"


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "",
            "Paris",
            "E",
            "A or B",
            "B, C",
            "A, B and C",
            "Answer: A, B",
            "The answer is B or C.",
            "Be quick.",
        ),
        *("A good answer", "B-side", "The answer is not B.", "I think so", "AB"),
    ],
)
def test_none_or_two_letters_choose_nothing(answer: str) -> None:
    assert choice(answer, ABCD) is None


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("Positive.", "positive"),
        ("Not sure.", "not sure"),
        ("NOT\nsure", "not"),
        ("Negative, because it is late.", "negative"),
        ("The review is fine.\nSo the answer is positive", "positive"),
        ("positively", None),
        ("positive or negative", None),
        ("It is neither positive nor negative.", None),
    ],
)
def test_words_are_labels_too(answer: str, label: str | None) -> None:
    assert choice(answer, WORDS) == label


def judged(answer: str, right: JSON, **keys: JSON) -> Verdict:
    step = build("filter", {"use": "choice", "field": "label", **keys})
    assert isinstance(step, Choice)
    return step.check(replace(record(answer), fields={"label": right}))


def test_the_right_label_is_kept_and_another_or_none_rejected() -> None:
    assert judged("Answer: B", "b", labels=list(ABCD)) == Verdict("choice", True)
    assert judged("Answer: C", "B", labels=list(ABCD)).reason == "chooses another label"
    assert judged("Answer: E", "B", labels=list(ABCD)).reason == "chooses no label"
    assert judged("Answer: C", "B").reason == "is another label"
    assert judged("Yes.", True).reason == "is another label" and judged("true", True).keep
    assert Choice(labels=ABCD).check(record("D")).keep and not Choice(labels=ABCD).check(record("E")).keep


@pytest.mark.parametrize(
    ("keys", "mend"),
    [
        ({}, "needs labels or field"),
        ({"labels": ["a", "A."]}, "must be different"),
        ({"labels": [" "]}, "none empty"),
    ],
)
def test_a_wrong_recipe_is_told_before_the_run(keys: dict[str, JSON], mend: str) -> None:
    with pytest.raises(ValueError, match=mend):
        build("filter", {"use": "choice", **keys})


@pytest.mark.parametrize("right", [None, "", "E", ["A"]])
def test_a_record_without_its_label_is_an_error_that_names_it(right: JSON) -> None:
    with pytest.raises(DataError, match='seed seed: choice needs one of: A, B, C, D in the field "label"'):
        judged("A", right, labels=list(ABCD))
