"""What a person sees while a command works: live views on a terminal, the same as log lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live as Screen
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from synth import engine, report
from synth.account import Live
from synth.models import Models
from synth.pipeline import Run

if TYPE_CHECKING:
    from synth.student.watch import TrainStep

SECONDS_BETWEEN_LINES = 10.0
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line of progress, on stderr."""
    err.print(text, style="dim", soft_wrap=True, markup=False)


def close(run: Run) -> None:
    """The closing lines of a command that worked on a run."""
    for line in report.summary(run.dataset):
        out.print(line, soft_wrap=True, markup=False)


@contextmanager
def rows_shown() -> Iterator[Callable[[engine.Progress, Models], None]]:
    """A bar and the state of the engine on a terminal; else a line each ten seconds."""
    live = Live()
    if err.is_terminal:
        bar, text = _bar("generate"), Text(style="dim")
        with Screen(Group(bar, text), console=err, refresh_per_second=4):

            def show(progress: engine.Progress, models: Models) -> None:
                live.look(progress, models)
                bar.update(bar.task_ids[0], total=progress.steps[1], completed=progress.steps[0])
                text.plain = live.line(progress, models).replace("; ", "\n")

            yield show
        return
    said, done = time.monotonic(), 0

    def tell(progress: engine.Progress, models: Models) -> None:
        nonlocal said, done
        live.look(progress, models)
        if progress.done > done and time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said, done = time.monotonic(), progress.done
            say(f"generate: {live.line(progress, models)}")

    yield tell


@contextmanager
def steps_shown() -> "Iterator[Callable[[TrainStep], None]]":
    """A bar on a terminal; else a line each ten steps."""
    bar = _bar("train")

    def show(step: "TrainStep") -> None:
        at = f"train: step {step.step} of {step.steps}"
        text = f"{at}, loss {step.loss:.3f}, {step.speed}"
        bar.update(bar.task_ids[0], total=step.steps, completed=step.step, description=text)
        if not err.is_terminal and (step.step % 10 == 0 or step.step == step.steps):
            say(text)

    if not err.is_terminal:
        yield show
        return
    with bar:
        yield show


def _bar(name: str) -> Progress:
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=err
    )
    bar.add_task(name, total=None)
    return bar
