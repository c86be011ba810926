from dataclasses import replace

import numpy as np
import pytest
from rows import record

from synth.compute.ranks import ranks
from synth.store import to_table
from synth.types import Verdict

SAID = [
    [Verdict("length", True, 9.0), Verdict("rubric", True, 4.0)],
    [],
    [Verdict("rubric", True, 2.0), Verdict("rubric", True, 3.0)],
    [Verdict("rubric", True, None), Verdict("length", True, 5.0)],
]
ROWS = to_table([replace(record("."), id=str(n), verdicts=said) for n, said in enumerate(SAID)])


@pytest.mark.parametrize("size", [1, 3, 4])
def test_a_row_ranks_by_the_last_score_of_the_step_and_lowest_without_one(size: int) -> None:
    batches = ROWS.to_batches(max_chunksize=size)
    assert ranks(batches, "rubric").tolist() == [4.0, -np.inf, 3.0, -np.inf]
    assert ranks([ROWS.to_batches()[0].slice(2)], "length").tolist() == [-np.inf, 5.0]


def test_without_a_step_all_rank_alike() -> None:
    assert ranks(ROWS.to_batches(), None).tolist() == [-np.inf] * 4
    assert ranks([], "rubric").tolist() == []
