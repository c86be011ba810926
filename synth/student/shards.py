"""Tokenized rows on disk: an Arrow file for each Parquet file of the dataset, read where it lies.

The trainer maps the files into memory, so a set may be larger than memory; and what was tokenized before a
kill is not tokenized again. A file's counts stand beside it in JSON, written last: with them it is whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from synth.store import write_whole

if TYPE_CHECKING:
    from datasets import Dataset

IGNORED = -100
"""The label of a token that is not trained (PyTorch's `ignore_index`)."""
ROWS = 1024
"""Rows that are held before they are written."""
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("length", pa.int32()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
    ]
)
"""`row` is the number of a row in the whole set, from 0."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as tokens; `cut` where it lost its last turns."""

    id: str
    input_ids: Sequence[int]
    labels: Sequence[int]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of rows: `rows` are there, `cut` of them without their last turns, `left_out` are not.

    `tokens` and `trained` count the tokens that are there, all of them and those with a label; `longest` is
    the longest row's; `ends` holds the ids of the tokens that end a turn.
    """

    rows: int = 0
    left_out: int = 0
    cut: int = 0
    tokens: int = 0
    trained: int = 0
    longest: int = 0
    ends: frozenset[int] = frozenset()

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(
            self.rows + other.rows,
            self.left_out + other.left_out,
            self.cut + other.cut,
            self.tokens + other.tokens,
            self.trained + other.trained,
            max(self.longest, other.longest),
            self.ends | other.ends,
        )


def counted(file: Path) -> Counted | None:
    """The counts of a file that is whole; None where it is not."""
    try:
        value: dict[str, Any] = orjson.loads(file.with_suffix(".json").read_bytes())
    except FileNotFoundError:
        return None
    return Counted(**{**value, "ends": frozenset(value["ends"])})


def write(file: Path, rows: Iterable[Encoded | None], first: int) -> Counted:
    """Write rows, numbered from `first`, and their counts; None stands for a row that was left out."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    counts, held = Counted(), list[dict[str, Any]]()
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as stream:
        for row in rows:
            counts += _counts(row)
            if row is None:
                continue
            number, ids = first + counts.rows - 1, row.input_ids
            held.append(
                {"row": number, "id": row.id, "length": len(ids), "input_ids": ids, "labels": row.labels}
            )
            if len(held) == ROWS:
                stream.write_batch(pa.RecordBatch.from_pylist(held, SCHEMA))
                held = []
        stream.write_batch(pa.RecordBatch.from_pylist(held, SCHEMA))
    part.replace(file)
    listed = {**asdict(counts), "ends": sorted(counts.ends)}
    write_whole(file.with_suffix(".json"), orjson.dumps(listed))
    return counts


def _counts(row: Encoded | None) -> Counted:
    if row is None:
        return Counted(left_out=1)
    after = [*row.labels[1:], IGNORED]
    ends = {label for label, then in zip(row.labels, after, strict=True) if then == IGNORED != label}
    trained, length = sum(label != IGNORED for label in row.labels), len(row.input_ids)
    return Counted(1, 0, int(row.cut), length, trained, length, frozenset(ends))


def opened(files: Iterable[Path]) -> "Dataset":
    """The rows of the files, mapped into memory, in their order."""
    from datasets import Dataset, concatenate_datasets

    sets = [Dataset.from_file(str(file)) for file in files]
    return concatenate_datasets(sets) if sets else Dataset(SCHEMA.empty_table())
