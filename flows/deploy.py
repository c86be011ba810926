"""`python -m flows.deploy RECIPE --cron "0 2 * * *"`: the flows served to a Prefect server, with a schedule.

The server's UI then has a form for a pipeline run (recipe, rows) and one for a fine-tune (run). One run is
executed at a time.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import prefect
from prefect.deployments.runner import RunnerDeployment
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from flows.command import stopped_politely
from flows.finetune import finetune
from flows.pipeline import pipeline
from flows.server import ServerError
from synth.pipeline import open_run


def serve(
    recipe: Path,
    *,
    cron: str | None = None,
    interval: int | None = None,
    rows: int | None = None,
    name: str | None = None,
) -> None:
    """Serve until stopped. `interval` is in seconds; with neither it nor `cron`, runs start by hand alone.

    `name` is the deployments' name, by default the recipe's.

    Raises:
        RecipeError, DataError: the recipe or a file that it names is wrong.
        ServerError: PREFECT_API_URL is not set.
    """
    opened = open_run(recipe, rows=rows)
    if PREFECT_API_URL.value() is None:
        raise ServerError(
            "a schedule needs a Prefect server: start one with `prefect server start`, "
            "and export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    name = name or opened.recipe.name
    scheduled = RunnerDeployment.from_flow(
        pipeline,
        name,
        cron=cron,
        interval=interval,
        parameters={"recipe": str(recipe.resolve()), "rows": rows},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    by_hand = RunnerDeployment.from_flow(
        finetune, name, parameters={"run": str(opened.folder)}, entrypoint_type=EntrypointType.MODULE_PATH
    )
    prefect.serve(scheduled, by_hand, limit=1)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line of `serve`."""
    parser = argparse.ArgumentParser("python -m flows.deploy", description=serve.__doc__)
    parser.add_argument("recipe", metavar="RECIPE", type=Path)
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--cron", help='when to run, e.g. "0 2 * * *"')
    when.add_argument("--interval", type=int, help="seconds between runs")
    parser.add_argument("--rows", type=int, help="use so many seeds instead of [seeds] rows")
    given = parser.parse_args(argv)
    with stopped_politely():
        serve(given.recipe, cron=given.cron, interval=given.interval, rows=given.rows)


if __name__ == "__main__":
    main()
