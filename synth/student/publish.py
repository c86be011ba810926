"""What comes out of a training: the adapter, the merged model with all it needs to be served, and its card.

The model is merged from files, not from the trainer's memory: the base anew, the adapter on it. So it is the
same whether one process trained or several, over sharded or over 4-bit weights.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from synth.student import ranks
from synth.student.job import Job

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer


def publish(trainer: "Trainer", tokenizer: "PreTrainedTokenizerBase", ends: frozenset[int], job: Job) -> None:
    """Save adapter, merged model, tokenizer and generation config, and move them into `job.out` when whole.

    `ends` are the tokens that end a turn. Every process must call it; the first one writes.
    """
    from peft import PeftModel

    weights = trainer.accelerator.get_state_dict(trainer.model)
    if not ranks.is_first():
        return
    fresh = job.out.with_name(f"{job.out.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    adapter = None
    if isinstance(trainer.model, PeftModel):
        adapter = fresh / "adapter"
        trainer.model.save_pretrained(adapter, state_dict=weights)
        (adapter / "README.md").unlink(missing_ok=True)
    model = merged(job.model, adapter, weights)
    model.config.use_cache = True
    model.generation_config = _generation(model, tokenizer, ends)
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    for path in fresh.iterdir():
        target = job.out / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
    fresh.rmdir()


def merged(base: Path, adapter: Path | None, weights: "Mapping[str, torch.Tensor]") -> "PreTrainedModel":
    """The base with the adapter merged in, or with all its weights replaced; in bfloat16, on the CPU.

    The adapter's product is added in float32 and rounded once.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    if adapter is None:
        model.load_state_dict(weights)
        return model
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def _generation(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", ends: frozenset[int]) -> Any:  # noqa: ANN401
    """Greedy, which is how it is evaluated, and ending where the base ends or a trained turn does."""
    from transformers import GenerationConfig

    known = model.generation_config.eos_token_id
    stops = sorted(ends | ({known} if isinstance(known, int) else set(known or ())))
    return GenerationConfig(
        do_sample=False,
        bos_token_id=model.generation_config.bos_token_id,
        eos_token_id=stops if len(stops) > 1 else stops[0],
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stops[0],
    )


def describe(out: Path, scores: Sequence[str]) -> Path:
    """Write the card of a finished student anew, with what its evaluation found; returns the card.

    `scores` are sentences, each with its unit, number of questions and 95% intervals.
    """
    file = out / "README.md"
    file.write_text(card(orjson.loads((out / "manifest.json").read_bytes()), scores), encoding="utf-8")
    return file


def card(report: Mapping[str, Any], scores: Sequence[str] = ()) -> str:
    """The model card in Markdown; `report` is the student's manifest."""
    trained, config, base = report["trained"], report["config"], report["base"]["name"]
    adapter = config["adapter"] != "none"
    title = f"{base}, fine-tuned on synthetic rows"
    tags = ", ".join(["synth", config["method"], *([config["adapter"]] if adapter else [])])
    of = f" by the recipe `{report['recipe']}` (`recipe.toml`)" if report["recipe"] else ""
    table = "\n".join(f"| {name} | {value} |" for name, value in _settings(trained, config).items())
    found = "\n".join(f"- {line.strip()}" for line in scores) or "It has not been evaluated yet."
    return f"""---
base_model: {json.dumps(base)}
library_name: transformers
pipeline_tag: text-generation
tags: [{tags}]
dataset_sha256: {json.dumps(report["dataset"]["sha256"])}
---
# {title}

{base}, {"with a LoRA adapter merged in" if adapter else "all weights trained"}, made with synth{of}.
The loss is on what the assistant says and on the end of its turn.

## Scores

{found}

## Training

| | |
|---|---|
{table}

{_losses(trained)}

The dataset's files together have the sha256 `{report["dataset"]["sha256"]}`.
Each file's own, the base's files, versions, all settings and the loss of each step are in `manifest.json`.

## Limits

- It learned from answers that a language model wrote: it repeats what was wrong or one-sided in them.
- What the scores don't name was not measured: other tasks, other languages, other prompts, safety.
- It saw no conversation of more than {config["max_length"]:,} tokens in training.
- The base model's licence and limits are this model's too.

## Use

The folder loads in transformers (`AutoModelForCausalLM.from_pretrained`) and in vLLM (`vllm serve FOLDER`),
with its chat template and the tokens that end an answer.{ADAPTER if adapter else ""}
"""


ADAPTER = """ `adapter/` is the adapter alone, in float32, for PEFT
(`PeftModel.from_pretrained(base, "adapter")`) and for vLLM beside other adapters of the same base
(`vllm serve BASE --enable-lora --lora-modules student=FOLDER/adapter`)."""


def _settings(trained: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """The card's table, each value with its unit."""
    rate = trained.get("learning_rate", config["learning_rate"])
    out = {
        "method": config["method"],
        "rows": f"{trained['rows']:,}; {trained['left_out_rows']:,} more were left out as too long",
        "tokens an epoch": f"{trained['tokens']:,}, of them {trained['trained_tokens']:,} trained",
        "epochs": f"{config['epochs']:g}",
        "optimizer steps": f"{trained['steps']:,} of {config['batch_size']:,} rows",
    }
    if rate is not None:
        out["learning rate"] = (
            f"{rate:g}, {config['schedule']}, warm-up {100 * config['warmup']:g}% of the steps"
        )
    if config["adapter"] != "none":
        out["adapter"] = f"{config['adapter']}, rank {config['lora_rank']}, alpha {config['lora_alpha']}"
    out["seed"] = str(config["seed"])
    out["time"] = f"{trained['seconds']:,.0f} s, {trained['tokens_per_second']:,.0f} tokens a second"
    out["processes"] = str(trained["processes"])
    return out


def _losses(trained: Mapping[str, Any]) -> str:
    text = (
        f"Training loss: {trained['first_loss']:.3f} over the first tenth of the steps, "
        f"{trained['final_loss']:.3f} over the last\n(nats a trained token)."
    )
    if trained["validation_loss"] is not None:
        text += (
            f" On held-out rows: {trained['base_validation_loss']:.3f} before, "
            f"{trained['validation_loss']:.3f} after."
        )
    return text
