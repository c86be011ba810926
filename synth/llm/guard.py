"""`python -m synth.llm.guard COMMAND...`: runs a command and ends it, with all its children, when its own
standard input closes. The parent holds the other end of that pipe, so that even kill -9 of the parent leaves
no server behind.
"""

import os
import signal
import subprocess
import sys
import threading

GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL."""


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
