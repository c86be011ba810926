"""Kept rows as the aim: units are started until each quota is met, and cut there, in the order of the plan.

What comes out does not depend on which reply came first: of a quota's units, in their order, those up to the
one that brings its last kept row are written. Later ones that were under way by then are given up; what they
were answered stays in the journal.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import ceil
from pathlib import Path

from synth.engine import WINDOW, Noted, Progress, check_share, first_of
from synth.llm.throttle import RANK
from synth.steps import Strategy
from synth.store import to_table, write_parquet
from synth.types import Record, Seed, Verdict
from synth.units import Steps, Unit, run_unit

REACHED = Verdict("target", False, None, "the target was reached without it")


@dataclass(slots=True)
class Quota:
    """So many kept rows of one strategy, made of these seeds, of at most so many candidate rows."""

    strategy: Strategy
    index: int
    seeds: Iterable[Seed]
    group: str
    kept: int
    candidates: int

    @property
    def key(self) -> str:
        """What its rows are counted by: strategies of the same name share it."""
        return f"{self.strategy.name}\0{self.group}"

    def units(self) -> Iterator[Unit]:
        """All seeds, `samples` of each, again and again, as far as the candidates go."""
        rows, samples = 0, self.strategy.samples
        for turn in count():
            for seed in self.seeds:
                for sample in range(turn * samples, (turn + 1) * samples):
                    if rows >= self.candidates:
                        return
                    rows += self.strategy.rows_per_seed
                    yield Unit(self.strategy, self.index, seed, sample)


def shared_out(total: int, weights: Sequence[float]) -> list[int]:
    """A whole number by weights: rounded down, and what is left to the largest remainders."""
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(each) for each in exact]
    most = sorted(range(len(exact)), key=lambda at: (shares[at] - exact[at], at))
    for at in most[: total - sum(shares)]:
        shares[at] += 1
    return shares


def quotas(
    strategies: Sequence[Strategy], seeds: Iterable[Seed], target: int, candidates: float, balance: str | None
) -> list[Quota]:
    """The target by the strategies' weights and, with `balance`, evenly over the values of that seed field.

    With `balance` the seeds are held in memory.
    """
    groups: dict[str, Iterable[Seed]] = {"": seeds}
    if balance is not None:
        held: dict[str, list[Seed]] = {}
        for seed in seeds:
            held.setdefault(str(seed.fields.get(balance)), []).append(seed)
        groups = {**held}
    weights = [strategy.weight or 1.0 for strategy in strategies]
    found = []
    for index, (strategy, goal) in enumerate(zip(strategies, shared_out(target, weights), strict=True)):
        even = shared_out(goal, [1.0] * len(groups))
        for (group, its), kept in zip(groups.items(), even, strict=True):
            found.append(Quota(strategy, index, its, group, kept, ceil(kept * candidates)))
    return found


@dataclass(slots=True)
class _Open:
    """A quota that is being filled: its units in their order, and what is known of them so far."""

    quota: Quota
    units: Iterator[Unit]
    begun: deque[asyncio.Task[list[Record]]] = field(default_factory=deque)
    kept: int = 0
    waiting: int = 0
    """Rows of units that are under way."""
    spent: bool = False
    met: bool = False

    def wants(self, share: float) -> bool:
        """Whether another unit is to be started, where this share of the rows is kept."""
        return not (self.spent or self.met) and self.kept + self.waiting * share < self.quota.kept


class _Filling:
    """Fills quotas, the first ones first. Its tasks belong to a group that ends with the first error."""

    def __init__(
        self,
        wanted: Sequence[Quota],
        steps: Steps,
        progress: Progress,
        max_failed: float,
        group: asyncio.TaskGroup,
    ) -> None:
        self.steps, self.progress, self.max_failed, self.group = steps, progress, max_failed, group
        self._open = [_Open(quota, quota.units()) for quota in wanted if quota.kept]
        self._shares: dict[int, list[int]] = {}
        """Kept rows and all rows by strategy."""
        self._changed = asyncio.Event()
        self._numbers = count()
        self._free = WINDOW * steps.servers

    async def rows(self) -> AsyncIterator[list[Record]]:
        """The records of each unit in the order of the plan, up to the last that is needed.

        Of that one, rows too many are rejected.
        """
        self.group.create_task(self._start())
        for each in self._open:
            missing = each.quota.kept
            while missing and (task := await self._next(each)) is not None:
                records, missing = _cut(await task, missing)
                yield records
            each.met = True
            for task in each.begun:
                task.cancel()
            self._changed.set()

    async def _next(self, each: _Open) -> "asyncio.Task[list[Record]] | None":
        """The quota's next unit, when it is begun; None where there is none left."""
        while not each.begun:
            if each.spent:
                return None
            await self._wait()
        return each.begun.popleft()

    async def _start(self) -> None:
        left = deque(self._open)
        while left:
            if left[0].spent or left[0].met:
                left.popleft()
                continue
            wanting = next((each for each in left if each.wants(self._share(each))), None)
            if wanting is None or not self._free:
                await self._wait()
                continue
            if (unit := next(wanting.units, None)) is None:
                wanting.spent = True
                self._changed.set()
                continue
            self._free -= 1
            wanting.waiting += unit.strategy.rows_per_seed
            wanting.begun.append(self.group.create_task(self._run(unit, wanting, next(self._numbers))))
            self._changed.set()

    async def _run(self, unit: Unit, each: _Open, number: int) -> list[Record]:
        RANK.set(number)
        try:
            with Noted(unit):
                records = await run_unit(unit, self.steps)
        finally:
            self._free += 1
            self._changed.set()
        each.waiting -= unit.strategy.rows_per_seed
        share = self._shares.setdefault(unit.index, [0, 0])
        for record in records:
            self.progress.add(record.status)
            self.progress.planned += 1
            each.kept += record.status == "kept"
            share[0] += record.status == "kept"
            share[1] += 1
        check_share(records, self.progress, self.max_failed)
        return records

    def _share(self, each: _Open) -> float:
        """The share of rows kept so far, from nothing but good will on."""
        kept, of = self._shares.get(each.quota.index, (0, 0))
        return (kept + 1) / (of + 1)

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _cut(records: list[Record], missing: int) -> tuple[list[Record], int]:
    """The records with at most so many of them kept, and how many are missing then."""
    cut = []
    for record in records:
        if record.status == "kept":
            if not missing:
                record = replace(record, status="rejected", verdicts=(*record.verdicts, REACHED))
            else:
                missing -= 1
        cut.append(record)
    return cut, missing


