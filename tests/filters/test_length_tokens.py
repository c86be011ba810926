"""`length` in tokens, with a tokenizer that the test makes."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from rows import record

from synth.errors import SynthError
from synth.filters.text import Length


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """The folder of a tokenizer whose tokens are words and marks."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<unk>": 0, "the": 1, "sea": 2, ".": 3}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("answer", "tokens", "reason"),
    [
        ("the.", 2, "fewer than 3 tokens"),
        ("the sea.", 3, ""),
        ("the sea. the", 4, ""),
        ("the sea. the sea", 5, "more than 4 tokens"),
    ],
)
def test_length_counts_a_models_tokens_and_its_limits_are_inside(
    folder: str, answer: str, tokens: int, reason: str
) -> None:
    verdict = Length(min_tokens=3, max_tokens=4, tokenizer=folder).check(record(answer))
    assert (verdict.keep, verdict.score, verdict.reason) == (not reason, tokens, reason)


def test_words_are_counted_first() -> None:
    verdict = Length(max_words=1, max_tokens=9, tokenizer="no/such").check(record("two words"))
    assert verdict.reason == "more than 1 words"


@pytest.mark.parametrize(
    ("keys", "said"),
    [({"max_tokens": 9}, "name the tokenizer"), ({"tokenizer": "a/b"}, "counts no tokens")],
)
def test_tokens_and_tokenizer_go_together(keys: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Length.model_validate(keys)


def test_a_folder_that_is_not_there_is_said_by_the_check_and_by_the_run(tmp_path: Path) -> None:
    step = Length(max_tokens=9, tokenizer=str(tmp_path / "none"))
    assert "correct `tokenizer`" in step.missing(frozenset())
    with pytest.raises(SynthError, match="correct `tokenizer`"):
        step.check(record("a"))


def test_a_folder_without_a_tokenizer_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="no tokenizer"):
        Length(max_tokens=9, tokenizer=str(tmp_path)).check(record("a"))


def test_characters_of_languages_without_spaces_are_words() -> None:
    assert Length().check(record("\u6cb3\u6d41\u5f88\u957f\uff0c\u4e5f\u5f88\u6162\u3002")).score == 7
    assert Length().check(record("\u0e41\u0e21\u0e48\u0e19\u0e49\u0e33\u0e22\u0e32\u0e27")).score == 3
    assert Length().check(record("caf\u00e9 au lait")).score == 3
