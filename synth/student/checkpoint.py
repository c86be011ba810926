"""Checkpoints that can be gone on from, and what decides that they belong to a training."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson


def last_complete(folder: Path) -> Path | None:
    """The newest checkpoint whose last file was written; newer ones, cut off while saving, are deleted."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        if read_json(path / "trainer_state.json"):
            return path
        shutil.rmtree(path, ignore_errors=True)  # all processes of a training look at once
    return None


def base_files(model: Path) -> dict[str, str]:
    """The sha256 of every file that decides the base model."""
    out = {}
    for pattern in ("*.safetensors", "*.json", "*.jinja"):
        for path in sorted(model.glob(pattern)):
            with path.open("rb") as stream:
                out[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return out


def digest_of(value: object) -> str:
    """The sha256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is none, or the file was cut off."""
    try:
        value = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object as a file that is there whole, or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
    part.replace(path)
