"""How fast, how dear and how large: `mock`, `memory`, `settle` and `vllm`."""

import asyncio
import contextlib
import json
import os
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import QUESTION, Bench, CannotMeasure, Line, Mock, Project, Usage, measure, must

from synth import weights
from synth.errors import SynthError
from synth.llm import server

SLACK = 32
"""Requests that the bare loop keeps beyond the server's slots, so that its queue is never empty."""
KEY = "SYNTH_BENCH_KEY"
TOPICS = (
    "tides bread glaciers chess bees bridges volcanoes cheese maps clocks trains tea spiders deserts violins "
    "paper lighthouses soap mountains beans rivers salt kites owls glass coral hats steam pottery wolves"
)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a pair on the mock: what its process cost, and what the server saw."""

    usage: Usage
    stats: dict[str, Any]

    @property
    def serving(self) -> float:
        """Seconds from the first request to the last answer, by the server's clock."""
        return float(self.stats["wall_s"])

    @property
    def ideal(self) -> float:
        """Seconds that the server would need with no slot ever free."""
        return float(self.stats["ideal_s"])

    @property
    def cpu_per_1k(self) -> float:
        """CPU seconds of the whole process tree for 1,000 requests."""
        return self.usage.cpu / max(1, int(self.stats["requests"])) * 1000

    def to_json(self) -> dict[str, Any]:
        """For the file; without what was printed."""
        usage = {name: value for name, value in asdict(self.usage).items() if name not in ("out", "err")}
        return {"usage": usage, "stats": self.stats}


def on_mock(mock: Mock, command: list[str], cwd: Path, what: str) -> Side:
    """A command against a mock that has forgotten everything."""
    mock.reset()
    usage = must(measure(command, cwd), what)
    return Side(usage, mock.stats())


def mock(bench: Bench, rows: int, slots: int, mean: float) -> None:
    """Two chained steps a row on a heavy-tailed server: the bare loop, then synth."""
    rows = bench.scaled(rows)
    options: dict[str, float | str] = {
        "slots": slots,
        "mean": mean,
        "sigma": 0.6,
        "tail_p": 0.05,
        "tail_x": 8,
    }
    with Mock(bench.mock, **options) as running:
        project = Project(bench.folder("mock"), rows).write([running.url])
        bench.say(f"mock: bare loop, {rows:,} rows of two steps, {slots} slots, mean {mean} s")
        bare = on_mock(running, project.bare(running.url, slots + SLACK), project.folder, "the bare loop")
        if failed := json.loads(bare.usage.out)["failed"]:
            raise CannotMeasure(f"{len(failed)} requests of the bare loop failed, the first: {failed[0]}")
        bench.say(f"mock: synth generate; the bare loop took {bare.usage.wall:.1f} s")
        synth = on_mock(running, project.generate, project.folder, "synth generate")
    kept = sum(row["status"] == "kept" for row in project.table())
    report = bench.report
    report.details["mock"] = {"rows": rows, **options, "bare": bare.to_json(), "synth": synth.to_json()}
    report.check("mock", f"kept rows of {rows:,}", kept, "all", kept == rows)
    report.add(Line("mock", "wall, whole process, s", synth.usage.wall, bare.usage.wall))
    report.add(Line("mock", "wall, serving, s", synth.serving, bare.serving))
    report.add(Line("mock", "ideal, s", synth.ideal, bare.ideal))
    for name, ours, theirs in (
        ("efficiency, whole process", synth.ideal / synth.usage.wall, bare.ideal / bare.usage.wall),
        ("efficiency, serving", synth.ideal / synth.serving, bare.ideal / bare.serving),
    ):
        ratio = ours / theirs
        report.add(Line("mock", name, ours, theirs, ratio, "ratio >= 0.97", ratio >= 0.97))
    cpu, cheap = synth.cpu_per_1k, bare.cpu_per_1k
    report.add(Line("mock", "CPU s per 1,000 requests", cpu, cheap, cpu / cheap, "<= 0.5", cpu <= 0.5))
    report.add(Line("mock", "peak memory (PSS), MB", synth.usage.peak_mb, bare.usage.peak_mb))


def memory(bench: Bench, rows: int, times: int) -> None:
    """Peak memory at `rows` and at `times` as many, on a fast server."""
    peaks = []
    for number in (bench.scaled(rows), bench.scaled(rows) * times):
        with Mock(bench.mock, slots=256, mean=0.05, sigma=0.3, tail_p=0) as running:
            project = Project(bench.folder("memory"), number).write([running.url])
            bench.say(f"memory: synth generate, {number:,} rows")
            side = on_mock(running, project.generate, project.folder, "synth generate")
        bench.report.details[f"memory_{number}"] = side.to_json()
        bench.report.add(Line("memory", f"peak (PSS) at {number:,} rows, MB", side.usage.peak_mb))
        bench.report.add(Line("memory", f"CPU s per 1,000 requests at {number:,} rows", side.cpu_per_1k))
        peaks.append(side.usage.peak_mb)
    ratio = peaks[1] / peaks[0]
    bench.report.check("memory", f"peak at {times}x the rows / at 1x", ratio, "<= 1.10", ratio <= 1.10)


