"""Scores that a local model gives rows: computed once, kept in the run's folder, and held against bounds."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import orjson
import pyarrow as pa
from pydantic import Field

from synth.steps import Rows, Selection, Selector
from synth.store import message, read_parquet, write_parquet
from synth.types import Message, Verdict
from synth.weights import identify


@dataclass(frozen=True, slots=True)
class Score:
    """What a model says of one row: `values` by name, or the reason why it can't be scored.

    `tokens` counts what the values are over.
    """

    tokens: int = 0
    values: Mapping[str, float] | None = None
    reason: str = ""


ScoreRows = Callable[[Sequence[Sequence[Message]]], list[Score]]
"""Conversations to scores, in order."""


class LocalScore(Selector):
    """A selector by the score of a local model, which is kept in the run's folder by the model's identity.

    A row of more than `max_length` tokens is rejected: a part of it would have another score.
    """

    lowest_first: ClassVar[bool] = False
    """Whether a lower score is the better one."""

    model: str
    """A folder or a Hub name."""
    top: float | None = Field(default=None, gt=0, le=1)
    """The share of rows to keep, of those that nothing else speaks against, best first."""
    max_length: int = Field(default=2048, gt=1)
    """Tokens of a conversation; no more than the model has positions."""

    def versions(self) -> dict[str, str]:
        """The model's."""
        return {self.model: identify(self.model)}

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Some 400 bytes are held of each row."""
        decides = [identify(self.model), self.max_length]
        found = [
            (None, score.reason) if score.values is None else self.held(score.values)
            for score in scored(rows, self.name, decides, self.scorer)
        ]
        return verdicts(self.name, found, top=self.top, lowest_first=self.lowest_first)

    @abstractmethod
    def scorer(self) -> "ScoreRows":
        """The model as a function of conversations, loaded."""

    @abstractmethod
    def held(self, values: Mapping[str, float]) -> tuple[float | None, str]:
        """The score that a row's values make, and the reason against it ("" where there is none)."""


def scored(rows: Rows, name: str, decides: Sequence[object], model: Callable[[], ScoreRows]) -> list[Score]:
    """The score of every row, in order; those that are in `rows.folder` by then cost no model pass.

    The files there are `<name>-<hash of decides>-<number>.parquet`: id, tokens, reason, and the values.
    `model` is loaded when the first row needs it. Some 300 bytes a row are held.
    """
    digest = hashlib.sha256(orjson.dumps([name, *decides])).hexdigest()[:16]
    files = sorted(rows.folder.glob(f"{name}-{digest}-*.parquet"))
    known = {row_id: score for file in files for row_id, score in _read(file)}
    found: list[Score] = []
    score: ScoreRows | None = None
    for batch in rows:
        ids = batch["id"].to_pylist()
        new = [place for place, row_id in enumerate(ids) if row_id not in known]
        if new:
            score = score or model()
            turns = batch["messages"].take(pa.array(new)).to_pylist()
            scores = score([[message(turn) for turn in row] for row in turns])
            fresh = dict(zip((ids[place] for place in new), scores, strict=True))
            _write(rows.folder / f"{name}-{digest}-{len(files):05d}.parquet", fresh)
            files.append(rows.folder)
            known |= fresh
        found += [known[row_id] for row_id in ids]
    return found


def _read(file: Path) -> Iterator[tuple[str, Score]]:
    for row in read_parquet(file).to_pylist():
        row_id, tokens, reason = row.pop("id"), row.pop("tokens"), row.pop("reason")
        yield row_id, Score(tokens, None if reason else row, reason)


def _write(file: Path, scores: Mapping[str, Score]) -> None:
    names = sorted({name for score in scores.values() for name in score.values or ()})
    columns: dict[str, pa.Array] = {
        "id": pa.array(scores, pa.string()),
        "tokens": pa.array([score.tokens for score in scores.values()], pa.int32()),
        "reason": pa.array([score.reason for score in scores.values()], pa.string()),
    }
    for name in names:
        values = [(score.values or {}).get(name) for score in scores.values()]
        columns[name] = pa.array(values, pa.float64())
    write_parquet(file, pa.table(columns))


def verdicts(
    by: str,
    scores: Sequence[tuple[float | None, str]],
    *,
    top: float | None = None,
    lowest_first: bool = False,
) -> Iterator[Selection]:
    """A selection a row of scores with the reason against each ("" where there is none).

    `top` keeps that share of the rows that have a score and no reason against them, rounded up; of equal
    scores the earlier one.
    """
    left = [place for place, (score, why) in enumerate(scores) if score is not None and not why]
    if top is not None:
        sign = 1 if lowest_first else -1
        left.sort(key=lambda place: (sign * (scores[place][0] or 0.0), place))
        best = set(left[: math.ceil(top * len(left) - 1e-9)])
        for place, (score, why) in enumerate(scores):
            out = why or ("" if place in best else f"not among the best {100 * top:g}%")
            yield Selection(Verdict(by, not out, score, out))
        return
    for score, why in scores:
        yield Selection(Verdict(by, not why, score, why))
