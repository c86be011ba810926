import pytest
from pydantic import ValidationError
from rows import record

from synth.filters.language import Language

ENGLISH = "The river rises in the hills above the town and reaches the sea after ninety miles."
GERMAN = "Der Fluss entspringt in den H\u00fcgeln \u00fcber der Stadt und erreicht dann das Meer."


def test_the_score_is_how_sure_the_model_is_of_the_wanted_language() -> None:
    english = Language(languages=("en",)).check(record(ENGLISH))
    german = Language(languages=("en",)).check(record(GERMAN))
    assert english.keep and english.score is not None and english.score > 0.5
    assert not german.keep and german.score is not None and german.score < 0.03
    assert german.reason == "is in another language"


def test_several_languages_may_be_wanted() -> None:
    both = Language(languages=("en", "de"))
    assert both.check(record(ENGLISH)).keep and both.check(record(GERMAN)).keep


def test_a_text_too_short_to_tell_is_kept_and_says_so() -> None:
    verdict = Language(languages=("en",)).check(record("Ja."))
    assert verdict.keep and verdict.score is None and verdict.reason == "too short to tell"


def test_code_is_not_read() -> None:
    code = (
        "```python\n" + "# gibt die Summe aller Zahlen zur\u00fcck, die in der Liste stehen\n" * 9 + "```\n"
    )
    assert Language(languages=("en",)).check(record(code + ENGLISH)).keep
    assert not Language(languages=("en",)).check(record(code + GERMAN)).keep


def test_an_end_in_another_language_is_found_behind_a_long_text() -> None:
    assert Language(languages=("en",)).check(record(f"{ENGLISH} " * 20)).keep
    verdict = Language(languages=("en",)).check(record(f"{ENGLISH} " * 20 + f"{GERMAN} " * 4))
    assert not verdict.keep and verdict.reason == "ends in another language"


@pytest.mark.parametrize("languages", [(), ("English",), ("EN",)])
def test_what_is_no_list_of_language_codes_is_refused(languages: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="languages"):
        Language(languages=languages)
