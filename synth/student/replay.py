"""Rows of other datasets that are mixed into the training set, so that a student keeps what its base could.

Accumulating data keeps a model from forgetting what replacing it would lose (Gerstgrasser et al. 2024,
arXiv:2404.01413). Rows are drawn by a hash of what they say: the same rows whatever their order, none twice.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from synth import formats, readers
from synth.errors import DataError, Unusable
from synth.store import sha256
from synth.student.shards import ROWS
from synth.tables import Replay

SCHEMA = pa.schema([("id", pa.string()), ("messages", pa.list_(pa.string())), ("tools", pa.string())])
"""Turns and tools are JSON, as in a run's `train/`."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn of a dataset: `rows` of the `asked`; there are fewer where it has no more that differ.

    `unusable` of its rows are in no known format or have no answer; `files` are their sha256.
    """

    path: str
    asked: int
    rows: int
    unusable: int
    files: Mapping[str, str]


def digest(path: str) -> dict[str, str]:
    """`{file name: sha256}` of a dataset.

    Raises:
        DataError: there is no dataset of local files.
    """
    place, found = Path(path), _files(path)
    return {str(file.relative_to(place) if place.is_dir() else file.name): sha256(file) for file in found}


def draw(replay: Replay, rows: int, seed: int, file: Path) -> Drawn:
    """Write `weight` times `rows` rows of the dataset to `file`, a Parquet file of `SCHEMA`.

    Drawn are those of the smallest hashes of content and seed; some 140 bytes are held for each asked for.

    Raises:
        DataError: the dataset can't be read, or has no row that can be used.
    """
    asked = max(1, round(replay.weight * rows))
    unusable = 0
    chosen: list[int] = []  # a heap of the smallest keys, negated: the largest of them first
    held: set[int] = set()
    for key, turns in _keyed(replay.path, seed):
        if turns is None:
            unusable += 1
        elif key not in held and (len(chosen) < asked or key < -chosen[0]):
            held.add(key)
            if len(chosen) == asked:
                held.remove(-heapq.heapreplace(chosen, -key))
            else:
                heapq.heappush(chosen, -key)
    if not chosen:
        raise DataError(
            replay.path, f"has no row with an answer ({unusable:,} without); name another [train.replay]"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(file, SCHEMA) as out:
        batch: list[dict[str, Any]] = []
        for key, turns in _keyed(replay.path, seed):
            if turns is not None and key in held:
                held.remove(key)
                batch.append({"id": f"replay-{key:016x}", **turns})
            if len(batch) == ROWS:
                out.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))
                batch = []
        out.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))
    return Drawn(replay.path, asked, len(chosen), unusable, digest(replay.path))


def _files(path: str) -> list[Path]:
    """The files of a dataset: of a run folder those of its training set, without the held-out rows."""
    place = Path(path)
    if path.startswith("hub:"):
        raise DataError(
            path, "[train.replay] reads files; save the Hub set as Parquet or JSONL and name that"
        )
    if (place / "recipe.toml").is_file():
        found = sorted((place / "train").glob("train-*.parquet"))
        if not found:
            raise DataError(place / "train", "holds no train-*.parquet; run `synth curate` first")
        return found
    if place.is_dir():
        return sorted(file for file in place.rglob("*") if file.suffix.lower() in (".parquet", ".jsonl"))
    if not place.is_file():
        raise DataError(place, "no such dataset for [train.replay]; correct the path")
    return [place]


def _keyed(path: str, seed: int) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """A number and the columns of each row; None in place of columns where it can't be trained on."""
    for file in _files(path):
        for line in _reader(file)():
            yield _row(line, seed)


def _reader(file: Path) -> Callable[[], Iterator[dict[str, Any]]]:
    return readers.row_reader(str(file))


def _row(line: Mapping[str, Any], seed: int) -> tuple[int, dict[str, Any] | None]:
    try:
        parsed = formats.parse(line)
    except Unusable:
        return 0, None
    if not any(turn["role"] == "assistant" and turn["content"].strip() for turn in parsed.messages):
        return 0, None
    turns: Sequence[str] = [orjson.dumps(turn).decode() for turn in parsed.messages]
    tools = orjson.dumps(list(parsed.tools)).decode() if parsed.tools else None
    said = "\x00".join((str(seed), tools or "", *turns))
    key = int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest())
    return key, {"messages": turns, "tools": tools}
