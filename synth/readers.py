"""Lines of seeds: JSON objects, rows of CSV, Parquet and Hub datasets, documents, leaves of a tree of topics.

A reader is called once a pass and gives the lines anew each time, one in memory after the other.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from synth import taxonomy
from synth.documents import DOCUMENTS, Document, read_document
from synth.errors import DataError
from synth.steps import near

BATCH = 4096
"""Parquet rows that are read at once."""
NAMED = 5
"""Files, and pages of a file, that a note names; the others are counted."""
Lines: TypeAlias = "Iterator[dict[str, Any]]"
KINDS = (
    f".jsonl, .csv, .parquet, a tree of topics as .yaml, a document ({', '.join(DOCUMENTS)}), a folder of "
    f"documents, a folder of {taxonomy.LEAF} files, or hub:owner/name"
)


def reader(path: str, text: str | None = None) -> Callable[[], Lines]:
    """What reads the lines of a file, a folder or `hub:owner/name`, each time anew.

    With `text`, that field of a line becomes `text`.

    Raises:
        DataError: there is nothing at `path`, or nothing that can be read as seeds.
    """
    read = _of(path)
    return read if text is None else partial(_renamed, path, read, text)


def row_reader(path: str) -> Callable[[], Lines]:
    """What reads the rows of a dataset: a .parquet, .jsonl, .json or .csv file, a folder, or a Hub set.

    Raises:
        DataError: there is nothing at `path`, or nothing that holds rows.
    """
    place = Path(path)
    if path.startswith("hub:"):
        return _hub(path.removeprefix("hub:"))
    if place.is_dir():
        files = [file for file in _files(place) if file.suffix.lower() in (".parquet", ".jsonl")]
        if not files:
            raise DataError(place, "holds no .parquet and no .jsonl files; name a dataset's folder or file")
        return lambda: chain.from_iterable(row_reader(str(file))() for file in files)
    kinds = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet, ".json": _json}
    if not place.is_file():
        raise DataError(place, "no such file; correct the path, or write hub:owner/name")
    if place.suffix.lower() not in kinds:
        raise DataError(place, f"datasets are {', '.join(kinds)} files, folders of them, or hub:owner/name")
    return partial(kinds[place.suffix.lower()], place)


def notes(path: str) -> list[str]:
    """What a folder of documents, or a document, has that becomes no seed: files, and pages of PDF files."""
    place = Path(path)
    if path.startswith("hub:") or (place.is_dir() and taxonomy.is_tree(place)):
        return []
    files = list(_files(place)) if place.is_dir() else [place]
    said = []
    others = Counter(file.suffix or "without a suffix" for file in files if not _is_document(file))
    if others and place.is_dir():
        kinds = _some([f"{number} {kind}" for kind, number in others.most_common()])
        said.append(f"{path}: left out, as no documents, {others.total():,} in all: {kinds}")
    scans = [file for file in files if file.suffix.lower() == ".pdf"]
    empty = {file.name: pages for file in scans if (pages := read_document(file).empty_pages)}
    if empty:
        each = _some([f"{name} (page {_some(list(map(str, pages)))})" for name, pages in empty.items()])
        count = sum(map(len, empty.values()))
        said.append(f"{path}: pages without text, blank or scanned, {count:,} in all: {each}")
    return said


def _some(names: Sequence[str]) -> str:
    """The first names, and how many there are beside them."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _of(path: str) -> Callable[[], Lines]:
    if path.startswith("hub:"):
        return _hub(path.removeprefix("hub:"))
    file = Path(path)
    if file.is_dir():
        return partial(taxonomy.folder_leaves if taxonomy.is_tree(file) else _documents, file)
    if not file.is_file():
        raise DataError(file, "no such seed file; write it, or correct the path")
    if _is_document(file):
        return partial(_document, file)
    kinds = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    kinds |= dict.fromkeys(taxonomy.SUFFIXES, taxonomy.leaves)
    if file.suffix.lower() not in kinds:
        raise DataError(file, f"seeds are {KINDS}")
    return partial(kinds[file.suffix.lower()], file)


def _renamed(path: str, read: Callable[[], Lines], name: str) -> Lines:
    for number, line in enumerate(read(), 1):
        if name not in line:
            raise DataError(path, f"row {number} has no `{name}` for [seeds] text{near(name, line)}")
        if not isinstance(line[name], str):
            raise DataError(path, f"row {number} has no text in `{name}`; give it one, or leave the row out")
        yield {**{key: value for key, value in line.items() if key != name}, "text": line[name]}


def _jsonl(file: Path) -> Lines:
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


def _json(file: Path) -> Lines:
    """A list of objects; the whole file is in memory."""
    try:
        rows = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataError(file, f"is no JSON ({error}); mend it") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(file, "must be a list of objects; write [{...}, {...}]")
    yield from rows


def _csv(file: Path) -> Lines:
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


def _parquet(file: Path) -> Lines:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(BATCH):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            file, f"is no readable Parquet ({str(error).split('. ')[0].splitlines()[0]}); write it again"
        ) from error


def _hub(name: str) -> Callable[[], Lines]:
    """The rows of `owner/name` or `owner/name:config`, either with `@split`; else of the split "train"."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    place, _, split = name.partition("@")
    place, _, config = place.partition(":")
    try:
        data = load_dataset(place, config or None, split=split or "train")
    except (DatasetNotFoundError, ConnectionError, ValueError) as error:
        why, mend = str(error).splitlines()[0], "name owner/name, owner/name:config or owner/name@split"
        raise DataError(f"hub:{name}", f"can't be loaded ({why}); {mend}") from error
    return lambda: map(dict, data)


def _document(file: Path) -> Lines:
    yield from _lines(read_document(file), file.name)


def _documents(folder: Path) -> Lines:
    """The documents of a folder, sorted by the parts of their paths.

    Raises:
        DataError: the folder has none; or some can't be read, which are all named.
    """
    wrong: list[DataError] = []
    found = False
    for file in filter(_is_document, _files(folder)):
        found = True
        try:
            document = read_document(file)
        except DataError as error:
            wrong.append(error)
            continue
        if not wrong:
            yield from _lines(document, file.relative_to(folder).as_posix())
    if len(wrong) > 1:
        each = "\n".join(f"  {error}" for error in wrong)
        raise DataError(folder, f"{len(wrong)} of its documents can't be read:\n{each}")
    if wrong:
        raise wrong[0]
    if not found:
        raise DataError(
            folder, f"holds no document; put {', '.join(DOCUMENTS)} or {taxonomy.LEAF} files there"
        )


def _lines(document: Document, name: str) -> Lines:
    """A document's line; none of a blank text file, of which nothing is lost."""
    if document.text.strip():
        pages = {"pages": document.pages} if document.pages else {}
        yield {"text": document.text, "file": name, **pages}


def _is_document(file: Path) -> bool:
    return file.suffix.lower() in DOCUMENTS


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, sorted by the parts of their paths; holds a folder's names at a time."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise DataError(folder, f"can't be read ({error.strerror}); let it, or move it away") from error
    for name in names:
        path = folder / name
        if path.is_dir():
            yield from () if path.is_symlink() else _files(path)
        elif path.is_file():
            yield path
