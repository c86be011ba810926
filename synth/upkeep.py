"""What is done beside the runs: a model is kept up between them, a journal is pruned."""

import asyncio

from synth.errors import RecipeError
from synth.llm import journal
from synth.models import keep_up
from synth.pipeline import Run


def serve(run: Run, role: str) -> None:
    """Keep the model of a role up until interrupted; runs of any recipe that ask for the same use it.

    Raises:
        RecipeError: the recipe has no such role, or names an endpoint for it.
        TeacherError: vLLM can't be served.
    """
    chosen = {"teacher": run.recipe.teacher, "judge": run.recipe.judge, "student": run.recipe.student}.get(
        role
    )
    if chosen is None:
        raise RecipeError(run.recipe.file, role, "is no model of this recipe; name teacher, judge or student")
    if chosen.endpoint:
        raise RecipeError(
            run.recipe.file, f"{role}.endpoint", "is served already; remove it to serve it here"
        )
    asyncio.run(keep_up(chosen, run.folder / "logs", run.say))


def prune(run: Run) -> tuple[int, int]:
    """Write the run's journal anew without torn lines and repeated replies; its bytes before and after.

    Raises:
        DataError: there is no journal.
        BusyError: another process works on this run.
    """
    with run.dataset.lock():
        return journal.prune(run.folder / "journal")
