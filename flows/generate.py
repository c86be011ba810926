"""`python -m flows.generate RECIPE`: records from the teacher, filtered, into Parquet."""

from prefect import flow

from flows import command, tasks
from flows.tasks import Rows
from synth.pipeline import open_run


@flow(flow_run_name=tasks.run_name)
def generate(recipe: str, rows: Rows = None) -> str:
    """Ask the teacher for every row of the recipe, then curate them. Returns the run folder.

    Args:
        recipe: The recipe's .toml file, as the machine that runs it sees it.
        rows: Use so many seeds instead of the recipe's [seeds] rows.
    """
    run = open_run(recipe, rows=rows)
    tasks.generate(recipe, rows)
    tasks.curate(recipe, rows)
    return str(run.folder)


if __name__ == "__main__":
    command.main(generate)
