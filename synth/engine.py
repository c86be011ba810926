"""Seeds x strategies to judged records to whole shards, with no barrier between steps or shards.

The plan is a list of shards, each a list of units (one sample of one seed by one strategy). Units run as fast
as the throttle lets their requests through; a shard is written when its last unit is done. Which records
come out, and in which order they are stored, never depends on which came first.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby, islice
from pathlib import Path

from synth.errors import ShareFailedError
from synth.llm.throttle import RANK
from synth.seeds import Seeds
from synth.steps import Strategy
from synth.store import read_parquet, to_table, write_parquet
from synth.types import Record, Seed
from synth.units import Steps, Unit, run_unit

WINDOW = 4096
"""Units under way at once for each server: what bounds memory."""
TOGETHER = 64
"""Samples of one seed that are started together at most."""
FAILED_AT_LEAST = 20
"""Failed rows below which the share is held against the run at its end only."""


@dataclass(slots=True)
class Progress:
    """Rows so far, of those planned, or of the kept ones that are the target."""

    planned: int
    kept: int = 0
    rejected: int = 0
    failed: int = 0
    target: int | None = None

    @property
    def done(self) -> int:
        """Rows whose fate is known."""
        return self.kept + self.rejected + self.failed

    @property
    def steps(self) -> tuple[int, int]:
        """How far it is, and how far it goes: kept rows where there is a target, else all."""
        return (self.done, self.planned) if self.target is None else (self.kept, self.target)

    def __str__(self) -> str:
        if self.target is not None:
            share = f"{self.kept / self.done:.1%}" if self.done else "-"
            kept = f"{self.kept:,} kept of the target of {self.target:,}"
            return (
                f"{kept}: {share} of {self.done:,} rows, {self.rejected:,} rejected, {self.failed:,} failed"
            )
        done = f"{self.done:,} of {self.planned:,} rows"
        return f"{done}: {self.kept:,} kept, {self.rejected:,} rejected, {self.failed:,} failed"

    def add(self, status: str, rows: int = 1) -> None:
        """Count rows of a status."""
        setattr(self, status, getattr(self, status) + rows)


def plan(strategies: Sequence[Strategy], seeds: Iterable[Seed], shard_rows: int) -> Iterator[list[Unit]]:
    """The shards of a run, each of one unit at least and of at most `shard_rows` planned rows otherwise.

    Seeds are gone through once a strategy; one shard is in memory at a time.
    """
    shard: list[Unit] = []
    rows = 0
    for index, strategy in enumerate(strategies):
        for seed in seeds:
            for sample in range(strategy.samples):
                if shard and rows + strategy.rows_per_seed > shard_rows:
                    yield shard
                    shard, rows = [], 0
                shard.append(Unit(strategy, index, seed, sample))
                rows += strategy.rows_per_seed
    if shard:
        yield shard


def spread(strategies: Sequence[Strategy], seeds: Seeds, most: int) -> list[Unit]:
    """Up to so many units, spread over the plan."""
    units = len(seeds) * sum(strategy.samples for strategy in strategies)
    every = (unit for shard in plan(strategies, seeds, 1) for unit in shard)
    return list(islice(every, 0, None, max(1, units // most)))[:most]


def planned_rows(strategies: Sequence[Strategy], seeds: int) -> int:
    """Rows that these strategies are planned to make of so many seeds."""
    return sum(seeds * strategy.samples * strategy.rows_per_seed for strategy in strategies)


async def generate(
    shards: Iterable[Sequence[Unit]], steps: Steps, folder: Path, progress: Progress, max_failed: float
) -> list[Path]:
    """Write every shard of the plan that is not there yet, or has failed rows; returns all their paths.

    Raises:
        TeacherError: no request can be answered; the shards and replies so far are kept.
        ShareFailedError: more than `max_failed` of all planned rows failed.
    """
    paths: list[Path] = []
    numbers = count()
    window = _Window(WINDOW * steps.servers)

    async def one(unit: Unit, number: int) -> list[Record]:
        RANK.set(number)
        try:
            with Noted(unit):
                records = await run_unit(unit, steps)
        finally:
            window.leave()
        for record in records:
            progress.add(record.status)
        check_share(records, progress, max_failed)
        return records

    async def write(path: Path, tasks: Sequence[asyncio.Task[list[Record]]]) -> None:
        records = [record for task in tasks for record in await task]
        await asyncio.to_thread(write_parquet, path, to_table(records))

    async def start(path: Path, units: Sequence[Unit], group: asyncio.TaskGroup) -> None:
        tasks = []
        for part in _together(units):
            await window.enter(len(part))
            tasks += [group.create_task(one(unit, next(numbers))) for unit in part]
        group.create_task(write(path, tasks))

    try:
        async with asyncio.TaskGroup() as group:
            for number, units in enumerate(shards):
                path = folder / f"part-{number:05d}.parquet"
                paths.append(path)
                statuses = (
                    read_parquet(path, ["status"])["status"].to_pylist() if path.is_file() else ["failed"]
                )
                if "failed" in statuses:  # asks again for what failed; the rest is in the journal
                    await start(path, units, group)
                else:
                    for status in statuses:
                        progress.add(status)
    except BaseExceptionGroup as errors:
        raise first_of(errors) from None
    check_share((), progress, max_failed, 1)
    return paths


def _together(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """The samples of each seed, at most `TOGETHER` of them."""
    for _, samples in groupby(units, key=lambda unit: (unit.index, unit.seed.id)):
        left = list(samples)
        while left:
            yield left[:TOGETHER]
            left = left[TOGETHER:]


class _Window:
    """So many units under way at most; samples of one seed enter together, to be asked together."""

    def __init__(self, units: int) -> None:
        self._free = units
        self._left = asyncio.Event()

    async def enter(self, units: int) -> None:
        while self._free < units:
            self._left.clear()
            await self._left.wait()
        self._free -= units

    def leave(self) -> None:
        self._free += 1
        self._left.set()


class Noted:
    """Names the unit in whatever goes wrong inside."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            unit = self.unit
            error.add_note(f"in strategy {unit.strategy.name}, seed {unit.seed.id}, sample {unit.sample}")


def check_share(
    records: Sequence[Record], progress: Progress, max_failed: float, at_least: int = FAILED_AT_LEAST
) -> None:
    """Raise `ShareFailedError` where `at_least` so many rows failed, and more than this share of the plan."""
    if progress.failed < at_least or progress.failed <= max_failed * progress.planned:
        return
    reason = next(
        (v.reason for record in records if record.status == "failed" and (v := record.rejection)), ""
    )
    raise ShareFailedError(
        f"{progress.failed} of {progress.planned} planned rows failed, more than [run] max_failed = "
        f"{max_failed:.1%}; mend the cause and run again: every reply so far is kept"
        + (f"; the last: {reason}" if reason else "")
    )


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group, however deep it lies."""
    first = errors.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first
