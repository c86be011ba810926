from pathlib import Path

import pytest
from projects import jsonl

from synth.errors import DataError
from synth.passages import Passages
from synth.seeds import read_seeds

TEXTS = [
    "Bread is baked dough of flour and water.",
    "Cheese is made of milk.",
    "The wind blows from the sea.",
]


def test_the_passage_that_shares_rare_words_comes_first() -> None:
    found = Passages(TEXTS).best(["What is bread made of?", "Where does the WIND come from?"], 2)
    assert found[0][0] in TEXTS[:2] and len(found[0]) == 2
    assert found[1] == [TEXTS[2]]


def test_a_passage_that_shares_no_word_is_not_shown() -> None:
    assert Passages(TEXTS).best(["Zebras?", "?", ""], 3) == [[], [], []]


def test_there_may_be_fewer_passages_than_asked_and_equal_ones_count_once() -> None:
    assert Passages([TEXTS[0], TEXTS[0]]).best(["bread"], 3) == [[TEXTS[0]]]


def test_passages_are_the_texts_of_seeds(tmp_path: Path) -> None:
    seeds = read_seeds(str(jsonl(tmp_path / "seeds.jsonl", [{"text": text} for text in TEXTS])))
    assert Passages.of_seeds(seeds).best(["cheese"], 1) == [[TEXTS[1]]]


def test_texts_without_a_word_are_refused() -> None:
    with pytest.raises(DataError, match="no `text` has a word to search by; remove"):
        Passages(["a", "?"])
