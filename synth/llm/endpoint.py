"""One address of an OpenAI-compatible server: posts requests, tells whether it is there and how busy.

aiohttp with orjson costs 0.15-0.2 CPU seconds for 1,000 requests, where the OpenAI SDK costs 3.2 and more.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson
from yarl import URL

from synth.errors import RequestFailed, TeacherError
from synth.llm import contract
from synth.llm.throttle import Limit

LONGEST_WAIT = 60.0
"""Seconds for which a Retry-After is believed."""
GET = 10.0
"""Seconds for a page that costs a server nothing."""
RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}
SUSPECT = 5
"""Bad answers in a row, of all requests, after which an endpoint must show that it is there."""
SLOWEST, QUICKEST, ROOM = 1.0, 300.0, 16
"""Seconds a token before anything was seen; the least timeout in seconds (what is given up too soon is paid
again); tokens added for the prompt."""


class Bad(Exception):
    """A bad answer that another try may mend: `kind` for the counts, seconds to wait if the server said."""

    def __init__(self, kind: str, after: float | None = None) -> None:
        self.kind, self.after = kind, after


class Unreachable(Exception):
    """Nobody listens."""


class NotFound(TeacherError):
    """HTTP 404: no such path, or no such model."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. `died` tells why one that was started here has ended; `restart` brings it back."""

    base_url: str
    api_key: str | None = None
    died: Callable[[], str | None] = lambda: None
    restart: Callable[[], Awaitable[None]] | None = None


class Endpoint:
    """`up` until it can't be reached; `streak` counts bad answers since the last good one."""

    def __init__(self, address: Address, session: aiohttp.ClientSession) -> None:
        self.address, self.base_url = address, address.base_url.rstrip("/")
        self._root = self.base_url.removesuffix("/v1")
        self.limit = Limit()
        self.up, self.streak = True, 0
        self.lost = False
        """Whether it is given up: a replica that dies again and again."""
        self.retries: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[Any]] = set()
        """Those that wait for an answer."""
        self.engine: contract.Engine | None = None
        self.at_first: contract.Engine | None = None
        """The engine's counters lately, and at the first look."""
        self.pace = SLOWEST
        """Seconds a token of the slowest reply lately, its wait in the queue included."""
        self._session = session
        self._urls: dict[str, URL] = {}
        self._headers = {"Content-Type": "application/json"}
        if address.api_key:
            self._headers["Authorization"] = f"Bearer {address.api_key}"

    async def post(self, path: str, data: bytes, seconds: float) -> bytes:
        """The body of a good answer.

        Raises:
            Bad: a retry may mend it.
            Unreachable: nobody listens.
            RequestFailed: the server refuses this request.
            TeacherError: it knows no such model or key.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10)
        url = self._urls.get(path) or self._urls.setdefault(path, URL(self.base_url + path))
        try:
            async with self._session.post(url, data=data, headers=self._headers, timeout=timeout) as response:
                body = await response.read()
                if response.status == 200:
                    return body
                raise self._refused(response.status, body, response.headers.get("Retry-After", ""))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable from error
        except TimeoutError as error:
            raise Bad("timeout") from error
        except aiohttp.ServerDisconnectedError as error:
            raise Bad("connection reset") from error
        except aiohttp.ClientPayloadError as error:
            raise Bad("truncated body") from error
        except aiohttp.ClientError as error:
            raise Bad(type(error).__name__) from error

    def seconds_for(self, max_tokens: int) -> float:
        """How long an answer may take: four times what the slowest took lately for as many tokens."""
        expected = 4 * self.pace * (max_tokens + ROOM)
        return min(300.0 + 4 * max_tokens, max(QUICKEST, expected))

    def answered(self, tokens: int, seconds: float) -> None:
        """A good answer of so many tokens in the longest of its samples."""
        self.streak = 0
        self.pace = max(self.pace * 0.99, seconds / (tokens + ROOM))

    async def healthy(self) -> bool:
        """Whether it is there: /health (vLLM's own) and /models answer, if only with a refusal."""
        for url in (self._root + "/health", self.base_url + "/models"):
            try:
                async with self._get(url, GET) as response:
                    if response.status >= 500:
                        return False
            except (aiohttp.ClientError, TimeoutError):
                return False
        return True

    async def json(self, path: str, *, root: bool = False) -> dict[str, Any] | None:
        """What a GET answers below /v1 or, with `root`, beside it; None where there is no such page."""
        try:
            async with self._get((self._root if root else self.base_url) + path, GET) as response:
                data = orjson.loads(await response.read()) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            return None
        return data if isinstance(data, dict) else None

    async def look(self) -> bool:
        """Read the engine's counters into `engine`; False where the server did not answer at all."""
        try:
            async with self._get(self._root + "/metrics", GET) as response:
                page = await response.text() if response.status == 200 else ""
        except (aiohttp.ClientError, TimeoutError):
            return False
        self.engine = contract.engine(page)
        self.at_first = self.at_first or self.engine
        return True

    def _get(self, url: str, seconds: float) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._session.get(url, headers=self._headers, timeout=aiohttp.ClientTimeout(total=seconds))

    def _refused(self, status: int, body: bytes, retry_after: str) -> Exception:
        if status in RETRIED:
            if status in (429, 503):
                self.limit.saw_refusal()
            return Bad(f"HTTP {status}", wait_asked(retry_after))
        message = _error_message(body)
        if status in (401, 403):
            return TeacherError(
                f"{self.base_url}: refuses the key (HTTP {status}: {message}); set api_key_env"
            )
        if status == 404:
            return NotFound(f"{self.base_url}: HTTP 404: {message}; correct model or endpoint")
        return RequestFailed(f"HTTP {status}: {message}")


def wait_asked(header: str) -> float | None:
    """Seconds that a Retry-After header (RFC 9110, section 10.2.3: seconds or a date) asks for."""
    if header.replace(".", "", 1).isdigit():
        return min(float(header), LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    wait = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, wait), LONGEST_WAIT)


def backoff(attempt: int) -> float:
    """Seconds before try number `attempt` + 1: full jitter up to 1, 2, 4, 8 ... s."""
    return random.uniform(0, 0.5 * 2**attempt)


def session() -> aiohttp.ClientSession:
    """One pool of kept-alive connections, without what a page's reader needs."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4, ttl_dns_cache=300),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


def now() -> float:
    """Seconds of the monotonic clock."""
    return time.monotonic()


def _error_message(body: bytes) -> str:
    try:
        data = orjson.loads(body)
        error = data.get("error", data)
        text = error.get("message", "") if isinstance(error, dict) else str(error)
    except (orjson.JSONDecodeError, AttributeError):
        text = body.decode(errors="replace")
    return " ".join(str(text).split())[:200] or "no message"
