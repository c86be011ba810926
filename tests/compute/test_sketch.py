import random

import numpy as np
import pyarrow as pa
import pytest

from synth.compute import bands, jaccard, sketch
from synth.compute.folding import Folded, folded


def sets_of(said: list[str], size: int = 5) -> jaccard.Sets:
    texts = folded(pa.array(said))
    _, counts, _ = sketch.sketches(texts, size, 8)
    starts = np.cumsum(counts, dtype=np.int64) - counts
    values, ends = np.zeros(int(counts.sum()), np.uint64), np.zeros(len(said), np.int64)
    sketch.write_sets(texts, size, starts, values, ends)
    return jaccard.Sets(values, starts, ends)


def exact(sets: jaccard.Sets, one: int, other: int, lowest: float = 0.0) -> float:
    ends = [(int(sets.starts[row]), int(sets.ends[row])) for row in (one, other)]
    return jaccard.jaccard(sets.values, ends[0], ends[1], lowest)


def by_python(one: str, other: str) -> float:
    """Of texts of at least 8 words in small letters."""
    left, right = (
        {tuple(words[at : at + 5]) for at in range(len(words) - 4)} for words in (one.split(), other.split())
    )
    return len(left & right) / len(left | right)


def varied(number: int, length: int = 60) -> list[str]:
    """A text, and others that differ from it in more and more words."""
    draw = random.Random(number)
    words = [f"w{draw.randrange(40)}" for _ in range(length)]
    made = []
    for changes in range(12):
        other = list(words)
        for at in draw.sample(range(length), changes):
            other[at] = f"x{draw.randrange(40)}"
        made.append(" ".join(other))
    return made


@pytest.mark.parametrize("number", range(5))
def test_the_similarity_is_what_python_sets_say_and_0_below_the_lowest(number: int) -> None:
    said = varied(number)
    sets = sets_of(said)
    for other in range(len(said)):
        true = by_python(said[0], said[other])
        assert exact(sets, 0, other) == pytest.approx(true, abs=1e-12)
        assert exact(sets, other, 0, lowest=0.5) == (pytest.approx(true) if true >= 0.5 else 0)


def test_signatures_estimate_the_similarity_without_bias() -> None:
    errors = []
    for number in range(40):
        said = varied(number)
        signatures, _, _ = sketch.sketches(folded(pa.array(said)), 5, 256)
        for other in range(1, len(said)):
            true = by_python(said[0], said[other])
            spread = (true * (1 - true) / 256) ** 0.5
            errors.append((np.mean(signatures[0] == signatures[other]) - true) / spread)
    assert abs(np.mean(errors)) < 0.25 and 0.8 < np.std(errors) < 1.2


def test_short_texts_and_scripts_without_spaces_are_cut_into_characters() -> None:
    said = [
        "name a red fruit",
        "name a red fruits",
        "为什么天空在白天是蓝色的",
        "为什么天空在白天看是蓝色的",
        "",
        "a",
    ]
    _, counts, _ = sketch.sketches(folded(pa.array(said)), 5, 8)
    assert counts.tolist() == [12, 13, 8, 9, 0, 1]
    sets = sets_of(said)
    assert exact(sets, 0, 1) == pytest.approx(12 / 13)
    assert exact(sets, 2, 3) == pytest.approx(4 / 13)
    assert exact(sets, 4, 4) == exact(sets, 4, 5) == 0
    long = "天空是蓝色的 " * 20  # many pieces between spaces, and yet no words
    assert sketch.sketches(folded(pa.array([long])), 5, 8)[1].tolist() == [20 * 7 - 1 - 4]


def test_a_sketch_is_the_text_s_alone() -> None:
    said = [*varied(0), "short", ""]
    whole = sketch.sketches(folded(pa.array(said)), 5, 16)
    for row, text in enumerate(said):
        alone = sketch.sketches(folded(pa.array([text])), 5, 16)
        assert [each[row].tolist() for each in whole] == [each[0].tolist() for each in alone]
    digests = whole[2].tolist()
    assert len(set(digests)) == len(set(said))


@pytest.mark.parametrize("lowest", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
def test_a_pair_of_the_lowest_similarity_is_missed_once_in_a_thousand(lowest: float) -> None:
    number, wide = bands.plan(lowest)
    assert (1 - lowest**wide) ** number <= 0.001
    assert number * wide <= bands.HASHES


def test_rows_share_a_bucket_where_a_band_s_numbers_agree() -> None:
    signatures = np.array([[1, 2, 3, 4], [1, 2, 9, 9], [7, 7, 3, 4], [2, 1, 4, 3]], np.uint32)
    keys = np.empty((2, 4), np.uint32)
    bands.keys(signatures, 2, keys)
    assert bands.shared(keys[0]).tolist() == [True, True, False, False]
    assert bands.shared(keys[1]).tolist() == [True, False, True, False]


def test_no_texts_have_no_sketches() -> None:
    none = np.zeros(0, np.int64)
    signatures, counts, _ = sketch.sketches(Folded(np.zeros(0, np.uint8), none, none), 5, 8)
    assert signatures.shape == (0, 8) and len(counts) == 0
