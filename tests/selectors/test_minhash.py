import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rows import Held, record

from synth.selectors.minhash import MOST, MinHash
from synth.steps import Selection
from synth.store import read_parquet, to_table
from synth.types import Record, Verdict


def named(said: Sequence[str], scores: Sequence[float | None] = ()) -> list[Record]:
    """Questions as records; the ids are their numbers."""
    marks = [*scores, *[None] * (len(said) - len(scores))]
    return [
        replace(record("Yes.", question=text), id=f"{n:05d}", verdicts=[Verdict("rubric", True, mark)])
        for n, (text, mark) in enumerate(zip(said, marks, strict=True))
    ]


def select(selector: MinHash, rows: Sequence[Record], folder: Path, batch: int = 7) -> list[Selection]:
    return list(selector.select(Held(to_table(rows), selector.columns, folder, batch=batch)))


def instead(found: Sequence[Selection]) -> list[int | None]:
    """For each row the number of the row kept in its place."""
    return [None if each.duplicate_of is None else int(each.duplicate_of) for each in found]


def chain(words: int = 60, step: int = 3, links: int = 4, start: str = "w") -> list[str]:
    """Texts of which each differs from the one before it in one word more, far apart."""
    said = [f"{start}{n}" for n in range(words)]
    made = []
    for link in range(links):
        made.append(" ".join(said))
        said[link * step * 5 + 7] = f"new{start}{link}"
    return made


ON = MinHash(on="question")


def test_a_near_row_names_the_row_kept_and_its_similarity(tmp_path: Path) -> None:
    one, other = chain(links=2)
    found = select(ON, named([one, "What is that, then?", other]), tmp_path)
    assert instead(found) == [None, None, 0]
    assert found[2].verdict == Verdict("minhash", False, 51 / 61, "near another row")
    assert found[0].verdict == Verdict("minhash", True)


def test_the_best_scored_stays_and_the_first_of_equals(tmp_path: Path) -> None:
    rows = named(chain(links=2) + chain(links=2, start="v"), [1.0, 2.0, 3.0, 3.0])
    assert instead(select(MinHash(on="question", by="rubric"), rows, tmp_path)) == [1, None, None, 2]
    assert instead(select(ON, rows, tmp_path)) == [None, 0, None, 2]


def test_the_ends_of_a_chain_both_stay_unless_chains_are_wanted(tmp_path: Path) -> None:
    rows = named(chain(links=3))  # 0.84 from one to the next, 0.69 from end to end
    assert instead(select(ON, rows, tmp_path)) == [None, 0, None]
    found = select(MinHash(on="question", chains=True), rows, tmp_path)
    assert instead(found) == [None, 0, 0]
    assert found[1].verdict.reason == "near another row"
    assert found[2].verdict == Verdict("minhash", False, None, "near a row that is near the kept one")


def test_copies_of_a_removed_row_are_near_the_row_that_is_kept(tmp_path: Path) -> None:
    one, other = chain(links=2)
    found = select(ON, named([one, other, other, other.upper(), one]), tmp_path)
    assert instead(found) == [None, 0, 0, 0, 0]
    scores = [each.verdict.score for each in found[1:]]
    assert scores == [pytest.approx(51 / 61)] * 3 + [1.0]
    found = select(MinHash(on="question", threshold=0.9), named([one, other, other]), tmp_path / "other")
    assert instead(found) == [None, None, 1]


def test_short_rows_and_chinese_are_found_and_empty_ones_left(tmp_path: Path) -> None:
    said = ["Name a big red fruit.", "name a big red fruits", "", "", "  "]
    said += ["请告诉我为什么天空在白天看起来总是蓝色的呢", "请告诉我为什么天空在白天看起来总是蓝色的"]
    assert instead(select(ON, named(said), tmp_path)) == [None, 0, None, None, None, None, 5]


def crowd(rows: int, words: int = 60) -> list[str]:
    """Texts of which a third repeat an earlier one with some words exchanged."""
    draw, made = random.Random(3), [" ".join(f"a{n}" for n in range(words))]
    while len(made) < rows:
        if draw.random() < 0.35:
            said = draw.choice(made).split()
            for at in draw.sample(range(len(said)), draw.randrange(4)):
                said[at] = f"x{draw.randrange(999)}"
        else:
            said = [f"w{draw.randrange(3000)}" for _ in range(draw.randrange(8, words))]
        made.append(" ".join(said))
    return made


