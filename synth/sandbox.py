"""Runs a program that nobody has read, as a model writes them, and says whether it came to its end.

Linux alone; as root or as an ordinary user, without namespaces, which containers often forbid. The kernel
holds it (see `synth.jail`). By Landlock it reads Python's own library and writes plain files in an empty
folder. By a list of allowed system calls it gets no network, no process beside its own, and nothing of other
processes. By limits its time, memory, bytes, threads and open files end. Root's jobs run as nobody. Where one
of these can't be had there is an error, never a weaker sandbox.

What it is not: a virtual machine. It doesn't defend against errors of the kernel or the processor, and hides
neither the time nor the names of files (only what is in them). And a program that hunts for the verdict in
its own process can forge it: don't train a model against the tests alone.
"""

import contextlib
import functools
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from synth.errors import SynthError

JAIL = Path(__file__).with_name("jail.py")
SHUT_IN = b"."
"""What a jail says when all its walls stand."""
LOOK = 0.05
"""Seconds between looks at a program's threads and folder."""
CPU_SHARE = 0.5
"""Of the processor seconds allowed: a program killed after more of them was killed for its time. The kernel
holds the limit by ticks, which on a busy machine run ahead of the seconds that it reports."""
FILES = 256
"""Files that a program may have in its folder."""
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/localtime", "/dev/urandom")
REASONS = (
    "tests fail",
    "raises an error",
    "syntax error",
    "ends before its tests do",
    "time over",
    "memory over",
    "too many processes",
    "reads or writes outside",
    "network",
    "makes a forbidden call",
    "writes too much",
    "too much output",
    "too many open files",
    "crashes the interpreter",
)
"""Every reason of an `Outcome`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use. `cpu` and `wall` in seconds, the rest in bytes or pieces."""

    cpu: int = 5
    """Seconds of all its threads together."""
    wall: float = 15.0
    memory: int = 512 << 20
    """Address space, Python's own 30 MiB included."""
    written: int = 16 << 20
    """Bytes of all its files."""
    output: int = 1 << 20
    """Bytes on stdout and stderr together."""
    open_files: int = 32
    threads: int = 32


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a program came to its end; if not why, one of `REASONS`. `output` ends in its traceback."""

    passed: bool
    reason: str
    seconds: float
    output: str = ""


def run(code: str, limits: Limits = Limits(), tests: str = "") -> Outcome:
    """Run a program, then its tests, in an empty folder, as one module that is imported, not started.

    It passes where its last line was reached; exiting earlier is no pass. Nothing of it is left afterwards.

    Raises:
        SynthError: this machine can't shut it in; says what lacks and the mend.
    """
    proven()
    return _run([code, tests], limits)


@functools.cache
def proven() -> None:
    """Proves once, by trying, that every wall holds on this machine.

    Raises:
        SynthError: one doesn't; says which, and the mend.
    """
    if sys.platform != "linux":
        raise SynthError("the sandbox needs Linux; run there, or leave out what runs code")
    with tempfile.NamedTemporaryFile() as outside:
        for reason, code in (
            ("", "import asyncio, math\nopen('a', 'w').write('b')\nassert open('a').read() == 'b'"),
            ("network", "import socket\nsocket.socket()"),
            ("too many processes", "import os\nos.fork()"),
            ("reads or writes outside", f"open({outside.name!r})"),
            ("reads or writes outside", f"open({outside.name!r}, 'w')"),
            ("makes a forbidden call", f"import os\nos.chmod({outside.name!r}, 0)"),
            ("makes a forbidden call", "import os\nos.kill(os.getppid(), 0)"),
            ("memory over", "bytearray(1 << 40)"),
        ):
            got = _run([code], Limits())
            if got.reason != reason:
                raise SynthError(
                    f'the sandbox does not hold here: {code!r} ended with "{got.reason}", not "{reason}";'
                    f" leave out what runs code, and report this machine ({got.output.strip()[-200:]})"
                )


def _run(programs: list[str], limits: Limits) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="synth-") as folder:
        return _watched(programs, limits, folder)


def _watched(programs: list[str], limits: Limits, folder: str) -> Outcome:
    token = secrets.token_hex(16).encode()
    job = json.dumps(
        {
            "programs": programs,
            "cpu": limits.cpu,
            "memory": limits.memory,
            "written": limits.written,
            "open_files": limits.open_files,
            "folder": folder,
            "readable": [*SYSTEM, str(Path(sys.base_prefix).resolve() / "lib")],
            "parent": os.getpid(),
        }
    ).encode()
    started = time.monotonic()
    process, send, report = _start(folder)
    with process, report:
        try:
            with contextlib.suppress(BrokenPipeError), send:  # where it ended at once, it reports why
                send.write(len(job).to_bytes(4, "big") + job + token)
            reason, output = _watch(process, folder, limits, started + limits.wall)
        finally:
            os.kill(process.pid, signal.SIGKILL)  # not `process.kill`, which would take the usage away
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said = report.read()
    text = bytes(output[: limits.output]).decode("utf-8", "replace")
    if not said.startswith(SHUT_IN) and not reason:
        why = said.decode() or text.strip()[-300:] or "it was ended from outside"
        raise SynthError(f"no code can be run safely here: {why}; or leave out what runs code")
    said = said.removeprefix(SHUT_IN)
    if not reason and said != token:
        reason = _told(said, process.returncode, used.ru_utime + used.ru_stime, limits)
    return Outcome(not reason, reason, time.monotonic() - started, text)


def _start(folder: str) -> tuple["subprocess.Popen[bytes]", IO[bytes], IO[bytes]]:
    """A jail in a session of its own; where its job is written to, and where its report is read."""
    job_in, job_out = os.pipe()
    report_in, report_out = os.pipe()
    try:
        # Without -I, under which PYTHONHASHSEED would not count; the environment is empty otherwise.
        process = subprocess.Popen(
            [sys.executable, "-u", "-s", "-S", "-P", "-B", str(JAIL), str(job_in), str(report_out)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "HOME": folder, "TMPDIR": folder},
            pass_fds=(job_in, report_out),
            start_new_session=True,
        )
    except BaseException:
        os.close(job_out)
        os.close(report_in)
        raise
    finally:
        os.close(job_in)
        os.close(report_out)
    return process, os.fdopen(job_out, "wb"), os.fdopen(report_in, "rb")


def _watch(
    process: "subprocess.Popen[bytes]", folder: str, limits: Limits, end: float
) -> tuple[str, bytearray]:
    """Waits until a program ends or must be ended; why it must, and what it printed."""
    assert process.stdout is not None
    output, out = bytearray(), process.stdout.fileno()
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as ready:
            ready.register(out, selectors.EVENT_READ)
            ready.register(ended, selectors.EVENT_READ)
            while True:
                events = {key.fd for key, _ in ready.select(LOOK)}
                if out in events:
                    part = os.read(out, 1 << 16)
                    output += part
                    if not part:
                        ready.unregister(out)
                if len(output) > limits.output:
                    return "too much output", output
                if out not in events and ended in events:
                    return "", output
                if reason := _trouble(process.pid, folder, limits, end):
                    return reason, output
    finally:
        os.close(ended)


def _trouble(pid: int, folder: str, limits: Limits, end: float) -> str:
    """What the kernel doesn't count by itself."""
    if time.monotonic() > end:
        return "time over"
    try:
        threads = len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208 - names alone
    except (FileNotFoundError, ProcessLookupError):
        return ""
    if threads > limits.threads:
        return "too many processes"
    used = number = 0
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries, 1):
            try:
                used += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
            if used > limits.written or number > FILES:
                return "writes too much"
    return ""


def _told(said: bytes, status: int, cpu: float, limits: Limits) -> str:
    """Why a program that did not come to its end by itself didn't."""
    reason = said.decode("utf-8", "replace")
    if reason in REASONS:
        return reason
    if status == -signal.SIGKILL:
        return "time over" if cpu > CPU_SHARE * limits.cpu else "memory over"
    return "crashes the interpreter" if status < 0 else "ends before its tests do"
