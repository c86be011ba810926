"""The four verbs: `generate`, `curate`, `train`, `evaluate`. Each takes a run up where it was left.

A verb whose inputs are those that the manifest names, and whose files still have their bytes, is done: it
asks nothing and starts nothing.
"""

import asyncio
import gc
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from synth import (
    annotated,
    asking,
    curation,
    engine,
    export,
    scoring,
    systems,
    takeover,
    targets,
    teaching,
    unasked,
)
from synth.account import account, spent
from synth.engine import Progress
from synth.errors import DataError, RecipeError, TrainError
from synth.llm.asker import Asker, Meter
from synth.models import Models, servers_of
from synth.runs import Run as Run
from synth.runs import open_run as open_run
from synth.store import Counts, sha256, write_whole
from synth.student.job import Job
from synth.student.launch import Launch as Launch
from synth.student.launch import join, runner
from synth.student.publish import describe
from synth.types import Prompt, Sampling
from synth.units import Steps
from synth.weights import find_model, identify

if TYPE_CHECKING:
    from synth.student.watch import TrainStep


def generate(run: Run, on_progress: Callable[[Progress, Models], None] = lambda *_: None) -> Counts:
    """Ask the teacher for every planned row that is not there yet; write `raw/`.

    Raises:
        TeacherError, ShareFailedError: the run can't go on now; all so far is kept.
        BusyError: another process works on this run.
        RecipeError: the run folder was made of other seeds, prompts or rows.
    """
    if run.folder.name != f"{run.recipe.name}-{run.checked.key}":
        mend = "its seeds, prompts or --rows changed since; name the recipe file to start a new run"
        raise RecipeError(run.folder, "", mend)
    with run.dataset.lock():
        if run.dataset.done("generate", run.checked.raw_key) is not None:
            run.say("generate: done before, 0 requests")
        elif (other := takeover.take_over(run.dataset, run.recipe, run.checked.raw_key)) is not None:
            run.say(f"generate: the rows are those of {other.name}, 0 requests")
        else:
            write_whole(run.folder / "recipe.toml", run.recipe.text.encode())
            for note in run.checked.notes():
                run.say(note)
            with _few_collections():
                asyncio.run(_generate(run, on_progress))
        counts = run.dataset.counts("raw")
    return counts


async def _generate(run: Run, on_progress: Callable[[Progress, Models], None]) -> None:
    recipe, start = run.recipe, time.monotonic()
    target = recipe.run.target
    progress = Progress(
        0 if target else engine.planned_rows(recipe.generate, len(run.checked.seeds)), target=target
    )
    with run.journal() as journal, run.novelty() as novelty:
        async with (
            Models(journal, run.folder / "logs", run.say) as models,
            _watched(lambda: on_progress(progress, models)),
        ):
            steps = replace(steps_of(run, models), novelty=novelty)
            files = await (_planned if target is None else _targeted)(run, steps, progress)
            cost = account(models, recipe, time.monotonic() - start)
        if novelty is not None and (
            shared := novelty.share(r for r in run.dataset.scan("raw") if r.status == "kept")
        ):
            run.say(f"novelty: {shared:,} questions of kept rows added to {novelty.shared}")
        if progress.done != progress.planned:
            raise AssertionError(f"{progress.done} rows came of {progress.planned} planned")
        entry = {
            "inputs": run.checked.raw_key,
            "questions": run.checked.questions_key,
            "rows": recipe.seeds.rows,
            "counts": run.dataset.counts("raw").to_json(),
            **cost,
            "spent": spent(run.dataset, "raw"),
            "torn_journal_lines": journal.torn,
            "seconds": round(time.monotonic() - start, 1),
            "versions": {name: version(name) for name in ("synth", "pyarrow", "aiohttp", "jinja2")},
        }
        run.dataset.record("generate", entry, files)


async def _planned(run: Run, steps: Steps, progress: Progress) -> list[Path]:
    recipe = run.recipe
    shards = engine.plan(recipe.generate, run.checked.seeds, recipe.run.shard_rows)
    if unasked.is_unasked(recipe) and len(run.checked.seeds) > recipe.run.shard_rows:
        return await asyncio.to_thread(unasked.generate, shards, steps, run.folder / "raw", progress)
    return await engine.generate(shards, steps, run.folder / "raw", progress, recipe.run.max_failed)


async def _targeted(run: Run, steps: Steps, progress: Progress) -> list[Path]:
    """Rows until so many are kept by the selectors too, or the candidates are used up."""
    recipe, wanted = run.recipe, quotas_of(run)
    goals = wanted
    while True:
        files = await targets.fill(
            goals, steps, run.folder / "raw", progress, recipe.run.max_failed, recipe.run.shard_rows
        )
        raw = curation.kept(run.dataset, curation.undecided(run.dataset), wanted)
        decided = await asyncio.to_thread(_selected, run, _ask_in(asyncio.get_running_loop(), steps.judge))
        kept = curation.kept(run.dataset, decided, wanted)
        higher = targets.raised(wanted, goals, raw, kept)
        if higher == goals:
            break
        goals = higher
        run.say(
            f"target: {progress.kept - kept.total():,} rows go in the selection; making others in their place"
        )
    target = sum(quota.kept for quota in wanted)
    if short := target - kept.total():
        spent = f"{recipe.run.candidates:g} candidates a row are used up; raise [run] candidates"
        run.say(f"target: {short:,} of {target:,} rows are missing: {spent}")
    return files


