"""Commands about students: the gate, the registry of those that passed, what a step or a seed changes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from synth import ablation, gains, gate, pipeline, recipe, students
from synth.screen import close, out, rows_shown, say, steps_shown

Target = Annotated[Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe file, or the folder of a run.")]
Rows = Annotated[int | None, typer.Option("--rows", min=1, help="Use so many seeds instead of [seeds] rows.")]
Name = Annotated[str, typer.Argument(help="A student of data/students.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `synth` command."""
    app.command("gate")(gate_)
    app.command("students")(students_)
    app.command()(promote)
    app.command()(rollback)
    app.command()(repeat)
    app.command()(ablate)


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


def repeat(
    target: Target,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings in all.")] = 3,
    rows: Rows = None,
) -> None:
    """Train and evaluate with several seeds: how much of a gain is luck. The gate reads what comes of it."""
    opened = pipeline.open_run(target, rows=rows, say=say)
    with steps_shown() as stepped:
        found = ablation.repeat(opened, seeds, ablation.fit_with(stepped))
    table = _table(f"{seeds} seeds, their scores meant by question; 95% lies in []")
    for column in ("evaluation", "student, by seed", "range", "difference", "verdict"):
        table.add_column(column, overflow="fold")
    for row in found:
        means = " · ".join(gains.in_unit(mean, row, sign=False) for mean in row["means"])
        spread = gains.in_unit(row["seed_range"], row, sign=False)
        verdict = "shown" if row["shown"] else "not shown"
        gain = f"student - {row['against']} {gains.sentence(row['gain'], row)}"
        table.add_row(gains.name_of(row), means, spread, gain, verdict)
    out.print(table, crop=False)


def ablate(
    target: Target,
    drop: Annotated[str, typer.Option(help="Filters, judges and selectors, by name: rubric,minhash.")],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    rows: Rows = None,
) -> None:
    """Does a step pay its way? The same student with and without it, on equally many rows."""

    def make(run: pipeline.Run) -> None:
        with rows_shown() as shown:
            pipeline.generate(run, shown)
        pipeline.curate(run)

    dropped = [name for part in drop.split(",") if (name := part.strip())]
    with steps_shown() as stepped:
        fit = ablation.fit_with(stepped)
        found = ablation.ablate(target, dropped, fit, make, seeds=seeds, rows=rows, say=say)
    used = found[0].used
    table = _table(
        f"{used:,} rows each, drawn by a hash of their ids; {seeds} training(s) each; 95% lies in []"
    )
    for column in ("recipe", "rows made", "evaluation", "student", "what the step brings", "verdict"):
        table.add_column(column, overflow="fold")
    for variant in found:
        name = f"without {variant.dropped}" if variant.dropped else "whole"
        for row in variant.rows:
            mean = gains.in_unit(sum(row["means"]) / len(row["means"]), row, sign=False)
            gain = gains.sentence(row["gain"], row) if variant.dropped else ""
            verdict = ablation.verdict(row) if variant.dropped else ""
            table.add_row(name, f"{variant.available:,}", gains.name_of(row), mean, gain, verdict)
    out.print(table, crop=False)
    if seeds == 1:
        out.print("intervals are over questions; the luck of one training is not in them: --seeds 3 shows it")


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold")


def _root() -> Path:
    """The project that the command is given in."""
    return recipe.find_root(Path.cwd() / "recipe.toml")


def _versions(known: students.Students) -> Table:
    table = _table(known.folder.name)
    for column in ("version", "champion", "run", "scores"):
        table.add_column(column, overflow="fold")
    champion = known.champion
    for version in known.versions:
        mark = "champion" if version == champion else ""
        table.add_row(version, mark, known.run_of(version), "\n".join(gate.shown(known.scores_of(version))))
    return table
