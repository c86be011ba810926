"""What `synth curate DATASET` gives back: the dataset's own rows, in their own format, with what was decided.

`annotated/` has every row and, in the column `synth`, its verdicts; `kept/` has the kept rows alone, with no
column more or less, so that it takes the dataset's place.
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from synth import formats
from synth.readers import row_reader
from synth.seeds import Seeds
from synth.store import Dataset, read_parquet, to_record, write_parquet, write_whole
from synth.types import Record

COLUMN = "synth"
"""The column of the verdicts."""
VERDICT = pa.struct(
    [
        ("status", pa.string()),
        ("rejected_by", pa.string()),
        ("reason", pa.string()),
        ("duplicate_of", pa.int64()),
        ("scores", pa.string()),
    ]
)
"""What it holds; `scores` is JSON, each step's score by its name."""


def write(dataset: Dataset, seeds: Seeds, source: str) -> list[Path]:
    """Write both folders, a shard in memory at a time; returns the files.

    A dataset in Parquet is written as Parquet with its own schema, any other as JSONL. `duplicate_of` is the
    number of a row.
    """
    schema = _schema(source)
    kind = "jsonl" if source.endswith((".jsonl", ".json", ".csv")) else "parquet"
    files: list[Path] = []
    lines = zip(seeds, row_reader(source)(), strict=True)
    for number, shard in enumerate(dataset.shards("curated")):
        records = {record.seed_id: record for record in map(to_record, read_parquet(shard).to_pylist())}
        rows = [(line, records[seed.id]) for seed, line in islice(lines, len(records))]
        rendered = [(_rendered(line, record), record) for line, record in rows]
        kept = [line for line, record in rendered if record.status == "kept"]
        annotated = [{**line, COLUMN: _decided(record)} for line, record in rendered]
        for folder, out in (("annotated", annotated), ("kept", kept)):
            path = dataset.folder / folder / f"part-{number:05d}.{kind}"
            if kind == "jsonl":
                write_whole(path, b"".join(map(_line, out)))
            else:
                write_parquet(path, _table(out, schema, verdicts=folder == "annotated"))
            files.append(path)
    return files


def _rendered(line: dict[str, Any], record: Record) -> dict[str, Any]:
    return formats.render(line, record) if record.messages else dict(line)


def _decided(record: Record) -> dict[str, Any]:
    decided = record.rejection
    scores = {v.by: v.score for v in record.verdicts if v.score is not None}
    return {
        "status": record.status,
        "rejected_by": decided.by if decided else None,
        "reason": decided.reason if decided else None,
        "duplicate_of": int(record.duplicate_of) if record.duplicate_of else None,
        "scores": orjson.dumps(scores).decode(),
    }


def _line(row: Mapping[str, Any]) -> bytes:
    if COLUMN in row:  # JSON can hold objects of changing keys, Parquet their text
        row = {**row, COLUMN: {**row[COLUMN], "scores": orjson.Fragment(row[COLUMN]["scores"])}}
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE, default=str)


def _schema(source: str) -> pa.Schema | None:
    """The schema of a dataset in Parquet that this can write rows by; None where it has to be found anew."""
    place = Path(source)
    file = next(iter(sorted(place.rglob("*.parquet"))), None) if place.is_dir() else place
    if file is None or file.suffix != ".parquet":
        return None
    schema = pq.read_schema(file)
    return None if "extension" in str(schema) else schema


def _table(rows: list[dict[str, Any]], schema: pa.Schema | None, *, verdicts: bool) -> pa.Table:
    if schema is None:
        return pa.Table.from_pylist(rows)
    if verdicts:
        schema = schema.remove_metadata().append(pa.field(COLUMN, VERDICT))
    return pa.Table.from_pylist(rows, schema)
