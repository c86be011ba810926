"""A real OpenAI-compatible endpoint on 127.0.0.1 whose answers are a function of the messages alone.

It runs in a thread of its own, counts what it was asked, and fails as it is told.
"""

import asyncio
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aiohttp import web

from synth.llm import contract

PROBE = contract.PROBES[0].prompt[-1]["content"]  # type: ignore[index]
Fault = str | None
"""`429`, `500` or any other status, `reset`, `truncated`, `malformed`; None answers well."""


def number_of(text: str) -> int:
    """A number that depends on the letters and digits of a text alone."""
    folded = "".join(c for c in text.casefold() if c.isalnum())
    return int(hashlib.sha256(folded.encode()).hexdigest()[:8], 16)


def answer_of(prompt: str) -> str:
    """A judge's score from 1 to 5, a short answer for one prompt in seven, else a sentence."""
    number = number_of(prompt)
    if prompt.startswith("Judge"):
        return f"It reads well. Score: {number % 5 + 1}"
    return "Too short" if number % 7 == 0 else f"The number of this is {number} and no other."


class Endpoint:
    """Use as a context manager. `asked` and `answered` count requests and whole replies by last turn."""

    def __init__(
        self,
        fault: Callable[[str, int], Fault] = lambda prompt, times: None,
        *,
        delay: float = 0.0,
        port: int = 0,
        retry_after: str = "0.05",
    ) -> None:
        """`fault` is given the last turn and how many times it was asked before."""
        self.fault, self.delay, self.port, self.retry_after = fault, delay, port, retry_after
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.times: list[float] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.probes = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    @property
    def url(self) -> str:
        """What a recipe names as `endpoint`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def requests(self) -> int:
        """All chat requests so far."""
        return self.asked.total()

    def __enter__(self) -> "Endpoint":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._probed)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        if prompt == PROBE:
            return await self._probed(request)
        fault = self.fault(prompt, self.asked[prompt])
        self.asked[prompt] += 1
        self.times.append(time.monotonic())
        self.bodies.append(body)
        self.keys.add(request.headers.get("Authorization", ""))
        await asyncio.sleep(self.delay)
        if fault is not None:
            return await self._fail(request, fault)
        text = answer_of(prompt)
        message = {"role": "assistant", "content": text}
        self.answered[prompt] += 1
        return web.json_response(
            {
                "choices": [{"message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())},
            }
        )

    async def _probed(self, request: web.Request) -> web.Response:
        """The contract probe is counted apart; this endpoint refuses what goes beyond a plain chat."""
        self.probes += 1
        return web.json_response({"error": {"message": "not here"}}, status=400)

    async def _fail(self, request: web.Request, fault: str) -> web.StreamResponse:
        if fault.isdigit():
            headers = {"Retry-After": self.retry_after} if fault == "429" else {}
            error = {"error": {"message": f"told to answer {fault}"}}
            return web.json_response(error, status=int(fault), headers=headers)
        if fault == "malformed":
            return web.Response(body=b'{"choices": [', content_type="application/json")
        if fault == "null":
            return web.json_response({"choices": [{"message": None}], "usage": None})
        assert request.transport is not None
        if fault == "reset":
            request.transport.abort()
            return web.Response()
        assert fault == "truncated"
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices": [{"message": {"content": "The num')
        request.transport.abort()
        return response
