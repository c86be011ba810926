"""Seeds from files: JSONL, CSV, Parquet, folders of documents, and datasets of the Hub."""

import csv
import hashlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from synth.errors import DataError
from synth.types import JSON, Seed

DOCUMENTS = (".txt", ".md")


def make_seed(fields: Mapping[str, JSON]) -> Seed:
    """A seed whose id is a hash of its fields: the same line has the same id wherever it stands.

    What JSON has no word for (a date, a decimal, bytes) becomes text.
    """
    data = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS, default=str)
    return Seed(hashlib.sha256(data).hexdigest()[:16], orjson.loads(data))


def load_seeds(path: str, *, rows: int | None = None, sample: int | None = None) -> list[Seed]:
    """The seeds of a file, a folder or `hub:owner/name`, equal lines once, in file order.

    With `sample`, `rows` seeds (default: as many as the file has lines) that each hold `sample` lines drawn
    without replacement as `examples`; the draw depends on the lines and the seed's number alone.

    Raises:
        DataError: the file is missing, empty, corrupt, or has fewer lines than asked; names the mend.
    """
    unique = {seed.id: seed for seed in map(make_seed, _lines(path))}
    seeds = list(unique.values())
    if not seeds:
        raise DataError(path, "has no seeds; put at least one line in")
    if sample is None:
        if rows is not None and rows > len(seeds):
            raise DataError(
                path,
                f"has {len(seeds)} different seeds, fewer than the {rows} rows asked; lower [seeds] rows",
            )
        return seeds[:rows]
    if sample > len(seeds):
        raise DataError(
            path, f"has {len(seeds)} different seeds, fewer than [seeds] sample = {sample}; lower it"
        )
    digest = hashlib.sha256("".join(unique).encode()).hexdigest()
    return [_drawn(seeds, sample, f"{digest}:{number}", number) for number in range(rows or len(seeds))]


def _drawn(seeds: list[Seed], sample: int, source: str, number: int) -> Seed:
    drawn = random.Random(source).sample(seeds, sample)
    return make_seed({"examples": [seed.fields for seed in drawn], "number": number})


def digest_seeds(seeds: list[Seed]) -> str:
    """A hash of the seeds' contents and order, for the run key."""
    return hashlib.sha256("".join(seed.id for seed in seeds).encode()).hexdigest()[:16]


def _lines(path: str) -> Iterator[dict[str, Any]]:
    if path.startswith("hub:"):
        yield from _hub(path.removeprefix("hub:"))
        return
    file = Path(path)
    if file.is_dir():
        yield from _documents(file)
    elif not file.is_file():
        raise DataError(file, "no such seed file; write it, or correct the path")
    elif file.suffix == ".jsonl":
        yield from _jsonl(file)
    elif file.suffix == ".csv":
        yield from _csv(file)
    elif file.suffix == ".parquet":
        yield from _parquet(file)
    else:
        raise DataError(file, "seeds are .jsonl, .csv, .parquet, a folder of .txt and .md, or hub:owner/name")


def _jsonl(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                fields = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DataError(f"{file}:{number}", f"is no JSON ({error}); mend the line") from error
            if not isinstance(fields, dict):
                raise DataError(f"{file}:{number}", "must be a JSON object; write {...}")
            yield fields


def _csv(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            for number, row in enumerate(csv.DictReader(text, strict=True), 2):
                if None in row or None in row.values():
                    raise DataError(
                        f"{file}:{number}", "has more or fewer cells than the header; mend the line"
                    )
                yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(file, f"is no valid CSV ({error}); write it as UTF-8 with a header") from error


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches():
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            file, f"is no readable Parquet ({str(error).split('. ')[0].splitlines()[0]}); write it again"
        ) from error


def _documents(folder: Path) -> Iterator[dict[str, Any]]:
    files = sorted(file for file in folder.rglob("*") if file.suffix in DOCUMENTS and file.is_file())
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(file, f"is no UTF-8 text ({error.reason}); convert it") from error
        if text.strip():
            yield {"text": text, "file": str(file.relative_to(folder))}


def _hub(name: str) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        data = load_dataset(name, split="train")
    except (DatasetNotFoundError, ConnectionError, ValueError) as error:
        raise DataError(
            f"hub:{name}", f"can't be loaded ({str(error).splitlines()[0]}); name owner/name"
        ) from error
    for row in data:
        yield dict(row)
