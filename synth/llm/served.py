"""A teacher kept up between runs: `synth serve` notes where its servers are, and a run finds them.

The note lies in the user's cache folder, readable by the user alone, as it holds the key. It is believed only
while the very process that wrote it runs, which needs /proc: elsewhere nothing is ever found.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_path

from synth import weights
from synth.llm.server import Served, answers

HEALTH_SECONDS = 2.0
"""How long a kept server may take to say that it is well."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Servers that the process `pid` keeps up; `urls` end in /v1, `model` is their name in requests."""

    pid: int
    model: str
    urls: tuple[str, ...]
    api_key: str = field(repr=False)


@contextlib.contextmanager
def note(
    model: str, max_model_len: int, flags: Sequence[str], replicas: int | None, servers: Sequence[Served]
) -> Iterator[Path]:
    """While the context lasts, `find` with the same arguments finds these servers. Yields the note's path.

    A later note of the same servers takes the place of this one, which then does not remove it.

    Raises:
        OSError: the user's cache folder can't be written.
    """
    file = _place(model, max_model_len, flags, replicas)
    text = json.dumps(
        {
            "pid": os.getpid(),
            "model": servers[0].model,
            "urls": [served.base_url for served in servers],
            "api_key": servers[0].api_key,
            "started": _started(os.getpid()),
        }
    )
    _write_private(file, text)
    try:
        yield file
    finally:
        _remove(file, text)


async def find(
    model: str, max_model_len: int, flags: Sequence[str], replicas: int | None = None
) -> Kept | None:
    """The servers that another process keeps up for these arguments, if every one of them answers now.

    The note of a process that is gone is removed. That of a living one stays, also when a server does not
    answer: it may be just starting again.
    """
    file = _place(model, max_model_len, flags, replicas)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    kept = _read(text)
    if kept is None:
        _remove(file, text)
        return None
    return kept if all(await asyncio.gather(*(answers(url, HEALTH_SECONDS) for url in kept.urls))) else None


async def watch(servers: Sequence[Served]) -> None:
    """Restart every replica that dies, forever.

    Raises:
        TeacherError: one died more often than `server.RESTARTS`.
    """
    while True:
        for served in servers:
            if served.died() is not None:
                await served.restart()
        await asyncio.sleep(1)


def _place(model: str, max_model_len: int, flags: Sequence[str], replicas: int | None) -> Path:
    """A home folder may be shared by machines: their notes differ by the machine's name."""
    asked = [platform.node(), weights.identify(model), max_model_len, list(flags), replicas]
    name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    return user_cache_path("synth") / "served" / f"{name}.json"


def _write_private(file: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, unfinished = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        Path(unfinished).replace(file)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _remove(file: Path, text: str) -> None:
    """Remove a note unless another one has taken its place."""
    with contextlib.suppress(FileNotFoundError):
        if file.read_text(encoding="utf-8") == text:
            file.unlink()


def _read(text: str) -> Kept | None:
    """What a note says, or None where it is no note or its process is gone."""
    try:
        said = json.loads(text)
        kept = Kept(int(said["pid"]), said["model"], tuple(said["urls"]), said["api_key"])
        started = said["started"]
    except (ValueError, KeyError, TypeError):
        return None
    return kept if started is not None and started == _started(kept.pid) else None


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: a reused pid differs. None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else int(fields[19])
