"""The command line.

Exit codes: 0 done, 2 the recipe or a file is wrong, 3 no teacher, 4 training failed or the gate refused the
student, 130 stopped by Ctrl-C.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from synth import catalogue, commands, edits, engine, gate, page, pipeline, previews, quality, report, upkeep
from synth import tune as tuning
from synth.errors import SynthError
from synth.screen import close, err, out, rows_shown, say, steps_shown


class Commands(TyperGroup):
    """One line on stderr and an exit code for what a user can mend; a traceback for a bug."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except SynthError as error:
            err.print(f"synth: {error}", soft_wrap=True, markup=False)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            err.print("synth: stopped; run the same command again to go on: every reply so far is kept")
            sys.exit(130)


app = typer.Typer(
    cls=Commands,
    help="Synthetic instruction data from one recipe, and a student whose gain is measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Target = Annotated[Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe file, or the folder of a run.")]
RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file.")]
OrDataset = Annotated[
    str, typer.Argument(metavar="RECIPE|RUN|DATASET", help="With --recipe: a file, a folder, hub:owner/name.")
]
OfRecipe = Annotated[
    Path | None,
    typer.Option(help="Take the rows of a dataset through the filters and selectors of this recipe."),
]
Rows = Annotated[int | None, typer.Option("--rows", min=1, help="Use so many seeds instead of [seeds] rows.")]


@app.command()
def check(recipe: RecipeFile, rows: Rows = None) -> None:
    """Validate everything that can be validated without a teacher."""
    run = pipeline.open_run(recipe, rows=rows)
    checked = run.checked
    planned = engine.planned_rows(run.recipe.generate, len(checked.seeds))
    out.print(f"{recipe}: good. {len(checked.seeds):,} seeds, {planned:,} rows planned", soft_wrap=True)
    for note in checked.notes():
        out.print(note, soft_wrap=True, markup=False)
    out.print(f"run folder: {report.relative(run.folder)}", soft_wrap=True)


@app.command()
def preview(
    recipe: RecipeFile,
    n: Annotated[int, typer.Option("-n", min=1, help="Records to make.")] = 5,
    scripted: Annotated[
        str | None, typer.Option(help="Ask no model: `echo`, or module:function of a scripted teacher.")
    ] = None,
    rows: Rows = None,
) -> None:
    """Make a few records, print them with their verdicts, and project the whole run."""
    run = pipeline.open_run(recipe, rows=rows, say=say)
    previewed = previews.preview(run, n, scripted)
    for record in previewed.records:
        out.print(report.record_panel(record))
    for line in report.projection(run, previewed):
        out.print(line, soft_wrap=True)


@app.command()
def run(target: Target, rows: Rows = None) -> None:
    """Generate, curate, train, evaluate and pass the gate, as far as the recipe goes."""
    opened = pipeline.open_run(target, rows=rows, say=say)
    with rows_shown() as shown:
        pipeline.generate(opened, shown)
    pipeline.curate(opened)
    if opened.recipe.train:
        with steps_shown() as stepped:
            pipeline.train(opened, stepped)
        if opened.recipe.evaluate:
            pipeline.evaluate(opened)
    decision = gate.hold(opened) if opened.recipe.gate else None
    close(opened)
    if decision is not None:
        gate.enforce(decision)


@app.command()
def generate(recipe: Target, rows: Rows = None) -> None:
    """Ask the teacher for every row that is not there yet."""
    opened = pipeline.open_run(recipe, rows=rows, say=say)
    with rows_shown() as shown:
        pipeline.generate(opened, shown)
    close(opened)


@app.command()
def curate(target: OrDataset, recipe: OfRecipe = None, rows: Rows = None) -> None:
    """Hold the kept rows of a run against one another, or curate any dataset; write the training set."""
    opened = _of_run_or_rows(target, recipe, rows)
    pipeline.curate(opened)
    close(opened)


@app.command()
def dedup(
    target: Target,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Similarity from which a row repeats another.")
    ],
    step: Annotated[str, typer.Option(help="The selector: minhash or semantic.")] = "minhash",
) -> None:
    """Another threshold for the near-duplicates of a run: a new run of the same rows. Asks no model."""
    change = edits.with_key(target, "select", step, "threshold", threshold)
    opened = pipeline.open_run(target, say=say, change=change)
    pipeline.generate(opened)
    pipeline.curate(opened)
    close(opened)


@app.command()
def train(
    target: OrDataset,
    recipe: OfRecipe = None,
    launcher: Annotated[
        str | None, typer.Option(help="Train in several processes: accelerate or torchrun starts them.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on this machine; one for each visible GPU by default."),
    ] = None,
    sharding: Annotated[
        str, typer.Option(help="ddp: each process holds the model; fsdp2: each holds a part of it.")
    ] = "ddp",
    nodes: Annotated[int, typer.Option(min=1, help="Machines; run the same command on each.")] = 1,
    node_rank: Annotated[int, typer.Option(min=0, help="Which of them this is, from 0.")] = 0,
    rdzv: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where node 0 is reached.")] = "",
    rows: Rows = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show one row with its trained tokens marked, and counts.")
    ] = False,
) -> None:
    """Fine-tune the student on a run's training set, or on a dataset that a recipe curates first.

    In this process, or by a launcher in several.
    """
    launch = None
    if launcher is not None or processes is not None or nodes > 1:
        launch = pipeline.Launch(launcher or "accelerate", processes, sharding, nodes, node_rank, rdzv)
    opened = _of_run_or_rows(target, recipe, rows)
    if recipe is not None:
        pipeline.curate(opened)
    if dry_run:
        for line in previews.training(opened).lines():
            out.print(line, soft_wrap=True, markup=False, highlight=False)
        return
    with steps_shown() as stepped:
        pipeline.train(opened, stepped, launch)
    close(opened)


