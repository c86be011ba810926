"""Starts, watches and stops vLLM as a process. All that synth knows of vLLM's command line is here."""

import asyncio
import contextlib
import importlib.metadata
import itertools
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from synth import guard
from synth.errors import TeacherError

START_SECONDS = 900.0
"""How long a start may take: a first compilation on two cores takes about three minutes."""
HEALTH_SECONDS = 5.0
"""How long a server may take to say that it is well."""
RESTARTS = 3
"""How often one replica is started again before it is given up."""

FAILURES = {
    "Address already in use": "the port was taken by another process; run again",
    "out of memory": "the GPU's memory is too small; lower max_model_len, or give a smaller model",
    "Cannot allocate memory": "this machine's memory is too small; lower VLLM_CPU_KVCACHE_SPACE or the model",
    "No available memory for the cache blocks": "no memory is left for the KV cache; lower max_model_len",
    "larger than the maximum number of tokens": "max_model_len does not fit into the KV cache; lower it",
    "is greater than the derived max_model_len": "max_model_len is more than the model knows; lower it",
    "is not a local folder and is not a valid model identifier": "there is no such model; correct its name",
    "Can't load the configuration": "the model folder has no readable config.json; name a model folder",
    "couldn't connect to": "the model is not on this machine, nor the Hub in reach; name a local folder",
    "unrecognized arguments": "vLLM knows no such flag; correct `flags`",
    "EngineDeadError": "the engine died",
}
"""What vLLM prints when it does not start, and what to do."""


@dataclass(slots=True, eq=False)
class Served:
    """A replica, started when this is made; `serve` yields it when it answers. `base_url` ends in /v1."""

    base_url: str
    api_key: str = field(repr=False)
    model: str
    log: Path
    say: Callable[[str], None] = field(repr=False)
    argv: Sequence[str] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    restarts: int = 0
    process: "subprocess.Popen[bytes]" = field(init=False)
    _log_start: int = field(init=False, repr=False)
    _stopped: bool = field(default=False, init=False, repr=False)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self._launch()

    def died(self) -> str | None:
        """Why the server ended, or None while it runs."""
        return None if self.process.poll() is None else why_failed(self.log, self._log_start)

    async def restart(self) -> None:
        """Start a replica that died again, on its port, with its key, and wait until it is ready.

        Does nothing where it answers: of many callers that saw it die the first one restarts it. One that
        runs and gives no answer within `HEALTH_SECONDS` is ended first.

        Raises:
            TeacherError: it has been started again `RESTARTS` times and ended once more, it is not ready
                after `START_SECONDS`, or `serve` has stopped it for good.
        """
        async with self._one_at_a_time:
            if self.died() is None and await answers(self.base_url, HEALTH_SECONDS):
                return
            while True:
                await asyncio.to_thread(guard.stop, self.process)
                why = why_failed(self.log, self._log_start)
                if self._stopped or self.restarts >= RESTARTS:
                    raise TeacherError(
                        f"{why}; it ended {self.restarts + 1} times; "
                        "run the same command again: every reply so far is kept"
                    )
                self.restarts += 1
                self.say(f"{why}; starting it again ({self.restarts} of {RESTARTS})")
                self._launch()
                try:
                    return await self.ready()
                except TeacherError:
                    if self.died() is None:
                        raise

    async def ready(self) -> None:
        """Return when the server answers; says how far it is, one line in ten seconds.

        Raises:
            TeacherError: it ended, or is not ready after `START_SECONDS`; one line, with the log's path.
        """
        loop = asyncio.get_running_loop()
        start = said = loop.time()
        title = self.log.stem.removeprefix("vllm-")
        self.say(f"vLLM: starting {title}; its log: {self.log}")
        while loop.time() - start < START_SECONDS:
            if (why := self.died()) is not None:
                raise TeacherError(why)
            if await answers(self.base_url, HEALTH_SECONDS):
                return self.say(f"vLLM: {title} is ready after {loop.time() - start:.0f} s")
            await asyncio.sleep(0.25)
            if loop.time() - said > 10:
                said = loop.time()
                stage = _stage(_text(self.log, self._log_start))
                self.say(f"vLLM: {title}: {stage} ({said - start:.0f} s)")
        raise TeacherError(f"vLLM: not ready after {START_SECONDS:.0f} s; its log: {self.log}")

    def let_go(self) -> None:
        """Tell the server to end, for good; `guard.stop` waits for it."""
        self._stopped = True
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _launch(self) -> None:
        with self.log.open("ab") as out:
            self._log_start = out.tell()
            self.process = guard.start(self.argv, self.env, out)


