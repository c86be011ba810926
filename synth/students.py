"""The registry: students that passed their gate, `data/students/<name>/<version>/`, one of them the champion.

A version is a model folder that transformers and vLLM load, with its card, its scores and what the gate said
beside. It is written whole and renamed, and never changed. `champion` is a link to one of them, replaced by a
rename; `history.jsonl` has a line for each thing that happened.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synth.errors import DataError
from synth.steps import near
from synth.store import Dataset, sha256, write_whole
from synth.takeover import link

POINTER, HISTORY, ABOUT = "champion", "history.jsonl", "version.json"
LINKED = (".safetensors", ".gguf")
"""Of weights a link is made: nobody writes into them, they are replaced. Everything else is copied."""
DECIDES = ("*.safetensors", "config.json", "generation_config.json", "tokenizer*.json", "*.jinja")
BESIDE = ("scores.json", "scores.parquet", "gate.json", "recipe.toml")
"""Files of the run that go with the student."""
Entry = dict[str, Any]
"""A line of the history: `time`, `what` (promoted, rolled back, refused), `version`, `run`, `who`, `why`."""


class Students:
    """The students of one name, in the project's `data/students/`."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder = root / "data" / "students" / name

    @property
    def versions(self) -> list[str]:
        """In the order in which they came."""
        return sorted(path.parent.name for path in self.folder.glob(f"[0-9]*/{ABOUT}"))

    @property
    def champion(self) -> str | None:
        """The version that `champion` points to."""
        pointer = self.folder / POINTER
        return pointer.readlink().name if pointer.is_symlink() else None

    @property
    def history(self) -> list[Entry]:
        """What happened, the earliest first."""
        file = self.folder / HISTORY
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []

    def lock(self) -> AbstractContextManager[None]:
        """Hold this name for this process. Raises `BusyError` where another process holds it."""
        return Dataset(self.folder).lock()

    def about(self, version: str) -> Entry:
        """`version.json`: the run that it came from, and the sha256 of its files.

        Raises:
            DataError: there is no such version, or a file of it lacks or has other bytes.
        """
        file = self.folder / version / ABOUT
        if version not in self.versions:
            raise DataError(self.folder, f'has no version "{version}"{near(version, self.versions)}')
        about: Entry = json.loads(file.read_bytes())
        for name, digest in about["files"].items():
            path = self.folder / version / name
            if not path.is_file() or sha256(path) != digest:
                raise DataError(path, "is not what passed the gate; promote another version")
        return about

    def run_of(self, version: str) -> str:
        """The run that a version came from."""
        return str(json.loads((self.folder / version / ABOUT).read_bytes())["run"])

    def scores_of(self, version: str) -> Mapping[str, Any]:
        """The `scores.json` of a version."""
        scores: Mapping[str, Any] = json.loads((self.folder / version / "scores.json").read_bytes())
        return scores

    def version_of(self, run: Path) -> str:
        """What a run's `student/` is called here, or would be; the same bytes are the same version."""
        mark, held = fingerprint(run / "student"), self.versions
        known = [version for version in held if version.endswith(f"-{mark}")]
        last = int(held[-1].partition("-")[0]) if held else 0
        return known[0] if known else f"{last + 1:04}-{mark}"

    def add(self, run: Path) -> str:
        """Make a version of a run's `student/`, unless it is there."""
        version = self.version_of(run)
        if version in self.versions:
            return version
        for unfinished in self.folder.glob(".part-*"):
            shutil.rmtree(unfinished)
        part = self.folder / f".part-{version}"
        for source, name in _files(run):
            place = part / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.suffix in LINKED:
                link(source, place)
            else:
                shutil.copyfile(source, place)
        files = {name: sha256(part / name) for _, name in _files(run)}
        about = {"version": version, "run": run.name, "files": files}
        write_whole(part / ABOUT, json.dumps(about, indent=1).encode() + b"\n")
        part.rename(self.folder / version)
        return version

    def promote(self, version: str, *, who: str, why: str, what: str = "promoted") -> None:
        """Make a version the champion; nothing happens where it is.

        Raises:
            DataError: there is no such version, or it is not whole.
        """
        about = self.about(version)
        if self.champion == version:
            return
        self.note(what, version, about["run"], who=who, why=why)
        fresh = self.folder / f".{POINTER}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(version)
        fresh.replace(self.folder / POINTER)

    def rollback(self, *, who: str) -> str:
        """Make the champion before this one the champion again, and say which that is.

        Raises:
            DataError: there was none before.
        """
        earlier = self.champions()[:-1]
        if not earlier:
            raise DataError(self.folder, "has no earlier champion; promote a version by name")
        self.promote(earlier[-1], who=who, why=f"in place of {self.champion}", what="rolled back")
        return earlier[-1]

    def champions(self) -> list[str]:
        """The champion, and behind whom it stands: those that a rollback goes back to, the next one last."""
        stack: list[str] = []
        for entry in self.history:
            if entry["what"] == "promoted" and stack[-1:] != [entry["version"]]:
                stack.append(entry["version"])
            elif entry["what"] == "rolled back" and entry["version"] in stack:
                del stack[stack.index(entry["version"]) + 1 :]
        while stack and stack[-1] != self.champion:  # noted, but killed before the link was there
            stack.pop()
        return stack

    def note(self, what: str, version: str | None, run: str, *, who: str, why: str) -> None:
        """Write a line into the history, unless it is the last one already."""
        entry = {"what": what, "version": version, "run": run, "who": who, "why": why}
        held = self.history
        if held and {key: value for key, value in held[-1].items() if key != "time"} == entry:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [json.dumps(line, ensure_ascii=False) for line in (*held, {"time": now, **entry})]
        write_whole(self.folder / HISTORY, "".join(f"{line}\n" for line in lines).encode())


def names(root: Path) -> list[str]:
    """The students of a project."""
    return sorted(path.name for path in (root / "data" / "students").glob("[a-z0-9]*") if path.is_dir())


def named(root: Path, name: str) -> Students:
    """The students of a name that is there.

    Raises:
        DataError: none has passed a gate under this name.
    """
    if name not in (known := names(root)):
        raise DataError(root / "data" / "students", f'has no student "{name}"{near(name, known)}')
    return Students(root, name)


def fingerprint(student: Path) -> str:
    """Eight hex digits that hash what decides a student's answers: weights, config, tokenizer, template."""
    found = sorted({file for pattern in DECIDES for file in student.glob(pattern)})
    if not any(file.suffix == ".safetensors" for file in found):
        raise DataError(student, "has no weights (*.safetensors); run `synth train` first")
    marks = "".join(f"{file.name} {sha256(file)}\n" for file in found)
    return hashlib.sha256(marks.encode()).hexdigest()[:8]


def whoever() -> str:
    """Who gave a command, for the history."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"user {os.getuid()}"


def _files(run: Path) -> Iterator[tuple[Path, str]]:
    """The files of a version: where they are in the run, and what they are called in the version."""
    student = run / "student"
    for file in sorted(student.rglob("*")):
        name = file.relative_to(student)
        if file.is_file() and name.parts[0] != "checkpoints" and not name.name.startswith("."):
            yield file, str(name)
    yield from _existing(run, BESIDE)


def _existing(run: Path, wanted: Sequence[str]) -> Iterator[tuple[Path, str]]:
    yield from ((run / name, name) for name in wanted if (run / name).is_file())
