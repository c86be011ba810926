"""The sandbox against what programs try: every attack here is a real one."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from synth import sandbox
from synth.errors import SynthError
from synth.filters.code_tests import CodeTests
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher
from synth.prompts import Prompts
from synth.sandbox import Limits, run
from synth.seeds import make_seed
from synth.strategies.template import Template
from synth.units import Steps, Unit, run_unit

SHORT = Limits(cpu=1, wall=3.0)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test no process of a sandbox is left, nor a folder of one."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert [path for path in Path("/proc").iterdir() if path.name.isdigit() and _runs_jail(path)] == []
    assert list(folder.iterdir()) == []


def _runs_jail(path: Path) -> bool:
    try:
        command = (path / "cmdline").read_bytes()
        parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return False
    return str(sandbox.JAIL).encode() in command and parent in (os.getpid(), 1)


def test_a_program_passes_where_its_last_line_is_reached() -> None:
    outcome = run("def f(x):\n    return x + 1", tests="assert f(1) == 2\nprint('done')")
    assert (outcome.passed, outcome.reason, outcome.output) == (True, "", "done\n")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("assert 1 == 2", "tests fail"),
        ("1 / 0", "raises an error"),
        ("def f(:", "syntax error"),
        ("x = 1\0", "syntax error"),
        ("import sys; sys.exit(0)", "ends before its tests do"),
        ("import os; os._exit(0)", "ends before its tests do"),
        ("raise SystemExit", "ends before its tests do"),
        ("x = '''", "syntax error"),
        ("while True: pass", "time over"),
        ("try:\n while True: pass\nexcept BaseException:\n while True: pass", "time over"),
        ("import time; time.sleep(60)", "time over"),
        ("import signal, os; os.kill(os.getpid(), signal.SIGSTOP)", "time over"),
        ("import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "time over"),
        ("x = bytearray(10 << 30)", "memory over"),
        ("x = []\nwhile True: x.append('a' * 1_000_000)", "memory over"),
        ("import os\nwhile True: os.fork()", "too many processes"),
        ("import os\nif os.fork() == 0:\n os.setsid()\n while True: pass", "too many processes"),
        ("import subprocess; subprocess.run(['sleep', '60'])", "too many processes"),
        ("import multiprocessing as m; m.Process(target=print).start()", "too many processes"),
        ("import os; os.execv('/bin/sh', ['sh', '-c', 'sleep 60'])", "too many processes"),
        (
            "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
            "too many processes",
        ),
        ("while True: print('a' * 10_000_000)", "too much output"),
        ("open('big', 'w').write('a' * (1 << 30))", "memory over"),
        ("f = open('big', 'w')\nwhile True: f.write('a' * 100_000)", "writes too much"),
        ("n = 0\nwhile True:\n n += 1\n open(str(n), 'w').write('a' * 100_000)", "writes too much"),
        ("x = [open('a', 'w') for _ in range(99)]", "too many open files"),
        ("import os; os.mkdir('a')", "reads or writes outside"),
        ("import ctypes; ctypes.string_at(0)", "crashes the interpreter"),
        ("import os; os.kill(os.getppid(), 9)", "makes a forbidden call"),
        ("import os; os.kill(-1, 9)", "makes a forbidden call"),
        ("import os; os.symlink('/etc', 'a')", "makes a forbidden call"),
        ("import resource; resource.prlimit(1, resource.RLIMIT_CPU)", "makes a forbidden call"),
        (
            "import fcntl, os; fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())",
            "makes a forbidden call",
        ),
    ],
)
def test_every_attack_is_stopped_within_seconds_with_its_reason(code: str, reason: str) -> None:
    outcome = run(code, SHORT, "pass")
    assert (outcome.passed, outcome.reason) == (False, reason), outcome.output
    assert reason in sandbox.REASONS and outcome.seconds < 6


def test_a_fork_bomb_that_hides_its_failures_starts_no_process_either() -> None:
    bomb = (
        "import os\nn = 0\nwhile n < 2000:\n try: os.fork(); break\n except OSError: n += 1\nassert n == 2000"
    )
    assert run(bomb).passed


def test_a_child_by_a_call_without_python_is_no_child_either() -> None:
    """clone and vfork by their numbers, and those of 32-bit programs."""
    code = "import ctypes\nlibc = ctypes.CDLL(None)\n"
    calls = "assert all(libc.syscall(n, 0, 0, 0, 0, 0) == -1 for n in (56, 57, 58, 435, 0x40000039))"
    assert run(code + calls if os.uname().machine == "x86_64" else code).passed


@pytest.mark.parametrize("place", ["home", "temporary", "etc", "of the run"])
def test_nothing_outside_is_read_written_altered_or_removed(place: str, tmp_path: Path) -> None:
    folders = {"home": Path.home(), "temporary": Path("/tmp"), "etc": Path("/etc"), "of the run": tmp_path}
    folder = folders[place]
    writable = os.access(folder, os.W_OK)
    target = folder / f"synth-test-{os.getpid()}.txt"
    if writable:
        target.write_text("kept")
        target.chmod(0o666)
    try:
        for attack in ("open(p, 'w')", "open(p, 'a')", "open(p + '2', 'w')", "open(p).read()"):
            assert run(f"p = {str(target)!r}\n{attack}").reason == "reads or writes outside", attack
        for attack in ("os.remove(p)", "os.rename(p, 'mine')", "os.rename('mine', p)", "os.listdir(d)"):
            code = f"import os\nd, p = {str(folder)!r}, {str(target)!r}\nopen('mine', 'w')\n{attack}"
            assert run(code).reason in ("reads or writes outside", "raises an error"), attack
        for attack in ("os.chmod(p, 0)", "os.truncate(p, 0)", "os.link(p, 'mine')", "os.utime(p)"):
            assert not run(f"import os\np = {str(target)!r}\n{attack}").passed, attack
        if writable:
            assert target.read_text() == "kept" and target.stat().st_mode & 0o777 == 0o666
        assert not Path(f"{target}2").exists()
    finally:
        if writable:
            target.unlink()


def test_no_address_is_reached_neither_this_machine_nor_another() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.2)
        port = listening.getsockname()[1]
        for place in (("127.0.0.1", port), ("192.0.2.1", 80)):
            code = f"import socket\nsocket.create_connection({place!r}, 1)"
            assert run(code).reason == "network"
        assert run("import urllib.request as u; u.urlopen('http://example.org')").reason == "network"
        assert run("import socket; socket.socket(socket.AF_UNIX).connect('/run/x')").reason == "network"
        assert run("import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)").reason == "network"
        with pytest.raises(TimeoutError):
            listening.accept()


def test_secrets_files_and_memory_of_the_parent_are_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTH_TEST_SECRET", "hush")
    seen = run("import os\nprint(os.environ)\nprint(os.listdir('.'))")
    assert seen.passed and "hush" not in seen.output and seen.output.endswith("[]\n")
    for file in ("environ", "mem", "fd/0", "maps"):
        code = f"import os\nopen(f'/proc/{{os.getppid()}}/{file}', 'rb').read()"
        assert run(code).reason == "reads or writes outside"
    with Path(__file__).open("rb") as secret:
        os.set_inheritable(secret.fileno(), True)
        code = "import os\nfor n in range(3, 32):\n try: print(n, os.read(n, 9))\n except OSError: pass"
        assert b"sandbox" not in run(code, Limits(wall=3.0)).output.encode()


def test_what_ordinary_programs_do_is_possible() -> None:
    code = """