def settle(bench: Bench, requests: int, engine: str, sweep: tuple[int, ...]) -> None:
    """A server that slows down as more runs at once: the best of a sweep of fixed numbers, then synth."""
    rows = bench.scaled(requests)
    options: dict[str, float | str] = {"engine": engine, "slots": 512, "tokens": 120, "sigma": 0.6}
    walls: dict[int, Side] = {}
    with Mock(bench.mock, **options) as running:
        project = Project(bench.folder("settle"), rows, steps=(QUESTION,)).write([running.url])
        for concurrency in sweep:
            bench.say(f"settle: bare loop, {rows:,} requests, {concurrency} in flight")
            command = project.bare(running.url, concurrency)
            walls[concurrency] = on_mock(running, command, project.folder, "the bare loop")
            wall = walls[concurrency].serving
            bench.report.add(Line("settle", f"wall, {concurrency} in flight, s", "", bare=wall))
        bench.say("settle: synth generate")
        synth = on_mock(running, project.generate, project.folder, "synth generate")
    best = min(walls, key=lambda concurrency: walls[concurrency].serving)
    bare = walls[best]
    details = {str(concurrency): side.to_json() for concurrency, side in walls.items()}
    bench.report.details["settle"] = {"rows": rows, **options, "bare": details, "synth": synth.to_json()}
    for name, ours, theirs in (
        (f"wall, serving, s (bare: {best} in flight)", synth.serving, bare.serving),
        ("wall, whole process, s", synth.usage.wall, bare.usage.wall),
    ):
        ratio = ours / theirs
        bench.report.add(Line("settle", name, ours, theirs, ratio, "ratio <= 1.05", ratio <= 1.05))


@contextlib.contextmanager
def real_server(bench: Bench, model: str) -> Iterator[tuple[str, str]]:
    """A vLLM server of ours for as long as the context lasts: its address and key."""
    folder = weights.find_model(model, bench.say)
    context = server.serve(folder, Path(model).name, bench.folder("server"), bench.say, replicas=1)
    with asyncio.Runner() as runner:
        (served,) = runner.run(context.__aenter__())
        try:
            yield served.base_url, served.api_key
        finally:
            runner.run(context.__aexit__(None, None, None))


def vllm(bench: Bench, requests: int, pairs: int, sweep: tuple[int, ...], endpoint: str, model: str) -> None:
    """Output tokens a second of a real server: the best of a sweep of fixed numbers, and synth, in pairs."""
    with contextlib.ExitStack() as stack:
        key = os.environ.get(KEY, "none")
        if not endpoint:
            if server.build_of_vllm() is None:
                raise CannotMeasure("vllm needs vLLM; install synth[cpu] or synth[gpu]")
            try:
                endpoint, key = stack.enter_context(real_server(bench, model))
            except SynthError as error:
                raise CannotMeasure(str(error)) from error
        _pairs(bench, bench.scaled(requests), pairs, sweep, (endpoint, key, model))


def _pairs(bench: Bench, rows: int, pairs: int, sweep: tuple[int, ...], where: tuple[str, str, str]) -> None:
    endpoint, key, model = where

    steps, folder = ("Write a few sentences about {topic}. Example number {n}.",), bench.folder("vllm")

    def fresh() -> Project:
        """The same project without a run: what the endpoint can do is all that it remembers."""
        for run in (folder / "data" / "runs").glob("bench-*"):
            shutil.rmtree(run)
        project = Project(folder, rows, steps, 64, model, api_key_env=KEY, topics=tuple(TOPICS.split()))
        return project.write([endpoint])

    def bare(concurrency: int) -> tuple[float, float]:
        project = fresh()
        command = project.bare(endpoint, concurrency)
        usage = must(measure(command, project.folder, env={KEY: key}), "the bare loop")
        told = json.loads(usage.out)
        if told["failed"]:
            raise CannotMeasure(f"{len(told['failed'])} requests failed, the first: {told['failed'][0]}")
        return told["tokens"] / told["seconds"], told["tokens"] / usage.wall

    def synth() -> tuple[float, float]:
        project = fresh()
        usage = must(measure(project.generate, project.folder, env={KEY: key}), "synth generate")
        tokens = sum(row["completion_tokens"] for row in project.table())
        asked = json.loads((project.run / "manifest.json").read_text())["stages"]["generate"]["asked"]
        return tokens / asked["teacher"]["seconds"], tokens / usage.wall

    speeds = {}
    bench.say("vllm: warming up")
    bare(sweep[0])
    for concurrency in sweep:
        bench.say(f"vllm: bare loop, {rows:,} requests, {concurrency} in flight")
        speeds[concurrency] = bare(concurrency)[0]
        measured = f"output tokens/s, {concurrency} in flight"
        bench.report.add(Line("vllm", measured, "", bare=speeds[concurrency]))
    best = max(speeds, key=lambda concurrency: speeds[concurrency])
    seen = []
    for number in range(pairs):
        bench.say(f"vllm: pair {number + 1} of {pairs}, bare at {best}, then synth generate")
        seen.append((bare(best), synth()))
    bench.report.details["vllm"] = {
        "rows": rows,
        "model": model,
        "sweep": speeds,
        "best": best,
        "pairs": seen,
    }
    for index, name in enumerate(("serving", "whole process")):
        theirs = statistics.median(pair[0][index] for pair in seen)
        ours = statistics.median(pair[1][index] for pair in seen)
        ratio = statistics.median(pair[1][index] / pair[0][index] for pair in seen)
        measured = f"output tokens/s, {name}, median of {pairs} pairs (bare: {best} in flight)"
        bench.report.add(Line("vllm", measured, ours, theirs, ratio, "ratio >= 0.97", ratio >= 0.97))
