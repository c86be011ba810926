"""Which of several rows stays: the best-scored, then the first."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def ranks(batches: Iterable[pa.RecordBatch], by: str | None) -> NDArray[np.float64]:
    """The last score that the step `by` gave each row of batches that have `verdicts`; higher is better.

    Minus infinity where it gave none, and everywhere without `by`: then the first row is the best.
    """
    return np.concatenate([np.empty(0), *(_scores(batch, by) for batch in batches)])


def _scores(batch: pa.RecordBatch, by: str | None) -> NDArray[np.float64]:
    scores = np.full(batch.num_rows, -np.inf)
    if by is None:
        return scores
    verdicts = batch["verdicts"]
    words = verdicts.flatten()
    values = words.field("score").to_numpy(zero_copy_only=False).astype(np.float64)
    said = pa.compute.equal(words.field("by"), by).to_numpy(zero_copy_only=False) & ~np.isnan(values)
    rows = pa.compute.list_parent_indices(verdicts).to_numpy()
    scores[rows[said]] = values[said]  # of several the last
    return scores
