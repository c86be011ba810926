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
from synth.store import Dataset, read_parquet, to_record, write_parquet, write_whole

COLUMN = "synth"
"""The column of the verdicts."""
VERDICT = pa.struct(
    [
        ("status", pa.string()),
        ("rejected_by", pa.string()),
        ("reason", pa.string()),
        ("duplicate_of", pa.string()),
        ("scores", pa.string()),
    ]
)
"""What it holds; `scores` is JSON, each step's score by its name."""
DECIDED = ["status", "rejected_by", "reason", "duplicate_of", "verdicts"]
"""What it is made of."""


def write(dataset: Dataset, source: str, *, revised: bool) -> list[Path]:
    """Write both folders, a shard in memory at a time; returns the files.

    A dataset in Parquet is written as Parquet with its own schema, any other as JSONL. `duplicate_of` is the
    number of a row, or the name of an evaluation item. `revised` tells whether a filter may have changed
    what rows say.
    """
    schema = _schema(source)
    kind = "jsonl" if source.endswith((".jsonl", ".json", ".csv")) else "parquet"
    files: list[Path] = []
    lines = row_reader(source)()
    for number, shard in enumerate(dataset.shards("curated")):
        rows = read_parquet(shard, None if revised else DECIDED).to_pylist()  # in the order of the dataset
        both = [
            (_rendered(line, row) if revised else line, row)
            for line, row in zip(islice(lines, len(rows)), rows, strict=True)
        ]
        kept = [line for line, row in both if row["status"] == "kept"]
        annotated = [{**line, COLUMN: _decided(row)} for line, row in both]
        for folder, out in (("annotated", annotated), ("kept", kept)):
            path = dataset.folder / folder / f"part-{number:05d}.{kind}"
            if kind == "jsonl":
                write_whole(path, b"".join(map(_line, out)))
            else:
                write_parquet(path, _table(out, schema, verdicts=folder == "annotated"))
            files.append(path)
    return files


def _rendered(line: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    return formats.render(line, to_record(row)) if row["messages"] else line


def _decided(row: Mapping[str, Any]) -> dict[str, Any]:
    repeated = row["duplicate_of"] or ""
    scores = {v["by"]: v["score"] for v in row["verdicts"] if v["score"] is not None}
    return {
        "status": row["status"],
        "rejected_by": row["rejected_by"],
        "reason": row["reason"],
        "duplicate_of": repeated.lstrip("0") if repeated.isdigit() else repeated or None,
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