def _selected(run: Run, ask: curation.AskAll) -> curation.Decided:
    checked = run.checked
    return curation.select(run.dataset, run.recipe.select, checked.prompts, ask, checked.questions)


def _ask_in(loop: asyncio.AbstractEventLoop, judge: Asker) -> curation.AskAll:
    """Asks in a loop that runs in another thread."""
    return lambda by, asked, sampling: asyncio.run_coroutine_threadsafe(
        judge.of(by).all(asked, sampling), loop
    ).result()


def quotas_of(run: Run) -> list[targets.Quota]:
    """The recipe's target, shared out."""
    recipe = run.recipe
    assert recipe.run.target is not None
    return targets.quotas(
        recipe.generate, run.checked.seeds, recipe.run.target, recipe.run.candidates, recipe.seeds.balance
    )


def steps_of(run: Run, models: Models) -> Steps:
    """The run's checks, and who answers for its roles."""
    recipe = run.recipe

    def asker(name: str) -> Asker:
        asking = [step for step in recipe.generate if name in step.askers]
        judges = recipe.judges if name == "judge" else ()
        wanted = [(s.name, s.needs_of(name)) for s in asking] + [(j.name, j.needs) for j in judges]
        needs = {ability: step for step, abilities in reversed(wanted) for ability in abilities}
        if recipe.roles[name].top_logprobs is not None:
            needs["logprobs"] = f"[{name}] top_logprobs"
        return models.asker(name, recipe.roles[name], needs=needs, several=any(s.several for s in asking))

    steps = steps_by(run, asker("teacher"), asker("judge"))
    return replace(steps, others={name: asker(name) for name in recipe.teachers})


def steps_by(run: Run, teacher: Asker, judge: Asker) -> Steps:
    """The run's checks with these askers."""
    servers = servers_of(run.recipe.teacher)
    others = dict.fromkeys(run.recipe.teachers, teacher)
    checks = run.recipe.filters, run.recipe.judges
    return Steps(*checks, run.checked.prompts, teacher, judge, servers, others)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Garbage is collected seldom: rows hold no cycles, and a search through all that waits costs a fifth."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@asynccontextmanager
async def _watched(tell: Callable[[], None]) -> AsyncIterator[None]:
    """Calls `tell` twice a second, and once at the end."""

    async def loop() -> None:
        while True:
            tell()
            await asyncio.sleep(0.5)

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        tell()


def curate(run: Run) -> Counts:
    """Hold every kept row against all others; write `curated/`, `train/` and the dataset card.

    Nobody is asked, but the judge by a selector that says so.

    Raises:
        DataError: there is no finished `raw/`, or one of its files is corrupt.
        TeacherError: the judge can't be asked.
    """
    with run.dataset.lock():
        generated = run.dataset.done("generate", run.checked.raw_key)
        if generated is None:
            raise DataError(run.folder / "raw", "is not complete; run `synth generate` first")
        inputs = _hash([run.checked.key, {name: file["sha256"] for name, file in generated["files"].items()}])
        if run.dataset.done("curate", inputs) is None:
            start = time.monotonic()
            for stage in ("curated", "train", "preference", "annotated", "kept"):
                run.dataset.clear(stage)
            meters: dict[str, Meter] = {}
            decided = _selected(run, lambda by, asked, sampling: _ask_judge(run, meters, by, asked, sampling))
            if run.recipe.run.target is not None:
                curation.trim(run.dataset, decided, quotas_of(run))
            files = list(curation.write(run.dataset, decided))
            files += export.write_train(run.dataset, run.recipe)
            if run.recipe.of_rows:
                files += annotated.write(run.dataset, run.recipe.seeds.path, revised=run.recipe.revises)
            counts = run.dataset.counts().to_json()
            entry = {"inputs": inputs, "counts": counts, "spent": spent(run.dataset, "curated")}
            entry["asked"] = {by: meter.to_json() for by, meter in meters.items()}
            run.dataset.record("curate", {**entry, "seconds": round(time.monotonic() - start, 1)}, files)
        return run.dataset.counts()


