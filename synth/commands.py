"""Commands about students: the gate, the registry of those that passed, what a step or a seed changes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from synth import gate, pipeline, recipe, students
from synth.screen import close, out, say

Target = Annotated[Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe file, or the folder of a run.")]
Rows = Annotated[int | None, typer.Option("--rows", min=1, help="Use so many seeds instead of [seeds] rows.")]
Name = Annotated[str, typer.Argument(help="A student of data/students.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `synth` command."""
    app.command("gate")(gate_)
    app.command("students")(students_)
    app.command()(promote)
    app.command()(rollback)


def gate_(target: Target, rows: Rows = None) -> None:
    """Hold a run's student against [gate]; one that passes becomes the champion of its name."""
    opened = pipeline.open_run(target, rows=rows, say=say)
    pipeline.evaluate(opened)
    decision = gate.hold(opened)
    close(opened)
    gate.enforce(decision)


def students_(
    name: Annotated[str | None, typer.Argument(help="One of them; all by default.")] = None,
) -> None:
    """The students that passed their gate: versions, champions, and scores with 95% intervals."""
    root = _root()
    known = (
        [students.named(root, name)] if name else [students.Students(root, n) for n in students.names(root)]
    )
    if not known:
        out.print("no students yet: `synth run` of a recipe with [gate] makes them")
    for each in known:
        out.print(_versions(each), crop=False)
        for entry in each.history if name else ():
            version = f" {entry['version']}" if entry["version"] else ""
            line = (
                f"{entry['time']} {entry['what']}{version} by {entry['who']}, {entry['run']}: {entry['why']}"
            )
            out.print(line, soft_wrap=True, markup=False)


def promote(
    name: Name, version: Annotated[str, typer.Argument(help="One of its versions, by `synth students`.")]
) -> None:
    """Make a version the champion of its name, whatever the gate says of it now."""
    known = students.named(_root(), name)
    with known.lock():
        known.promote(version, who=students.whoever(), why="by hand")
    out.print(f"{name}: {version} is the champion", markup=False)


def rollback(name: Name) -> None:
    """Make the champion before this one the champion again."""
    known = students.named(_root(), name)
    with known.lock():
        before = known.champion
        now = known.rollback(who=students.whoever())
    out.print(f"{name}: {now} is the champion again, in place of {before}", markup=False)


def _root() -> Path:
    """The project that the command is given in."""
    return recipe.find_root(Path.cwd() / "recipe.toml")


def _versions(known: students.Students) -> Table:
    table = Table(title=known.folder.name, title_justify="left", title_style="bold")
    for column in ("version", "champion", "run", "scores"):
        table.add_column(column, overflow="fold")
    champion = known.champion
    for version in known.versions:
        mark = "champion" if version == champion else ""
        table.add_row(version, mark, known.run_of(version), "\n".join(gate.shown(known.scores_of(version))))
    return table
