"""The labelled rows of tests/filters/cases: what a filter should do, and what it does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.steps import Filter, build
from synth.types import Record, Verdict

FOLDER = Path(__file__).parent / "filters" / "cases"


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled row, and what the filter says of it."""

    record: Record
    reject: bool
    note: str
    verdict: Verdict

    @property
    def right(self) -> bool:
        """Whether the filter does what the label says."""
        return self.verdict.keep != self.reject


@dataclass(frozen=True, slots=True)
class Score:
    """How many rows a filter rejects, how many it should, and how many of both."""

    rejected: int
    wanted: int
    hits: int

    @property
    def precision(self) -> float:
        """Of what it rejects, the share that it should."""
        return self.hits / self.rejected if self.rejected else 0.0

    @property
    def recall(self) -> float:
        """Of what it should reject, the share that it does."""
        return self.hits / self.wanted


def names() -> list[str]:
    """The filters that have labelled rows."""
    return sorted(file.stem for file in FOLDER.glob("*.jsonl"))


def filter_of(name: str) -> Filter:
    """The filter of a case file, with the keys that its first line gives."""
    first = json.loads((FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").partition("\n")[0])
    step = build("filter", {"use": name, **first.get("config", {})})
    assert isinstance(step, Filter)
    return step


def cases(name: str) -> Iterator[Case]:
    """Each row of a case file, checked. `json`, as rows may hold half a surrogate pair."""
    step = filter_of(name)
    with (FOLDER / f"{name}.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            if "config" not in row:
                record = _record(row)
                yield Case(record, row["reject"], row["note"], step.check(record))


def score(rows: list[Case]) -> Score:
    """What a filter did on its rows."""
    return Score(
        rejected=sum(not row.verdict.keep for row in rows),
        wanted=sum(row.reject for row in rows),
        hits=sum(row.reject and not row.verdict.keep for row in rows),
    )


def _record(row: dict[str, Any]) -> Record:
    turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
    return Record(
        messages=turns,  # type: ignore[arg-type]
        seed_id="case",
        finish_reason=row.get("finish_reason", "stop"),
        fields=row.get("fields", {}),
    )
