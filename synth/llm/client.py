"""The one HTTP client: teacher, judge and student are all OpenAI-compatible endpoints.

Retries what a retry can mend (408, 409, 429, 5xx, resets, truncated or malformed bodies), with full jitter
and honouring Retry-After. A server that can't be reached is waited for; when patience ends the run stops
with everything safe.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from synth.errors import RequestFailed, TeacherError
from synth.llm.throttle import Throttle
from synth.types import Message, Reply, Sampling

ATTEMPTS = 5
"""Tries of one request that the server itself answers badly."""
PATIENCE = 60.0
"""Seconds for which a server that can't be reached is waited for."""
LONGEST_WAIT = 60.0
"""Seconds for which a Retry-After is believed."""
RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}
NOT_SENT = {"sample"}


class _Retry(Exception):
    def __init__(self, kind: str, after: float | None = None) -> None:
        self.kind, self.after = kind, after


class Client:
    """One endpoint. `base_url` ends in /v1. Use as an async context manager."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        model: str,
        say: Callable[[str], None],
        died: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`died` tells why a server that was started here is gone for good, or None."""
        self.base_url, self.model, self.say, self.died = base_url.rstrip("/"), model, say, died
        self.throttle = Throttle()
        self.retries: Counter[str] = Counter()
        self.patience = PATIENCE
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None
        self._watch: asyncio.Task[None] | None = None
        self._away = asyncio.Lock()
        self._metrics = False

    async def __aenter__(self) -> "Client":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4), headers=self._headers
        )
        self._watch = asyncio.create_task(self._watch_engine())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._session:
            await self._session.close()

    async def chat(self, messages: Sequence[Message], sampling: Sampling, key: str) -> Reply:
        """One chat completion.

        Raises:
            RequestFailed: the server refuses this request, or answered it badly `ATTEMPTS` times.
            TeacherError: the server can't be reached for `PATIENCE` seconds, or knows no such model or key.
        """
        body = {name: value for name, value in sampling.items() if name not in NOT_SENT}
        body |= {"model": self.model, "messages": list(messages)}
        if "top_logprobs" in body:
            body["logprobs"] = True
        data = orjson.dumps(body)
        timeout = aiohttp.ClientTimeout(total=300 + sampling.get("max_tokens", 1024), sock_connect=10)
        async with self.throttle:
            return await self._tries(data, timeout, key)

    async def _tries(self, data: bytes, timeout: aiohttp.ClientTimeout, key: str) -> Reply:
        attempt = 0
        while True:
            try:
                reply = await self._once(data, timeout, key)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                self.retries["unreachable"] += 1
                await self._wait_until_back()
                continue
            except _Retry as retry:
                problem, after = retry.kind, retry.after
            except TimeoutError:
                problem, after = "timeout", None
            except aiohttp.ClientError as error:
                problem, after = type(error).__name__, None
            else:
                if not self._metrics:
                    self.throttle.saw_reply()
                return reply
            self.retries[problem] += 1
            attempt += 1
            if attempt >= ATTEMPTS:
                raise RequestFailed(f"{problem} in each of {ATTEMPTS} tries")
            await asyncio.sleep(after if after is not None else random.uniform(0, 0.5 * 2**attempt))

    async def _once(self, data: bytes, timeout: aiohttp.ClientTimeout, key: str) -> Reply:
        assert self._session is not None
        async with self._session.post(
            f"{self.base_url}/chat/completions",
            data=data,
            headers={"Content-Type": "application/json"},
            timeout=timeout,
        ) as response:
            body = await response.read()
            if response.status == 200:
                return _parse(body, key, self.model)
            self._refused(response.status, body, response.headers)
            raise AssertionError("unreachable")

    def _refused(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        if status in RETRIED:
            if status in (429, 503):
                self.throttle.saw_refusal()
            after = headers.get("Retry-After", "")
            raise _Retry(
                f"HTTP {status}",
                min(float(after), LONGEST_WAIT) if after.replace(".", "", 1).isdigit() else None,
            )
        message = _error_message(body)
        if status in (401, 403):
            raise TeacherError(
                f"{self.base_url}: refuses the key (HTTP {status}: {message}); set api_key_env"
            )
        if status == 404:
            raise TeacherError(f"{self.base_url}: HTTP 404: {message}; correct model or endpoint")
        raise RequestFailed(f"HTTP {status}: {message}")

    async def _wait_until_back(self) -> None:
        """Hold everybody until the server answers again."""
        async with self._away:
            loop = asyncio.get_running_loop()
            start, said = loop.time(), False
            while not await self.healthy():
                if (why := self.died()) is not None:
                    raise TeacherError(f"{why}; run the same command again: every reply so far is kept")
                if not said:
                    self.say(f"{self.base_url} can't be reached: waiting up to {self.patience:.0f} s")
                    said = True
                if loop.time() - start > self.patience:
                    raise TeacherError(
                        f"{self.base_url}: can't be reached for {self.patience:.0f} s; "
                        "start it and run the same command again: every reply so far is kept"
                    )
                await asyncio.sleep(0.5)
            if said:
                self.say(f"{self.base_url} is back after {loop.time() - start:.0f} s")

    async def healthy(self) -> bool:
        """Whether the server answers at all."""
        assert self._session is not None
        try:
            async with self._session.get(f"{self.base_url}/models", timeout=aiohttp.ClientTimeout(total=10)):
                return True
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def engine(self) -> tuple[float, float] | None:
        """Sequences running and waiting by vLLM's own /metrics, or None where it has none."""
        assert self._session is not None
        url = self.base_url.removesuffix("/v1") + "/metrics"
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
                if response.status != 200:
                    return None
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return None
        seen = {"running": 0.0, "waiting": 0.0}
        for line in text.splitlines():
            for name in seen:
                if (
                    line.startswith(f"vllm:num_requests_{name}")
                    and line[len(name) + 18 : len(name) + 19] in "{ "
                ):
                    seen[name] += float(line.rsplit(" ", 1)[1])
        return (seen["running"], seen["waiting"]) if "vllm:num_requests_running" in text else None

    async def _watch_engine(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if self.throttle.in_flight and (seen := await self.engine()):
                self._metrics = True
                self.throttle.saw_engine(*seen)


def _parse(body: bytes, key: str, model: str) -> Reply:
    try:
        data: dict[str, Any] = orjson.loads(body)
        choice = data["choices"][0]
        usage = data.get("usage") or {}
        logprobs = (choice.get("logprobs") or {}).get("content") or []
        return Reply(
            text=choice["message"].get("content") or "",
            finish_reason=choice.get("finish_reason") or "unknown",
            prompt_tokens=usage.get("prompt_tokens") or 0,
            completion_tokens=usage.get("completion_tokens") or 0,
            model=model,
            key=key,
            logprobs=tuple(
                {top["token"]: top["logprob"] for top in step["top_logprobs"]} for step in logprobs
            ),
        )
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Retry("malformed reply") from error


def _error_message(body: bytes) -> str:
    try:
        data = orjson.loads(body)
        error = data.get("error", data)
        text = error.get("message", "") if isinstance(error, dict) else str(error)
    except (orjson.JSONDecodeError, AttributeError):
        text = body.decode(errors="replace")
    return " ".join(str(text).split())[:200] or "no message"
