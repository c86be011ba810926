"""The loss curve of a training that is killed at random moments beside that of an undisturbed one.

    python benchmarks/killed.py RUN/train OUT                  the embedded model, LoRA, 96 rows, five kills
    python benchmarks/killed.py RUN/train OUT --adapter none --rows 64 --kills 3

Each process is a group of its own and ends by SIGKILL, at a random part of a random step (the moments are
drawn from --seed). What was killed is started again, as a user would.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import orjson
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from synth.student.data import files
from synth.student.job import Job
from synth.tables import Train
from synth.weights import EMBEDDED, find_model

SAVE_STEPS = 4
out = Console(highlight=False)


def child(config: str, model: str, data: str, folder: str) -> None:
    """One training; a line a step on stdout."""
    from synth.student.train import train

    job = Job(Train.model_validate_json(config), Path(model), Path(data), Path(folder))
    train(job, on_step=lambda step: print(step.step, step.loss, flush=True))  # noqa: T201


def started(config: Train, model: Path, data: Path, folder: Path) -> "subprocess.Popen[str]":
    """The same in a process group of its own."""
    given = [config.model_dump_json(), str(model), str(data), str(folder)]
    return subprocess.Popen(
        [sys.executable, __file__, "child", *given], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def steps_of(process: "subprocess.Popen[str]", die_at: float | None) -> list[int]:
    """The steps that a process takes; it is killed in the middle of a step where one is named."""
    assert process.stdout is not None
    taken: list[int] = []
    last = time.monotonic()
    for line in process.stdout:
        taken.append(int(line.split()[0]))
        now = time.monotonic()
        if die_at is not None and taken[-1] >= int(die_at):
            time.sleep((die_at % 1) * (now - last) if len(taken) > 1 else die_at % 1)
            os.killpg(process.pid, signal.SIGKILL)
            break
        last = now
    code = process.wait()
    if code != (0 if die_at is None else -signal.SIGKILL):
        raise typer.Exit(code)
    return taken


def measure(
    dataset: Annotated[Path, typer.Argument(help="a folder with train-*.parquet")],
    folder: Annotated[Path, typer.Argument(help="an empty folder for both students")],
    model: Annotated[str, typer.Option(help="a folder, or the embedded model")] = EMBEDDED,
    adapter: str = "lora",
    rows: int = 96,
    kills: int = 5,
    seed: int = 0,
) -> None:
    """Train twice, once killed again and again, and compare."""
    data = folder / "train"
    data.mkdir(parents=True)
    pq.write_table(pq.read_table(files(dataset, "train")[0]).slice(0, rows), data / "train-00000.parquet")
    base = find_model(model, out.print)
    if isinstance(base, str):
        raise typer.BadParameter(f"{base} is no folder")
    values = {"adapter": adapter, "max_length": 256, "save_steps": SAVE_STEPS}
    config = Train.model_validate(values)
    began = time.monotonic()
    every = steps_of(started(config, base, data, folder / "whole"), None)
    seconds, draw = time.monotonic() - began, random.Random(seed)
    moments = sorted(draw.uniform(1, len(every)) for _ in range(kills))
    title = f"{base.name}, {adapter}, {rows} rows"
    table = Table("killed in step", "steps taken", "taken again", title=title)
    taken: list[list[int]] = []
    for moment in [*moments, None]:
        taken.append(steps_of(started(config, base, data, folder / "killed"), moment))
    for moment, steps, after in zip(moments, taken, taken[1:], strict=False):
        begins = after[0] if after else len(every) + 1
        table.add_row(f"{moment:.2f}", f"{steps[0]} to {steps[-1]}", str(steps[-1] - begins + 1))
    losses, others = (
        orjson.loads((folder / name / "manifest.json").read_bytes())["losses"] for name in ("whole", "killed")
    )
    same = [(folder / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    out.print(table)
    out.print(f"undisturbed: {' '.join(f'{loss:.4f}' for loss in losses)}")
    out.print(f"killed:      {' '.join(f'{loss:.4f}' for loss in others)}")
    worst = max(abs(one - other) for one, other in zip(losses, others, strict=True))
    redone = sum(map(len, taken)) - len(losses)
    out.print(
        f"largest difference of {len(losses)} losses: {worst:.2e} nats a token; the weights are "
        f"{'the same bytes' if same[0] == same[1] else 'other bytes'}; {redone} steps were taken twice; "
        f"the undisturbed training took {seconds:.0f} s"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:])
    else:
        typer.run(measure)
