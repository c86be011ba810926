"""Shards of rows that nobody is asked for, such as those of a dataset: made by a process a core.

Each process makes whole shards, so that at most a few of them are in memory, and what is there stays there.
"""

import asyncio
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import connection, get_context, parent_process
from pathlib import Path

from synth.engine import Noted, Progress
from synth.recipe import Recipe
from synth.steps import Filter
from synth.store import read_parquet, to_table, write_parquet
from synth.types import Record
from synth.units import Steps, Unit, run_unit

AHEAD = 2
"""Shards that are read ahead for each process."""


def is_unasked(recipe: Recipe) -> bool:
    """Whether rows are made and filtered without a request."""
    return not (recipe.judges or recipe.novelty or any(strategy.askers for strategy in recipe.generate))


def generate(shards: Iterable[Sequence[Unit]], steps: Steps, folder: Path, progress: Progress) -> list[Path]:
    """Write every shard of the plan that is not there yet; returns all their paths.

    Raises:
        DataError: a filter found a row that it can't judge; the shards so far are kept.
    """
    paths: list[Path] = []
    busy: deque[Future[Counter[str]]] = deque()
    workers = os.cpu_count() or 1

    def count(statuses: Counter[str]) -> None:
        for status, rows in statuses.items():
            progress.add(status, rows)

    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (tuple(steps.filters),)) as pool:
        for number, units in enumerate(shards):
            path = folder / f"part-{number:05d}.parquet"
            paths.append(path)
            if path.is_file():
                count(Counter(read_parquet(path, ["status"])["status"].to_pylist()))
                continue
            busy.append(pool.submit(_shard, path, units))
            while len(busy) > AHEAD * workers:
                count(busy.popleft().result())
        for each in busy:
            count(each.result())
    return paths


_filters: tuple[Filter, ...] = ()


def _begin(filters: tuple[Filter, ...]) -> None:
    """A process of the pool: Ctrl-C is for its parent, and it ends when the parent does, kill -9 too."""
    global _filters
    _filters = filters
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _shard(path: Path, units: Sequence[Unit]) -> Counter[str]:
    """Make a shard, and count its rows by status."""
    records = asyncio.run(_records(units))
    write_parquet(path, to_table(records))
    return Counter(record.status for record in records)


async def _records(units: Sequence[Unit]) -> list[Record]:
    steps = Steps(_filters, (), None, None, None)  # type: ignore[arg-type]
    records = []
    for unit in units:
        with Noted(unit):
            records += await run_unit(unit, steps)
    return records
