"""A training in a process of its own that is killed by SIGKILL at a named moment."""

import os
import signal
from importlib import import_module
from multiprocessing import get_context

from synth.student.job import Job

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["datasets", "trl.trainer.sft_trainer", "transformers.models.llama.modeling_llama", "synth.student.train"]
)
NEVER = "never"


def killed(job: Job, moment: str) -> list[int]:
    """Train `job` in a process that dies at `moment`; the steps that it took.

    A moment is `step 7`, or `module:name` of the function that it dies in the place of.
    """
    steps = CONTEXT.SimpleQueue()
    process = CONTEXT.Process(target=_train, args=(job, moment, steps))
    process.start()
    process.join()
    assert process.exitcode == (0 if moment == NEVER else -signal.SIGKILL), moment
    taken = []
    while not steps.empty():
        taken.append(steps.get())
    return taken


def _train(job: Job, moment: str, steps: "object") -> None:
    import torch

    from synth.student.train import train
    from synth.student.watch import TrainStep

    torch.set_num_threads(1)
    module, _, path = moment.partition(":")
    if path:
        *owners, name = path.split(".")
        owner = import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        setattr(owner, name, _die)

    def on_step(step: TrainStep) -> None:
        steps.put(step.step)  # type: ignore[attr-defined]
        if moment == f"step {step.step}":
            _die()

    train(job, on_step=on_step)


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