def _ask_judge(
    run: Run, meters: dict[str, Meter], by: str, asked: Sequence[Prompt], sampling: Sampling
) -> curation.Asked:
    """What the judge answers to a selector; it is served for as long as that takes."""
    recipe = run.recipe

    async def ask() -> curation.Asked:
        async with Models(journal, run.folder / "logs", run.say) as models:
            needs = {ability: by for step in recipe.select if step.name == by for ability in step.needs}
            judge = models.asker("judge", recipe.roles["judge"], needs=needs)
            try:
                return await judge.of(by).all(asked, sampling)
            finally:
                meters[by] = judge.meter

    with run.journal() as journal:
        return asyncio.run(ask())


def train(
    run: Run, on_step: "Callable[[TrainStep], None]" = lambda _: None, launch: Launch | None = None
) -> dict[str, Any]:
    """Fine-tune the student on `train/`; write `student/`. Takes up a killed training at its last checkpoint.

    With `launch` in several processes; a node that is not the first only takes part, and writes nothing.

    Raises:
        TrainError: the rows or the model can't be trained on.
    """
    config, student = run.recipe.train, run.recipe.student
    if config is None or student is None:
        raise RecipeError(run.recipe.file, "train", "missing; add [train] and [student]")
    if launch is not None and launch.node_rank:
        job = teaching.taught(run, _with_model(run, _job(run)), None)
        join(launch, job, run.folder / "logs" / f"train-{launch.node_rank}.log")
        return {}
    with run.dataset.lock():
        data = run.dataset.manifest.get("stages", {}).get("curate")
        if data is None:
            raise DataError(run.folder / "train", "is not there; run `synth curate` first")
        deciding = teaching.sources(run)
        files = {name: file["sha256"] for name, file in data["files"].items() if name.startswith(deciding)}
        if not any(file["rows"] for name, file in data["files"].items() if name.startswith("train/train-")):
            raise TrainError(f"{run.folder / 'train'}: no row was kept; `synth show` says why")
        job, known = _job(run), teaching.identity(run)
        if launch and known:
            raise TrainError('[train] method = "on_policy" trains in one process; leave out --launcher')
        inputs = _hash([files, identify(student.model), config.model_dump(), job.sources(), known])
        if (done := run.dataset.done("train", inputs)) is not None:
            run.say("train: done before, 0 steps")
            return done
        from synth.student.train import train as fine_tune
        from synth.student.train import train_here

        by = runner(launch, run.folder / "logs" / "train.log") if launch else train_here
        with teaching.scorer(run) as scorer:
            job = teaching.taught(run, _with_model(run, job), scorer)
            trained = fine_tune(job, on_step=on_step, say=run.say, run=by)
        for line in teaching.sentences(trained.method):
            run.say(line)
        write_whole(job.out / "recipe.toml", run.recipe.text.encode())
        written = sorted(file for file in job.out.rglob("*") if file.is_file())
        entry = {"inputs": inputs, "model": student.model, "data": files, **asdict(trained)}
        run.dataset.record("train", entry, written)
        return entry


def _job(run: Run) -> Job:
    """The training of a run whose recipe has one, but for the folder of its base model."""
    config, student = run.recipe.train, run.recipe.student
    assert config is not None and student is not None
    folders = run.folder / "train", run.folder / "student"
    return Job(config, Path(), *folders, student.template, run.recipe.name)


def _with_model(run: Run, job: Job) -> Job:
    assert run.recipe.student is not None
    model = find_model(run.recipe.student.model, run.say)
    if isinstance(model, str):
        from huggingface_hub import snapshot_download

        model = Path(snapshot_download(model))
    return replace(job, model=model)


def evaluate(run: Run) -> scoring.Scores:
    """Ask the student, its untrained base and, if named, the base with another prompt; write scores.

    Raises:
        TeacherError: a model can't be served.
        ShareFailedError: too many questions can't be asked.
    """
    student = run.recipe.student
    if student is None or not run.recipe.evaluate:
        raise RecipeError(run.recipe.file, "evaluate", "missing; add [student] and at least one [[evaluate]]")
    weights = sorted((run.folder / "student").glob("*.safetensors"))
    if not weights:
        raise DataError(run.folder / "student", "is not there; run `synth train` first")
    with run.dataset.lock():
        plan = systems.plan(run)
        identity = _hash([sha256(file) for file in weights])
        inputs = _hash([identity, student.template, plan.digest, student.sampling(), identify(student.model)])
        if run.dataset.done("evaluate", inputs) is not None:
            run.say("evaluate: done before, 0 requests")
        else:
            start = time.monotonic()
            for note in plan.notes:
                run.say(f"evaluate: {note}")
            answers, asked = asyncio.run(asking.evaluate(run, plan, f"student@{identity}"))
            files = scoring.write(run.folder, plan, answers, asking.about(run, plan))
            entry = {"inputs": inputs, "asked": asked, "seconds": round(time.monotonic() - start, 1)}
            run.dataset.record("evaluate", entry, files)
        scores = scoring.read(run.folder)
        if "train" in run.dataset.manifest["stages"]:  # else somebody put it there: its card is not ours
            run.dataset.rewritten("train", describe(run.folder / "student", scoring.sentences(scores)))
        return scores


def _hash(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
