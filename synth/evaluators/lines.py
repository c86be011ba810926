"""Reads evaluation files: JSON objects, one a line, each with the text fields that an evaluator needs."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from synth.errors import DataError
from synth.types import JSON


def read_lines(path: str, texts: Sequence[str]) -> Iterator[tuple[int, dict[str, JSON]]]:
    """Line number (from 1) and fields of each line that isn't blank; `texts` names those that must be text.

    Raises:
        DataError: names the file, the line and the mend where the file is missing, empty, not UTF-8, or a
            line is no JSON object, lacks a field or repeats an earlier line.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(file, "no such file; correct the evaluator's path")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(file, f"is no UTF-8 text ({error.reason}); convert it") from error
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = _fields(f"{file}:{number}", line, texts)
        if (first := seen.setdefault(content_id(fields), number)) != number:
            raise DataError(f"{file}:{number}", f"repeats line {first}; remove one")
        yield number, fields
    if not seen:
        raise DataError(file, "has no questions; put at least one line in")


def content_id(fields: Mapping[str, JSON]) -> str:
    """Sixteen hex digits that hash a line's content: the same question has the same id wherever it stands."""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fields(where: str, line: str, texts: Sequence[str]) -> dict[str, JSON]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise DataError(where, f"is no JSON ({error}); mend the line") from error
    if not isinstance(fields, dict):
        raise DataError(where, "must be a JSON object; write {...}")
    for key in texts:
        if not (isinstance(fields.get(key), str) and fields[key].strip()):
            raise DataError(where, f'needs the text field "{key}"; add it')
    return fields
