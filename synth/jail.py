"""The child's side of `synth.sandbox`: shuts itself in, then runs a program. A script, without synth.

Started as `python jail.py JOB REPORT` with two pipes. JOB gives the job as JSON, then a token that is left
unread until the program has run to its end; REPORT gets `SHUT_IN`, then that token or a reason.
"""

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import struct
import sys
from types import ModuleType, TracebackType
from typing import Any

SHUT_IN = b"."
NOBODY = 65534
"""The user that a job of root's runs as."""
READ, WRITE = 1 << 2 | 1 << 3, 1 << 1 | 1 << 5 | 1 << 8 | 1 << 14
"""Landlock's rights: read files and list folders; write, remove, make and truncate plain files."""
ON_FILES = 1 << 1 | 1 << 2 | 1 << 14
EVERY_RIGHT = (1 << 15) - 1
LANDLOCK = 3
"""The version that can forbid truncating; Linux 6.2."""
LINES = {
    "network": (errno.ENETDOWN,),
    "too many processes": (errno.EAGAIN,),
    "reads or writes outside": (errno.EACCES,),
    "makes a forbidden call": (errno.EPERM,),
    "writes too much": (errno.EFBIG, errno.ENOSPC),
    "too many open files": (errno.EMFILE,),
}
"""What is said of an `OSError` that nobody catches, by its number."""

# Calls by number: those that compute, wait, and use what is open or may be opened under Landlock. What isn't
# here (sockets, processes, owners and modes of files, the machine) is refused by the kernel.
X86 = """0-15 17-25 27 28 32-40 45 48 51 52 54 55 60 61 63 73-75 77 79-85 87 89 95-100 102 104 107 108 110 111
115 118 120 121 124 127 128 130 131 137 138 140 143 145-147 158 186 187 201 202 204 213 217-219 221-224 226
228-233 247 257 258 262-264 267 269-271 273 274 281 283 286 287 290-293 295 296 309 316 318 324 326 332 334
439 441 449"""
ARM = """17 19-24 32 34 35 38 43 44 46 48-50 56 57 59 61-73 78-80 82 83 85-87 93-96 98-103 107 108 110 111
113-115 120 121 123-126 128 132-137 139 141 148 150 153 155 156 158 160 163 165 166 168 169 172-179 204 205
207-210 213-216 222 223 226 232 233 260 276 278 283 285 291 293 439 441 449"""
RULED = {
    "kill": (62, 129),
    "tgkill": (234, 131),
    "clone": (56, 220),
    "prlimit64": (302, 261),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "clone3": (435, 435),
    "fork": (57, 0xFFFFFFFF),  # which ARM hasn't
    "vfork": (58, 0xFFFFFFFF),
    "execve": (59, 221),
    "execveat": (322, 281),
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "capset": (126, 91),
}
"""The numbers of calls with a rule of their own, on x86 and ARM."""
MACHINES = {"x86_64": (0xC000003E, X86, 0), "aarch64": (0xC00000B7, ARM, 1)}
"""Machine: its name for the kernel's filter, the calls allowed, and its place in `RULED`."""
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)
"""Duplicates, flags, locks. Not: who gets a file's signals."""
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
LIBC = ctypes.CDLL(None, use_errno=True)


class CannotShutIn(Exception):
    """A protection can't be had here; the text says which, and the mend."""


def call(what: str, mend: str, number: int, *arguments: object) -> int:
    """A system call by number, or -1 for prctl; raises `CannotShutIn` where it fails."""
    function = LIBC.prctl if number < 0 else LIBC.syscall
    result: int = function(*(() if number < 0 else (ctypes.c_long(number),)), *arguments)
    if result < 0:
        raise CannotShutIn(f"{what}: {os.strerror(ctypes.get_errno())}; {mend}")
    return result


def limit(job: dict[str, Any]) -> None:
    """What the kernel counts for one process. Its threads and its folder are counted from outside."""
    for kind, most in (
        (resource.RLIMIT_CPU, job["cpu"]),
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_FSIZE, job["written"]),
        (resource.RLIMIT_NOFILE, job["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def wall_in(readable: list[str], folder: str) -> None:
    """Landlock: read `readable` and write plain files in `folder`; nothing else of the file system."""
    mend = "run on Linux 6.2 or later with Landlock in its list of security modules"
    version = call("no Landlock", mend, 444, None, ctypes.c_size_t(0), 1)
    if version < LANDLOCK:
        raise CannotShutIn(f"Landlock is of version {version}, not {LANDLOCK}; {mend}")
    handled = ctypes.create_string_buffer(struct.pack("Q", EVERY_RIGHT), 8)
    rules = call("no Landlock rules", mend, 444, handled, ctypes.c_size_t(8), 0)
    for path, rights in [
        *((path, READ) for path in readable),
        (folder, READ | WRITE),
        ("/dev/null", READ | WRITE),
    ]:
        if not os.path.exists(path):  # noqa: PTH110 - pathlib is heavy to start
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not os.path.isdir(path):  # noqa: PTH112
            rights &= ON_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, opened), 12)
        call("no Landlock rule", mend, 445, rules, 1, rule, 0)
        os.close(opened)
    call("Landlock can't be switched on", mend, 446, rules, 0)
    os.close(rules)


