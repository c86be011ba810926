"""A unit: one sample of one seed by one strategy, and how its rows are made, checked and judged."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson

from synth.errors import Repeated, RequestFailed, Unusable
from synth.llm.asker import Asker, StepAsk
from synth.novelty import Novelty, asked
from synth.prompts import Prompts
from synth.steps import Filter, Judge, Row, Strategy, checked
from synth.types import Record, Seed, Status, Verdict


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
    record = await filtered(record, steps)
    if record.status == "kept" and not new and (why := ask.repeats([asked(record)])[0]):
        return _repeated(record, why)
    return await judged(record, steps)


def _identified(unit: Unit, number: int, record: Record) -> Record:
    content = [unit.strategy.name, unit.index, unit.seed.id, unit.sample, number, list(record.messages)]
    digest = hashlib.sha256(orjson.dumps(content)).hexdigest()
    named, strategy = record.id or digest[:16], unit.strategy.name
    return replace(record, id=named, strategy=strategy, seed_id=unit.seed.id, sample=unit.sample)


async def filtered(record: Record, steps: Steps) -> Record:
    """The record with the verdicts of the filters, up to the first rejection."""
    verdicts = tuple(await checked(record, steps.filters))
    kept = not verdicts or verdicts[-1].keep
    return replace(record, verdicts=verdicts, status="kept" if kept else "rejected")


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
        verdicts.append(replace(verdict, by=judge.name))
        if not verdict.keep:
            return replace(record, verdicts=tuple(verdicts), status="rejected")
    return replace(record, verdicts=tuple(verdicts), status="kept")
