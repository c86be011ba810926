"""`synth generate` against a mock vLLM server and a real one, each beside a bare loop in the same run.

    python benchmarks/engine.py all                  everything, at full size (`make bench`)
    python benchmarks/engine.py --scale 0.1 mock     one part, smaller

Exit codes: 0 every target met, 1 one missed or a part could not be measured, 2 the mock server is missing.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import harness
import speed
import trouble
import typer
from harness import Bench, CannotMeasure, Line, Report
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
out = Console(highlight=False)
if not out.is_terminal:
    out.width = 130
err = Console(stderr=True, highlight=False)
app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Rows = Annotated[int, typer.Option("--rows", min=1, help="Rows at scale 1.")]
Numbers = Annotated[str, typer.Option("--sweep", help="Fixed numbers in flight that the bare loop tries.")]
SETTLE, VLLM = "64,128,256,512,1024", "16,32,64,128,256"
ENGINE = "19,0.137"
MODEL = "smollm2-135m-instruct"


@app.callback()
def options(
    context: typer.Context,
    mock_folder: Annotated[
        Path, typer.Option("--mock", metavar="DIR", help="Where mockllm.c lies.")
    ] = ROOT.parent / "shared" / "bench",
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write every figure as JSON.")
    ] = None,
    scale: Annotated[float, typer.Option(min=0.0, help="Multiplies every number of rows.")] = 1.0,
    keep: Annotated[bool, typer.Option(help="Leave the working folder where it is.")] = False,
) -> None:
    """Options of every part, given before its name."""
    work = Path(tempfile.mkdtemp(prefix="synth-bench-"))
    if keep:
        err.print(f"working in {work}", style="dim")
    else:
        context.call_on_close(lambda: shutil.rmtree(work, ignore_errors=True))
    try:
        binary = harness.build_mock(mock_folder, work)
    except CannotMeasure as error:
        err.print(str(error), soft_wrap=True, markup=False)
        raise typer.Exit(2) from error
    bench = Bench(binary, work, Report(), lambda text: err.print(text, style="dim", markup=False), scale)
    context.obj = (bench, out_file)


@contextmanager
def reported(context: typer.Context) -> Iterator[Callable[[str, Callable[[Bench], None]], None]]:
    """Yields what runs one part; at the end prints the table, writes the file and sets the exit code."""
    bench, out_file = context.obj
    machine = _machine()

    def part(name: str, run: Callable[[Bench], None]) -> None:
        try:
            run(bench)
        except CannotMeasure as error:
            bench.report.add(Line(name, "could not be measured", str(error), met=False))

    try:
        yield part
    finally:
        out.print(_table(bench.report.lines))
        if out_file is not None:
            data = {"machine": machine, "scale": bench.scale, **bench.report.to_json()}
            out_file.parent.mkdir(parents=True, exist_ok=True)
            out_file.write_text(json.dumps(data, indent=1) + "\n")
    if any(line.met is False for line in bench.report.lines):
        raise typer.Exit(1)


def _machine() -> dict[str, Any]:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "commit": commit,
        "versions": {name: version(name) for name in ("synth", "aiohttp", "orjson", "pyarrow")},
    }


def _table(lines: list[Line]) -> Table:
    table = Table("part", "measure", "bare", "synth", "ratio", "target", "met")
    for line in lines:
        met = {None: "", True: "yes", False: "NO"}[line.met]
        cells = (line.bare, line.synth, line.ratio)
        table.add_row(line.part, escape(line.measure), *map(_cell, cells), line.target, met)
    return table


def _cell(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return escape(value or "")
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


@app.command()
def mock(
    context: typer.Context,
    rows: Rows = 10_000,
    slots: Annotated[int, typer.Option(min=1, help="Sequences that the server runs at once.")] = 256,
    mean: Annotated[float, typer.Option(help="Mean service time, s.")] = 2.0,
) -> None:
    """Efficiency, CPU and memory beside the bare loop."""
    with reported(context) as part:
        part("mock", lambda bench: speed.mock(bench, rows, slots, mean))


@app.command()
def faults(
    context: typer.Context,
    rows: Rows = 1_000,
    outage: Annotated[float, typer.Option(help="Seconds for which a server is away.")] = 20.0,
) -> None:
    """No row lost or doubled under faults and outages; exactly the poisoned rows fail."""
    with reported(context) as part:
        part("faults", lambda bench: trouble.faults(bench, rows, outage))


@app.command()
def kill(
    context: typer.Context,
    rows: Rows = 2_000,
    kills: Annotated[int, typer.Option(min=1, help="How often the run is killed.")] = 20,
    seed: Annotated[int, typer.Option(help="Decides the moments.")] = 0,
) -> None:
    """kill -9 at random moments: the same bytes, and nothing paid for twice."""
    with reported(context) as part:
        part("kill", lambda bench: trouble.kill(bench, rows, kills, seed))


@app.command()
def memory(
    context: typer.Context,
    rows: Rows = 10_000,
    times: Annotated[int, typer.Option(min=2, help="How many times as many rows in the second run.")] = 10,
) -> None:
    """Peak memory at two sizes."""
    with reported(context) as part:
        part("memory", lambda bench: speed.memory(bench, rows, times))


@app.command()
def settle(
    context: typer.Context,
    rows: Rows = 3_000,
    sweep: Numbers = SETTLE,
    engine: Annotated[str, typer.Option(help="A decode step of k sequences takes A + B k ms.")] = ENGINE,
) -> None:
    """The throttle against the best fixed number in flight."""
    with reported(context) as part:
        part("settle", lambda bench: speed.settle(bench, rows, engine, _numbers(sweep)))


@app.command()
def vllm(
    context: typer.Context,
    rows: Rows = 300,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of runs.")] = 3,
    sweep: Numbers = VLLM,
    endpoint: Annotated[str, typer.Option(help="A /v1 address, instead of a server of our own.")] = "",
    model: Annotated[str, typer.Option(help="The model to serve, or the endpoint's name for it.")] = MODEL,
) -> None:
    """Output tokens a second of real vLLM, beside the best fixed number in flight."""
    with reported(context) as part:
        part("vllm", lambda bench: speed.vllm(bench, rows, pairs, _numbers(sweep), endpoint, model))


@app.command(name="all")
def everything(context: typer.Context) -> None:
    """Every part, one after the other."""
    with reported(context) as part:
        part("mock", lambda bench: speed.mock(bench, 10_000, 256, 2.0))
        part("faults", lambda bench: trouble.faults(bench, 1_000, 20.0))
        part("kill", lambda bench: trouble.kill(bench, 2_000, 20, 0))
        part("memory", lambda bench: speed.memory(bench, 10_000, 10))
        part("settle", lambda bench: speed.settle(bench, 3_000, ENGINE, _numbers(SETTLE)))
        part("vllm", lambda bench: speed.vllm(bench, 300, 3, _numbers(VLLM), "", MODEL))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    app()