def step_down(folder: str, capset: int) -> None:
    """Root becomes nobody, who may still read where root may; every other power is given up by all."""
    powers = 0
    if os.geteuid() == 0:
        try:
            os.chown(folder, NOBODY, NOBODY)
            call("powers can't be kept", "", -1, 8, 1, 0, 0, 0)
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError as error:
            raise CannotShutIn(
                f"root may not become user {NOBODY} ({error.strerror}); run as an ordinary user, or give the"
                " container CHOWN, SETUID and SETGID"
            ) from error
        powers = 1 << 2  # CAP_DAC_READ_SEARCH: Python itself may lie in root's home
    head = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0), 8)
    body = ctypes.create_string_buffer(struct.pack("6I", powers, powers, 0, 0, 0, 0), 24)
    call("powers can't be given up", "report this machine", capset, head, body)


def filtered(machine: str) -> bytes:
    """The kernel's filter of system calls, as a program for its small machine (classic BPF)."""
    name, calm, place = MACHINES[machine]
    number = {call: numbers[place] for call, numbers in RULED.items()}
    me, refused = os.getpid(), 0x50000
    code: list[tuple[int, int, int, int]] = [
        (0x20, 0, 0, 4),  # load the machine's name
        (0x15, 1, 0, name),
        (0x06, 0, 0, 0x80000000),  # another one: kill
        (0x20, 0, 0, 0),  # load the call's number
    ]

    def answer(call: int, action: int) -> None:
        code.extend([(0x15, 0, 1, call), (0x06, 0, 0, action)])

    def only(call: int, argument: int, values: tuple[int, ...], other: int, mask: int = 0xFFFFFFFF) -> None:
        """Allow a call where an argument, masked, is one of the values."""
        tests = [(0x15, 0, 1, value) for value in values]
        inner = [(0x20, 0, 0, 16 + 8 * argument), (0x54, 0, 0, mask)]
        for test in tests:
            inner += [test, (0x06, 0, 0, 0x7FFF0000)]
        inner.append((0x06, 0, 0, refused | other))
        code.append((0x15, 0, len(inner), call))
        code.extend(inner)

    only(number["clone"], 0, (0x10000,), errno.EAGAIN, 0x10000)  # threads alone
    only(number["kill"], 0, (me,), errno.EPERM)
    only(number["tgkill"], 0, (me,), errno.EPERM)
    only(number["prlimit64"], 0, (0, me), errno.EPERM)
    only(number["fcntl"], 1, FCNTL, errno.EPERM)
    only(number["ioctl"], 1, IOCTL, errno.EPERM)
    # A stream pair is joined to itself for good: asyncio wakes itself by one.
    only(number["socketpair"], 1, (1,), errno.ENETDOWN, 0xF)
    answer(number["sendto"], 0x7FFF0000)
    answer(number["clone3"], refused | errno.ENOSYS)  # its flags can't be read here; libc then uses clone
    for each in ("fork", "vfork", "execve", "execveat"):
        answer(number[each], refused | errno.EAGAIN)
    for each in ("socket", "connect", "bind"):
        answer(number[each], refused | errno.ENETDOWN)
    for part in calm.split():
        first, _, last = part.partition("-")
        for allowed in range(int(first), int(last or first) + 1):
            answer(allowed, 0x7FFF0000)
    code.append((0x06, 0, 0, refused | errno.EPERM))
    return b"".join(struct.pack("HBBI", *line) for line in code)


def shut_in(job: dict[str, Any]) -> None:
    """All walls, the outermost first; what fails stops the job."""
    machine = platform.machine()
    if machine not in MACHINES:
        raise CannotShutIn(f"no filter is written for {machine} machines; use x86_64 or aarch64")
    call("new powers can't be refused", "run on Linux", -1, 38, 1, 0, 0, 0)
    wall_in(job["readable"], job["folder"])
    step_down(job["folder"], RULED["capset"][MACHINES[machine][2]])
    call("can't die with its parent", "run on Linux", -1, 1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != job["parent"]:
        raise CannotShutIn("its parent is gone")
    limit(job)
    program = filtered(machine)
    lines = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(lines)), 16
    )
    mend = "run on a kernel with seccomp filters"
    call("system calls can't be filtered", mend, -1, 22, 2, head, 0, 0)


def reason_of(error: BaseException) -> str:
    """Why a program ended, in fixed words, by what it raised or what that came of."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, MemoryError):
            return "memory over"
        if isinstance(chain, RuntimeError) and str(chain) == "can't start new thread":
            return "too many processes"
        if type(chain).__name__ == "gaierror":
            return "network"
        if isinstance(chain, OSError):
            for reason, numbers in LINES.items():
                if chain.errno in numbers:
                    return reason
        chain = chain.__cause__ or chain.__context__
    return "tests fail" if isinstance(error, AssertionError) else "raises an error"


def run(programs: list[str], report: int) -> None:
    """Runs programs in one module. Where one doesn't compile, or ends by an error, reports why and ends."""

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.__excepthook__(kind, error, trace)
        os.write(report, reason_of(error).encode())
        os._exit(1)

    room = ModuleType("answer")
    sys.modules["answer"] = room
    sys.excepthook = end
    for program in programs:
        try:
            compiled = compile(program, "<answer>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            os.write(report, b"syntax error")
            os._exit(1)
        exec(compiled, room.__dict__)


def read_job(file: int) -> bytes:
    """The job, and not a byte more: its size comes first."""
    size = int.from_bytes(os.read(file, 4), "big")
    job = b""
    while len(job) < size:
        job += os.read(file, size - len(job))
    return job


def main(job_file: int, report: int) -> None:
    """Shuts itself in, runs the job, reports and ends, whatever threads are left."""
    job = json.loads(read_job(job_file))
    try:
        shut_in(job)
    except CannotShutIn as error:
        os.write(report, f"{error}".encode())
        os._exit(0)
    os.write(report, SHUT_IN)
    run(job["programs"], report)
    os.write(report, os.read(job_file, 64))
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
