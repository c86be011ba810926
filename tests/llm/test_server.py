"""vLLM itself, started, asked, killed and stopped; of several replicas, a stand-in for it.

The happy path is in tests/test_first_light.py.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
import pytest

from synth import weights
from synth.errors import TeacherError
from synth.llm import server
from synth.llm.server import Served

STAND_IN = """
import http.server, os, sys
port, name = int(sys.argv[1]), sys.argv[2]
shown = {key: os.environ.get(key) for key in
         ("CUDA_VISIBLE_DEVICES", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_API_KEY")}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            print("OddError: told to die", flush=True)
            os._exit(1)
        body = repr(shown).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
if name == "broken" or os.path.exists(name):
    sys.exit("WeirdError: it does not start")
print("start of", os.getpid(), flush=True)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
"""A server that answers everything with its environment, ends at /die, and does not start where a file is."""


def quiet(_: str) -> None:
    return


async def start(model: Path, logs: Path, *flags: str) -> None:
    async with server.serve(model, "m", logs, quiet, flags=flags):
        raise AssertionError("it must not come up")


def processes_with(word: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


async def get(served: Served, path: str = "/environment") -> str:
    url = served.base_url.removesuffix("/v1") + path
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


async def kill(served: Served) -> None:
    with contextlib.suppress(aiohttp.ClientError):
        await get(served, "/die")
    await until(lambda: served.died() is not None, 20)


async def until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stand-in's path, which is in its command line; its second argument is the model."""
    file = tmp_path / "stand_in.py"
    file.write_text(STAND_IN)

    def command(
        model: Path | str, name: str, port: int, max_model_len: int, flags: Sequence[str]
    ) -> list[str]:
        return [sys.executable, str(file), str(port), str(model)]

    monkeypatch.setattr(server, "command", command)
    return str(file)


@pytest.fixture
def on_gpus(script: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stand-in on what looks like a machine with four GPUs."""
    monkeypatch.setattr(server, "build_of_vllm", lambda: "gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    return script


def test_a_folder_that_is_no_model_is_one_line_with_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "no-model-here"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(TeacherError) as error:
        asyncio.run(start(folder, tmp_path / "logs"))
    assert str(tmp_path / "logs" / "vllm-m.log") in str(error.value)
    assert "\n" not in str(error.value)
    assert processes_with(str(folder)) == []


def test_an_unknown_flag_is_named_as_the_recipes_fault(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="vLLM knows no such flag; correct `flags`"):
        asyncio.run(start(tmp_path, tmp_path, "--no-such-flag"))


def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    model = tmp_path / "cancelled-start"
    model.mkdir()

    async def cancel() -> None:
        task = asyncio.create_task(start(model, tmp_path))
        while not processes_with(str(model)):
            await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    began = time.monotonic()
    asyncio.run(cancel())
    assert processes_with(str(model)) == []
    assert time.monotonic() - began < 60


def test_replicas_differ_in_port_gpus_and_log_and_share_a_key(on_gpus: str, tmp_path: Path) -> None:
    async def look() -> list[Served]:
        flags = ("--tensor-parallel-size", "2")
        async with server.serve("model", "m", tmp_path / "logs", quiet, flags=flags) as servers:
            for served, gpus in zip(servers, ("4,5", "6,7"), strict=True):
                told = await get(served)
                assert f"'CUDA_VISIBLE_DEVICES': '{gpus}'" in told
                assert f"'VLLM_API_KEY': '{served.api_key}'" in told
                assert served.api_key not in repr(served)
        return servers

    servers = asyncio.run(look())
    assert len({served.base_url for served in servers}) == 2
    assert len({served.api_key for served in servers}) == 1
    assert [served.log.name for served in servers] == ["vllm-m-0.log", "vllm-m-1.log"]
    assert all("start of" in served.log.read_text() for served in servers)
    assert processes_with(on_gpus) == []


def test_a_warning_is_not_why_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("WeirdError: before\n(APIServer pid=7) WARNING [x.py:1] low ulimit: `OSError: 24`\n")
    assert server.why_failed(log) == f"vLLM: WeirdError: before; its log: {log}"
    assert server.why_failed(log, 19) == f"vLLM: it ended without saying why; its log: {log}"


@pytest.mark.parametrize(
    ("flags", "replicas", "groups"),
    [
        ((), None, ["4", "5", "6", "7"]),
        ((), 2, ["4", "5"]),
        ((), 1, [None]),
        (("-tp", "2"), None, ["4,5", "6,7"]),
        (("-tp=3",), None, [None]),
        (("--tensor_parallel_size=2", "--pipeline-parallel-size", "2"), None, [None]),
        (("--tensor-parallel-size=4", "--tensor-parallel-size=2"), None, ["4,5", "6,7"]),
        (("--data-parallel-size=4",), None, [None]),
        (("-dp", "4"), 4, [None]),
    ],
)
def test_gpus_are_shared_out_by_what_one_replica_needs(
    on_gpus: str, flags: tuple[str, ...], replicas: int | None, groups: list[str | None]
) -> None:
    shares = server.shares(flags, replicas)
    assert [share.get("CUDA_VISIBLE_DEVICES") for share in shares] == groups


def test_the_gpus_are_those_that_cuda_or_the_driver_shows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-ab,-1,3")
    assert server.visible_gpus() == ["1", "GPU-ab"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert server.visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server.visible_gpus() == []
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: H100 (UUID: a)'\necho '  MIG 1g Device 0:'\necho 'GPU 1: H100'\n")
    smi.chmod(0o755)
    assert server.visible_gpus() == ["0", "1"]


def test_more_replicas_than_the_machine_can_hold_are_refused(on_gpus: str, tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="3 replicas need 6 visible GPUs, of 4"):
        server.shares(("-tp", "2"), 3)


def test_on_the_cpu_replicas_split_the_cores(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "build_of_vllm", lambda: "cpu")
    cores = server.cores()
    assert set(map(int, cores)) <= os.sched_getaffinity(0)
    assert server.shares((), None) == [{}]
    bound = [share["VLLM_CPU_OMP_THREADS_BIND"] for share in server.shares((), len(cores))]
    assert bound == cores if len(cores) > 1 else True
    monkeypatch.setattr(server, "cores", lambda: [str(core) for core in range(12)])
    assert [share["VLLM_CPU_OMP_THREADS_BIND"] for share in server.shares((), 2)] == [
        "0,1,2,3,4",
        "6,7,8,9,10",
    ]
    assert [share["VLLM_CPU_OMP_THREADS_BIND"] for share in server.shares(("-tp", "2"), 2)] == [
        "0,1,2|3,4,5",
        "6,7,8|9,10,11",
    ]
    with pytest.raises(TeacherError, match="13 replicas need 13 CPU cores, of 12"):
        server.shares((), 13)


def test_a_dead_replica_restarts_on_its_port_and_the_others_stay(on_gpus: str, tmp_path: Path) -> None:
    async def live() -> None:
        async with server.serve("model", "m", tmp_path, quiet, replicas=2) as (first, second):
            url, key, before = first.base_url, first.api_key, await get(first)
            untouched = second.process.pid
            await kill(first)
            assert first.died() == f"vLLM: OddError: told to die; its log: {first.log}"
            await asyncio.gather(first.restart(), first.restart(), first.restart())
            assert (first.base_url, first.api_key, await get(first)) == (url, key, before)
            assert (first.died(), first.restarts) == (None, 1)
            assert first.log.read_text().count("start of") == 2
            assert (second.process.pid, second.restarts) == (untouched, 0)

    asyncio.run(live())
    assert processes_with(on_gpus) == []


def test_a_replica_that_hangs_is_ended_and_restarted(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        async with server.serve("model", "m", tmp_path, quiet) as (served,):
            for pid in children(served.process.pid):
                os.kill(pid, signal.SIGSTOP)
            monkeypatch.setattr(server, "HEALTH_SECONDS", 0.5)
            await served.restart()
            assert "VLLM_API_KEY" in await get(served)

    asyncio.run(live())
    assert processes_with(script) == []


def test_a_replica_that_keeps_dying_is_given_up(script: str, tmp_path: Path) -> None:
    async def live() -> None:
        async with server.serve("model", "m", tmp_path, quiet) as (served,):
            for _ in range(server.RESTARTS):
                await kill(served)
                await served.restart()
            await kill(served)
            for _ in range(2):
                await served.restart()

    with pytest.raises(TeacherError) as error:
        asyncio.run(live())
    assert str(error.value) == (
        f"vLLM: OddError: told to die; its log: {tmp_path / 'vllm-m.log'}; it ended 4 times; "
        "run the same command again: every reply so far is kept"
    )
    assert processes_with(script) == []


def test_the_reason_is_that_of_the_last_start(script: str, tmp_path: Path) -> None:
    async def live() -> None:
        marker = tmp_path / "stop-starting"
        async with server.serve(marker, "m", tmp_path, quiet) as (served,):
            await kill(served)
            marker.touch()
            await served.restart()

    with pytest.raises(TeacherError, match=r"WeirdError: it does not start; .* it ended 4 times"):
        asyncio.run(live())
    assert "told to die" in (tmp_path / "vllm-m.log").read_text()


def test_a_restart_that_is_cancelled_leaves_no_process(script: str, tmp_path: Path) -> None:
    async def live() -> None:
        async with server.serve("model", "m", tmp_path, quiet) as (served,):
            await kill(served)
            task = asyncio.create_task(served.restart())
            await until(lambda: served.restarts == 1, 20)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(live())
    assert processes_with(script) == []


@pytest.mark.parametrize("build", ["gpu", "cpu"])
def test_if_the_second_replica_does_not_start_the_first_is_stopped(
    on_gpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: str
) -> None:
    good, made = server.command, []

    def command(
        model: Path | str, name: str, port: int, max_model_len: int, flags: Sequence[str]
    ) -> list[str]:
        made.append(port)
        return good("broken" if len(made) == 2 else model, name, port, max_model_len, flags)

    monkeypatch.setattr(server, "command", command)
    monkeypatch.setattr(server, "build_of_vllm", lambda: build)
    monkeypatch.setattr(server, "cores", lambda: ["0", "1"])

    async def live() -> None:
        async with server.serve("model", "m", tmp_path, quiet, replicas=2):
            raise AssertionError("it must not come up")

    with pytest.raises(TeacherError, match=r"WeirdError: it does not start; its log: .*vllm-m-1\.log"):
        asyncio.run(live())
    assert processes_with(on_gpus) == []


PARENT = """
import asyncio, os, signal, sys
from synth.llm import server
server.command = lambda model, name, port, *_: [sys.executable, sys.argv[1], str(port), "model"]
server.build_of_vllm = lambda: "gpu"
async def live():
    async with server.serve("model", "m", server.Path(sys.argv[2]), print, replicas=2) as (first, _):
        first.process.terminate()
        while first.died() is None:
            await asyncio.sleep(0.05)
        await first.restart()
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(live())
"""


def test_kill_9_of_the_run_leaves_no_replica_also_after_a_restart(script: str, tmp_path: Path) -> None:
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1"}
    program = [sys.executable, "-c", PARENT, script, str(tmp_path)]
    done = subprocess.run(program, env=env, timeout=120, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    asyncio.run(until(lambda: processes_with(script) == [], 20))


def test_a_real_vllm_whose_engine_is_killed_comes_back_on_its_port(tmp_path: Path) -> None:
    """About two minutes on two cores."""
    name, said = weights.EMBEDDED, list[str]()

    async def live() -> None:
        model = weights.find_model(name, quiet)
        async with server.serve(model, name, tmp_path, said.append, max_model_len=256) as (served,):
            url = served.base_url
            assert await say_hello(served)
            (engine,) = [pid for pid in children(served.process.pid) if "EngineCore" in title(pid)]
            os.kill(engine, signal.SIGKILL)
            await until(lambda: served.died() is not None, 60)
            await served.restart()
            assert served.base_url == url
            assert await say_hello(served)

    asyncio.run(live())
    assert any("starting it again (1 of 3)" in line for line in said)
    assert processes_with(str(tmp_path)) == []


async def say_hello(served: Served) -> str:
    body = {"model": served.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    headers = {"Authorization": f"Bearer {served.api_key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{served.base_url}/chat/completions", json=body) as response,
    ):
        text: str = json.loads(await response.text())["choices"][0]["message"]["content"]
        return text


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")


def children(pid: int) -> list[int]:
    direct = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return direct + [further for child in direct for further in children(child)]
