"""The four verbs as Prefect tasks, which all flows share. A task is a stage, never a row.

A task that is run again asks only for what is not there: resume is the run folder's, not Prefect's.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import Task, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from pydantic import Field

from flows import artifacts
from synth import gate as gates
from synth import pipeline
from synth.account import Live
from synth.engine import Progress
from synth.errors import TeacherError
from synth.models import Models
from synth.pipeline import Run, open_run

if TYPE_CHECKING:
    from synth.student.watch import TrainStep

SECONDS_BETWEEN_LINES = 10.0

Rows = Annotated[int | None, Field(ge=1)]
"""How many seeds to use instead of the recipe's own number."""


def say(text: str) -> None:
    """A line in the log of this flow or task run."""
    get_run_logger().info(text, extra={"synth": True})


def run_name() -> str:
    """What this flow run is called: `quickstart`, `quickstart-400-rows`, or the name of the run folder."""
    given = runtime.flow_run.parameters
    path = Path(given.get("recipe") or given["run"])
    name = path.stem if path.suffix == ".toml" else path.name
    return f"{name}-{given['rows']}-rows" if given.get("rows") else name


def _teacher_failed(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: a dead vLLM is started afresh, an endpoint may be back."""
    error = state.data
    if isinstance(error, TeacherError):
        say(f"{error}; trying again soon")
        return True
    return False


@task(
    task_run_name="generate",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=_teacher_failed,
)
def generate(target: str, rows: int | None) -> None:
    """Ask the teacher for every planned row that is not there yet."""
    pipeline.generate(_open(target, rows), _rows_said())


@task(task_run_name="curate", cache_policy=NO_CACHE)
def curate(target: str, rows: int | None) -> None:
    """Hold the kept rows against one another, write the training set, and publish the counts."""
    run = _open(target, rows)
    counts = pipeline.curate(run)
    say(str(counts))
    create_table_artifact(
        artifacts.counts_rows(counts), key=artifacts.key(run.recipe.name, "counts"), description=str(counts)
    )


@task(task_run_name="train", cache_policy=NO_CACHE)
def train(target: str, rows: int | None) -> None:
    """Fine-tune the student on the run's training set."""
    pipeline.train(_open(target, rows), _steps_said)


@task(
    task_run_name="evaluate",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=_teacher_failed,
)
def evaluate(target: str, rows: int | None) -> None:
    """Score the student beside its untrained base, and publish the scores."""
    run = _open(target, rows)
    scores = pipeline.evaluate(run)
    create_markdown_artifact(
        artifacts.scores_page(scores),
        key=artifacts.key(run.recipe.name, "scores"),
        description=f"{run.recipe.name}: the student beside its untrained base",
    )


@task(task_run_name="gate", cache_policy=NO_CACHE)
def gate(target: str, rows: int | None) -> None:
    """Hold the student against [gate], publish what was found, and fail where it is refused."""
    run = _open(target, rows)
    decision = gates.hold(run)
    create_markdown_artifact(
        artifacts.gate_page(decision),
        key=artifacts.key(run.recipe.name, "gate"),
        description=gates.sentences(decision)[0],
    )
    gates.enforce(decision)


def _open(target: str, rows: int | None) -> Run:
    return open_run(target, rows=rows, say=say)


def _rows_said() -> Callable[[Progress, Models], None]:
    said, last, live = time.monotonic(), -1, Live()

    def tell(progress: Progress, models: Models) -> None:
        nonlocal said, last
        live.look(progress, models)
        due = time.monotonic() - said > SECONDS_BETWEEN_LINES or progress.steps[0] == progress.steps[1]
        if due and progress.done != last:
            said, last = time.monotonic(), progress.done
            say(f"generate: {live.line(progress, models)}")

    return tell


def _steps_said(step: "TrainStep") -> None:
    if step.step % 10 == 0 or step.step == step.steps:
        say(f"train: step {step.step} of {step.steps}, loss {step.loss:.3f}, {step.speed}")