import asyncio, contextlib, datetime, decimal, hashlib, json, os, random, re, sqlite3, threading, zoneinfo
async def wait(): await asyncio.sleep(0.01); return 7
assert asyncio.run(wait()) == 7
thread = threading.Thread(target=print, args=("in a thread",)); thread.start(); thread.join()
open("a.txt", "w").write("b"); assert open("a.txt").read() == "b"
os.rename("a.txt", "c.txt"); os.remove("c.txt")
with open(os.devnull, "w") as f, contextlib.redirect_stdout(f): print("unseen")
assert zoneinfo.ZoneInfo("UTC") and sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
assert sum(range(10**6)) and not random.seed(1)
"""
    outcome = run(code)
    assert outcome.passed, outcome.output


def test_equal_programs_have_equal_outcomes_also_where_sets_are_printed() -> None:
    code = "print({str(n) for n in range(50)})"
    assert run(code).output == run(code).output


def test_an_unfinished_text_in_the_answer_does_not_swallow_its_tests() -> None:
    assert run('x = """', tests='"""\nassert False').reason == "syntax error"
    assert run("if True:", tests="    pass").reason == "syntax error"


def test_an_ordinary_user_is_held_as_root_is(tmp_path: Path) -> None:
    """Run again by a user without any power, where this test is run by root."""
    if os.geteuid() != 0:
        pytest.skip("every other test here is run by an ordinary user")
    python = next((p for p in (shutil.which("python3", path="/usr/bin"),) if p), None)
    if python is None or sys.version_info < (3, 11):
        pytest.skip("needs a Python that an ordinary user may start")
    code = """