@app.command()
def evaluate(target: Target, rows: Rows = None) -> None:
    """Score the student beside its untrained base."""
    opened = pipeline.open_run(target, rows=rows, say=say)
    pipeline.evaluate(opened)
    close(opened)


@app.command()
def show(
    target: Target,
    rows: Rows = None,
    records: Annotated[int, typer.Option("-n", min=0, help="Records to print.")] = 0,
    status: Annotated[str, typer.Option(help="Which records: kept, rejected or failed.")] = "kept",
) -> None:
    """What became of a run's rows, by step and reason, and its scores."""
    opened = pipeline.open_run(target, rows=rows, say=say)
    stage = "curated" if opened.dataset.shards("curated") else "raw"
    if opened.dataset.shards(stage):
        out.print(report.counts_table(opened.dataset.counts(stage)))
    left = records
    for record in opened.dataset.scan(stage) if records else ():
        if left and record.status == status:
            out.print(report.record_panel(record))
            left -= 1
    close(opened)


@app.command("quality")
def quality_(target: Target, rows: Rows = None) -> None:
    """How varied a run's rows are after each stage; writes quality.json. To inform, not as a target."""
    opened = pipeline.open_run(target, rows=rows, say=say)
    out.print(report.quality_tables(quality.of(opened.dataset, opened.recipe), out.width))
    out.print(f"run folder: {report.relative(opened.folder)}", soft_wrap=True)


@app.command("report")
def report_(target: Target, rows: Rows = None) -> None:
    """Write report.html into a run: counts, quality by stage, rejected rows, scores, on one page."""
    opened = pipeline.open_run(target, rows=rows, say=say)
    out.print(f"report: {report.relative(page.write(opened.dataset, opened.recipe))}", soft_wrap=True)


@app.command()
def strategies(
    name: Annotated[
        str | None, typer.Argument(help="One of them, or module:Class of your own; all that ship by default.")
    ] = None,
) -> None:
    """What each strategy does, after which paper; of one also its fields, prompt files and an example."""
    out.print(catalogue.strategy(name) if name else catalogue.strategies(), crop=False)


@app.command()
def serve(
    recipe: RecipeFile,
    role: Annotated[str, typer.Option(help="teacher, judge or student.")] = "teacher",
) -> None:
    """Keep a model of the recipe up; runs that need it use it, until Ctrl-C."""
    run = pipeline.open_run(recipe, say=say)
    try:
        upkeep.serve(run, role)
    except KeyboardInterrupt:
        say("stopped")


@app.command()
def tune(
    recipe: RecipeFile,
    minutes: Annotated[float, typer.Option(min=0.0, help="Begin nothing that would take longer.")] = 10.0,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Requests to measure with; 192 by default, 96 on a CPU.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Leave the recipe as it is.")] = False,
    rows: Rows = None,
) -> None:
    """Measure which flags make vLLM fastest here, and write them into the recipe's [teacher]."""
    opened = pipeline.open_run(recipe, rows=rows, say=say)
    found = tuning.tune(opened, minutes=minutes, requests=requests, write=not dry_run)
    out.print(tuning.shown(found))
    for line in tuning.outcome(opened, found, written=not dry_run):
        out.print(line, soft_wrap=True, markup=False)


commands.register(app)
journal = typer.Typer(help="The replies that a run has paid for.", no_args_is_help=True)
app.add_typer(journal, name="journal")


@journal.command("stats")
def journal_stats(target: Target, rows: Rows = None) -> None:
    """Replies, tokens and time by model and step."""
    out.print(report.journal_table(pipeline.open_run(target, rows=rows).folder / "journal"))


@journal.command("prune")
def journal_prune(target: Target, rows: Rows = None) -> None:
    """Write the journal anew, without torn lines and without replies that are there twice."""
    before, after = upkeep.prune(pipeline.open_run(target, rows=rows))
    out.print(f"journal: {before:,} bytes before, {after:,} after")


@app.command()
def deploy(
    recipe: RecipeFile,
    cron: Annotated[str | None, typer.Option(help='When to run, e.g. "0 2 * * *".')] = None,
    interval: Annotated[int | None, typer.Option(min=1, help="Seconds between runs.")] = None,
    rows: Rows = None,
) -> None:
    """Serve the pipeline on a schedule to a Prefect server (PREFECT_API_URL)."""
    from flows import deploy as served

    pipeline.open_run(recipe, rows=rows)
    served.serve(recipe, cron=cron, interval=interval, rows=rows)


def _of_run_or_rows(target: str, recipe: Path | None, rows: int | None) -> pipeline.Run:
    """The run of a recipe or of a folder; or, with `recipe`, that of a dataset's rows, which it reads."""
    if recipe is None:
        return pipeline.open_run(target, rows=rows, say=say)
    opened = pipeline.open_run(recipe, rows=rows, say=say, change=edits.of_rows(recipe, target))
    with rows_shown() as shown:
        pipeline.generate(opened, shown)
    return opened


def _terminate(number: int, frame: object) -> None:
    signal.raise_signal(signal.SIGINT)  # asyncio ends its tasks in order then


def main() -> None:
    """The `synth` command; SIGTERM stops it as Ctrl-C does, in the background of a shell too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    app()
