"""Work on batch after batch, in threads: for compiled code that runs without the interpreter's lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

AHEAD = 4
"""So many batches are held at once."""


def each(work: Callable[[pa.RecordBatch, int], None], batches: Iterable[pa.RecordBatch]) -> None:
    """Call `work` with every batch and the number of its first row, in threads; what it raises is raised."""
    under_way: deque[Future[None]] = deque()
    at = 0
    with ThreadPoolExecutor(os.cpu_count(), "batches") as threads:
        for batch in batches:
            under_way.append(threads.submit(work, batch, at))
            at += batch.num_rows
            if len(under_way) == AHEAD:
                under_way.popleft().result()
        for future in under_way:
            future.result()
