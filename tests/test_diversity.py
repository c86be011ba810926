from math import exp, log

import numpy as np
import pytest

from synth import diversity
from synth.diversity import Figure, distinct, leading, lengths, near_duplicates, numbered, shingled, vendi


def test_distinct_counts_different_grams_of_all() -> None:
    assert distinct(numbered(["a b a b"]), 1, 4) == Figure(2 / 4)
    assert distinct(numbered(["a b a b"]), 2, 4) == Figure(2 / 3)
    assert distinct(numbered(["a b a b"]), 3, 4) == Figure(2 / 2)


def test_no_gram_reaches_from_one_text_into_the_next() -> None:
    assert distinct(numbered(["a b", "a b"]), 2, 4) == Figure(1 / 2)
    assert distinct(numbered(["a b", "a b"]), 3, 4) == Figure(0.0)


def test_distinct_of_fewer_words_than_are_drawn_is_unknown() -> None:
    assert distinct(numbered(["a b"]), 1, 3) == Figure(None)
    assert distinct(numbered([]), 1, 0) == Figure(None)


def test_distinct_is_drawn_at_one_size_and_carries_the_spread_of_the_draws() -> None:
    texts = [f"tell me of {n} and {n * n}" for n in range(100)]
    drawn = distinct(numbered(texts), 1, 60)
    assert drawn.value is not None and drawn.low is not None and drawn.high is not None
    assert 0 < drawn.low <= drawn.value <= drawn.high < 1
    assert drawn == distinct(numbered(texts), 1, 60)
    whole = distinct(numbered(texts), 1, 600)
    assert whole.low is None and whole.value is not None and whole.value < drawn.low


def test_vendi_of_one_text_many_times_is_1() -> None:
    same = np.tile(np.array([0.6, 0.8, 0.0], np.float32), (10, 1))
    assert vendi(same, 10).value == pytest.approx(1)


@pytest.mark.parametrize("copies", [1, 5])
def test_vendi_of_orthogonal_texts_is_their_number(copies: int) -> None:
    """Also where there are more vectors than dimensions, and the smaller matrix is taken."""
    vectors = np.tile(np.eye(4, dtype=np.float32), (copies, 1))
    assert vendi(vectors, 4 * copies).value == pytest.approx(4)


def test_vendi_is_the_exponential_of_the_entropy_of_the_eigenvalues() -> None:
    vectors = np.array(
        [[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32
    )  # eigenvalues of K/4: 3/4 and 1/4
    assert vendi(vectors, 4).value == pytest.approx(exp(-(0.75 * log(0.75) + 0.25 * log(0.25))))


def test_vendi_of_too_few_vectors_is_unknown() -> None:
    assert vendi(np.eye(3, dtype=np.float32), 4) == Figure(None)


LONG = "one two three four five six seven eight nine ten eleven twelve"  # 8 runs of five words


def test_near_duplicates_share_seven_in_ten_shingles() -> None:
    longer = f"{LONG} thirteen"  # 9 runs, 8 shared: 8 / 9
    other = LONG.replace("twelve", "13").replace("one", "1")  # 6 of 8 runs shared: 6 / 10
    assert near_duplicates(shingled([LONG, longer]), 10) == Figure(1.0)
    assert near_duplicates(shingled([LONG, other]), 10) == Figure(0.0)
    assert near_duplicates(
        shingled([LONG, longer, "something else entirely that is new to them all"]), 10
    ) == Figure(2 / 3)


def test_short_texts_are_compared_by_characters_and_case_counts_for_nothing() -> None:
    assert near_duplicates(shingled(["Name a bird!", "name a  BIRD", "Name a tree"]), 10) == Figure(2 / 3)
    assert near_duplicates(shingled(["写一首关于大海的诗", "写一首关于大海的诗。"]), 10) == Figure(1.0)


def test_texts_without_words_are_near_nothing() -> None:
    assert near_duplicates(shingled(["", "", "a"]), 10).value == 0
    assert near_duplicates(shingled([]), 10) == Figure(None)


def test_near_duplicates_of_some_rows_carry_an_interval() -> None:
    found = near_duplicates(shingled([LONG, LONG, *(f"number {n} {'x' * n}" for n in range(98))]), 10)
    assert found.value == 0.2 and found.low is not None and found.high is not None
    assert found.low < 0.2 < found.high


def test_topics_are_covered_that_have_three_texts() -> None:
    assert diversity.coverage(np.array([0, 0, 0, 1, 1, 2, 2, 2, 2]), 4) == 2 / 4
    vectors = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
    topics = diversity.clusters(vectors, 200)
    assert len(set(topics.tolist())) == 3 and (topics == diversity.clusters(vectors, 200)).all()


def test_lengths_are_percentiles_and_a_samples_median_has_an_interval() -> None:
    counts = list(range(1, 102))
    whole = lengths(counts, sampled=False)
    assert [whole[f"p{p}"] for p in (5, 25, 50, 75, 95)] == [6, 26, 51, 76, 96]
    assert whole["median_low"] is None
    part = lengths(counts, sampled=True)
    assert part["median_low"] is not None and part["median_high"] is not None
    assert 35 < part["median_low"] < 51 < part["median_high"] < 67
    assert set(lengths([], sampled=True).values()) == {None}


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Write a short poem about the sea.", ("write", "poem")),
        ("Could you please explain to me how photosynthesis works?", ("explain", "photosynthesis")),
        ("Make a list of five birds.", ("make", "list")),
        ("Describe how to make bread.", ("describe", "bread")),
        ("The list is long. Sort these names:", ("sort", "names")),
        ("What is bread?", None),
        ("Summarise", None),
        ("", None),
    ],
)
def test_a_question_asks_for_a_verb_and_its_object(question: str, found: tuple[str, str] | None) -> None:
    assert leading(question) == found


def test_languages_are_told_where_they_are_sure() -> None:
    texts = [
        "Please write a letter to my landlord about the broken window.",
        "Bitte schreibe einen Brief an meinen Vermieter über das kaputte Fenster.",
        "请给我的房东写一封关于破窗户的信。",
        "12 + 30 = 42",
    ]
    assert diversity.languages(texts) == ["en", "de", "zh", "none"]
