"""What every part needs: the mock server, a small project, and a command measured with its process tree."""

import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SYNTH = Path(sys.executable).parent / "synth"
QUESTION = "Write question number {n}. [[row:{n}]] [[s:1]]"
ANSWER = "Answer this question: {asked} [[row:{n}]] [[s:2]]"
"""The two steps; the mock knows a request by its row and step."""
TICK = 0.25
"""Seconds between two looks at a process tree."""


class CannotMeasure(Exception):
    """Something that a part needs is not there, or a command that must succeed did not; one line."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of the report; `met` is None where no target is set."""

    part: str
    measure: str
    synth: float | str
    bare: float | str | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Report:
    """All lines, and the raw figures behind them."""

    lines: list[Line] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def add(self, line: Line) -> None:
        """One more line."""
        self.lines.append(line)

    def check(self, part: str, measure: str, seen: float | str, target: str, met: bool) -> None:
        """A line that holds or doesn't."""
        self.add(Line(part, measure, seen, target=target, met=met))

    def to_json(self) -> dict[str, Any]:
        """For the file."""
        return {"lines": [asdict(line) for line in self.lines], "details": self.details}


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a part works, how large it is, and where its figures go."""

    mock: Path
    work: Path
    report: Report
    say: Callable[[str], None]
    scale: float = 1.0

    def scaled(self, number: int) -> int:
        """A number of rows at this scale."""
        return max(20, round(number * self.scale))

    def folder(self, name: str) -> Path:
        """A fresh folder; synth reads the journals of earlier runs that lie beside one another."""
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path


def build_mock(source: Path, work: Path) -> Path:
    """The mock server's binary, compiled from `source`/mockllm.c.

    Raises:
        CannotMeasure: there is no such file, or no compiler.
    """
    file = source / "mockllm.c"
    if not file.is_file():
        raise CannotMeasure(
            f"the benchmark needs the mock server's source: no {file}; name its folder by --mock"
        )
    if shutil.which("gcc") is None:
        raise CannotMeasure("the benchmark needs gcc to build the mock server; install it")
    binary = work / "mockllm"
    subprocess.run(["gcc", "-O2", "-w", "-o", str(binary), str(file), "-lm"], check=True)
    return binary


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mock:
    """One mock server as a context manager; options as on its command line, with _ for -."""

    def __init__(self, binary: Path, **options: float | str) -> None:
        self.binary, self.port = binary, free_port()
        self.options = {name.replace("_", "-"): str(value) for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The /v1 address."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "Mock":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, again on the same port after `kill`."""
        options = [part for name, value in self.options.items() for part in (f"--{name}", value)]
        command = [str(self.binary), "--port", str(self.port), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            with contextlib.suppress(OSError):
                self.stats()
                return
            time.sleep(0.05)
        raise CannotMeasure(f"the mock server does not answer on port {self.port}")

    def kill(self) -> None:
        """SIGKILL, as a server that is gone from one moment to the next."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stats(self) -> dict[str, Any]:
        """Its counters since the last reset."""
        data: dict[str, Any] = json.loads(self._request("GET", "/stats"))
        return data

    def reset(self, **options: float | str) -> None:
        """Clear the counters and the memory of prompts; change options."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        self._request("POST", f"/config?{query}" if query else "/reset")

    def close_log(self) -> None:
        """Have it write out all of its log; clears the counters, too."""
        self.reset(log="/dev/null")

    def _request(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with seeds, prompts, the strategy and a recipe."""

    folder: Path
    rows: int
    steps: tuple[str, ...] = (QUESTION, ANSWER)
    max_tokens: int = 512
    model: str = "mock"
    api_key_env: str | None = None
    topics: tuple[str, ...] = ()
    """Where given, each seed has one of them as `topic`."""

    @property
    def seeds(self) -> Path:
        """The seed file, which the bare loop reads too."""
        return self.folder / "seeds.jsonl"

    def write(
        self, endpoints: Sequence[str], *, structured: bool = False, max_failed: float | None = None
    ) -> "Project":
        """Write every file; returns itself."""
        (self.folder / "prompts").mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "project" / "two_step.py", self.folder)
        for name, text in zip(("question", "answer"), self.steps, strict=False):
            turn = re.sub(r"\{(\w+)\}", r"{{ \1 }}", text)
            (self.folder / "prompts" / f"{name}.jinja").write_text(
                f"{{% block user %}}{turn}{{% endblock %}}\n"
            )
        with self.seeds.open("w") as file:
            file.writelines(json.dumps(self.seed(n)) + "\n" for n in range(self.rows))
        endpoint = json.dumps(endpoints[0] if len(endpoints) == 1 else list(endpoints))
        key = f'api_key_env = "{self.api_key_env}"\n' if self.api_key_env else ""
        use = 'use = "two_step:TwoStep"' if len(self.steps) == 2 else 'use = "template"\nprompt = "question"'
        (self.folder / "recipe.toml").write_text(
            f'name = "bench"\n[seeds]\npath = "seeds.jsonl"\n'
            f'[teacher]\nmodel = "{self.model}"\nendpoint = {endpoint}\n{key}max_tokens = {self.max_tokens}\n'
            f"[[generate]]\n{use}\n{'structured = true' if structured else ''}\n"
            '[[filter]]\nuse = "truncated"\n[[filter]]\nuse = "length"\nmax_words = 100000\n'
            + (f"[run]\nmax_failed = {max_failed}\n" if max_failed is not None else "")
        )
        return self

    def seed(self, n: int) -> dict[str, Any]:
        """The fields of seed number `n`."""
        return {"n": n, **({"topic": self.topics[n % len(self.topics)]} if self.topics else {})}

    @property
    def generate(self) -> list[str]:
        """The command that is measured."""
        return [str(SYNTH), "generate", "recipe.toml"]

    def bare(self, endpoint: str, concurrency: int) -> list[str]:
        """The bare loop's command for the same requests."""
        command = [sys.executable, str(HERE / "bare.py"), "--url", endpoint, "--model", self.model]
        command += ["--seeds", str(self.seeds), "--concurrency", str(concurrency)]
        command += ["--max-tokens", str(self.max_tokens)]
        command += ["--api-key-env", self.api_key_env] if self.api_key_env else []
        return command + [part for step in self.steps for part in ("--step", step)]

    @property
    def run(self) -> Path:
        """The run folder that `generate` made.

        Raises:
            CannotMeasure: there is none.
        """
        runs = sorted((self.folder / "data" / "runs").glob("bench-*"))
        if len(runs) != 1:
            raise CannotMeasure(f"{len(runs)} run folders in {self.folder} where one was expected")
        return runs[0]

    @property
    def shards(self) -> list[Path]:
        """The raw Parquet files."""
        return sorted((self.run / "raw").glob("*.parquet"))

    def table(self) -> list[dict[str, Any]]:
        """Every raw row."""
        tables = [pq.read_table(path, partitioning=None) for path in self.shards]
        rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
        return rows


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command cost, its whole process tree counted. `cpu` is user and system seconds."""

    code: int
    wall: float
    cpu: float
    peak_mb: float
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on stderr, which says why where it failed."""
        return next((line for line in reversed(self.err.splitlines()) if line.strip()), "")[:300]


def start(
    command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """A command in a session of its own; its output goes to files in `cwd`."""
    with (cwd / "stdout").open("wb") as out, (cwd / "stderr").open("wb") as err:
        return subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(env or {})},
        )


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 of the command's process group; returns when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def measure(
    command: Sequence[str],
    cwd: Path,
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = 3600,
    tick: Callable[[], None] = lambda: None,
) -> Usage:
    """Run a command to its end, `tick` called every `TICK` seconds; killed after `timeout`."""
    began = time.monotonic()
    process = start(command, cwd, env)
    root, peak, alive = psutil.Process(process.pid), 0.0, 0.0
    ended = os.pidfd_open(process.pid)
    try:
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            memory, cpu = _tree(root)
            peak, alive = max(peak, memory), max(alive, cpu)
            tick()
            if time.monotonic() - began > timeout:
                os.killpg(process.pid, signal.SIGKILL)
            select.select([ended], [], [], TICK)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        os.close(ended)
        if process.returncode is None:
            kill_group(process)
    spent = max(alive, used.ru_utime + used.ru_stime)
    texts = [(cwd / name).read_text(errors="replace") for name in ("stdout", "stderr")]
    return Usage(process.returncode, wall, spent, peak / 2**20, *texts)


def _tree(root: psutil.Process) -> tuple[float, float]:
    """Bytes (PSS) and CPU seconds of a process and all that live under it."""
    memory = cpu = 0.0
    for process in _family(root):
        with contextlib.suppress(psutil.Error):
            memory += process.memory_full_info().pss
            times = process.cpu_times()
            cpu += times.user + times.system
    return memory, cpu


def _family(root: psutil.Process) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        yield root
        yield from root.children(recursive=True)


def must(usage: Usage, what: str) -> Usage:
    """The usage of a command that ended well.

    Raises:
        CannotMeasure: it did not; with its last line.
    """
    if usage.code != 0:
        raise CannotMeasure(f"{what} ended with {usage.code}: {usage.last}")
    return usage
