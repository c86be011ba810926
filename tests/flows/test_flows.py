"""The flows on a real Prefect: without a server, against one, and served on a schedule."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from endpoint import Endpoint
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowFilter, FlowFilterName
from prefect.settings import PREFECT_API_URL, temporary_settings
from projects import edit, make_project

from flows import tasks
from synth.errors import RecipeError
from synth.store import Dataset

HERE = Path(__file__).parents[2]
SECONDS = 120.0
"""How long anything may take on two busy cores."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PREFECT_HOME of our own."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[str]:
    """The address of a real Prefect server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = [
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--log-level",
        "ERROR",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "synth.guard", sys.executable, "-m", *server],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment(home / "server"),
    )
    assert process.stdin is not None
    url = f"http://127.0.0.1:{port}/api"
    try:
        until(lambda: answers(f"{url}/health"))
        yield url
    finally:
        process.stdin.close()
        process.wait(30)


@pytest.fixture
def client(api: str) -> Iterator[SyncPrefectClient]:
    """Prefect's client of that server; flows that run in this process use it too."""
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        yield client


def environment(home: Path, api: str | None = None) -> dict[str, str]:
    """A process's environment with its own Prefect folder, and the server where one is named."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    named = {"PREFECT_API_URL": api} if api else {}
    return {
        **kept,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **named,
    }


def until(done: Callable[[], bool]) -> None:
    """Wait for something, `SECONDS` at most."""
    end = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < end, f"not within {SECONDS:.0f} s"
        time.sleep(0.25)


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        with urlopen(url, timeout=5):
            return True
    except (URLError, TimeoutError):
        return False


def start(module: str, *arguments: str | Path, home: Path, api: str | None = None) -> "subprocess.Popen[str]":
    """`python -m flows.<module> ...`, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"flows.{module}", *map(str, arguments)],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(home, api),
    )


def run(
    module: str, *arguments: str | Path, home: Path, api: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """The same, to its end."""
    process = start(module, *arguments, home=home, api=api)
    out, err = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def living(home: Path) -> list[str]:
    """The processes that have this PREFECT_HOME."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"PREFECT_HOME={home}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_a_flow_runs_with_nothing_set_up(recipe: Path, home: Path) -> None:
    ended = run("generate", recipe, "--rows", "10", home=home)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    counts = re.fullmatch(r"rows: 10 planned = (\d+) kept \+ (\d+) rejected .*\+ (\d+) failed", lines[0])
    assert counts is not None
    assert sum(map(int, counts.groups())) == 10
    folder = Path(lines[-1].removeprefix("run folder: "))
    assert Dataset(folder).counts().planned == 10
    assert [line for line in ended.stderr.splitlines() if "Task run" not in line] == []
    assert living(home) == []


@pytest.mark.parametrize("module", ["pipeline", "deploy"])
def test_a_bad_recipe_is_one_line_and_exit_code_2_and_nothing_is_written(
    module: str, recipe: Path, tmp_path: Path
) -> None:
    edit(recipe, "max_tokens", "max_tokns")
    ended = run(module, recipe, home=tmp_path / "home")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert re.fullmatch(r"synth: .*max_tokns.*\n", ended.stderr)
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "home" / "prefect.db").exists()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_stopped_flow_ends_soon_and_leaves_no_server(
    sent: signal.Signals, status: int, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with Endpoint(delay=1.0) as slow:
        recipe = make_project(tmp_path / "slow", slow.url)
        process = start("pipeline", recipe, home=home)
        until(lambda: slow.requests > 0)
        process.send_signal(sent)
        process.communicate(timeout=15)
    assert process.returncode == status
    until(lambda: living(home) == [])


def test_artifacts_and_names_are_on_the_server(
    recipe: Path, home: Path, api: str, client: SyncPrefectClient
) -> None:
    edit(recipe, 'name = "small"', 'name = "shown"')
    ended = run("pipeline", recipe, "--rows", "20", home=home, api=api)
    assert ended.returncode == 0, ended.stderr
    shown = client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["shown-counts"]))
    )
    rows = json.loads(str(shown[0].data))
    assert {"status", "step", "reason", "rows", "share of planned"} == set(rows[0])
    assert sum(row["rows"] for row in rows) == 20
    assert f"rows: {shown[0].description}" == ended.stdout.splitlines()[0]
    runs = [run for run in client.read_flow_runs() if run.parameters.get("recipe") == str(recipe)]
    assert [run.name for run in runs] == ["recipe-20-rows"]
    until(lambda: {task.name for task in client.read_task_runs()} >= {"generate", "curate"})


def test_a_lost_teacher_is_asked_again_and_a_wrong_recipe_is_not(
    tmp_path: Path, client: SyncPrefectClient
) -> None:
    @flow
    def trial(recipe: str) -> None:
        tasks.generate.with_options(retry_delay_seconds=0)(recipe, None)

    faults = iter(["404"])
    with Endpoint(lambda prompt, times: next(faults, None)) as lost:
        recipe = make_project(tmp_path / "lost", lost.url)
        trial(str(recipe))
        edit(recipe, 'model = "local"', 'model = "other"\napi_key_env = "SYNTH_NO_SUCH_KEY"')
        with pytest.raises(RecipeError):
            trial(str(recipe))

    def attempts() -> list[int]:
        runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["trial"])))
        ids = {run.id for run in runs}
        return sorted(task.run_count for task in client.read_task_runs() if task.flow_run_id in ids)

    until(lambda: attempts() == [1, 2])


def test_a_deployment_runs_on_its_schedule(
    recipe: Path, home: Path, api: str, client: SyncPrefectClient
) -> None:
    edit(recipe, 'name = "small"', 'name = "nightly"')
    process = start("deploy", recipe, "--interval", "10", "--rows", "10", home=home, api=api)
    try:
        until(lambda: (recipe.parent / "data").exists() or process.poll() is not None)
        deployment = client.read_deployment_by_name("pipeline/nightly")
        until(
            lambda: any(
                run.deployment_id == deployment.id and run.state and run.state.is_completed()
                for run in client.read_flow_runs()
            )
        )
    finally:
        process.terminate()
        process.communicate(timeout=60)
    schema = deployment.parameter_openapi_schema
    assert schema is not None
    assert schema["required"] == ["recipe"]
    assert schema["properties"]["recipe"]["type"] == "string"
    assert {"minimum": 1, "type": "integer"} in schema["properties"]["rows"]["anyOf"]
    assert all(schema["properties"][name]["description"] for name in ("recipe", "rows"))
    assert deployment.parameters == {"recipe": str(recipe), "rows": 10}
    by_hand = client.read_deployment_by_name("finetune/nightly")
    assert by_hand.schedules == []
    folder = Path(by_hand.parameters["run"])
    assert Dataset(folder).counts().planned == 10


def test_a_schedule_without_a_server_says_what_to_start(recipe: Path, home: Path) -> None:
    ended = run("deploy", recipe, "--cron", "0 2 * * *", home=home)
    assert ended.returncode == 2
    assert re.fullmatch(r"synth: .*prefect server start.*\n", ended.stderr)
