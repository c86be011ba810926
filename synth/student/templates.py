"""Chat templates: the tokenizer's own, one of those that ship, or a file.

The student's folder gets the template that it was trained with, so that a server asks it in the same words.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from synth.errors import TrainError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOLDER = Path(__file__).parent / "templates"
NEEDED = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
}
"""The special tokens that each shipped template writes."""


def text(name: str) -> str:
    """The template called `name`: `chatml`, `llama3`, `gemma`, or a .jinja file.

    Raises:
        TrainError: there is no such file.
    """
    file = FOLDER / f"{name}.jinja" if name in NEEDED else Path(name)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(NEEDED)
        raise TrainError(
            f"[student] template {name}: can't be read ({error.__class__.__name__}); name {known}, or a "
            ".jinja file"
        ) from error


def digest(name: str) -> str:
    """The sha256 of a template's text.

    Raises:
        TrainError: as `text`.
    """
    return hashlib.sha256(text(name).encode()).hexdigest()


def apply(tokenizer: "PreTrainedTokenizerBase", name: str | None) -> None:
    """Give the tokenizer the template called `name`; None leaves it its own.

    Raises:
        TrainError: as `text`; or the tokenizer lacks a special token that the template writes.
    """
    if name is None:
        return
    tokenizer.chat_template = text(name)
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    if missing := [token for token in NEEDED.get(name, ()) if token not in special]:
        fits = ", ".join(known for known, needed in NEEDED.items() if special.issuperset(needed))
        raise TrainError(
            f"[student] template {name}: the tokenizer of {tokenizer.name_or_path} lacks the special token "
            f"{', '.join(missing)}; {f'{fits} fits it' if fits else 'write a .jinja file with tokens it has'}"
        )