async def answers(base_url: str, seconds: float) -> bool:
    """Whether the server at this /v1 address says within so many seconds that it is well."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    health = base_url.removesuffix("/v1") + "/health"
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(health) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def build_of_vllm() -> str | None:
    """ "cpu", "gpu", or None where vLLM is not installed."""
    for build, package in (("cpu", "vllm-cpu"), ("gpu", "vllm")):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(package)
            return build
    return None


def command(model: Path | str, name: str, port: int, max_model_len: int, flags: Sequence[str]) -> list[str]:
    """The command line of a server on 127.0.0.1. The user's flags come last and win.

    What is not given is vLLM's own default for an API server; those of 0.32 are:

    - `--max-num-seqs`: 128 a CPU worker; on a GPU 256, from 70 GiB of memory on (A100 excepted) 1024.
    - `--max-num-batched-tokens`: 2048 a CPU worker; on a GPU 2048, from 70 GiB on (A100 excepted) 8192, from
      160 GiB on 16384; never more than `--max-num-seqs` times `--max-model-len`.
    - Prefix caching and chunked prefill are on; what a GPU's server compiled is kept in the user's cache.
    """
    own = ["--model", str(model), "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
    own += ["--max-model-len", str(max_model_len), "--disable-uvicorn-access-log"]
    if build_of_vllm() == "cpu":
        own += ["--dtype", "bfloat16", "--enforce-eager"]  # compiled: 100 s more to start, within 5% as fast
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *own, *flags]


def environment(api_key: str) -> dict[str, str]:
    """The server's environment: ours, a key, no telemetry, and room for the CPU's KV cache."""
    env = {**os.environ, "VLLM_API_KEY": api_key, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if build_of_vllm() == "cpu":
        env["VLLM_TARGET_DEVICE"] = "cpu"
        env.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
        if (os.cpu_count() or 1) <= 4:  # vLLM would keep one core for itself: a third of the speed of two
            env.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
    return env


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, else the index of each GPU that nvidia-smi lists; maybe none."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        ids = [part.strip() for part in named.split(",") if part.strip()]
        return ids[: ids.index("-1")] if "-1" in ids else ids  # CUDA reads no further than that
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    gpus = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(gpus))]


def cores() -> list[str]:
    """One CPU number of each physical core that this process may use."""
    first: dict[str, str] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        first.setdefault(siblings.read_text() if siblings.is_file() else str(cpu), str(cpu))
    return list(first.values())


def shares(flags: Sequence[str], replicas: int | None) -> list[dict[str, str]]:
    """What each replica's environment says of its part of the machine; `[{}]` is one replica with all of it.

    By default one replica for every `--tensor-parallel-size` times `--pipeline-parallel-size` visible GPUs,
    and one on the CPU. One whatever is asked where the flags ask for data parallelism: that is vLLM's work.

    Raises:
        TeacherError: the machine has too few GPUs or cores for so many replicas.
    """
    if any(flag.replace("_", "-").startswith(("--data-parallel-", "-dp")) for flag in flags):
        return [{}]
    workers = _number(flags, "--tensor-parallel-size", "-tp") * _number(
        flags, "--pipeline-parallel-size", "-pp"
    )
    on_cpu = build_of_vllm() == "cpu"
    if replicas == 1 or (replicas is None and on_cpu):
        return [{}]
    found = cores() if on_cpu else visible_gpus()
    count = replicas or max(1, len(found) // workers)
    if count == 1:
        return [{}]
    if len(found) < count * workers:
        what = "CPU cores" if on_cpu else "visible GPUs"
        raise TeacherError(f"vLLM: {count} replicas need {count * workers} {what}, of {len(found)}; lower it")
    if not on_cpu:
        groups = [found[at : at + workers] for at in range(0, count * workers, workers)]
        return [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups]
    each = len(found) // (count * workers)
    bound = [found[at : at + each] for at in range(0, count * workers * each, each)]
    lists = [",".join(part[:-1] if each > 4 else part) for part in bound]  # one core for the scheduler
    return [
        {"VLLM_CPU_OMP_THREADS_BIND": "|".join(lists[at : at + workers])}
        for at in range(0, count * workers, workers)
    ]


def _number(flags: Sequence[str], *names: str) -> int:
    """The value of an integer flag, given as two words or with `=`; 1 without it."""
    words = [word for flag in flags for word in flag.split("=", 1)]
    given = [value for name, value in itertools.pairwise(words) if name.replace("_", "-") in names]
    return int(given[-1]) if given and given[-1].isdigit() and int(given[-1]) else 1


@contextlib.asynccontextmanager
async def serve(
    model: Path | str,
    name: str,
    logs: Path,
    say: Callable[[str], None],
    *,
    max_model_len: int = 2048,
    flags: Sequence[str] = (),
    replicas: int | None = None,
) -> AsyncIterator[list[Served]]:
    """vLLM servers for as long as the context lasts, each on a free port, all with one random key.

    How many, and what each gets of the machine, is in `shares`. They start at once on GPUs, one after the
    other on the CPU. The log in the folder `logs` is `vllm-<name>.log`, of several replicas
    `vllm-<name>-<i>.log`. They are stopped on the way out, whatever the reason, and by `guard` when this
    process is killed.

    Raises:
        TeacherError: vLLM is not installed, one did not start (one line, with the log's path), or the machine
            is too small for so many replicas.
    """
    if build_of_vllm() is None:
        raise TeacherError(
            "vLLM is not installed; install synth[cpu] or synth[gpu], or set [teacher] endpoint"
        )
    parts = await asyncio.to_thread(shares, flags, replicas)
    api_key, ports = secrets.token_urlsafe(24), _free_ports(len(parts))
    env = environment(api_key)
    logs.mkdir(parents=True, exist_ok=True)
    servers: list[Served] = []
    try:
        for number, (port, part) in enumerate(zip(ports, parts, strict=True)):
            log = logs / (f"vllm-{name}-{number}.log" if len(parts) > 1 else f"vllm-{name}.log")
            log.write_bytes(b"")
            argv = command(model, name, port, max_model_len, flags)
            url = f"http://127.0.0.1:{port}/v1"
            servers.append(Served(url, api_key, name, log, say, argv, {**env, **part}))
            if build_of_vllm() == "cpu":
                await servers[-1].ready()
        if build_of_vllm() != "cpu":
            await _all_ready(servers)
        yield servers
    finally:
        for served in servers:
            served.let_go()
        for served in servers:
            guard.stop(served.process)


async def _all_ready(servers: Sequence[Served]) -> None:
    tasks = [asyncio.create_task(served.ready()) for served in servers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _free_ports(count: int) -> list[int]:
    ports: dict[int, None] = {}
    while len(ports) < count:
        ports[guard.free_port()] = None
    return list(ports)


def why_failed(log: Path, start: int = 0) -> str:
    """One line on why vLLM ended, from what its log says from byte `start` on."""
    text = _text(log, start)
    reason = next((mend for sign, mend in FAILURES.items() if sign.lower() in text.lower()), None)
    if reason is None:
        errors = [line for line in text.splitlines() if "Error" in line and " WARNING " not in line]
        reason = errors[-1].split("] ")[-1].strip()[:200] if errors else "it ended without saying why"
    return f"vLLM: {reason}; its log: {log}"


def _text(log: Path, start: int) -> str:
    return log.read_bytes()[start:].decode(errors="replace") if log.is_file() else ""


STAGES = {
    "Application startup": "almost ready",
    "init engine": "starting the server",
    "Warming up model": "compiling (the first time on a machine takes minutes)",
    "Loading weights took": "loaded the weights",
    "Initializing a V1 LLM engine": "starting the engine",
}


def _stage(text: str) -> str:
    return next((stage for sign, stage in STAGES.items() if sign in text), "importing")
