"""Seeds x strategies to judged records to whole shards, with no barrier between steps or shards.

The plan is a list of shards, each a list of units (one sample of one seed by one strategy). Units run as fast
as the throttle lets their requests through; a shard is written when its last unit is done. Which records
come out, and in which order they are stored, never depends on which came first.
"""

import asyncio
import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, groupby
from pathlib import Path

import orjson

from synth.errors import RequestFailed, ShareFailedError, Unusable
from synth.llm.asker import Asker
from synth.llm.throttle import RANK
from synth.prompts import Prompts
from synth.steps import Filter, Judge, Row, Strategy
from synth.store import read_parquet, to_table, write_parquet
from synth.types import Record, Seed, Status, Verdict

WINDOW = 4096
"""Units under way at once for each server: what bounds memory."""
TOGETHER = 64
"""Samples of one seed that are started together at most."""
FAILED_AT_LEAST = 20
"""Failed rows below which the share is held against the run at its end only."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One sample of one seed by one strategy. `index` tells strategies of the same name apart."""

    strategy: Strategy
    index: int
    seed: Seed
    sample: int


@dataclass(frozen=True, slots=True)
class Steps:
    """What a record goes through, and who answers."""

    filters: Sequence[Filter]
    judges: Sequence[Judge]
    prompts: Prompts
    teacher: Asker
    judge: Asker
    servers: int = 1
    """How many servers are to be kept full."""


@dataclass(slots=True)
class Progress:
    """Rows so far, of those planned."""

    planned: int
    kept: int = 0
    rejected: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """Rows whose fate is known."""
        return self.kept + self.rejected + self.failed

    def __str__(self) -> str:
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
            with _Noted(unit):
                records = await run_unit(unit, steps)
        finally:
            window.leave()
        for record in records:
            progress.add(record.status)
        _check_share(records, progress, max_failed, FAILED_AT_LEAST)
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
        raise _first(errors) from None
    _check_share((), progress, max_failed, 1)
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


class _Noted:
    """Names the unit in whatever goes wrong inside."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            unit = self.unit
            error.add_note(f"in strategy {unit.strategy.name}, seed {unit.seed.id}, sample {unit.sample}")


def _check_share(records: Sequence[Record], progress: Progress, max_failed: float, at_least: int) -> None:
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


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def run_unit(unit: Unit, steps: Steps) -> list[Record]:
    """Exactly the unit's planned rows, each kept, rejected or failed with a reason."""
    rows: list[Row]
    try:
        ask = steps.teacher.of(unit.strategy.name, unit.sample)
        rows = await unit.strategy.generate(unit.seed, ask, steps.prompts)
    except (Unusable, RequestFailed) as reason:
        rows = [reason] * unit.strategy.rows_per_seed
    planned = unit.strategy.rows_per_seed
    if len(rows) > planned:
        raise ValueError(
            f"{unit.strategy.name} made {len(rows)} rows of one seed and promised at most {planned}"
        )
    rows += [Unusable("the teacher gave fewer rows than asked")] * (planned - len(rows))
    records = _related([_made(unit, number, row) for number, row in enumerate(rows)])
    if len(records) == 1:
        return [await _finish(records[0], steps)]
    return list(await asyncio.gather(*(_finish(record, steps) for record in records)))


def _made(unit: Unit, number: int, row: Row) -> Record:
    """A strategy's row as a record with an id; what went wrong with one stands in its verdict."""
    if isinstance(row, Record):
        return _identified(unit, number, row)
    status: Status = "failed" if isinstance(row, RequestFailed) else "rejected"
    verdict = Verdict(unit.strategy.name, False, None, str(row))
    empty = Record(messages=(), seed_id=unit.seed.id, status=status, verdicts=(verdict,))
    return _identified(unit, number, empty)


def _related(records: list[Record]) -> list[Record]:
    """The records of a unit, each with the ids of its parents in place of their numbers."""

    def id_of(parent: str) -> str:
        return records[int(parent[1:])].id if parent.startswith("#") else parent

    return [
        replace(record, parents=tuple(map(id_of, record.parents))) if record.parents else record
        for record in records
    ]


async def _finish(record: Record, steps: Steps) -> Record:
    """The record with its verdicts, where it has none yet."""
    return record if record.verdicts else await judged(record, steps)


def _identified(unit: Unit, number: int, record: Record) -> Record:
    content = [unit.strategy.name, unit.index, unit.seed.id, unit.sample, number, list(record.messages)]
    digest = hashlib.sha256(orjson.dumps(content)).hexdigest()
    return replace(
        record, id=digest[:16], strategy=unit.strategy.name, seed_id=unit.seed.id, sample=unit.sample
    )


async def judged(record: Record, steps: Steps) -> Record:
    """The record with the verdicts of all filters, then judges, up to the first rejection."""
    verdicts: list[Verdict] = []
    for check in steps.filters:
        verdicts.append(_signed(await _checked(check, record), check.name))
        if not verdicts[-1].keep:
            return replace(record, verdicts=tuple(verdicts), status="rejected")
    for judge in steps.judges:
        try:
            verdict = await judge.judge(record, steps.judge.of(judge.name), steps.prompts)
        except Unusable as reason:
            verdict = Verdict(judge.name, False, None, str(reason))
        except RequestFailed as reason:
            verdicts.append(Verdict(judge.name, False, None, str(reason)))
            return replace(record, verdicts=tuple(verdicts), status="failed")
        verdicts.append(_signed(verdict, judge.name))
        if not verdict.keep:
            return replace(record, verdicts=tuple(verdicts), status="rejected")
    return replace(record, verdicts=tuple(verdicts), status="kept")


async def _checked(check: Filter, record: Record) -> Verdict:
    if not check.blocking:
        return check.check(record)
    return await asyncio.get_running_loop().run_in_executor(_threads(), check.check, record)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Where blocking filters run: one thread a core, apart from those that write files."""
    return ThreadPoolExecutor(os.cpu_count(), "filter")


def _signed(verdict: Verdict, name: str) -> Verdict:
    return verdict if verdict.by == name else replace(verdict, by=name)
