"""What the trainer is told: the recipe's [train] as TRL's and PEFT's own settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from synth.student import ranks
from synth.tables import Train

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

MICRO_BATCH = 8
"""Rows of one forward pass; a larger `batch_size` is cut into equal parts of at most this many."""
CHECKPOINTING_ABOVE = 1_000_000_000
"""Parameters from which activations are recomputed to save memory; below, that only costs time."""
LEARNING_RATE = 5e-4


def arguments(config: Train, model: "PreTrainedModel", folder: Path) -> dict[str, Any]:
    """The settings that the trainers of all methods share, for the config class of each.

    Checkpoints go to `folder`; nothing is printed and nothing is sent anywhere.
    """
    import torch

    rows = ranks.share(config.batch_size, ranks.processes())
    parts = next(n for n in range(1, rows + 1) if rows / n <= MICRO_BATCH and rows % n == 0)
    return {
        "output_dir": str(folder),
        "num_train_epochs": config.epochs,
        "learning_rate": config.learning_rate or LEARNING_RATE,
        "per_device_train_batch_size": rows // parts,
        "gradient_accumulation_steps": parts,
        "lr_scheduler_type": "constant_with_warmup" if config.schedule == "constant" else config.schedule,
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": model.num_parameters() > CHECKPOINTING_ABOVE,
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "ddp_find_unused_parameters": False,
        "include_num_input_tokens_seen": "non_padding",
        "disable_tqdm": True,
        "report_to": "none",
        **config.trainer,
    }


def lora(config: Train) -> "LoraConfig":
    """LoRA (Hu et al. 2021, arXiv:2106.09685) on every linear layer but the head."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
    )
