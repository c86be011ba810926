"""What is seen of a training while it runs: each step, and a loss that is not finite."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synth.errors import TrainError

if TYPE_CHECKING:
    from transformers import TrainerCallback


@dataclass(frozen=True, slots=True)
class TrainStep:
    """One optimizer step. `loss` is in nats a trained token; tokens a second are over this session, prompts
    included, padding not."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float


def progress(on_step: Callable[[TrainStep], None]) -> "TrainerCallback":
    """Reports each optimizer step, stops at a loss that is not finite, and keeps time across sessions."""
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Progress(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self.begun = time.perf_counter()
            self.before = state.log_history[-1]["seconds"] if state.log_history else 0.0
            self.tokens = state.num_input_tokens_seen

        def on_log(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            entry = state.log_history[-1]
            if "loss" not in entry:
                return
            seconds = time.perf_counter() - self.begun
            entry["seconds"] = self.before + seconds
            for name in ("loss", "grad_norm"):
                if not math.isfinite(entry[name]):
                    raise TrainError(
                        f"step {state.global_step}: {name} is {entry[name]}; lower [train] learning_rate"
                    )
            speed = (state.num_input_tokens_seen - self.tokens) / seconds
            on_step(TrainStep(state.global_step, state.max_steps, entry["loss"], speed))

    return Progress()
