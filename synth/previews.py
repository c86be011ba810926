"""`synth preview`, `synth train --dry-run`: a run, and a training, before they are paid for."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from synth import engine
from synth.errors import DataError, RecipeError
from synth.llm.journal import Journal
from synth.llm.scripted import Script, ScriptedTeacher, echo
from synth.models import Models
from synth.pipeline import Run, steps_by, steps_of
from synth.student.job import Job
from synth.types import Record
from synth.units import Steps, run_unit
from synth.weights import find_model

if TYPE_CHECKING:
    from synth.student.rehearse import Rehearsal


@dataclass(frozen=True, slots=True)
class Previewed:
    """The first records of a run, its planned rows, and the teacher's tokens a second (0: not asked)."""

    records: Sequence[Record]
    planned: int
    tokens_per_second: float


def preview(run: Run, rows: int, scripted: str | None = None) -> Previewed:
    """Make `rows` records, spread over the plan.

    Their replies go into the run's journal: the run itself won't ask for them again. With `scripted`, `echo`
    or the `module:function` of a script, no model is asked and nothing is kept.

    Raises:
        RecipeError: there is no such script.
    """
    strategies, seeds = run.recipe.generate, run.checked.seeds
    planned = engine.planned_rows(strategies, len(seeds))
    chosen = engine.spread(strategies, seeds, rows)

    async def ask() -> Previewed:
        with run.journal() as journal:
            async with Models(journal, run.folder / "logs", run.say) as models:
                steps = steps_of(run, models)
                return await made(steps)

    async def made(steps: Steps) -> Previewed:
        units = await asyncio.gather(*(run_unit(unit, steps) for unit in chosen))
        records = [record for unit in units for record in unit][:rows]
        return Previewed(records, planned, steps.teacher.meter.tokens_per_second)

    if scripted is not None:
        teacher = ScriptedTeacher(_script(run, scripted))
        with TemporaryDirectory() as folder:
            asker = teacher.asker(Journal(Path(folder)), run.recipe.teacher.sampling())
            return asyncio.run(made(steps_by(run, asker, asker)))
    with run.dataset.lock():
        return asyncio.run(ask())


def training(run: Run) -> "Rehearsal":
    """What the run's rows would become in training. Loads no weights and leaves no file.

    Raises:
        RecipeError: the recipe trains nothing, or by another method than sft.
        DataError, TrainError: the rows can't be trained on.
    """
    config, student = run.recipe.train, run.recipe.student
    if config is None or student is None:
        raise RecipeError(run.recipe.file, "train", "missing; add [train] and [student]")
    if config.method != "sft":
        raise RecipeError(run.recipe.file, "train.method", 'has no --dry-run yet; "sft" has')
    from synth.student.rehearse import rehearse

    if not any((run.folder / "train").glob("train-*.parquet")):
        raise DataError(run.folder / "train", "is not there; run `synth curate` first")
    job = Job(config, Path(), run.folder / "train", run.folder / "student", student.template)
    return rehearse(job, find_model(student.model, run.say))


def _script(run: Run, name: str) -> Script:
    if name == "echo":
        return echo
    module, _, attribute = name.partition(":")
    try:
        script: Script = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        mend = f"is no script ({error}); name `echo` or module:function"
        raise RecipeError(run.recipe.file, f"--scripted {name}", mend) from error
    return script
