"""The Prefect server of a run where none is set up: quiet, out of reach of Ctrl-C, and gone when we are.

Prefect's own temporary server shares our process group, so that Ctrl-C ends it before the run could tell it
of its end, and it outlives a kill -9.
"""

import atexit
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from urllib.request import urlopen

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    get_current_settings,
    temporary_settings,
)

from synth import guard
from synth.errors import SynthError

DEFAULTS = {
    "server.ephemeral.startup_timeout_seconds": 180,
    "server.analytics_enabled": False,
    "server.register_blocks_on_start": False,
    "server.memoize_block_auto_registration": False,
}
"""What holds for the server unless the user's settings say otherwise."""


class ServerError(SynthError):
    """No Prefect server is named where one is needed, or the one that is needed does not start."""

    exit_code = 2


def start() -> None:
    """Start a server for this process, unless PREFECT_API_URL names one. Its runs are kept in PREFECT_HOME.

    Raises:
        ServerError: it does not answer within PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.
    """
    if PREFECT_API_URL.value() is not None:
        return
    until_exit = ExitStack()
    atexit.register(until_exit.close)
    until_exit.enter_context(temporary_settings(set_defaults=DEFAULTS))
    port = guard.free_port()
    process = guard.start(_command(port), _environment())
    until_exit.callback(guard.stop, process)
    url = f"http://127.0.0.1:{port}/api"
    _wait_until_ready(process, f"{url}/health")
    until_exit.enter_context(temporary_settings({PREFECT_API_URL: url}))


def _command(port: int) -> list[str]:
    app = ["--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "uvicorn", *app, "--log-level", "error", "--lifespan", "on"]


def _environment() -> dict[str, str]:
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return {**os.environ, **settings, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}


def _wait_until_ready(process: "subprocess.Popen[bytes]", health: str) -> None:
    patience = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), urlopen(health, timeout=5):
            return
        time.sleep(0.1)
    raise ServerError(
        f"Prefect's server did not start within {patience:.0f} s; use `synth run`, or name a server in "
        "PREFECT_API_URL"
    )
