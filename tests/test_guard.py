import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TREE = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
path = pathlib.Path(sys.argv[1])
path.with_suffix(".part").write_text(f"{os.getpid()} {child.pid}")
path.with_suffix(".part").rename(path)
time.sleep(60)
"""
"""A server with a child of its own, which writes both process ids."""

PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-m", "synth.guard", *sys.argv[1:]], stdin=subprocess.PIPE)
time.sleep(60)
"""


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def pids_of(file: Path) -> list[int]:
    assert until(file.is_file)
    return [int(pid) for pid in file.read_text().split()]


def guarded(*command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "synth.guard", *command], stdin=subprocess.PIPE)


def test_closing_the_pipe_ends_the_command_and_its_children(tmp_path: Path) -> None:
    guard = guarded(sys.executable, "-c", TREE, str(tmp_path / "pids"))
    server, child = pids_of(tmp_path / "pids")
    assert alive(server) and alive(child)
    assert guard.stdin is not None
    guard.stdin.close()
    guard.wait(20)
    assert until(lambda: not alive(server) and not alive(child))


def test_kill_9_of_the_parent_leaves_no_server_behind(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, sys.executable, "-c", TREE, str(tmp_path / "p")])
    server, child = pids_of(tmp_path / "p")
    assert alive(server) and alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait(20)
    assert until(lambda: not alive(server) and not alive(child))


def test_the_guard_ends_with_its_command_and_hands_on_its_status() -> None:
    guard = guarded(sys.executable, "-c", "raise SystemExit(7)")
    assert guard.wait(20) == 7
    assert guard.stdin is not None
    guard.stdin.close()


def test_a_signal_to_the_guard_reaches_the_command(tmp_path: Path) -> None:
    guard = guarded(sys.executable, "-c", TREE, str(tmp_path / "pids"))
    server, child = pids_of(tmp_path / "pids")
    guard.terminate()
    assert guard.wait(20) == 128 + signal.SIGTERM
    assert until(lambda: not alive(server) and not alive(child))
    assert guard.stdin is not None
    guard.stdin.close()
