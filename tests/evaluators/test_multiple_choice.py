import re
from pathlib import Path
from typing import Any

import pytest
from projects import jsonl

from synth.errors import DataError
from synth.evaluators.multiple_choice import MultipleChoice
from synth.steps import Question

GOOD: dict[str, Any] = {"question": "What is ice?", "choices": ["water", "frozen water"], "answer": 1}


def one(tmp_path: Path, **other: object) -> Question:
    [question] = MultipleChoice(path=str(jsonl(tmp_path / "q.jsonl", [{**GOOD, **other}]))).questions()
    return question


@pytest.mark.parametrize("answer", [1, "B", "b", "frozen water"])
def test_the_right_choice_is_named_by_index_letter_or_text(tmp_path: Path, answer: object) -> None:
    assert one(tmp_path, answer=answer).fields["answer"] == 1


def test_each_choice_is_an_answer_to_what_the_system_is_told(tmp_path: Path) -> None:
    question = one(tmp_path)
    told = MultipleChoice(path="unused").conversations(question, question.messages)
    assert [turns[-1]["content"] for turns in told] == ["water", "frozen water"]
    assert {turns[0]["content"] for turns in told} == {"What is ice?"}


def test_log_likelihoods_are_divided_before_they_are_compared_and_the_end_is_left_out(tmp_path: Path) -> None:
    question = one(tmp_path)
    # the short answer: 3 nats over 1 token; the long one: 6 nats over 3 tokens; the ends would turn it round
    found = [[[-3.0, -0.0]], [[-1.0, -2.0, -3.0, -90.0]]]
    graded = MultipleChoice(path="unused").weigh(question, found)
    assert graded.details == {"per_byte": 1.0, "per_character": 1.0, "per_token": 1.0, "per_answer": 0.0}
    assert graded.score == 1.0 and graded.answer == "frozen water" and graded.tokens == 4
    assert MultipleChoice(path="unused", per="answer").weigh(question, found).score == 0.0


def test_bytes_and_characters_differ_where_letters_have_several_bytes(tmp_path: Path) -> None:
    question = one(tmp_path, choices=["äöü", "abcd"], answer=0)
    graded = MultipleChoice(path="unused").weigh(question, [[[-5.0, 0.0]], [[-5.0, 0.0]]])
    assert (graded.details["per_byte"], graded.details["per_character"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"answer": 2},
            '"answer" names no choice, it is 2; write an index from 0 to 1, a letter from A to B',
        ),
        ({"answer": "C"}, '"answer" names no choice'),
        ({"answer": True}, '"answer" names no choice'),
        ({"choices": ["water"]}, 'needs "choices", a list of two texts or more'),
        ({"choices": ["water", "water "]}, "none empty or like another"),
        ({"choices": ["water", 4]}, "must be texts"),
    ],
)
def test_a_wrong_line_is_named_with_its_mend(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"q\.jsonl:1: .*{re.escape(message)}"):
        one(tmp_path, **wrong)
