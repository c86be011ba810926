"""The journal: every reply by the key of its request, on disk before it counts.

One line a reply, `<crc32 of the rest, 8 hex digits> <JSON>`, appended by one write: kill -9 costs at most
the line being written, which is dropped and counted when the journal is next opened. Only the byte offset
of each reply is kept in memory.
"""

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from synth.errors import DataError
from synth.types import Message, Reply, Sampling

FILE = "replies.jsonl"


def request_key(model: str, messages: Sequence[Message], sampling: Sampling) -> str:
    """32 hex digits that hash what decides a reply: model, messages, sampling and sample number."""
    body = orjson.dumps([model, list(messages), sampling], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(body).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class _Place:
    fd: int
    offset: int
    length: int


class Journal:
    """The replies of one run folder, and read-only those of earlier runs of the same recipe.

    A reply found in an earlier run is appended here too, so that a run folder is whole by itself.
    """

    def __init__(self, folder: Path, earlier: Iterable[Path] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self.torn = 0
        self._places: dict[str, _Place] = {}
        self._fds: list[int] = []
        for other in earlier:
            if (other / FILE).is_file():
                self._index(os.open(other / FILE, os.O_RDONLY))
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._own: set[str] = set()
        end = self._index(self._fd, self._own)
        if end < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, end)
        self._end = end

    def __len__(self) -> int:
        return len(self._own)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def get(self, key: str) -> Reply | None:
        """The reply to the request with this key, or None where it was never answered."""
        place = self._places.get(key)
        if place is None:
            return None
        line = os.pread(place.fd, place.length, place.offset)
        reply = _reply(orjson.loads(line[9:]))
        if key not in self._own:
            self._append(key, line)
        return reply

    def put(self, reply: Reply) -> None:
        """Append a reply under `reply.key`.

        Raises:
            DataError: the disk is full or read-only; nothing that was written before is touched.
        """
        body = orjson.dumps({**asdict(reply), "logprobs": [dict(step) for step in reply.logprobs]})
        self._append(reply.key, b"%08x %s\n" % (zlib.crc32(body), body))

    def close(self) -> None:
        """Make sure that the disk has everything, and let go of the files."""
        os.fsync(self._fd)
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._places.clear()

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
        self._places[key] = _Place(self._fd, self._end, len(line))
        self._own.add(key)
        self._end += written

    def _index(self, fd: int, keys: set[str] | None = None) -> int:
        """Note where each reply stands; returns the offset behind the last whole line."""
        self._fds.append(fd)
        end = offset = 0
        for line in _lines(fd):
            start, offset = offset, offset + len(line)
            body = line[9:-1]
            if not line.endswith(b"\n") or line[:8] != b"%08x" % zlib.crc32(body):
                self.torn += 1
                continue
            key = orjson.loads(body)["key"]
            self._places[key] = _Place(fd, start, len(line))
            if keys is not None:
                keys.add(key)
            end = offset
        return end


def _lines(fd: int) -> Iterator[bytes]:
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        yield from file


def _reply(data: dict[str, Any]) -> Reply:
    return Reply(**{**data, "logprobs": tuple(data["logprobs"])})
