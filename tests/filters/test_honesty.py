from dataclasses import replace

import pytest
from rows import record

from synth.filters.honesty import Honesty


def reason(kind: str, answer: str) -> str:
    verdict = Honesty().check(replace(record(answer), fields={"kind": kind}))
    assert verdict.keep is (verdict.reason == "")
    return verdict.reason


HONEST = [
    "I don't know when the shop was founded; the desk can tell you.",
    "I\u2019m not able to see that.",
    "I do not have that figure.",
    "Sorry, I can't look that up.",
    "The handbook doesn't say who owns the shop.",
    "It is not stated anywhere. Ask at the desk.",
    "That's not mentioned.",
    "There is no information on this.",
    "The price is unknown.",
]
STRAIGHT = [
    "The shop opens at nine.",
    "A lock costs two euros and is not sold on Sundays.",
    "The discount is not available on weekends.",
    "You can't rent without a card.",
    "The guarantee does not cover tyres.",
    "We don't take a deposit in cash.",
]


@pytest.mark.parametrize("answer", HONEST)
def test_a_limit_that_is_owned_up_to_is_kept_and_an_answerable_question_must_not_be_declined(
    answer: str,
) -> None:
    assert reason("unanswerable", answer) == reason("live", answer) == reason("action", answer) == ""
    assert reason("answerable", answer) == "declines what the text answers"


@pytest.mark.parametrize("answer", STRAIGHT)
def test_an_answer_to_what_can_not_be_known_is_rejected_and_to_an_answerable_question_kept(
    answer: str,
) -> None:
    assert reason("answerable", answer) == ""
    assert reason("unanswerable", answer) == "answers what the text does not say"
    assert reason("live", answer) == "answers without live data"
    assert reason("action", answer) == "does not say that it can't do this"


@pytest.mark.parametrize(
    "answer",
    [
        "I've sent the e-mail. I can't wait!",
        "Done! I don't need anything else.",
        "I can't call, but your bike has been booked.",
    ],
)
def test_what_claims_to_be_done_is_rejected(answer: str) -> None:
    assert reason("action", answer) == "claims to do what it can't"


@pytest.mark.parametrize("kind", ["postscript", ""])
def test_rows_of_other_kinds_are_kept(kind: str) -> None:
    assert reason(kind, STRAIGHT[0]) == reason(kind, HONEST[0]) == ""
    assert Honesty().check(record(HONEST[0])).keep


def test_a_request_that_no_tool_serves_is_a_deed_that_must_be_owned_up_to() -> None:
    assert reason("no_tool", "Your booking is made.") == "does not say that it can't do this"
    assert reason("no_tool", "I have booked it. I can't do more.") == "claims to do what it can't"
    assert reason("no_tool", "I'm sorry, I can't book a table.") == reason("call", "I've booked it.") == ""
