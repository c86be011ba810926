"""The student's folder: checkpoints that can be gone on from, the merged model, its card."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from synth.student.loading import merged

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer


def last_complete(folder: Path) -> Path | None:
    """The newest checkpoint whose last file was written; newer ones, cut off while saving, are deleted."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        if read_json(path / "trainer_state.json"):
            return path
        shutil.rmtree(path)
    return None


def publish(
    trainer: "SFTTrainer", tokenizer: "PreTrainedTokenizerBase", ends: frozenset[int], out: Path
) -> None:
    """Save the adapter, if any, and the whole model beside it; move both into `out` when they are there."""
    fresh = out.with_name(f"{out.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    if hasattr(trainer.model, "peft_config"):
        trainer.model.save_pretrained(fresh / "adapter")
        (fresh / "adapter" / "README.md").unlink(missing_ok=True)
    whole = merged(trainer.model)
    whole.config.use_cache = True
    known = whole.generation_config.eos_token_id
    stops = {known} if isinstance(known, int) else set(known or ())
    whole.generation_config.eos_token_id = (
        sorted(stops | ends) if len(stops | ends) > 1 else min(stops | ends)
    )
    whole.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    for path in fresh.iterdir():
        target = out / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
    fresh.rmdir()


def card(report: Mapping[str, Any]) -> str:
    """A short model card in Markdown."""
    trained, config, dataset = report["trained"], report["config"], report["dataset"]
    validation = (
        f"\nOn held-out rows: {trained['base_validation_loss']:.3f} before, {trained['validation_loss']:.3f} "
        "after (nats a trained token).\n"
        if trained["validation_loss"] is not None
        else ""
    )
    adapter = (
        f" with LoRA (rank {config['lora_rank']}, alpha {config['lora_alpha']}) merged in"
        if config["adapter"] != "none"
        else ", all weights of it"
    )
    apart = "; `adapter/` holds the adapter alone" if config["adapter"] != "none" else ""
    return f"""---
library_name: transformers
tags: [synth, {config["method"]}]
---
# {report["base"]["name"]}, fine-tuned on synthetic rows

{report["base"]["name"]}{adapter},
trained by TRL's SFTTrainer on {trained["rows"]} rows ({trained["left_out_rows"]} longer than
{config["max_length"]} tokens were left out), {trained["trained_tokens"]} trained tokens an epoch,
{config["epochs"]:g} epochs, {trained["steps"]} steps of {config["batch_size"]} rows, learning rate
{trained["learning_rate"]:g}. The loss is on what the assistant says and on the end of its turn.

Training loss: {trained["first_loss"]:.3f} over the first tenth of the steps, {trained["final_loss"]:.3f}
over the last (nats a trained token).
{validation}
Dataset sha256: `{dataset["sha256"]}`. Every file, version and setting is in `manifest.json`{apart}.
"""


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
