"""What `synth serve` notes, and what a run believes of it."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from synth.errors import TeacherError
from synth.llm import served, server
from synth.llm.server import Served

STAND_IN = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
ASKED = ("some/model", 2048, ("--seed", "1"), None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache folder of the test's own, and a stand-in for vLLM on two GPUs."""

    def command(
        model: Path | str, name: str, port: int, max_model_len: int, flags: Sequence[str]
    ) -> list[str]:
        return [sys.executable, "-c", STAND_IN, str(port)]

    monkeypatch.setattr(server, "command", command)
    monkeypatch.setattr(server, "build_of_vllm", lambda: "gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@asynccontextmanager
async def two(logs: Path) -> AsyncIterator[list[Served]]:
    async with server.serve("model", "m", logs, lambda _: None) as servers:
        yield servers


async def end(replica: Served) -> None:
    replica.process.terminate()
    while replica.died() is None:
        await asyncio.sleep(0.02)


def test_kept_servers_are_found_while_they_are_kept(tmp_path: Path) -> None:
    async def live() -> None:
        assert await served.find(*ASKED) is None
        async with two(tmp_path) as servers:
            with served.note(*ASKED, servers) as file:
                kept = await served.find("some/model", 2048, ["--seed", "1"], None)
                assert kept is not None
                assert kept.urls == tuple(replica.base_url for replica in servers)
                assert (kept.pid, kept.model, kept.api_key) == (os.getpid(), "m", servers[0].api_key)
                assert kept.api_key not in repr(kept)
                assert set(json.loads(file.read_text())) == {"pid", "model", "urls", "api_key", "started"}
            assert await served.find(*ASKED) is None
            assert list(file.parent.iterdir()) == []

    asyncio.run(live())


def test_other_arguments_find_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    asked = (str(folder), 2048, (), None)

    async def live() -> None:
        async with two(tmp_path) as servers:
            with served.note(*asked, servers):
                assert await served.find(str(tmp_path / "other"), 2048, (), None) is None
                assert await served.find(str(folder), 1024, (), None) is None
                assert await served.find(str(folder), 2048, ("--seed", "1"), None) is None
                assert await served.find(str(folder), 2048, (), 2) is None
                assert await served.find(*asked) is not None
                (folder / "config.json").write_text("{'changed': 1}")
                assert await served.find(*asked) is None
                (folder / "config.json").write_text("{}")

    asyncio.run(live())


def test_the_note_is_the_users_alone(cache: Path, tmp_path: Path) -> None:
    async def live() -> None:
        async with two(tmp_path) as servers:
            with served.note(*ASKED, servers) as file:
                assert file.parent == cache / "synth" / "served"
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
                assert list(file.parent.iterdir()) == [file]

    asyncio.run(live())


def test_the_note_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    async def live() -> None:
        async with two(tmp_path) as servers:
            with served.note(*ASKED, servers) as file:
                dead = subprocess.Popen([sys.executable, "-c", ""])
                dead.wait()
                file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": dead.pid}))
                assert await served.find(*ASKED) is None
                assert not file.exists()

    asyncio.run(live())


def test_a_process_that_was_not_yet_reaped_is_dead(tmp_path: Path) -> None:
    async def live() -> None:
        async with two(tmp_path) as servers:
            with served.note(*ASKED, servers) as file:
                dying = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
                started = int(Path(f"/proc/{dying.pid}/stat").read_text().rpartition(")")[2].split()[19])
                said = json.loads(file.read_text()) | {"pid": dying.pid, "started": started}
                file.write_text(json.dumps(said))
                kept = await served.find(*ASKED)
                assert kept is not None and kept.pid == dying.pid
                assert dying.stdin is not None
                dying.stdin.close()
                os.waitid(os.P_PID, dying.pid, os.WEXITED | os.WNOWAIT)
                assert await served.find(*ASKED) is None
                assert not file.exists()
                dying.wait()

    asyncio.run(live())


def test_a_reused_pid_is_not_believed(tmp_path: Path) -> None:
    async def live() -> None:
        async with two(tmp_path) as servers:
            with served.note(*ASKED, servers) as file:
                said = json.loads(file.read_text())
                file.write_text(json.dumps(said | {"started": said["started"] - 1}))
                assert await served.find(*ASKED) is None
                assert not file.exists()

    asyncio.run(live())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_a_file_that_is_no_note_is_removed(tmp_path: Path, text: str) -> None:
    async def live() -> None:
        async with two(tmp_path) as servers:
            with served.note(*ASKED, servers) as file:
                file.write_text(text)
                assert await served.find(*ASKED) is None
                assert not file.exists()

    asyncio.run(live())


def test_servers_of_which_one_is_dead_are_not_found_until_it_is_back(tmp_path: Path) -> None:
    async def live() -> None:
        async with two(tmp_path) as servers:
            with served.note(*ASKED, servers):
                await end(servers[1])
                assert await served.find(*ASKED) is None
                await servers[1].restart()
                assert await served.find(*ASKED) is not None

    asyncio.run(live())


def test_the_later_note_stays_when_the_earlier_one_ends(tmp_path: Path) -> None:
    async def live() -> None:
        async with two(tmp_path / "a") as first, two(tmp_path / "b") as second:
            with served.note(*ASKED, second) as file:
                text = file.read_text()
                with served.note(*ASKED, first):
                    file.write_text(text)
                kept = await served.find(*ASKED)
                assert kept is not None and kept.api_key == second[0].api_key

    asyncio.run(live())


def test_watching_restarts_what_dies_and_gives_up_in_the_end(tmp_path: Path) -> None:
    async def live() -> None:
        async with two(tmp_path) as servers:
            watch = asyncio.create_task(served.watch(servers))
            for number in range(server.RESTARTS):
                servers[0].process.terminate()
                while servers[0].restarts == number or servers[0].died() is not None:
                    await asyncio.sleep(0.02)
            await end(servers[0])
            await watch

    with pytest.raises(TeacherError, match="it ended 4 times"):
        asyncio.run(live())
