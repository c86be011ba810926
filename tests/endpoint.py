"""A real OpenAI-compatible endpoint on 127.0.0.1 whose answers are a function of the messages alone.

It runs in a thread of its own, counts what it was asked, and fails, hangs, goes and comes back as it is told.
"""

import asyncio
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypeVar

from aiohttp import web

from synth.llm import contract
from synth.llm.scripted import text_of

T = TypeVar("T")
PROBE = text_of(contract.PROBES[0].prompt)
RAW_PROBE: Final = "The sky is"
Fault = str | None
"""`429`, `500` or any other status, `reset`, `truncated`, `malformed`; None answers well."""
MARK = re.compile(r"\b[0-9a-f]{12}(?= (?:BEGINS|ENDS)])")
"""In the frame of what is judged: it differs where a text does in anything."""
FORMS = {"[0-9]{3}-[XZ]{2}": "123-XZ", "[a-c]+": "abc"}
"""What is said under a regex."""


def number_of(text: str) -> int:
    """A number that depends on the letters and digits of a text alone."""
    folded = "".join(c for c in text.casefold() if c.isalnum())
    return int(hashlib.sha256(folded.encode()).hexdigest()[:8], 16)


def answer_of(prompt: str) -> str:
    """A judge's score from 1 to 5, a short answer for one prompt in seven, else a sentence."""
    number = number_of(MARK.sub("", prompt))
    if prompt.startswith("Judge"):
        return f"It reads well. Score: {number % 5 + 1}"
    return "Too short" if number % 7 == 0 else f"The number of this is {number} and no other."


@dataclass(frozen=True, slots=True)
class Able:
    """What an endpoint can do beyond a plain chat; what it does not know it ignores in silence."""

    n: bool = True
    token_ids: bool = True
    logprobs: bool = True
    completions: bool = True
    seed: bool = True
    words: tuple[str, ...] = ("structured_outputs",)
    """Those by which it takes a constraint."""
    models: tuple[str, ...] = ("local",)
    context: int = 4096


