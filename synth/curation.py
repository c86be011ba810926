"""The whole set: what the selectors say of each kept row, the rows beyond a target, and `curated/`.

What is said of rows is held by their place (shard, row), and only where it is more than "kept": some
10 bytes a row, and about 200 for each row that a selector rejects.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.errors import RequestFailed
from synth.prompts import Prompts
from synth.steps import Question, Selection, Selector
from synth.store import VERDICTS, Dataset, read_parquet, sha256, write_parquet
from synth.targets import REACHED, Quota, keys_of
from synth.types import Prompt, Reply, Sampling

BATCH_ROWS = 4096
Mask: TypeAlias = "NDArray[np.bool_]"
Asked: TypeAlias = "list[Reply | RequestFailed]"
AskAll: TypeAlias = "Callable[[str, Sequence[Prompt], Sampling], Asked]"
"""Asks the judge many prompts for a step of this name."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one selector said of the rows that it saw, by shard and place, where that is more than "kept"."""

    by: str
    seen: list[Mask]
    said: list[dict[int, Selection]]


@dataclass(slots=True)
class Decided:
    """What all selectors said, in order, and the rows that are left."""

    alive: list[Mask]
    """By shard, which rows are kept so far."""
    by: list[Decision] = field(default_factory=list)

    def add(self, by: str, rejected: Mapping[int, Mapping[int, Selection]]) -> None:
        """One more that decides against rows of these shards and places."""
        said = [dict(rejected.get(shard, {})) for shard in range(len(self.alive))]
        self.by.append(Decision(by, [np.isin(np.arange(len(m)), list(s)) for m, s in self._zip(said)], said))
        self._drop(said)

    def take(self, selector: Selector, selections: Iterator[Selection]) -> None:
        """Take down a selector's word on each row that is left.

        Raises:
            ValueError: it gave fewer or more selections than there are rows: a bug in the step.
        """
        said: list[dict[int, Selection]] = [{} for _ in self.alive]
        for shard, mask in enumerate(self.alive):
            for row in np.flatnonzero(mask).tolist():
                if (selection := next(selections, None)) is None:
                    raise ValueError(f"{selector.name} gave fewer selections than there are rows")
                verdict = selection.verdict
                if not verdict.keep or verdict.score is not None or verdict.reason:
                    said[shard][row] = replace(selection, verdict=replace(verdict, by=selector.name))
        if next(selections, None) is not None:
            raise ValueError(f"{selector.name} gave more selections than there are rows")
        self.by.append(Decision(selector.name, [mask.copy() for mask in self.alive], said))
        self._drop(said)

    def _zip(self, said: list[dict[int, Selection]]) -> Iterator[tuple[Mask, dict[int, Selection]]]:
        return zip(self.alive, said, strict=True)

    def _drop(self, said: list[dict[int, Selection]]) -> None:
        for mask, words in self._zip(said):
            for row, word in words.items():
                mask[row] = mask[row] and word.verdict.keep


@dataclass(slots=True)
class _Rows:
    """The `Rows` of one selector."""

    shards: list[Path]
    alive: list[Mask]
    columns: list[str]
    folder: Path
    digest: str
    prompts: Prompts
    asking: Callable[[Sequence[Prompt], Sampling], Asked]
    questions: Sequence[Question] = ()

    def __len__(self) -> int:
        return sum(int(mask.sum()) for mask in self.alive)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for shard, mask in zip(self.shards, self.alive, strict=True):
            if mask.any():
                table = read_parquet(shard, self.columns).filter(pa.array(mask))
                yield from table.select(self.columns).to_batches(max_chunksize=BATCH_ROWS)

    def ask(self, asked: Sequence[Prompt], **sampling: Unpack[Sampling]) -> Asked:
        return self.asking(asked, sampling)


def undecided(dataset: Dataset) -> Decided:
    """The rows of `raw/` as the filters and judges left them."""
    statuses = (read_parquet(shard, ["status"])["status"] for shard in dataset.shards("raw"))
    return Decided([pa.compute.equal(status, "kept").to_numpy() for status in statuses])


