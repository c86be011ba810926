"""What must hold when things go wrong: `faults` and `kill`."""

import contextlib
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import (
    Bench,
    CannotMeasure,
    Line,
    Mock,
    Project,
    Usage,
    kill_group,
    measure,
    must,
    start,
)

from synth.seeds import make_seed

FAULTS = {"e429": 0.02, "e500": 0.02, "ereset": 0.02, "etrunc": 0.02}
POISON = 0.015
SERVER: dict[str, float | str] = {"slots": 64, "mean": 0.5, "sigma": 0.6, "tail_p": 0.05, "tail_x": 4}
LATE = 0.25
"""Seconds around a kill in which an answer may be lost; one sent earlier must be in the journal."""


def faults(bench: Bench, rows: int, outage: float) -> None:
    """Every kind of trouble in a run of its own."""
    rows = bench.scaled(rows)
    parts: list[Callable[[], None]] = [
        lambda: _mixed(bench, rows, structured=False),
        lambda: _mixed(bench, rows, structured=True),
        lambda: _outage(bench, rows, outage, servers=2),
        lambda: _outage(bench, rows, outage, servers=1),
        lambda: _poison(bench, rows, 0.05),
        lambda: _poison(bench, rows, 0.005),
    ]
    for part in parts:
        try:
            part()
        except CannotMeasure as error:
            bench.report.add(Line("faults", "could not be measured", str(error), met=False))


def _complete(project: Project, rows: int, *, structured: bool = False) -> str:
    """What is wrong with a raw table in which each row 0..N-1 must be there once, kept; "" if nothing."""
    table = project.table()
    numbers = Counter(json.loads(row["fields"]).get("n") for row in table)
    wrong = {
        "missing": sum(n not in numbers for n in range(rows)),
        "doubled": sum(count > 1 for count in numbers.values()),
        "not kept": sum(row["status"] != "kept" for row in table),
        "mixed": sum(row["status"] == "kept" and _mixed_up(row, structured) for row in table),
    }
    return ", ".join(f"{count} {what}" for what, count in wrong.items() if count)


def _mixed_up(row: dict[str, Any], structured: bool) -> bool:
    """Whether a row holds another row's reply, or no JSON where a schema was asked for."""
    tag = f"[[row:{json.loads(row['fields'])['n']}]]"
    question, answer = (message["content"] for message in row["messages"])
    if structured:
        try:
            answer = json.loads(answer)["text"]
        except (json.JSONDecodeError, KeyError, TypeError):
            return True
    return not (question.startswith(tag) and answer.startswith(tag))


def _mixed(bench: Bench, rows: int, *, structured: bool) -> None:
    """2% each of several faults; if `structured`, the second step asks by a schema and 2% are cut JSON."""
    kinds = {**FAULTS, **({"ebad": 0.02} if structured else {})}
    name = "mixed faults, JSON" if structured else "mixed faults"
    log = bench.work / "mixed.log"
    with Mock(bench.mock, **SERVER, **kinds, log=str(log)) as mock:
        project = Project(bench.folder("mixed"), rows).write([mock.url], structured=structured)
        bench.say(f"faults: {name}, {rows:,} rows")
        usage = must(measure(project.generate, project.folder), f"{name}: synth generate")
        stats = mock.stats()
        mock.close_log()
    injected = sum(stats["answers"][kind] for kind in kinds)
    bench.report.details[name] = {"stats": stats, "wall": usage.wall}
    wrong = _complete(project, rows, structured=structured)
    bench.report.check(
        "faults", f"{name}: {rows:,} rows", wrong or "all kept, once", "all kept, once", not wrong
    )
    again = _again([log])
    bench.report.check(
        "faults", f"{name}: requests paid again", again, f"<= {injected} faults", again <= injected
    )


@dataclass(slots=True)
class _Away:
    """Kills a server once it has answered `after` requests, and starts it again `seconds` later."""

    mock: Mock
    after: int
    seconds: float
    in_flight: int = 0
    killed: float = 0.0
    back: float = 0.0

    def __call__(self) -> None:
        if not self.killed:
            stats = self.mock.stats()
            if stats["answers"]["ok"] >= self.after:
                self.in_flight = stats["running"] + stats["waiting"]
                self.mock.close_log()
                self.mock.kill()
                self.killed = time.monotonic()
        elif not self.back and time.monotonic() - self.killed >= self.seconds:
            self.mock.options["log"] += ".back"
            self.mock.start()
            self.back = time.monotonic()