from synth import sandbox
import os
assert os.geteuid() == 65534
sandbox.proven()
for code in ("import os\\nos.kill(os.getppid(), 9)",
             "import os\\nwhile True: os.fork()", "bytearray(10 << 30)",
             "import os\\nopen(f'/proc/{os.getppid()}/environ')", "open('/tmp/nobody', 'w')",
                 "while True: pass"):
    print(sandbox.run(code, sandbox.Limits(cpu=1, wall=3)).reason)
"""
    done = subprocess.run(
        [python, "-B", "-c", code],
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        env={"PYTHONPATH": str(Path(sandbox.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "PermissionError" in done.stderr or "No module named 'synth'" in done.stderr:
        pytest.skip("an ordinary user can't read this checkout")
    assert done.stdout.splitlines() == [
        "makes a forbidden call",
        "too many processes",
        "memory over",
        *("reads or writes outside",) * 2,
        "time over",
    ], done.stderr


def test_a_jail_that_can_not_be_built_is_an_error_never_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.proven()
    jail = sandbox.JAIL.read_text().replace("LANDLOCK = 3", "LANDLOCK = 99")
    broken = tmp_path / "jail.py"
    broken.write_text(jail)
    monkeypatch.setattr(sandbox, "JAIL", broken)
    try:
        with pytest.raises(SynthError, match=r"Landlock is of version .* run on Linux .*leave out what"):
            run("pass")
        sandbox.proven.cache_clear()
        assert "can't run code: no code can be run safely here" in CodeTests().missing(frozenset())
    finally:
        sandbox.proven.cache_clear()


def test_a_run_goes_on_after_an_attack_whose_row_is_rejected_with_the_reason(tmp_path: Path) -> None:
    answers = {
        "bomb": "import os\nwhile True:\n    os.fork()",
        "loop": "while True:\n    pass",
        "good": "```python\ndef f():\n    return 1\n```",
    }
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.jinja").write_text("{{ kind }}")
    teacher = ScriptedTeacher(lambda prompt, _: answers[str(prompt[-1]["content"])])  # type: ignore[index]
    ask = teacher.asker(Journal(tmp_path / "journal"))
    steps = Steps([CodeTests(seconds=1)], [], Prompts(tmp_path), ask, ask)

    async def all_of_them() -> list[tuple[str, str]]:
        seeds = [make_seed({"kind": kind, "tests": "assert f() == 1"}) for kind in answers]
        units = [Unit(Template(prompt="ask"), 0, seed, 0) for seed in seeds]
        rows = [
            record for unit in await asyncio.gather(*(run_unit(u, steps) for u in units)) for record in unit
        ]
        return [(row.status, row.rejection.reason if row.rejection else "") for row in rows]

    started = time.monotonic()
    assert asyncio.run(all_of_them()) == [
        ("rejected", "too many processes"),
        ("rejected", "time over"),
        ("kept", ""),
    ]
    assert time.monotonic() - started < 10
