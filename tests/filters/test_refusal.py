import pytest
from rows import record

from synth.filters.refusal import Refusal
from synth.types import Verdict


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m really sorry, but I am unable to answer.",
        "Sorry, I cannot do this.",
        "Unfortunately, I don't have that information.",
        "I cannot provide medical advice.",
        "I won't write that.",
        "I am not able to assist with this.",
        "I must decline to answer.",
        '"I can\'t fulfil that request."',
    ],
)
def test_a_refusal_is_rejected(answer: str) -> None:
    assert Refusal().check(record(answer)) == Verdict("refusal", False, None, "declines to answer")


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI language model, I see it so.",
        "Well, as a large language model I have no feelings.",
        "I am a language model.",
        "I'm just an AI, but here goes.",
        "Hello! I was created by a company.",
    ],
)
def test_an_answer_about_the_model_itself_is_rejected(answer: str) -> None:
    assert Refusal().check(record(answer)) == Verdict("refusal", False, None, "speaks of itself as a model")


@pytest.mark.parametrize(
    "answer",
    [
        "Water boils at 100 degrees Celsius at sea level.",
        '"I\'m sorry," said Anna, and opened the door.',
        "I can help: start with the first line.",
        "The word cannot is written as one word.",
        "Dear Sir, I am sorry to hear about the delay; your parcel is on its way.",
        "An AI is a program; a language model is one kind of it.",
        "I was born by the sea, and I am a teacher.",
        "",
    ],
)
def test_what_only_sounds_like_it_is_kept(answer: str) -> None:
    assert Refusal().check(record(answer)).keep
