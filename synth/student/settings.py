"""What the trainer is told: the recipe's [train] as TRL's and PEFT's own settings, with their defaults."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from synth.student import ranks
from synth.student.loading import has_bf16
from synth.tables import Train

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

CHECKPOINTING_ABOVE = 1_000_000_000
"""Parameters from which activations are recomputed to save memory; below, that only costs time."""
SMALL, MIDDLE = 500_000_000, 3_000_000_000
"""Parameters up to which a model is small, or of middle size, for the rates below."""
RATES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "sft": ((1e-3, 1e-3), (3e-4, 1e-3), (2e-5, 2e-4)),
    "dpo": ((1e-6, 1e-5), (1e-6, 1e-5), (5e-7, 5e-6)),
    "on_policy": ((5e-5, 1e-4), (5e-5, 1e-4), (5e-5, 1e-4)),
}
"""Learning rates (all weights, adapter) of a small, a middle and a large model. All weights: the recipes of
SmolLM2 (135M and 360M: 1e-3; 1.7B: 3e-4; DPO 1e-6) and TRL's documentation (2e-5, DPO 5e-7). An adapter takes
ten times as much, but never more than 1e-3, at which the best rates of the sweep in "LoRA Without Regret"
(Schulman et al. 2025) end: 3e-3 diverged. `on_policy` as Thinking Machines' recipe. `logit_kd` is trained as
`sft`."""


def learning_rate(config: Train, parameters: int) -> float:
    """The recipe's own rate, else that of `RATES` for a model of so many parameters."""
    if config.learning_rate is not None:
        return config.learning_rate
    sizes = RATES["sft" if config.method == "logit_kd" else config.method]
    full, adapter = sizes[0 if parameters <= SMALL else 1 if parameters <= MIDDLE else 2]
    return full if config.adapter == "none" else adapter


def parts(config: Train) -> int:
    """Into how many equal forward passes of at most `micro_batch` rows each process cuts an optimizer step.

    Raises:
        TrainError: the processes can't share the rows of a step evenly.
    """
    rows = ranks.share(config.batch_size, ranks.processes())
    return next(n for n in range(1, rows + 1) if rows / n <= config.micro_batch and rows % n == 0)


def arguments(config: Train, model: "PreTrainedModel", folder: Path) -> dict[str, Any]:
    """The settings that the trainers of all methods share, for the config class of each.

    Checkpoints go to `folder`; nothing is printed and nothing is sent anywhere. A method may add its own
    settings; what the recipe passes through in [train.trainer] is in here.
    """
    import torch

    rows = ranks.share(config.batch_size, ranks.processes())
    return {
        "output_dir": str(folder),
        "num_train_epochs": config.epochs,
        "learning_rate": learning_rate(config, model.num_parameters()),
        "per_device_train_batch_size": rows // parts(config),
        "gradient_accumulation_steps": parts(config),
        "lr_scheduler_type": "constant_with_warmup" if config.schedule == "constant" else config.schedule,
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": has_bf16(),
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": model.num_parameters() > CHECKPOINTING_ABOVE,
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "ddp_find_unused_parameters": False,
        "include_num_input_tokens_seen": "non_padding",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": "none",
        **config.trainer,
    }


def lora(config: Train) -> "LoraConfig | None":
    """LoRA (Hu et al. 2021, arXiv:2106.09685) on every linear layer but the head; None for all weights."""
    from peft import LoraConfig

    if config.adapter == "none":
        return None
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
    )
