from collections.abc import Sequence

import pyarrow as pa
from rows import Held

from synth.selectors.best_of import BestOf
from synth.steps import Selection

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("strategy", pa.string()),
        ("seed_id", pa.string()),
        ("sample", pa.int32()),
        ("verdicts", pa.list_(pa.struct([("by", pa.string()), ("score", pa.float64())]))),
    ]
)


def select(selector: BestOf, rows: Sequence[tuple[str, str, int, float | None]]) -> list[Selection]:
    """Rows are id, seed, sample and the rubric's score."""
    table = pa.Table.from_pylist(
        [
            {
                "id": i,
                "strategy": "template",
                "seed_id": seed,
                "sample": sample,
                "verdicts": [{"by": "length", "score": 99.0 - sample}, {"by": "rubric", "score": score}],
            }
            for i, seed, sample, score in rows
        ],
        schema=SCHEMA,
    )
    return list(selector.select(Held(table, selector.columns)))


ROWS = [("a", "s", 0, 3.0), ("b", "s", 1, 5.0), ("c", "t", 0, 1.0), ("d", "s", 2, 5.0)]


def kept(selections: Sequence[Selection]) -> list[bool]:
    return [selection.verdict.keep for selection in selections]


def test_the_best_of_each_seed_is_kept_and_the_others_name_it() -> None:
    found = select(BestOf(by="rubric"), ROWS)
    assert kept(found) == [False, True, True, False]
    assert [selection.duplicate_of for selection in found] == ["b", None, None, "b"]
    assert found[0].verdict.reason == "not among the best 1 of its seed"


def test_more_than_one_may_be_kept_and_the_earlier_sample_wins_a_tie() -> None:
    assert kept(select(BestOf(by="rubric", keep=2), ROWS)) == [False, True, True, True]
    assert kept(select(BestOf(), ROWS)) == [True, False, True, False]


def test_a_row_without_a_score_is_last_even_among_negative_scores() -> None:
    rows = [("a", "s", 0, None), ("b", "s", 1, -2.0), ("c", "s", 2, -1.0)]
    assert kept(select(BestOf(by="rubric"), rows)) == [False, False, True]
    assert kept(select(BestOf(by="rubric", keep=2), rows)) == [False, True, True]
