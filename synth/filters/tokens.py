"""How many tokens a text has, by a model's tokenizer, loaded once."""

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from platformdirs import user_cache_path

from synth.errors import SynthError
from synth.weights import EMBEDDED, FILE, PACKAGE


def lacking(name: str) -> str:
    """What this machine lacks to count a model's tokens; "" where nothing."""
    if importlib.util.find_spec("transformers") is None:
        return "counts tokens: install synth[cpu], synth[gpu] or synth[train]"
    if name == EMBEDDED and importlib.util.find_spec(PACKAGE) is None:
        return (
            f"{EMBEDDED}: its package is missing; install synth[cpu] or synth[gpu], or name another tokenizer"
        )
    folder = Path(name).expanduser()
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        return f"no folder {name}; correct `tokenizer`"
    return ""


@lru_cache(maxsize=4)
def counter(name: str) -> Callable[[str], int]:
    """What counts the tokens of a text, without special ones, as the tokenizer of `name` does.

    `name` is the embedded model, a folder, or one of the Hub.

    Raises:
        SynthError: it can't be loaded.
    """
    if lack := lacking(name):
        raise SynthError(f"length: {lack}")
    folder = user_cache_path("synth") / "models" / name if name == EMBEDDED else Path(name).expanduser()
    if (folder / "tokenizer.json").is_file():
        return _of_file(folder / "tokenizer.json")
    from transformers import AutoTokenizer

    try:
        if name == EMBEDDED:  # no server of it was ever started here: read its GGUF, some 20 s
            spec = importlib.util.find_spec(PACKAGE)
            assert spec is not None and spec.origin is not None
            tokenizer = AutoTokenizer.from_pretrained(Path(spec.origin).parent, gguf_file=FILE)
        else:
            tokenizer = AutoTokenizer.from_pretrained(folder if folder.is_dir() else name)
    except (OSError, ValueError) as error:
        raise SynthError(f"length: no tokenizer {name} ({error}); correct `tokenizer`") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False, verbose=False))


def _of_file(file: Path) -> Callable[[str], int]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
