"""What is seen of a training while it runs: each step, and a loss that is not finite, with its rows."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth.errors import TrainError

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

    from synth.student.job import Prepared

SHOWN_IDS = 16
"""Row ids in an error; the rest are counted."""


@dataclass(frozen=True, slots=True)
class TrainStep:
    """One optimizer step. `loss` is in nats a trained token; tokens a second are over this session, prompts
    included, padding not. `mfu` is the share (0 to 1) of the device's peak, where it can be told."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    mfu: float | None = None

    @property
    def speed(self) -> str:
        """For a person: `812 tokens/s, MFU 31%`."""
        share = "" if self.mfu is None else f", MFU {100 * self.mfu:.0f}%"
        return f"{self.tokens_per_second:,.0f} tokens/s{share}"


class Passes:
    """The forward passes of one optimizer step: the loss of each, and its rows.

    The rows of a batch travel with it, from the dataset's column `row` up to the model.
    """

    def __init__(self, trainer: "Trainer", prepared: "Prepared") -> None:
        self.collate_rows, self.training_step, self.prepared = (
            trainer.data_collator,
            trainer.training_step,
            prepared,
        )
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        trainer.data_collator, trainer.training_step = self.collate, self.step

    def collate(self, features: Sequence[Mapping[str, Any]]) -> Any:  # noqa: ANN401
        """The trainer's own batch, and its rows where it is one of tensors already."""
        import torch

        made: Any = self.collate_rows(features)
        if not isinstance(made, Mapping):
            return made
        batch = dict(made)
        if "row" not in batch and "row" in features[0]:
            batch["row"] = torch.tensor([feature["row"] for feature in features])
        return batch

    def step(
        self, model: "torch.nn.Module", inputs: "dict[str, torch.Tensor]", *given: object, **named: object
    ) -> "torch.Tensor":
        """The trainer's own pass over a batch without its rows."""
        rows = inputs.pop("row", None) if isinstance(inputs, dict) else None
        loss: torch.Tensor = self.training_step(model, inputs, *given, **named)
        if rows is not None:
            self.seen.append((loss, rows))
        return loss

    def stop_at_infinite(self, step: int) -> None:
        """Stop, before weights change, where the loss of a pass is not finite."""
        import torch

        if not self.seen:
            return
        losses = torch.stack([loss for loss, _ in self.seen]).tolist()
        for place, loss in enumerate(losses):
            if not math.isfinite(loss):
                self.stop(step, f"the loss is {loss}", self.seen[place : place + 1])

    def stop(self, step: int, what: str, seen: "Sequence[tuple[torch.Tensor, torch.Tensor]]") -> None:
        """Raise what happened in the batch of these rows."""
        ids = self.prepared.ids(row for _, rows in seen for row in rows.flatten().tolist() if row >= 0)
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        named = f" in the batch of the rows {', '.join(ids[:SHOWN_IDS])}{more}" if ids else ""
        raise TrainError(
            f"step {step}: {what}{named}; lower [train] learning_rate, or leave out the row that does it. "
            "The last good checkpoint is kept"
        )


def watch(
    trainer: "Trainer",
    prepared: "Prepared",
    on_step: Callable[[TrainStep], None],
    mfu: Callable[[float], float | None] = lambda _: None,
) -> None:
    """Report each optimizer step of `trainer`, and stop it at a loss or a gradient that is not finite.

    Time in steps is kept in the trainer's log across sessions. `mfu` makes a share of the device's peak of
    tokens a second.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    passes = Passes(trainer, prepared)

    class Progress(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self.begun = time.perf_counter()
            self.before = state.log_history[-1]["seconds"] if state.log_history else 0.0
            self.tokens = state.num_input_tokens_seen

        def on_step_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            passes.seen.clear()

        def on_pre_optimizer_step(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            passes.stop_at_infinite(state.global_step + 1)

        def on_log(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            entry = state.log_history[-1]
            if "loss" not in entry:
                return
            seconds = time.perf_counter() - self.begun
            entry["seconds"] = self.before + seconds
            for name, what in (("loss", "loss"), ("grad_norm", "norm of the gradient")):
                if not math.isfinite(entry[name]):
                    passes.stop(state.global_step, f"the {what} is {entry[name]}", passes.seen)
            speed = (state.num_input_tokens_seen - self.tokens) / seconds
            on_step(TrainStep(state.global_step, state.max_steps, entry["loss"], speed, mfu(speed)))

    trainer.add_callback(Progress())
