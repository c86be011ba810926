"""`python -m flows.finetune RUN`: a student trained on a run's rows, and scored beside its untrained base."""

from prefect import flow

from flows import command, tasks
from synth.pipeline import open_run


@flow(flow_run_name=tasks.run_name)
def finetune(run: str) -> str:
    """Fine-tune the student on a finished run, and evaluate it. Returns the run folder.

    Args:
        run: A run folder with a training set (data/runs/...), or the recipe that made it.
    """
    opened = open_run(run)
    tasks.train(run, None)
    if opened.recipe.evaluate:
        tasks.evaluate(run, None)
    if opened.recipe.gate:
        tasks.gate(run, None)
    return str(opened.folder)


if __name__ == "__main__":
    command.main(finetune)
