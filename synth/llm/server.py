"""Starts, watches and stops vLLM as a process. All that synth knows of vLLM's command line is here."""

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from synth import guard
from synth.errors import TeacherError

START_SECONDS = 900.0
"""How long a start may take: a first compilation on two cores takes about three minutes."""

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


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers: `base_url` ends in /v1."""

    base_url: str
    api_key: str
    model: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def died(self) -> str | None:
        """Why the server ended, or None while it runs."""
        return None if self.process.poll() is None else why_failed(self.log)


def build_of_vllm() -> str | None:
    """ "cpu", "gpu", or None where vLLM is not installed."""
    for build, package in (("cpu", "vllm-cpu"), ("gpu", "vllm")):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(package)
            return build
    return None


def command(model: Path | str, name: str, port: int, max_model_len: int, flags: Sequence[str]) -> list[str]:
    """The command line of a server on 127.0.0.1. The user's flags come last and win."""
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


@contextlib.asynccontextmanager
async def serve(
    model: Path | str,
    name: str,
    log: Path,
    say: Callable[[str], None],
    *,
    max_model_len: int = 2048,
    flags: Sequence[str] = (),
) -> AsyncIterator[Served]:
    """A vLLM server for as long as the context lasts, on a free port with a random key.

    It is stopped on the way out, whatever the reason, and by `guard` when this process is killed.

    Raises:
        TeacherError: vLLM is not installed or did not start; one line, with the log's path.
    """
    if build_of_vllm() is None:
        raise TeacherError(
            "vLLM is not installed; install synth[cpu] or synth[gpu], or set [teacher] endpoint"
        )
    port, api_key = guard.free_port(), secrets.token_urlsafe(24)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = guard.start(command(model, name, port, max_model_len, flags), environment(api_key), out)
    served = Served(f"http://127.0.0.1:{port}/v1", api_key, name, log, process)
    try:
        await _wait_until_ready(served, say)
        yield served
    finally:
        guard.stop(process)


def why_failed(log: Path) -> str:
    """One line on why vLLM ended, from its log."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    reason = next((mend for sign, mend in FAILURES.items() if sign.lower() in text.lower()), None)
    if reason is None:
        errors = [line for line in text.splitlines() if "Error" in line]
        reason = errors[-1].split("] ")[-1].strip()[:200] if errors else "it ended without saying why"
    return f"vLLM: {reason}; its log: {log}"


async def _wait_until_ready(served: Served, say: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    start = said = loop.time()
    say(f"vLLM: starting {served.model}; its log: {served.log}")
    health = served.base_url.removesuffix("/v1") + "/health"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while loop.time() - start < START_SECONDS:
            if (why := served.died()) is not None:
                raise TeacherError(why)
            try:
                async with session.get(health) as response:
                    if response.status == 200:
                        say(f"vLLM: {served.model} is ready after {loop.time() - start:.0f} s")
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.25)
            if loop.time() - said > 10:
                said = loop.time()
                say(f"vLLM: {_stage(served.log)} ({said - start:.0f} s)")
    raise TeacherError(f"vLLM: not ready after {START_SECONDS:.0f} s; its log: {served.log}")


STAGES = {
    "Application startup": "almost ready",
    "init engine": "starting the server",
    "Warming up model": "compiling (the first time on a machine takes minutes)",
    "Loading weights took": "loaded the weights",
    "Initializing a V1 LLM engine": "starting the engine",
}


def _stage(log: Path) -> str:
    text = log.read_text(errors="replace")
    return next((stage for sign, stage in STAGES.items() if sign in text), "importing")
