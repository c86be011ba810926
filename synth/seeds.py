"""Seeds from whatever `synth.readers` reads: each line once, in order, drawn together or cut into chunks.

Seeds are streamed: a run over ten million of them holds nine bytes of each, whatever is in them.
"""

import hashlib
import random
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Mapping, Set
from functools import partial
from typing import TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from synth.chunks import chunks
from synth.documents import Pages
from synth.errors import DataError
from synth.readers import Lines, reader, row_reader
from synth.types import JSON, Seed

BATCH = 4096
"""Ids that are worked on at once."""
Ids: TypeAlias = "NDArray[np.uint64]"


def make_seed(fields: Mapping[str, JSON]) -> Seed:
    """A seed whose id is a hash of its fields: the same line has the same id wherever it stands.

    What JSON has no word for (a date, a decimal, bytes) becomes text.
    """
    data = _pack(fields)
    return Seed(f"{_number(data):016x}", orjson.loads(data))


def _pack(fields: Mapping[str, JSON]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS, default=str)


def _number(data: bytes) -> int:
    """The id of packed fields as a number: its 16 hex digits are 64 bits."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


class Seeds(ABC):
    """The seeds of a run, in order, made anew each time that they are iterated; `read_seeds` opens them."""

    digest: str
    """A hash of the seeds' contents and order, for the run key."""
    every: frozenset[str]
    """The fields that all seeds have."""
    some: frozenset[str]
    """The fields that any seed has."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Seed]: ...


def read_seeds(
    path: str,
    *,
    text: str | None = None,
    rows: int | None = None,
    sample: int | None = None,
    chunk: int | None = None,
    overlap: int = 0,
    numbered: bool = False,
) -> Seeds:
    """The seeds of a file, a folder or `hub:owner/name`, equal lines once, in file order.

    All lines are read and validated at once, and read again by each iteration. With `text`, that field of the
    file's lines is the seeds' `text`.

    With `sample`, `rows` seeds (default: as many as the file has lines) that each hold `sample` lines drawn
    without replacement as `examples`; the draw depends on the lines and the seed's number alone. The lines,
    though not the seeds, are then held in memory.

    With `chunk`, a line is a chunk of at most so many words of the field `text` of what stands in the file,
    with its other fields and its place in the text as `start` and `end` (see `synth.chunks`); of a PDF also
    the number of the `page` that it begins on.

    With `numbered`, all rows of a dataset, equal ones too, each as `row` (from 1) and `line`.

    Raises:
        DataError: the file is missing, empty, corrupt, or has fewer lines than asked; names the mend. When
            iterated: the file changed since.
    """
    read = partial(_numbered, row_reader(path)) if numbered else reader(path, text)
    if chunk is not None:
        read = partial(_chunked, path, read, chunk, overlap)
    return _Streamed(path, read, rows) if sample is None else _Drawn(path, read, rows, sample)


class _Streamed(Seeds):
    """A seed a line. Of each line only its id is kept, and whether it is the first that is equal to it."""

    def __init__(self, path: str, read: Callable[[], Lines], rows: int | None) -> None:
        self._path, self._read = path, read
        fields, ids = _Fields(), array("Q")
        for number, line in enumerate(self._read()):
            ids.append(_number(_pack(line)))
            fields.add(number, line.keys())
        first = _firsts(np.frombuffer(ids, np.uint64))
        at = np.flatnonzero(first)
        if not len(at):
            raise DataError(path, "has no seeds; put at least one line in")
        if rows is not None and rows > len(at):
            raise DataError(
                path, f"has {len(at)} different seeds, fewer than the {rows} rows asked; lower [seeds] rows"
            )
        self._len = rows or len(at)
        end = int(at[self._len - 1]) + 1
        self._ids, self._first = ids[:end], first[:end].tobytes()
        self.sha256 = _digest(np.frombuffer(self._ids, np.uint64)[first[:end]])
        self.digest = self.sha256[:16]
        self.every, self.some = fields.every(end), fields.some(end)

    def __len__(self) -> int:
        return self._len

    def __iter__(self) -> Iterator[Seed]:
        seeds = map(make_seed, self._read())
        for known, first in zip(self._ids, self._first, strict=True):
            try:
                seed = next(seeds, None)
            except (DataError, OSError) as error:
                raise self._changed(str(error)) from error
            if seed is None:
                raise self._changed("lines are gone")
            if int(seed.id, 16) != known:
                raise self._changed("a line is another")
            if first:
                yield seed

    def _changed(self, how: str) -> DataError:
        return DataError(self._path, f"changed while the run was reading it ({how}); run again")


class _Drawn(Seeds):
    """Each seed is made of lines drawn from all of them."""

    every = some = frozenset({"examples", "number"})

    def __init__(self, path: str, read: Callable[[], Lines], rows: int | None, sample: int) -> None:
        lines = _Streamed(path, read, None)
        if sample > len(lines):
            raise DataError(
                path, f"has {len(lines)} different seeds, fewer than [seeds] sample = {sample}; lower it"
            )
        self._lines = [seed.fields for seed in lines]
        self._len, self._sample, self._source = rows or len(lines), sample, lines.sha256
        self.digest = _digest(np.fromiter((int(seed.id, 16) for seed in self), np.uint64))[:16]

    def __len__(self) -> int:
        return self._len

    def __iter__(self) -> Iterator[Seed]:
        for number in range(self._len):
            drawn = random.Random(f"{self._source}:{number}").sample(self._lines, self._sample)
            yield make_seed({"examples": drawn, "number": number})


class _Fields:
    """Which lines have which fields, of no line more than that."""

    def __init__(self) -> None:
        self._found: dict[str, int] = {}
        """The first line that has a field."""
        self._lacked: dict[str, int] = {}
        """The first line that lacks a field of the lines before it."""

    def add(self, number: int, names: Set[str]) -> None:
        """Take note of the line of this number."""
        if names == self._found.keys():
            return
        for name in names - self._found.keys():
            self._found[name] = number
        for name in self._found.keys() - names:
            self._lacked.setdefault(name, number)

    def some(self, end: int) -> frozenset[str]:
        """The fields of any line before this one."""
        return frozenset(name for name, first in self._found.items() if first < end)

    def every(self, end: int) -> frozenset[str]:
        """The fields of all lines before this one."""
        return frozenset(
            name for name, first in self._found.items() if not first and self._lacked.get(name, end) >= end
        )


def _firsts(ids: Ids) -> NDArray[np.bool_]:
    """Whether each id is the first that is equal to it."""
    order = np.argsort(ids, kind="stable")
    ranked = ids[order]
    first = np.ones(len(ids), np.bool_)
    first[order[1:]] = ranked[1:] != ranked[:-1]
    return first


def _digest(ids: Ids) -> str:
    """A hash of the ids' hex digits, one after the other."""
    digest = hashlib.sha256()
    for start in range(0, len(ids), BATCH):
        digest.update(ids[start : start + BATCH].astype(">u8").tobytes().hex().encode())
    return digest.hexdigest()


def _numbered(read: Callable[[], Lines]) -> Lines:
    for number, line in enumerate(read(), 1):
        yield {"row": number, "line": line}


def _chunked(path: str, read: Callable[[], Lines], size: int, overlap: int) -> Lines:
    for number, line in enumerate(read(), 1):
        text = line.get("text")
        if not isinstance(text, str):
            mend = "name its field in [seeds] text, or remove [seeds] chunk"
            raise DataError(path, f"row {number} has no text in `text` to cut; {mend}")
        pages = line.pop("pages") if isinstance(line.get("pages"), Pages) else None
        for chunk in chunks(text, size, overlap):
            page = {"page": pages.at(chunk.start)} if pages else {}
            yield {**line, "text": chunk.text, "start": chunk.start, "end": chunk.end, **page}
