"""[train.trainer]: settings of the trainer's own config class, held to its fields and their types.

Refused are keys that the class does not know, values of another type, and keys that synth sets from the
recipe's own words, so that each setting is said in one place.
"""

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from synth.steps import near
from synth.student import loading
from synth.tables import Train

CONFIGS = {"sft": "SFTConfig", "dpo": "DPOConfig", "logit_kd": "SFTConfig", "on_policy": "DistillationConfig"}
"""TRL's config class of each [train] method."""
OWN = {
    "num_train_epochs": "epochs",
    "learning_rate": "learning_rate",
    "per_device_train_batch_size": "batch_size and micro_batch",
    "gradient_accumulation_steps": "batch_size and micro_batch",
    "auto_find_batch_size": "micro_batch, which is halved by itself",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warmup",
    "warmup_ratio": "warmup",
    "weight_decay": "weight_decay",
    "seed": "seed",
    "data_seed": "seed",
    "save_steps": "save_steps",
    "max_length": "max_length",
    "packing": "packing",
    "beta": "beta",
}
"""The trainer's keys that the recipe has words of its own for, and these."""
FIXED = (
    *("output_dir", "disable_tqdm", "report_to", "remove_unused_columns", "include_num_input_tokens_seen"),
    *("ignore_data_skip", "resume_from_checkpoint", "load_best_model_at_end", "bf16", "fp16", "use_cpu"),
    *("train_sampling_strategy", "length_column_name", "accelerator_config"),  # the order of rows
)
"""The trainer's keys that hold synth's promises: resume, the figures, silence.

Its own `group_by_length` draws each epoch's order from the random numbers of the moment: a training that is
taken up in the middle of an epoch then sees other rows than an undisturbed one.
"""
IDLE = (
    *("model_init_kwargs", "trust_remote_code", "chat_template_path", "eos_token", "pad_token"),
    *("assistant_only_loss", "completion_only_loss", "truncation_mode", "padding_free", "packing_strategy"),
)
"""The trainer's keys of a model that it loads and of texts that it tokenizes: here synth does both."""
FAMILIES = ("save_", "logging_", "log_", "hub_", "push_", "trackio_", "dataset_", "eval_", "do_", "metric_")
"""What the trainer's keys of saving, logging, publishing, preparing data and evaluating begin with."""


def problem(config: Train) -> tuple[str, str] | None:
    """`(key, mend)` of the first setting in [train.trainer] that can't be; None where all can.

    TRL is imported where there is a setting at all.
    """
    if not config.trainer:
        return None
    loading.import_torch()
    name = CONFIGS[config.method]
    cls = getattr(importlib.import_module("trl"), name)
    types = get_type_hints(cls)
    known = {field.name for field in fields(cls) if field.init}
    for key, value in config.trainer.items():
        if mend := _problem(name, known, types, key, value):
            return f"train.trainer.{key}", mend
    try:
        cls(output_dir="", bf16=False, use_cpu=True, **config.trainer)
    except (ValueError, TypeError, ImportError) as error:
        return "train.trainer", f"{name} refuses it: {' '.join(str(error).split())}"
    return None


def _problem(name: str, known: set[str], types: Mapping[str, Any], key: str, value: object) -> str | None:
    if key in OWN:
        return f"write [train] {OWN[key]} instead"
    if key not in known:
        hint = near(key, known)
        return f"{name} has no such setting{hint if 'did you mean' in hint else ''}"
    if key in (*FIXED, *IDLE) or key.startswith(FAMILIES):
        return "is synth's own business; remove it"
    try:
        TypeAdapter(types[key], config={"arbitrary_types_allowed": True}).validate_python(value, strict=True)
    except ValidationError:
        wanted = getattr(types[key], "__name__", None) if isinstance(types[key], type) else str(types[key])
        return f"is {value!r}; {name} takes {wanted}"
    return None