def _outage(bench: Bench, rows: int, seconds: float, *, servers: int) -> None:
    """One of `servers` is killed with -9 in mid-run and is back `seconds` later."""
    name = f"1 of {servers} servers away for {seconds:.0f} s"
    logs = [bench.work / f"outage-{servers}-{number}.log" for number in range(servers)]
    mocks = [Mock(bench.mock, **{**SERVER, "mean": 2, "log": str(log)}) for log in logs]
    with contextlib.ExitStack() as stack:
        for mock in mocks:
            stack.enter_context(mock)
        project = Project(bench.folder("outage"), rows).write([mock.url for mock in mocks])
        bench.say(f"faults: {name}, {rows:,} rows")
        away = _Away(mocks[0], max(1, rows // 8), seconds)
        usage = measure(project.generate, project.folder, tick=away)
        must(usage, f"{name}: synth generate")
        if not away.back:
            raise CannotMeasure(f"{name}: the run was over before the server was back; give more rows")
        for mock in mocks:
            mock.close_log()
    again = _again([*logs, Path(mocks[0].options["log"])])
    host = mocks[0].url.removesuffix("/v1")
    said = [line for line in usage.err.splitlines() if host in line]
    bench.report.details[name] = {
        "wall": usage.wall,
        "again": again,
        "in_flight": away.in_flight,
        "said": said,
    }
    wrong = _complete(project, rows)
    bench.report.check(
        "faults", f"{name}: {rows:,} rows", wrong or "all kept, once", "all kept, once", not wrong
    )
    bench.report.check("faults", f"{name}: lines that name it", len(said), ">= 1", bool(said))
    fair = away.in_flight
    bench.report.check("faults", f"{name}: answers paid again", again, f"<= {fair} in flight", again <= fair)


def poisoned(bench: Bench, rows: int) -> set[int]:
    """The rows of which a step always fails, found by the bare loop on a fast server with the same draws."""
    with Mock(bench.mock, slots=64, mean=0.001, epoison=POISON) as mock:
        project = Project(bench.folder("poisoned"), rows).write([mock.url])
        usage = must(measure(project.bare(mock.url, 64), project.folder), "the bare loop")
    return {n for n, _, _ in json.loads(usage.out)["failed"]}


def _poison(bench: Bench, rows: int, max_failed: float) -> None:
    """Some requests always fail: exactly their rows must fail, or the run stops where they are too many."""
    name = f"poison {POISON:.1%}, max_failed {max_failed:.1%}"
    bad = poisoned(bench, rows)
    with Mock(bench.mock, **SERVER, epoison=POISON) as mock:
        project = Project(bench.folder("poison"), rows).write([mock.url], max_failed=max_failed)
        bench.say(f"faults: {name}, {rows:,} rows of which {len(bad)} can't be made")
        usage = measure(project.generate, project.folder)
    bench.report.details[name] = {
        "wall": usage.wall,
        "bad": sorted(bad),
        "code": usage.code,
        "last": usage.last,
    }
    if len(bad) > max_failed * rows:
        _stopped(bench, name, usage)
        return
    must(usage, f"{name}: synth generate")
    number = {make_seed(project.seed(n)).id: n for n in range(rows)}
    table = project.table()
    failed = {number[row["seed_id"]] for row in table if row["status"] == "failed"}
    kept = {number[row["seed_id"]] for row in table if row["status"] == "kept"}
    mute = sum(row["status"] == "failed" and not row["reason"] for row in table)
    exact = failed == bad and kept == set(range(rows)) - bad and len(table) == rows
    report, target = bench.report, f"exactly the {len(bad)} bad"
    seen = f"{len(failed & bad)} bad, {len(failed - bad)} good, {len(table)} rows in all"
    report.check("faults", f"{name}: rows that failed", seen, target, exact)
    report.check("faults", f"{name}: failed without a reason", mute, "0", mute == 0)


def _stopped(bench: Bench, name: str, usage: Usage) -> None:
    bench.report.check("faults", f"{name}: exit code", usage.code, "3", usage.code == 3)
    why = usage.last
    bench.report.check("faults", f"{name}: says why", why, "names max_failed", "max_failed" in why)


@dataclass(slots=True)
class _Kills:
    """What was seen at each kill: when, what was in flight, what was answered, what was journaled."""

    moments: list[float] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    journaled: list[int] = field(default_factory=list)


def kill(bench: Bench, rows: int, kills: int, seed: int) -> None:
    """One run killed again and again with -9, beside an undisturbed one."""
    rows = bench.scaled(rows)
    log = bench.work / "kill.log"
    with Mock(bench.mock, **SERVER) as mock:
        whole = Project(bench.folder("whole"), rows).write([mock.url])
        bench.say(f"kill: an undisturbed run of {rows:,} rows")
        plain = must(measure(whole.generate, whole.folder), "synth generate")
        mock.reset(log=str(log))
        project = Project(bench.folder("kill"), rows).write([mock.url])
        seen = _killed_often(bench, project, mock, kills, seed)
        bench.say("kill: to the end")
        last = must(measure(project.generate, project.folder), "synth generate after the kills")
        stats = mock.stats()
        mock.close_log()
    done = must(measure(project.generate, project.folder), "synth generate on a run that is done")
    answers = _answers([log])
    again = _again([log])
    late = _lost(answers.values(), seen.moments)
    bench.report.details["kill"] = {
        "rows": rows,
        "wall": [plain.wall, last.wall, done.wall],
        "stats": stats,
        "moments": seen.moments,
        "in_flight": seen.in_flight,
        "answered": seen.answered,
        "journaled": seen.journaled,
    }
    report, fair = bench.report, sum(seen.in_flight)
    same = _sha256(project.shards) == _sha256(whole.shards)
    verdict = "the same" if same else "different"
    report.check(
        "kill", f"{kills} kills: sha256 of raw/, {len(whole.shards)} shards", verdict, "the same", same
    )
    wrong = _complete(project, rows)
    report.check(
        "kill", f"{kills} kills: {rows:,} rows", wrong or "all kept, once", "all kept, once", not wrong
    )
    report.check("kill", f"answered more than {LATE} s from a kill, asked again", late, "0", late == 0)
    report.check("kill", "answers paid again, all kills", again, f"<= {fair} in flight", again <= fair)


def _killed_often(bench: Bench, project: Project, mock: Mock, kills: int, seed: int) -> _Kills:
    """Kill at random amounts of answers; where a run starts beyond its own, at a random early moment."""
    draw, seen = random.Random(seed), _Kills()
    total = 2 * project.rows
    for number, goal in enumerate(sorted(draw.uniform(0, 0.97 * total) for _ in range(kills)), 1):
        process = start(project.generate, project.folder)
        try:
            early = draw.uniform(0, 2.0)
            began, stats = time.monotonic(), mock.stats()
            beyond = stats["answers"]["ok"] >= goal
            while time.monotonic() - began < early if beyond else stats["answers"]["ok"] < goal:
                if process.poll() is not None:
                    text = (project.folder / "stderr").read_text(errors="replace")
                    raise CannotMeasure(f"synth generate ended before kill {number}: {text[-300:]}")
                time.sleep(0.005)
                stats = mock.stats()
            seen.moments.append(time.monotonic())
        finally:
            kill_group(process)
        journals = sorted((project.folder / "data" / "runs").glob("bench-*/journal/replies.jsonl"))
        seen.in_flight.append(stats["running"] + stats["waiting"])
        seen.answered.append(stats["answers"]["ok"])
        seen.journaled.append(sum(path.read_bytes().count(b"\n") for path in journals))
        counts = f"{seen.answered[-1]:,} answered, {seen.journaled[-1]:,} in the journal"
        bench.say(f"kill: {number} of {kills}: {counts}")
    return seen


def _answers(logs: Iterable[Path]) -> dict[tuple[int, int], list[float]]:
    """When each request, by row and step, was answered well; times of the monotonic clock.

    What carries no row (synth's own probes of what the server can do) is left out.
    """
    answers: dict[tuple[int, int], list[float]] = {}
    for line in (line for log in logs for line in log.read_text().splitlines()):
        _, _, ended, row, step, _, _, what = line.split()
        if what == "ok" and int(row) >= 0:
            answers.setdefault((int(row), int(step)), []).append(float(ended))
    return answers


def _again(logs: Iterable[Path]) -> int:
    """Answers beyond the first of each request."""
    return sum(len(times) - 1 for times in _answers(logs).values())


def _lost(answers: Iterable[list[float]], moments: list[float]) -> int:
    """Answers that were asked for again though no kill was near: sent long before one, or with none since."""
    asked_again = (ended for times in answers for ended in sorted(times)[:-1])
    return sum(all(abs(ended - moment) > LATE for moment in moments) for ended in asked_again)


def _sha256(files: list[Path]) -> list[tuple[str, str]]:
    return [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
