"""A trainer run to its end: from the last complete checkpoint, in forward passes that memory holds."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from synth.errors import TrainError
from synth.student import ranks
from synth.student.checkpoint import last_complete
from synth.student.job import Job
from synth.student.settings import parts

if TYPE_CHECKING:
    from transformers import Trainer


def fit(job: Job, build: Callable[[Job], "Trainer"], say: Callable[[str], None]) -> tuple["Trainer", int]:
    """The trainer that `build` makes, run to its last step, and the rows of its forward pass.

    Where memory is short in a step, all is built anew with forward passes of half the rows, and goes on from
    the last checkpoint; an optimizer step keeps its rows and their order.

    Raises:
        TrainError: one row is too much for the memory; or memory is short in one of several processes.
    """
    while True:
        rows = ranks.share(job.config.batch_size, ranks.processes()) // parts(job.config)
        with ranks.first_alone():
            checkpoint = last_complete(job.checkpoints)
        trainer = _run(build(job), checkpoint)
        if trainer is not None:
            return trainer, rows
        gc.collect()
        _empty_cache()
        if rows == 1:
            raise TrainError(
                "memory does not hold one row; lower [train] max_length, write [train.trainer] "
                'gradient_checkpointing = true, or on a GPU [train] adapter = "qlora"'
            )
        job = replace(job, config=job.config.model_copy(update={"micro_batch": rows // 2}))
        now = ranks.share(job.config.batch_size, ranks.processes()) // parts(job.config)
        times = f"{parts(job.config)} times a step"
        say(f"train: {rows} rows at once don't fit into memory; going on with {now}, {times}")


def _run(trainer: "Trainer", checkpoint: Path | None) -> "Trainer | None":
    """Train to the end, from `checkpoint` where there is one; None where memory is short.

    A checkpoint of the last step is only loaded: the Trainer would take a step too many from it.
    """
    from accelerate.utils.memory import should_reduce_batch_size
    from transformers import TrainerState

    if checkpoint:
        sharded = (checkpoint / "pytorch_model_fsdp.bin").is_file()
        if sharded != trainer.is_fsdp_enabled:
            raise TrainError(
                f"{checkpoint} was saved {'with' if sharded else 'without'} --sharding fsdp2; go on as it "
                f"was begun, or delete {checkpoint.parent}"
            )
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step >= state.max_steps:
            trainer._load_from_checkpoint(str(checkpoint))
            trainer.state = state
            return trainer
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        if ranks.processes() > 1:
            raise TrainError("memory does not hold a forward pass; halve [train] micro_batch") from error
        return None
    return trainer


def _empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
