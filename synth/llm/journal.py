"""The journal: every reply by the key of its request, on disk before it counts.

One line a reply, `<crc32 of the rest, 8 hex digits> <JSON>`, appended by one write: kill -9 costs at most
the line being written, which is dropped and counted when the journal is next opened. In memory there are 16
bytes a slot of where each reply stands.
"""

import os
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from synth.errors import DataError
from synth.types import Reply

FILE = "replies.jsonl"
READ = 4096
"""Bytes read at once where a line begins; a longer line takes a second read."""
FILE_BITS = 16
"""Low bits of a place that number the file; the others are the offset."""


class Index:
    """Where each reply stands: the first 64 bits of a key to places. Two arrays, open addressing."""

    def __init__(self) -> None:
        self._keys, self._places = array("Q", bytes(8 << 10)), array("Q", bytes(8 << 10))
        self._used = 0

    def find(self, key: str) -> Iterator[int]:
        """The places of all keys that begin as this one does."""
        wanted, mask = _head(key), len(self._keys) - 1
        slot = wanted & mask
        while (held := self._keys[slot]) != 0:
            if held == wanted:
                yield self._places[slot]
            slot = (slot + 1) & mask

    def add(self, key: str, place: int) -> None:
        """Note a place; the caller has seen that the key is not there."""
        if 2 * self._used >= len(self._keys):
            old = zip(self._keys, self._places, strict=True)
            size = 8 * 2 * len(self._keys)
            self._keys, self._places = array("Q", bytes(size)), array("Q", bytes(size))
            for held, at in old:
                if held:
                    self._put(held, at)
        self._put(_head(key), place)
        self._used += 1

    def _put(self, head: int, place: int) -> None:
        mask = len(self._keys) - 1
        slot = head & mask
        while self._keys[slot] != 0:
            slot = (slot + 1) & mask
        self._keys[slot], self._places[slot] = head, place


@dataclass(slots=True)
class Sums:
    """What a step of a model was answered, for `synth journal stats`."""

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    request_seconds: float = 0.0

    def add(self, body: Mapping[str, Any]) -> None:
        """Count a line."""
        self.replies += 1
        self.prompt_tokens += body["prompt_tokens"]
        self.completion_tokens += body["completion_tokens"]
        self.request_seconds += body.get("seconds", 0.0)


@dataclass(slots=True)
class Stats:
    """A journal read through. `by` is keyed by model and step."""

    replies: int = 0
    again: int = 0
    """Lines whose key an earlier line has."""
    torn: int = 0
    copied: int = 0
    """Replies that an earlier run of the recipe paid for."""
    by: dict[tuple[str, str], Sums] = field(default_factory=dict)


class Journal:
    """The replies of one run folder, and read-only those of earlier runs of the same recipe.

    A reply found in an earlier run is appended here too, so that a run folder is whole by itself.
    """

    def __init__(self, folder: Path, earlier: Iterable[Path] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self.torn = 0
        self.paid: dict[str, Sums] = {}
        """By step: what was asked for this run folder, in all its sessions; copies of earlier runs apart."""
        self._index = Index()
        self._fds: list[int] = []
        self._own = 0
        for other in earlier:
            if (other / FILE).is_file():
                self._read(os.open(other / FILE, os.O_RDONLY), own=False)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        end = self._read(self._fd, own=True)
        if end < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, end)
        self._end = end

    def __len__(self) -> int:
        return self._own

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def get(self, key: str) -> Reply | None:
        """The reply to the request with this key, or None where it was never answered."""
        found = self._find(key)
        if found is None:
            return None
        line, own = found
        body = orjson.loads(line[9:])
        if not own:
            self._append(key, _line({**body, "copied": True}))
        return _reply(body)

    def put(self, reply: Reply, step: str = "") -> None:
        """Append a reply under `reply.key`; `step` asked for it.

        Raises:
            DataError: the disk is full or read-only; nothing that was written before is touched.
        """
        body: dict[str, Any] = {
            "key": reply.key,
            "model": reply.model,
            "step": step,
            "text": reply.text,
            "finish_reason": reply.finish_reason,
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "seconds": round(reply.seconds, 3),
        }
        if reply.logprobs:
            body["logprobs"] = reply.logprobs
        if reply.tokens:
            body["tokens"] = reply.tokens
        self._append(reply.key, _line(body))
        self.paid.setdefault(step, Sums()).add(body)

    def close(self) -> None:
        """Make sure that the disk has everything, and let go of the files."""
        os.fsync(self._fd)
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._index = Index()

    def _find(self, key: str) -> tuple[bytes, bool] | None:
        """The line of a key, and whether it stands in this run's own file."""
        found = None
        for place in self._index.find(key):
            number, offset = place & ((1 << FILE_BITS) - 1), place >> FILE_BITS
            line = _line_at(self._fds[number], offset)
            if _key(line) == key:
                found = line, number == len(self._fds) - 1
                if found[1]:
                    break
        return found

    def _append(self, key: str, line: bytes) -> None:
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise DataError(
                self.path, f"can't be written ({error.strerror}); make room and run again"
            ) from error
        if written < len(line):
            os.ftruncate(self._fd, self._end)
            raise DataError(self.path, "the disk is full; make room and run again: nothing is lost")
        self._index.add(key, self._end << FILE_BITS | len(self._fds) - 1)
        self._own += 1
        self._end += written

    def _read(self, fd: int, *, own: bool) -> int:
        """Note where each reply stands; returns the offset behind the last whole line."""
        self._fds.append(fd)
        end = 0
        for offset, line, whole in _lines(fd):
            if not whole:
                self.torn += 1
                continue
            self._index.add(_key(line), offset << FILE_BITS | len(self._fds) - 1)
            end = offset + len(line)
            if own:
                self._own += 1
                body = orjson.loads(line[9:])
                if not body.get("copied"):
                    self.paid.setdefault(body.get("step", ""), Sums()).add(body)
        return end