def select(
    dataset: Dataset,
    selectors: Sequence[Selector],
    prompts: Prompts,
    ask: AskAll,
    questions: Callable[[], Sequence[Question]] = tuple,
) -> Decided:
    """What the selectors say of each row, up to the first rejection; every one sees what the last kept.

    `questions` gives those that students are evaluated by.
    """
    shards = dataset.shards("raw")
    decided = undecided(dataset)
    files = "".join(map(sha256, shards)) if selectors else ""
    for selector in selectors:
        held = hashlib.sha256(files.encode() + b"".join(mask.tobytes() for mask in decided.alive))
        rows = _Rows(
            shards,
            decided.alive,
            list(selector.columns),
            dataset.folder / "index",
            held.hexdigest()[:16],
            prompts,
            lambda asked, sampling, by=selector.name: ask(by, asked, sampling),  # type: ignore[misc]
            questions() if selector.reads_questions else (),
        )
        decided.take(selector, selector.select(rows))
    return decided


def write(dataset: Dataset, decided: Decided) -> Iterator[Path]:
    """Write `curated/`, shard by shard, with what was decided of each row; yields the paths."""
    for number, shard in enumerate(dataset.shards("raw")):
        path = dataset.folder / "curated" / shard.name
        write_parquet(path, _with_verdicts(read_parquet(shard), number, decided))
        yield path


def _with_verdicts(table: pa.Table, shard: int, decided: Decided) -> pa.Table:
    """A shard with the selectors' verdicts behind those that its rows have."""
    changed = {name: table[name].to_pylist() for name in ("status", "rejected_by", "reason", "duplicate_of")}
    verdicts = table["verdicts"].combine_chunks()
    more: list[list[dict[str, Any]]] = [[] for _ in range(table.num_rows)]
    for decision in decided.by:
        bare = {"by": decision.by, "keep": True, "score": None, "reason": ""}
        for row in np.flatnonzero(decision.seen[shard]).tolist():
            word = decision.said[shard].get(row)
            if word is None:
                more[row].append(bare)
                continue
            said = word.verdict
            more[row].append({"by": said.by, "keep": said.keep, "score": said.score, "reason": said.reason})
            if not said.keep:
                changed["status"][row], changed["rejected_by"][row] = "rejected", said.by
                changed["reason"][row], changed["duplicate_of"][row] = said.reason, word.duplicate_of
    values = {name: pa.array(column, pa.string()) for name, column in changed.items()}
    values["verdicts"] = _joined(verdicts, pa.array(more, VERDICTS))
    for name, column in values.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _joined(first: pa.ListArray, then: pa.ListArray) -> pa.ListArray:
    """Two lists a row, one behind the other."""
    counts = [pa.compute.list_value_length(each).to_numpy() for each in (first, then)]
    ends = [np.concatenate([[0], np.cumsum(count)]) for count in counts]
    starts = ends[0] + ends[1]
    order = np.empty(int(starts[-1]), np.int64)
    for at, (end, count, shift) in enumerate(zip(ends, counts, (0 * counts[0], counts[0]), strict=True)):
        place = np.repeat(starts[:-1] + shift - end[:-1], count) + np.arange(end[-1])
        order[place] = np.arange(end[-1]) + at * ends[0][-1]
    values = pa.concat_arrays([first.flatten(), then.flatten()]).take(pa.array(order))
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), values, type=VERDICTS)


def kept(dataset: Dataset, decided: Decided, wanted: Sequence[Quota]) -> Counter[str]:
    """Rows that filters, judges and selectors kept, by the quota that they count for."""
    return Counter(key for key, *_ in _remaining(dataset, decided, wanted))


def trim(dataset: Dataset, decided: Decided, wanted: Sequence[Quota]) -> None:
    """Decide against the rows that quotas have too many: the last ones, in the order of the files."""
    missing: Counter[str] = Counter()
    for quota in wanted:
        missing[quota.key] += quota.kept
    too_many: dict[int, dict[int, Selection]] = {}
    for key, shard, row in _remaining(dataset, decided, wanted):
        missing[key] -= 1
        if missing[key] < 0:
            too_many.setdefault(shard, {})[row] = Selection(REACHED)
    decided.add(REACHED.by, too_many)


def _remaining(dataset: Dataset, decided: Decided, wanted: Sequence[Quota]) -> Iterator[tuple[str, int, int]]:
    """The quota and the place of each row that is kept so far, in the order of the files."""
    key_of = keys_of(wanted)
    for number, shard in enumerate(dataset.shards("raw")):
        rows = read_parquet(shard, ["strategy", "seed_id"]).to_pylist()
        for row in np.flatnonzero(decided.alive[number]).tolist():
            yield key_of(rows[row]["strategy"], rows[row]["seed_id"]), number, row
