import pytest

from synth.errors import Unusable
from synth.strategies.grounding import grounded, require_grounded

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
