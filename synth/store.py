"""The run folder: Parquet shards that are written whole or not at all, the manifest, and the lock."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import BusyError, DataError
from synth.types import Message, Record, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

_TURN = [("role", pa.string()), ("content", pa.string())]
MESSAGES = pa.list_(pa.struct(_TURN))
VERDICTS = pa.list_(
    pa.struct([("by", pa.string()), ("keep", pa.bool_()), ("score", pa.float64()), ("reason", pa.string())])
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("messages", MESSAGES),
        ("status", pa.string()),
        ("rejected_by", pa.string()),
        ("reason", pa.string()),
        ("duplicate_of", pa.string()),
        ("strategy", pa.string()),
        ("prompt", pa.string()),
        ("seed_id", pa.string()),
        ("sample", pa.int32()),
        ("model", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("replies", pa.list_(pa.string())),
        ("parents", pa.list_(pa.string())),
        ("fields", pa.string()),
        ("verdicts", VERDICTS),
    ]
)
"""One row a record. `fields` is JSON; `rejected_by` and `reason` repeat the verdict that decided."""
_CALLING = pa.list_(
    pa.struct([*_TURN, *((key, pa.string()) for key in ("tool_calls", "name", "tool_call_id"))])
)
TOOL_SCHEMA = pa.schema(
    [pa.field(field.name, _CALLING) if field.name == "messages" else field for field in SCHEMA]
    + [pa.field("tools", pa.string())]
)
"""Of a shard in which a row has tools: `tools` and each turn's `tool_calls` are JSON, for arguments have
another type with every tool. What a turn lacks is null."""
_RECORD_FIELDS = {field.name for field in fields(Record)}


def to_table(records: Iterable[Record]) -> pa.Table:
    """Records as a table of `SCHEMA`, or of `TOOL_SCHEMA` where one of them has tools; sorted by id."""
    rows = sorted(records, key=lambda r: r.id)
    schema = TOOL_SCHEMA if any(map(_has_tools, rows)) else SCHEMA
    return pa.Table.from_pylist([_to_row(r) for r in rows], schema=schema)


def _has_tools(record: Record) -> bool:
    return bool(record.tools) or any(len(turn) > len(_TURN) for turn in record.messages)


def _to_row(record: Record) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in _RECORD_FIELDS}
    decided = record.rejection
    row["fields"] = orjson.dumps(record.fields, option=orjson.OPT_SORT_KEYS).decode()
    row["verdicts"] = [
        {"by": v.by, "keep": v.keep, "score": v.score, "reason": v.reason} for v in record.verdicts
    ]
    row["rejected_by"] = decided.by if decided else None
    row["reason"] = decided.reason if decided else None
    row["tools"] = _json(record.tools) if record.tools else None
    if _has_tools(record):
        row["messages"] = [
            {**turn, "tool_calls": _json(turn["tool_calls"])} if "tool_calls" in turn else turn
            for turn in record.messages
        ]
    return row


def _json(value: object) -> str:
    """JSON with keys in the order given: arguments are shown to the student in the order of the call."""
    return orjson.dumps(value).decode()


def message(turn: Mapping[str, Any] | str) -> Message:
    """A turn as it lies in Parquet (a struct, or in `train/` a line of JSON), with the keys that it has."""
    made = orjson.loads(turn) if isinstance(turn, str) else {k: v for k, v in turn.items() if v is not None}
    if isinstance(made.get("tool_calls"), str):
        made["tool_calls"] = orjson.loads(made["tool_calls"])
    return cast(Message, made)


def has_tools(table: pa.Table) -> bool:
    """Whether a row of a shard has tools, or calls one."""
    return "tools" in table.column_names and any(
        row["tools"] or any(len(message(turn)) > len(_TURN) for turn in row["messages"])
        for row in table.select(["messages", "tools"]).to_pylist()
    )


def train_columns(table: pa.Table, columns: Sequence[str], *, tools: bool) -> pa.Table:
    """These columns of a shard of `curated/` as `train/` has them.

    Without `tools`, `messages` is a list of structs of role and content. With them it is a list of JSON
    values, and there is a column `tools`, one JSON value a row (null without tools): `datasets` loads Arrow's
    JSON type as Python objects, so that every turn has its own keys and no others.
    """
    plain = table.select(list(columns))
    if not tools and "tools" not in table.column_names:
        return plain
    turns = [[message(turn) for turn in row] for row in table["messages"].to_pylist()]
    if not tools:
        as_read = pa.list_(pa.field("element", pa.struct(_TURN)))  # so the same bytes as of plain shards
        return plain.set_column(columns.index("messages"), "messages", pa.array(turns, as_read))
    ends = [0, *accumulate(len(row) for row in turns)]
    items = pa.array([_json(turn) for row in turns for turn in row], pa.string())
    values = pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.JsonArray.from_storage(pa.json_(), items)
    )
    offered = table["tools"].to_pylist() if "tools" in table.column_names else [None] * table.num_rows
    named = pa.JsonArray.from_storage(pa.json_(), pa.array(offered, pa.string()))
    return plain.set_column(columns.index("messages"), "messages", values).append_column("tools", named)


def to_record(row: Mapping[str, Any]) -> Record:
    """A row of `SCHEMA` as the record it was made of."""
    values = {name: value for name, value in row.items() if name in _RECORD_FIELDS}
    values["fields"] = orjson.loads(row["fields"])
    if "tools" in row:
        values["tools"] = orjson.loads(row["tools"]) if row["tools"] else ()
        values["messages"] = [message(turn) for turn in row["messages"]]
    values["verdicts"] = tuple(Verdict(**verdict) for verdict in row["verdicts"])
    return Record(**values)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table whole or not at all; the same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, whole or these columns of it.

    Raises:
        DataError: it is missing or corrupt.
    """
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        mend = "remove it and run again: its replies are in the journal"
        raise DataError(path, f"is no readable Parquet ({str(error).splitlines()[0]}); {mend}") from error


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Dataset:
    """A run folder: `raw/`, `curated/`, `train/`, `student/`, `manifest.json`. Reading locks nothing."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def shards(self, stage: str) -> list[Path]:
        """The Parquet files of `raw`, `curated` or `train`, in order."""
        return sorted((self.folder / stage).glob("*.parquet"))

    def scan(self, stage: str = "curated") -> Iterator[Record]:
        """Every record of `raw` or `curated`, a shard in memory at a time."""
        for shard in self.shards(stage):
            for row in read_parquet(shard).to_pylist():
                yield to_record(row)

    def to_pandas(self, stage: str = "curated") -> "DataFrame":
        """A stage as one DataFrame."""
        tables = [read_parquet(shard) for shard in self.shards(stage)]
        if len({table.schema for table in tables}) > 1:  # some shards have tools
            tables = [table if "tools" in table.column_names else _widened(table) for table in tables]
        return pa.concat_tables(tables).to_pandas()

    def counts(self, stage: str = "curated") -> "Counts":
        """What became of every planned row."""
        counter: Counter[tuple[str, str, str]] = Counter()
        for shard in self.shards(stage):
            table = read_parquet(shard, ["status", "rejected_by", "reason"])
            counter.update(
                (r["status"], r["rejected_by"] or "", r["reason"] or "") for r in table.to_pylist()
            )
        return Counts(counter)

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run has recorded of itself; empty before its first stage is done.

        Raises:
            DataError: the manifest is corrupt.
        """
        path = self.folder / "manifest.json"
        if not path.is_file():
            return {}
        try:
            data: dict[str, Any] = json.loads(path.read_bytes())
        except ValueError as error:
            raise DataError(path, f"is no JSON ({error}); remove it and run again") from error
        return data

    def record(self, stage: str, entry: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Note a stage as done, with rows, bytes and sha256 of every file that it wrote."""
        manifest = self.manifest
        listed = {str(file.relative_to(self.folder)): _describe(file) for file in files}
        manifest.setdefault("stages", {})[stage] = {**entry, "files": listed}
        self._write(manifest)

    def _write(self, manifest: Mapping[str, Any]) -> None:
        write_whole(
            self.folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n"
        )

    def rewritten(self, stage: str, file: Path) -> None:
        """Note the bytes that a file of a finished stage has now, where such a file is noted."""
        manifest, name = self.manifest, str(file.relative_to(self.folder))
        files = manifest.get("stages", {}).get(stage, {}).get("files", {})
        if name in files and files[name] != (now := _describe(file)):
            files[name] = now
            self._write(manifest)

    def done(self, stage: str, inputs: str) -> dict[str, Any] | None:
        """What `record` noted of a stage, if it had these inputs and its files still have those bytes."""
        entry: dict[str, Any] | None = self.manifest.get("stages", {}).get(stage)
        if entry is None or entry.get("inputs") != inputs:
            return None
        for name, described in entry["files"].items():
            file = self.folder / name
            if not file.is_file() or sha256(file) != described["sha256"]:
                return None
        return entry

    def clear(self, stage: str) -> None:
        """Remove a stage's folder before it is written anew."""
        shutil.rmtree(self.folder / stage, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run folder for this process.

        Raises:
            BusyError: another process holds it; says which.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise BusyError(
                    f"{self.folder}: process {file.read().strip() or '?'} works here; wait for it"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def _widened(table: pa.Table) -> pa.Table:
    return pa.Table.from_pylist(table.to_pylist(), schema=TOOL_SCHEMA)


def _describe(file: Path) -> dict[str, Any]:
    described: dict[str, Any] = {"sha256": sha256(file), "bytes": file.stat().st_size}
    if file.suffix == ".parquet":
        described["rows"] = pq.read_metadata(file).num_rows
    return described


class Counts:
    """Planned rows by what became of them: (status, rejected by, reason) -> rows."""

    def __init__(self, counter: Mapping[tuple[str, str, str], int]) -> None:
        self.counter = dict(sorted(counter.items()))

    def of(self, status: str) -> int:
        """Rows with a status: kept, rejected or failed."""
        return sum(rows for (state, _, _), rows in self.counter.items() if state == status)

    @property
    def planned(self) -> int:
        """All rows."""
        return sum(self.counter.values())

    def by_step(self, status: str) -> dict[str, int]:
        """Rows with a status by the step that decided, most first."""
        steps: Counter[str] = Counter()
        for (state, by, _), rows in self.counter.items():
            if state == status:
                steps[by] += rows
        return dict(steps.most_common())

    def __str__(self) -> str:
        """`1,200 planned = 280 kept + 900 rejected (length 500, refusal 400) + 20 failed (template 20)`."""
        parts = [f"{self.of('kept'):,} kept"]
        for status in ("rejected", "failed"):
            steps = ", ".join(f"{by} {rows:,}" for by, rows in self.by_step(status).items())
            parts.append(f"{self.of(status):,} {status}" + (f" ({steps})" if steps else ""))
        return f"{self.planned:,} planned = " + " + ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """For the manifest: totals, and rows by status, step and reason."""
        rows = [
            {"status": s, "by": by, "reason": reason, "rows": n}
            for (s, by, reason), n in self.counter.items()
        ]
        return {
            "planned": self.planned,
            **{s: self.of(s) for s in ("kept", "rejected", "failed")},
            "by_reason": rows,
        }
