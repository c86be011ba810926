"""`python -m flows.pipeline RECIPE`: the whole path, from seeds to scores, as far as the recipe goes."""

from prefect import flow

from flows import command, tasks
from flows.tasks import Rows
from synth.pipeline import open_run


@flow(flow_run_name=tasks.run_name)
def pipeline(recipe: str, rows: Rows = None) -> str:
    """All verbs and the gate, as far as the recipe goes, but for what is there. Returns the run folder.

    Args:
        recipe: The recipe's .toml file, as the machine that runs it sees it.
        rows: Use so many seeds instead of the recipe's [seeds] rows.
    """
    run = open_run(recipe, rows=rows)
    tasks.generate(recipe, rows)
    tasks.curate(recipe, rows)
    if run.recipe.train:
        tasks.train(recipe, rows)
        if run.recipe.evaluate:
            tasks.evaluate(recipe, rows)
        if run.recipe.gate:
            tasks.gate(recipe, rows)
    return str(run.folder)


if __name__ == "__main__":
    command.main(pipeline)
