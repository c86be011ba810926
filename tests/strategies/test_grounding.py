import pytest

from synth.errors import Unusable
from synth.strategies.grounding import copied, grounded, require_grounded
from synth.types import Message

EXAMPLES: list[Message] = [
    {"role": "system", "content": "One two three four five six seven eight."},
    {"role": "assistant", "content": "a b c d e f g h i"},
    {"role": "user", "content": "q r s t u v w x"},
    {"role": "user", "content": "Q: q r s t u v w x"},
]
TEXT = "A city bike costs four euros an hour, and 16 euros a day."


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("It costs 4 euros.", 1.0),
        ("You pay four euros for the bikes.", 3 / 4),
        ("A boat costs 4 pounds.", 1 / 2),
        ("It is so.", 1.0),
        ("\u8239", 0.0),
    ],
)
def test_the_share_counts_content_words_by_their_beginning(answer: str, share: float) -> None:
    assert grounded(answer, TEXT) == share


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("A city bike costs 5 euros.", "has a number that the text has not"),
        ("A city bike costs 1.6 euros.", "has a number that the text has not"),
        ("Bikes are for rain, snow and boats.", "has words that the text has not"),
        ("A city bike costs you an hour.", "only repeats the question"),
    ],
)
def test_an_answer_is_rejected_by_the_first_rule_that_it_breaks(answer: str, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        require_grounded(answer, "What does a city bike cost an hour?", TEXT, 0.5)


def test_an_answer_of_the_text_has_its_share_and_a_yes_says_enough() -> None:
    assert require_grounded("It costs 4 euros.", "What does a bike cost?", TEXT, 1.0) == 1.0
    assert require_grounded("Yes, a bike costs euros.", "Does a bike cost euros?", TEXT, 1.0) == 1.0


def test_a_reply_copies_where_it_has_a_run_of_an_example_that_the_last_turn_has_not() -> None:
    assert copied("So: A B C d e f g h!", EXAMPLES)
    for own in ("a b c d e f g", "q r s t u v w x", "one two three four five six seven eight"):
        assert not copied(own, EXAMPLES)