class Endpoint:
    """Use as a context manager. `asked` and `answered` count requests and whole replies by last turn."""

    def __init__(
        self,
        fault: Callable[[str, int], Fault] = lambda prompt, times: None,
        *,
        delay: float = 0.0,
        port: int = 0,
        retry_after: str = "0.05",
        able: Able | None = None,
    ) -> None:
        """`fault` is given the last turn and how many times it was asked before."""
        self.fault, self.delay, self.port, self.retry_after = fault, delay, port, retry_after
        self.able = able
        self.version = "0.32.0"
        self.metrics: str | None = None
        """The /metrics page; 404 without one."""
        self.hangs = False
        """Connections are taken, and nothing is answered."""
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.times: list[float] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.probes = self.in_flight = self.most = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """What a recipe names as `endpoint`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def requests(self) -> int:
        """All requests so far but probes."""
        return self.asked.total()

    def __enter__(self) -> "Endpoint":
        self._thread.start()
        self.come_back()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def go_away(self) -> None:
        """Drop every connection and stop listening."""
        self.hangs = False
        self._there(self._stop())

    def come_back(self) -> None:
        """Listen, on the same port as before."""
        self._there(self._start())

    def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_post("/v1/completions", self._answer)
        app.router.add_get("/{page:.*}", self._page)
        self._runner = web.AppRunner(app, shutdown_timeout=0.02, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.01)  # connections that were closed let go of their sockets

    async def _hang(self) -> None:
        while self.hangs:
            await asyncio.sleep(0.01)

    async def _page(self, request: web.Request) -> web.Response:
        await self._hang()
        models = self.able.models if self.able else ()
        pages: Mapping[str, object] = {
            "v1/models": {
                "data": [{"id": m, "max_model_len": self.able.context if self.able else None} for m in models]
            },
            "health": {},
            "version": {"version": self.version} if self.able else None,
        }
        if request.match_info["page"] == "metrics" and self.metrics is not None:
            return web.Response(text=self.metrics)
        found = pages.get(request.match_info["page"])
        return web.json_response(found, status=404 if found is None else 200)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        chat = request.path.endswith("/chat/completions")
        prompt = body["messages"][-1]["content"] if chat else str(body["prompt"])
        probe = prompt in (PROBE, RAW_PROBE)
        if probe:
            self.probes += 1
            if self.able is None:
                return web.json_response({"error": {"message": "not here"}}, status=400)
        if not chat and not (self.able and self.able.completions):
            return web.json_response({"error": {"message": "no such page"}}, status=404)
        fault = None
        if not probe:
            fault = self.fault(prompt, self.asked[prompt])
            self.asked[prompt] += 1
            self.times.append(time.monotonic())
            self.bodies.append(body)
            self.keys.add(request.headers.get("Authorization", ""))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(0 if probe else self.delay)
            await self._hang()
        finally:
            self.in_flight -= 1
        if request.transport is None or request.transport.is_closing():
            return web.Response()  # nobody waits for it any more
        if fault is not None:
            return await self._fail(request, fault)
        if not probe:
            self.answered[prompt] += 1
        return web.json_response(self._said(body, prompt, chat=chat))

    def _said(self, body: Mapping[str, Any], prompt: str, *, chat: bool) -> dict[str, Any]:
        able = self.able or Able(n=False, logprobs=False, words=())
        text = form_of(body, able.words)
        if text is None:
            drawn = body.get("temperature") and not (able.seed and "seed" in body)
            text = f"Blue, {self.probes if drawn else 0}" if prompt == PROBE else answer_of(prompt)
        choices: list[dict[str, Any]] = []
        for number in range(body.get("n", 1) if able.n else 1):
            said = text if number == 0 else f"{text} Draw {number}."
            choice: dict[str, Any] = {"text": said} if not chat else {"message": {"content": said}}
            if able.logprobs and body.get("logprobs"):
                words = said.split()
                if body.get("return_tokens_as_token_ids"):
                    words = [f"token_id:{place}" for place in range(len(words))]
                choice["logprobs"] = _logprobs(words, chat=chat)
            if able.token_ids and body.get("return_token_ids"):
                choice["token_ids"] = list(range(len(said.split())))
            choices.append({"finish_reason": "stop", **choice})
        if able.logprobs and body.get("prompt_logprobs"):
            choices[0]["prompt_logprobs"] = _thoughts(body["prompt"], body["prompt_logprobs"])
        total = sum(len((c["message"]["content"] if chat else c["text"]).split()) for c in choices)
        return {
            "choices": choices,
            "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": total},
        }

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


def form_of(body: Mapping[str, Any], words: tuple[str, ...]) -> str | None:
    """What is said under the constraint of a request, where it is asked for by one of `words`."""
    asked: dict[str, Any] = {}
    if "structured_outputs" in words:
        asked |= body.get("structured_outputs", {})
    if "guided" in words:
        asked |= {key.removeprefix("guided_"): body[key] for key in body if key.startswith("guided_")}
    if "response_format" in words and "response_format" in body:
        asked["json"] = body["response_format"]["json_schema"]["schema"]
    if "json" in asked:
        return json.dumps({key: rule["enum"][0] for key, rule in asked["json"]["properties"].items()})
    if "choice" in asked:
        return str(asked["choice"][0])
    return FORMS[asked["regex"]] if "regex" in asked else None


def _thoughts(prompt: list[int], top: int) -> list[dict[str, Any] | None]:
    """At each place but the first the tokens 1 to `top`, and the prompt's own."""
    told = {str(token): {"logprob": -float(token), "rank": token} for token in range(1, top + 1)}
    return [None, *({**told, str(own): {"logprob": -9.5, "rank": 99}} for own in prompt[1:])]


def _logprobs(tokens: list[str], *, chat: bool) -> dict[str, Any]:
    if not chat:
        return {"tokens": tokens, "top_logprobs": [{token: -0.5, "other": -1.5} for token in tokens]}
    steps = []
    for token in tokens:
        other = "token_id:999" if token.startswith("token_id:") else "other"
        top = [{"token": token, "logprob": -0.5}, {"token": other, "logprob": -1.5}]
        steps.append({"token": token, "logprob": -0.5, "top_logprobs": top})
    return {"content": steps}