def near(said: Sequence[str], least: float) -> dict[tuple[int, int], float]:
    """All pairs of at least this similarity, by Python's sets."""
    sets = []
    for text in said:
        words = text.split()
        sets.append({tuple(words[at : at + 5]) for at in range(len(words) - 4)})
    shares = {
        (i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for j in range(len(sets)) for i in range(j)
    }
    return {pair: share for pair, share in shares.items() if share >= least}


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.95])
def test_no_two_rows_stay_that_are_near_and_each_removed_one_is_near_one_that_stays(
    tmp_path: Path, threshold: float
) -> None:
    said = crowd(600)
    pairs = near(said, threshold)
    found = select(MinHash(on="question", threshold=threshold), named(said), tmp_path, batch=100)
    stay = {row for row, other in enumerate(instead(found)) if other is None}
    missed = [pair for pair in pairs if set(pair) <= stay]
    assert len(missed) <= 0.005 * len(pairs)
    for row, other in enumerate(instead(found)):
        if other is not None:
            assert other in stay
            assert found[row].verdict.score == pytest.approx(pairs[min(row, other), max(row, other)])


def test_another_threshold_from_stored_pairs_says_what_a_new_pass_says(tmp_path: Path) -> None:
    rows = named(crowd(400))
    select(ON, rows, tmp_path / "one")
    [path] = (tmp_path / "one").iterdir()
    written = path.stat().st_mtime_ns
    for threshold in (0.7, 0.8, 0.9, 1.0):
        selector = MinHash(on="question", threshold=threshold)
        again = select(selector, rows, tmp_path / "one")
        assert again == select(selector, rows, tmp_path / f"{threshold}")
    assert [path] == list((tmp_path / "one").iterdir()) and path.stat().st_mtime_ns == written
    table = read_parquet(path)
    assert table.column_names == ["id", "other", "similarity"]
    assert min(table["similarity"].to_pylist()) >= 0.7


def test_other_rows_or_settings_take_a_new_pass(tmp_path: Path) -> None:
    rows = to_table(named(crowd(30)))
    held = Held(rows, ON.columns, tmp_path)
    for selector in (ON, MinHash(on="question", shingle=3), MinHash(on="question", lowest=0.6)):
        list(selector.select(held))
    held.digest = "other rows"
    list(ON.select(held))
    assert len(list(tmp_path.iterdir())) == 4


def test_the_size_of_batches_changes_nothing(tmp_path: Path) -> None:
    rows = named(crowd(200))
    found = [select(ON, rows, tmp_path / str(size), batch=size) for size in (1, 64, 1000)]
    assert found[0] == found[1] == found[2]
    files = [next((tmp_path / str(size)).iterdir()).read_bytes() for size in (1, 64, 1000)]
    assert files[0] == files[1] == files[2]


def test_a_crowd_of_near_rows_leaves_one_and_is_not_compared_with_itself(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(200)]
    said = [" ".join([*words[:at], f"number{at}", *words[at + 1 :]]) for at in range(195)] * 3
    said = [f"{text} and {at}" for at, text in enumerate(said)]
    other = [" ".join(["all", *words]), " ".join(["else", *words])]
    assert len(said) > MOST
    found = select(ON, named(said + other), tmp_path)
    assert sum(each.verdict.keep for each in found) == 1
    [path] = tmp_path.iterdir()
    assert len(read_parquet(path)) < 40 * len(said) < len(said) ** 2 / 2
    again = select(MinHash(on="question", threshold=0.99), named(said + other), tmp_path)
    assert all(each.verdict.keep for each in again[:3])


def test_ten_thousand_copies_are_found_by_as_many_comparisons(tmp_path: Path) -> None:
    said = chain(links=2)
    found = select(ON, named([said[0]] * 9_999 + [said[1]]), tmp_path, batch=4096)
    assert np.count_nonzero([each.verdict.keep for each in found]) == 1
    assert len(read_parquet(next(tmp_path.iterdir()))) == 9_999


def test_no_rows_are_no_selections(tmp_path: Path) -> None:
    assert select(ON, [], tmp_path) == []


def test_a_threshold_below_the_lowest_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"threshold 0.6 is below lowest; set lowest to it or less"):
        MinHash(threshold=0.6)