async def fill(
    wanted: Sequence[Quota],
    steps: Steps,
    folder: Path,
    progress: Progress,
    max_failed: float,
    shard_rows: int,
) -> list[Path]:
    """Write the shards of `wanted` quotas, in order and whole; returns their paths.

    Everything that was answered before comes from the journal, so that a rerun writes the same bytes. At the
    end `progress` counts what is written.

    Raises:
        TeacherError: no request can be answered; the replies so far are kept.
        ShareFailedError: more than `max_failed` of the rows failed.
    """
    paths: list[Path] = []
    written = Progress(0)
    progress.planned = progress.kept = progress.rejected = progress.failed = 0
    shard: list[Record] = []

    async def write() -> None:
        path = folder / f"part-{len(paths):05d}.parquet"
        await asyncio.to_thread(write_parquet, path, to_table(shard))
        paths.append(path)
        shard.clear()

    try:
        async with asyncio.TaskGroup() as group:
            async for records in _Filling(wanted, steps, progress, max_failed, group).rows():
                if shard and len(shard) + len(records) > shard_rows:
                    await write()
                shard += records
                for record in records:
                    written.add(record.status)
                    written.planned += 1
    except BaseExceptionGroup as errors:
        raise first_of(errors) from None
    if shard or not paths:
        await write()
    for stale in set(folder.glob("part-*.parquet")) - set(paths):
        stale.unlink()
    for name in ("planned", "kept", "rejected", "failed"):
        setattr(progress, name, getattr(written, name))
    check_share((), progress, max_failed, 1)
    return paths


def raised(
    wanted: Sequence[Quota], goals: Sequence[Quota], raw: Mapping[str, int], kept: Mapping[str, int]
) -> list[Quota]:
    """The goals with what the selectors took put on top of those that were met; the same where none lacks.

    `raw` and `kept` are rows by quota before and after the selectors. Each time at least as much is put on
    top as was before, so that the rounds are few.
    """
    asked: Counter[str] = Counter()
    goal: Counter[str] = Counter()
    for each, now in zip(wanted, goals, strict=True):
        asked[each.key] += each.kept
        goal[each.key] += now.kept
    lack = {key: asked[key] - kept.get(key, 0) for key in asked if raw.get(key, 0) >= goal[key]}
    higher = []
    for each, now in zip(wanted, goals, strict=True):
        less = lack.get(now.key, 0)
        higher.append(replace(now, kept=now.kept + max(less, now.kept - each.kept)) if less > 0 else now)
    return higher


def keys_of(wanted: Sequence[Quota]) -> Callable[[str, str], str]:
    """From a row's strategy and seed to the quota that it counts for."""
    if not any(quota.group for quota in wanted):
        return lambda strategy, seed_id: f"{strategy}\0"
    groups = {seed.id: quota.group for quota in wanted for seed in quota.seeds}
    return lambda strategy, seed_id: f"{strategy}\0{groups[seed_id]}"