def stats(folder: Path) -> Stats:
    """A journal's replies by model and step.

    Raises:
        DataError: there is no journal.
    """
    seen, total = Index(), Stats()
    with _open(folder) as file:
        for offset, line, whole in _lines(file.fileno()):
            if not whole:
                total.torn += 1
                continue
            body = orjson.loads(line[9:])
            if _stands(body["key"], seen, file.fileno()):
                total.again += 1
                continue
            seen.add(body["key"], offset)
            total.replies += 1
            total.copied += bool(body.get("copied"))
            total.by.setdefault((body["model"], body.get("step", "")), Sums()).add(body)
    return total


def prune(folder: Path) -> tuple[int, int]:
    """Write the journal anew without torn lines and repeated keys; returns its bytes before and after.

    The caller holds the run's lock.

    Raises:
        DataError: there is no journal, or no room for the new one beside it.
    """
    seen, new = Index(), folder / f".{FILE}"
    with _open(folder) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            with new.open("wb") as out:
                for offset, line, whole in _lines(file.fileno()):
                    if whole and not _stands(_key(line), seen, file.fileno()):
                        seen.add(_key(line), offset)
                        out.write(line)
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            new.unlink(missing_ok=True)
            raise DataError(new, f"can't be written ({error.strerror}); make room and run again") from error
    new.replace(folder / FILE)
    return before, (folder / FILE).stat().st_size


def _stands(key: str, index: Index, fd: int) -> bool:
    return any(_key(_line_at(fd, offset)) == key for offset in index.find(key))


def _open(folder: Path) -> BinaryIO:
    if not (folder / FILE).is_file():
        raise DataError(folder / FILE, "is not there; name the folder of a run that was started")
    return (folder / FILE).open("rb")


def _lines(fd: int) -> Iterator[tuple[int, bytes, bool]]:
    """Offset and bytes of each line, and whether it is whole."""
    offset = 0
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        for line in file:
            yield offset, line, line.endswith(b"\n") and line[:8] == b"%08x" % zlib.crc32(line[9:-1])
            offset += len(line)


def _line_at(fd: int, offset: int) -> bytes:
    data = os.pread(fd, READ, offset)
    while (end := data.find(b"\n")) < 0:
        data += os.pread(fd, 16 * READ, offset + len(data))
    return data[: end + 1]


def _line(body: Mapping[str, Any]) -> bytes:
    data = orjson.dumps(body)
    return b"%08x %s\n" % (zlib.crc32(data), data)


def _key(line: bytes) -> str:
    start = len(b'01234567 {"key":"')
    return line[start : line.index(b'"', start)].decode()


def _head(key: str) -> int:
    """64 bits of a key, never 0."""
    try:
        return int(key[:16], 16) or 1
    except ValueError:
        return zlib.crc32(key.encode()) or 1  # no request key: a test's own word


def _reply(data: dict[str, Any]) -> Reply:
    return Reply(
        text=data["text"],
        finish_reason=data["finish_reason"],
        prompt_tokens=data["prompt_tokens"],
        completion_tokens=data["completion_tokens"],
        model=data["model"],
        key=data["key"],
        logprobs=tuple(data.get("logprobs") or ()),
        tokens=tuple(data.get("tokens") or ()),
        seconds=data.get("seconds", 0.0),
    )
