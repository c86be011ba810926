"""`python -m flows.X TARGET`: a flow from the command line, with no server set up or with PREFECT_API_URL's.

Exit codes are those of `synth`: 0 done, 2 the recipe or a file is wrong, 3 no teacher, 4 training failed or
the gate refused the student, 130 stopped.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from prefect import Flow

from flows import server
from synth import report
from synth.errors import SynthError
from synth.pipeline import open_run

ENGINE = ("prefect", "prefect.flow_runs", "prefect.task_runs")
"""Prefect's own accounts of a run. The API keeps them; the terminal gets ours, and the error at the end."""


def main(flow: Flow[..., str], argv: Sequence[str] | None = None) -> None:
    """Check the target, run the flow, print the closing lines; exits as documented above."""
    target, rows = _parse(flow, argv)
    with stopped_politely():
        open_run(target, rows=rows)
        _quiet()
        server.start()
        flow(target, **({"rows": rows} if rows else {}))
        for line in report.summary(open_run(target, rows=rows).dataset):
            typer.echo(line)


def _parse(flow: Flow[..., str], argv: Sequence[str] | None) -> tuple[str, int | None]:
    properties = flow.parameters.properties
    name = next(iter(properties))
    parser = argparse.ArgumentParser(
        f"python -m flows.{flow.name}", description=(flow.description or "").split("\n")[0]
    )
    parser.add_argument(name, metavar=name.upper(), help=properties[name]["description"])
    if "rows" in properties:
        parser.add_argument("--rows", type=int, help=properties["rows"]["description"])
    given = parser.parse_args(argv)
    return getattr(given, name), getattr(given, "rows", None)


@contextmanager
def stopped_politely() -> Iterator[None]:
    """One line on stderr and an exit code for what a user can mend, Ctrl-C and SIGTERM; bugs pass."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    except SynthError as error:
        typer.echo(f"synth: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo(
            "synth: stopped; run the same command again to go on: every reply so far is kept", err=True
        )
        sys.exit(130)


def _quiet() -> None:
    """From now on the terminal gets only our own lines and warnings."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    return hasattr(record, "synth") or (record.levelno >= logging.WARNING and record.name not in ENGINE)
