"""A student that must not pass: the answers of a finished run, shuffled among its rows.

    python benchmarks/shuffled.py RUN

Trains and evaluates the same student on the shuffled rows, in a run folder beside RUN, and holds it against
RUN's gate (against a plain [gate] where its recipe has none). Prints what the gate says of both. Exits 0
where the gate refuses the shuffled one and the champion stays, else 1.
"""

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from rich.console import Console

from synth import ablation, gate, scoring
from synth.runs import Run, open_run
from synth.screen import say, steps_shown
from synth.store import read_parquet, write_parquet
from synth.students import Students
from synth.tables import Gate
from synth.variants import beside

SEED = 20240601
out = Console(highlight=False, soft_wrap=True)


def shuffled(source: Path, target: Path) -> None:
    """The rows of a training file, each with the last answer of another."""
    table = read_parquet(source)
    rows = table["messages"].to_pylist()
    order = list(range(len(rows)))
    random.Random(SEED).shuffle(order)
    answers = {here: rows[there][-1] for here, there in zip(order, order[1:] + order[:1], strict=True)}
    turns = [[*row[:-1], answers[number]] for number, row in enumerate(rows)]
    place, kind = table.column_names.index("messages"), table["messages"].type
    write_parquet(target, table.set_column(place, "messages", pa.array(turns, kind)))


def held(run: Run) -> gate.Decision:
    """Trained, evaluated, and what the gate says of it."""
    with steps_shown() as stepped:
        ablation.fit_with(stepped)(run)
    for line in scoring.sentences(scoring.read(run.folder)):
        out.print(line)
    decision = gate.hold(run)
    for line in gate.sentences(decision):
        out.print(line)
    return decision


def main(run: Annotated[Path, typer.Argument(help="The folder of a finished run, or its recipe.")]) -> None:
    """Hold a student of shuffled answers against the gate that the true one was held against."""
    opened = open_run(run, say=say)
    if opened.recipe.gate is None:
        recipe = opened.recipe.model_copy(update={"gate": Gate()})
        opened = Run(replace(opened.checked, recipe=recipe), opened.dataset, say)
    out.print(f"[bold]{opened.folder.name}")
    held(opened)
    assert opened.recipe.gate is not None
    students = Students(opened.recipe.root, opened.recipe.gate.name or opened.recipe.name)
    before = students.champion
    worse = beside(opened, "shuffled", shuffled)
    out.print(f"\n[bold]{worse.folder.name}: the same rows, each with the answer of another")
    decision = held(worse)
    stays = students.champion == before
    out.print(f"\nrefused: {not decision.passed}; the champion is {before or 'nobody'} as before: {stays}")
    sys.exit(0 if stays and not decision.passed else 1)


if __name__ == "__main__":
    typer.run(main)
