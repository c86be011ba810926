"""Evaluation items: the texts of files that people hold models against, which no row should repeat."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from synth.errors import DataError
from synth.readers import row_reader
from synth.steps import Question, near
from synth.store import sha256

FIELDS = ("question", "prompt", "instruction", "problem", "text")
"""The fields in which an item's text is looked for, in this order; then the user's turns of `messages`."""


class Item(NamedTuple):
    """One item of an evaluation, and the file and line, or the question, that it is."""

    id: str
    text: str


def read_items(path: str, field: str | None = None) -> Iterator[Item]:
    """The items of a .jsonl, .csv or .parquet file or of `hub:owner/name`.

    Raises:
        DataError: it can't be read, is empty, or a line has no text; names the line and the mend.
    """
    name = path.removeprefix("hub:") if path.startswith("hub:") else "/".join(Path(path).parts[-2:])
    number = 0
    for number, line in enumerate(row_reader(path)(), 1):
        yield Item(f"{name}:{number}", _text(f"{path}:{number}", line, field))
    if not number:
        raise DataError(path, "has no evaluation items; put at least one in")


def _text(where: str, line: Mapping[str, Any], field: str | None) -> str:
    if field is not None:
        if not isinstance(line.get(field), str):
            raise DataError(where, f"has no text in `{field}`{near(field, line)}")
        return str(line[field])
    for name in FIELDS:
        if isinstance(line.get(name), str):
            return str(line[name])
    turns = line.get("messages")
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
        return asked(turns)
    raise DataError(where, f"has none of {', '.join(FIELDS)} and messages; name its text's `field`")


def asked(turns: Iterable[Mapping[str, Any]]) -> str:
    """What the user says in turns."""
    return "\n\n".join(str(turn.get("content") or "") for turn in turns if turn.get("role") == "user")


def of_questions(questions: Iterable[Question]) -> list[Item]:
    """The evaluators' questions as items."""
    return [Item(question.id, asked(question.messages)) for question in questions]


def digest(items: Iterable[Item]) -> str:
    """Sixteen hex digits that hash the items."""
    held = hashlib.sha256()
    for item in items:
        held.update(f"{len(item.id)} {item.id} {len(item.text)} {item.text}".encode())
    return held.hexdigest()[:16]


def version(path: str) -> str:
    """A hash of a file of items, or of a folder's files; the name of a Hub set.

    Raises:
        DataError: there is nothing at `path`.
    """
    if path.startswith("hub:"):
        return path
    place = Path(path)
    files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    if not files or not files[0].is_file():
        raise DataError(place, "no such file of evaluation items; correct the path")
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()[:16]
