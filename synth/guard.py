"""Servers that never outlive the process that started them.

`start` runs `python -m synth.guard COMMAND...`, which ends the command, with all its children, when its own
standard input closes. The parent holds the other end of that pipe: even kill -9 of the parent leaves no
server behind.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL."""


STOP_SECONDS = 10.0
"""Seconds after which `stop` ends the guard itself."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    command: Sequence[str], env: Mapping[str, str], out: IO[bytes] | None = None
) -> "subprocess.Popen[bytes]":
    """Run a server under a guard, in a session of its own; what it prints goes to `out`."""
    return subprocess.Popen(
        [sys.executable, "-m", "synth.guard", *command],
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.STDOUT if out else None,
        env=env,
        start_new_session=True,
    )


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server that `start` started; returns when it is gone."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(command: list[str]) -> int:
    """Exit status of the command."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end(sign: int) -> None:
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            return

    def wait_for_parent() -> None:
        sys.stdin.buffer.read()
        end(signal.SIGTERM)
        threading.Timer(GRACE, end, [signal.SIGKILL]).start()

    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda number, _: end(number))
    threading.Thread(target=wait_for_parent, daemon=True).start()
    status = child.wait()
    end(signal.SIGKILL)
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main(sys.argv[1:])
