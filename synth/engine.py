"""Seeds x strategies to judged records to whole shards, with no barrier between steps or shards.

The plan is a list of shards, each a list of units (one sample of one seed by one strategy). Units run as fast
as the throttle lets their requests through; a shard is written when its last unit is done. Which records
come out, and in which order they are stored, never depends on which came first.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, groupby, islice
from pathlib import Path

import orjson

from synth.errors import Repeated, RequestFailed, ShareFailedError, Unusable
from synth.llm.asker import Asker, StepAsk
from synth.llm.throttle import RANK
from synth.novelty import Novelty, asked
from synth.prompts import Prompts
from synth.seeds import Seeds
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
    others: Mapping[str, Asker] = field(default_factory=dict)
    """The tables [teachers.NAME]."""
    novelty: Novelty | None = None
    """What was asked before; without it nothing is held against it."""

    @property
    def askers(self) -> dict[str, Asker]:
        """All who may be asked, by name."""
        return {"teacher": self.teacher, "judge": self.judge, **self.others}


@dataclass(slots=True)
class UnitAsk(StepAsk):
    """The `Ask` of a unit, which knows what the run asked before."""

    unit: Unit | None = None
    novelty: Novelty | None = None
    noted: Counter[str] = field(default_factory=Counter)
    """The questions that were held against the earlier ones, and how often."""

    def repeats(self, texts: Sequence[str], known: Sequence[str] = ()) -> list[Repeated | None]:
        """What each repeats; a text that stands twice in a unit repeats itself."""
        if self.novelty is not None:
            self.novelty.know(known)
        return [self._repeats(text) for text in texts]

    def earlier(self, most: int) -> list[str]:
        """Drawn anew by each unit."""
        return self.novelty.earlier(self._key, most) if self.novelty else []

    def _repeats(self, text: str) -> Repeated | None:
        if self.novelty is None:
            return None
        self.noted[text] += 1
        return self.novelty.repeats(f"{self._key} {self.noted[text]}", text)

    @property
    def _key(self) -> str:
        assert self.unit is not None
        return f"{self.unit.index} {self.unit.seed.id} {self.unit.sample}"


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


async def run_unit(unit: Unit, steps: Steps) -> list[Record]:
    """Exactly the unit's planned rows, each kept, rejected or failed with a reason."""
    rows: list[Row]
    strategy = unit.strategy
    ask = UnitAsk(steps.askers, strategy.teacher, strategy.name, unit.sample, unit, steps.novelty)
    try:
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
    new = bool(ask.noted)
    if len(records) == 1:
        return [await _finish(records[0], steps, ask, new=new)]
    return list(await asyncio.gather(*(_finish(record, steps, ask, new=new) for record in records)))


def _made(unit: Unit, number: int, row: Row) -> Record:
    """A strategy's row as a record with an id; what went wrong with one stands in its verdict."""
    if isinstance(row, Record):
        return _identified(unit, number, row)
    if isinstance(row, Repeated):
        question = Record(messages=({"role": "user", "content": row.text},), seed_id=unit.seed.id)
        return _identified(unit, number, _repeated(question, row))
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


def _repeated(record: Record, why: Repeated) -> Record:
    """A record that is rejected for its question; its fields name the earlier one."""
    fields = {**record.fields, "repeats": why.earlier, "run": why.run}
    verdicts = (*record.verdicts, Verdict("novelty", False, why.rouge_l, str(why)))
    return replace(record, status="rejected", fields=fields, verdicts=verdicts)


async def _finish(record: Record, steps: Steps, ask: UnitAsk, *, new: bool) -> Record:
    """The record with its verdicts, where it has none yet; `new` where its strategy asked whether it is."""
    if record.verdicts:
        return record
    record = filtered(record, steps)
    if record.status == "kept" and not new and (why := ask.repeats([asked(record)])[0]):
        return _repeated(record, why)
    return await judged(record, steps)


def _identified(unit: Unit, number: int, record: Record) -> Record:
    content = [unit.strategy.name, unit.index, unit.seed.id, unit.sample, number, list(record.messages)]
    digest = hashlib.sha256(orjson.dumps(content)).hexdigest()
    return replace(
        record, id=digest[:16], strategy=unit.strategy.name, seed_id=unit.seed.id, sample=unit.sample
    )


def filtered(record: Record, steps: Steps) -> Record:
    """The record with the verdicts of the filters, up to the first rejection."""
    verdicts: list[Verdict] = []
    for check in steps.filters:
        verdicts.append(_signed(check.check(record), check.name))
        if not verdicts[-1].keep:
            return replace(record, verdicts=tuple(verdicts), status="rejected")
    return replace(record, verdicts=tuple(verdicts))


async def judged(record: Record, steps: Steps) -> Record:
    """A record that the filters kept with the verdicts of the judges, up to the first rejection."""
    if record.status != "kept":
        return record
    verdicts = list(record.verdicts)
    for judge in steps.judges:
        try:
            ask = StepAsk(steps.askers, "judge", judge.name)
            verdict = await judge.judge(record, ask, steps.prompts)
        except Unusable as reason:
            verdict = Verdict(judge.name, False, None, str(reason))
        except RequestFailed as reason:
            verdicts.append(Verdict(judge.name, False, None, str(reason)))
            return replace(record, verdicts=tuple(verdicts), status="failed")
        verdicts.append(_signed(verdict, judge.name))
        if not verdict.keep:
            return replace(record, verdicts=tuple(verdicts), status="rejected")
    return replace(record, verdicts=tuple(verdicts), status="kept")


def _signed(verdict: Verdict, name: str) -> Verdict:
    return verdict if verdict.by == name else replace(verdict, by=name)
