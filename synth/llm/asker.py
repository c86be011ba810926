"""One role's `Ask`: the journal first, HTTP second, and no server at all where every reply is known."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Unpack

import orjson

from synth.errors import Repeated, RequestFailed
from synth.llm.journal import Journal
from synth.types import Prompt, Reply, Sampling

APART = 1_000_000
"""Between the numbers that two samples of a seed give to their requests."""


@dataclass(slots=True)
class Meter:
    """What one step asked of one role in this process."""

    requests: int = 0
    """Replies that were paid for."""
    from_journal: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    request_seconds: float = 0.0
    """The latencies of all replies added up."""
    first: float = 0.0
    last: float = 0.0

    @property
    def seconds(self) -> float:
        """From the first request to the last reply, on the clock."""
        return max(0.0, self.last - self.first)

    @property
    def tokens_per_second(self) -> float:
        """Completion tokens a second over that time; 0 where nothing was asked."""
        return self.completion_tokens / self.seconds if self.seconds else 0.0

    def add(self, reply: Reply, began: float) -> None:
        """Count a reply to a request of that time."""
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.last = time.monotonic()
        self.first = min(self.first or began, began)
        self.request_seconds += reply.seconds

    def to_json(self) -> dict[str, float]:
        """For the manifest."""
        return {
            "requests": self.requests,
            "from_journal": self.from_journal,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "seconds": round(self.seconds, 1),
            "request_seconds": round(self.request_seconds, 1),
        }


class Backend(Protocol):
    """What answers a request that the journal doesn't know: a `Client`, or a scripted teacher."""

    async def ask(self, prompt: Prompt, sampling: Sampling, keys: Sequence[str]) -> list[Reply]: ...


Connect = Callable[[], Awaitable[tuple[Backend, int]]]
"""The backend, made when the first request needs it, and how many samples one request may ask for."""


@dataclass(slots=True)
class _Together:
    """Samples of one prompt that were asked for in the same breath: they go out as one request."""

    prompt: Prompt
    sampling: Sampling
    step: str
    asked: dict[str, asyncio.Future[Reply]]


class Asker:
    """Asks one model. `identity` names the model's bytes in request keys.

    It is an `Ask` by itself: it answers for everybody, and every text is new to it.
    """

    def __init__(self, identity: str, defaults: Sampling, journal: Journal, connect: Connect) -> None:
        self.identity, self.defaults, self.journal = identity, defaults, journal
        self.meters: dict[str, Meter] = {}
        self._connect = connect
        self._asked: dict[str, asyncio.Future[Reply]] = {}
        self._together: dict[bytes, _Together] = {}
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def meter(self) -> Meter:
        """All steps added up."""
        total = Meter()
        for meter in self.meters.values():
            total.requests += meter.requests
            total.from_journal += meter.from_journal
            total.prompt_tokens += meter.prompt_tokens
            total.completion_tokens += meter.completion_tokens
            total.request_seconds += meter.request_seconds
            total.first = min(filter(None, (total.first, meter.first)), default=0.0)
            total.last = max(total.last, meter.last)
        return total

    async def __call__(self, prompt: Prompt, /, *, by: str = "", **sampling: Unpack[Sampling]) -> Reply:
        """The reply, from the journal where this was ever asked."""
        return await self.ask(prompt, sampling)

    def repeats(self, texts: Sequence[str], known: Sequence[str] = ()) -> list[Repeated | None]:
        """None of them."""
        return [None] * len(texts)

    def earlier(self, most: int) -> list[str]:
        """None."""
        return []

    def of(self, step: str, sample: int = 0) -> "StepAsk":
        """An `Ask` whose requests are counted for `step`, and numbered `sample` where they name none."""
        return StepAsk({"teacher": self}, "teacher", step, sample)

    async def ask(self, prompt: Prompt, sampling: Sampling, step: str = "") -> Reply:
        """The reply, from the journal where this was ever asked. Two equal requests at once are sent once."""
        whole: Sampling = {**self.defaults, **sampling}
        sample = whole.pop("sample", 0)
        if "seed" in whole:
            whole["seed"] += sample  # the samples of a prompt differ
        base = request_bytes(self.identity, prompt, whole)
        key = request_key(base, sample)
        if (known := self.journal.get(key)) is not None:
            self._meter(step).from_journal += 1
            return known
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
            self._send_soon(base, _Together(prompt, whole, step, {key: future}))
        return await asyncio.shield(future)

    async def aclose(self) -> None:
        """Give up what is being asked."""
        await asyncio.sleep(0)  # what was asked for in this breath is on its way now
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _meter(self, step: str) -> Meter:
        return self.meters.setdefault(step, Meter())

    def _send_soon(self, base: bytes, new: _Together) -> None:
        """Send when everything that is ready now has asked: other samples of the prompt go along."""
        loop = asyncio.get_running_loop()
        if "seed" in new.sampling:
            self._spawn(new)
        elif (waiting := self._together.get(base)) is not None:
            waiting.asked |= new.asked
        else:
            self._together[base] = new
            loop.call_soon(lambda: self._spawn(self._together.pop(base)))

    def _spawn(self, together: _Together) -> None:
        task = asyncio.get_running_loop().create_task(self._send(together))
        self._sending.add(task)
        task.add_done_callback(lambda task: self._sent(task, together))

    async def _send(self, together: _Together) -> None:
        backend, most = await self._connect()
        keys = list(together.asked)
        for start in range(most, len(keys), most):
            part = keys[start : start + most]
            self._spawn(replace(together, asked={key: together.asked.pop(key) for key in part}))
        began = time.monotonic()
        replies = await backend.ask(together.prompt, together.sampling, keys[:most])
        meter = self._meter(together.step)
        for reply in replies:
            self.journal.put(reply, together.step)
            meter.add(reply, began)
            self._asked.pop(reply.key).set_result(reply)

    def _sent(self, task: "asyncio.Task[None]", together: _Together) -> None:
        """Whoever asked gets what went wrong."""
        self._sending.discard(task)
        error = None if task.cancelled() else task.exception()
        for key, future in together.asked.items():
            if future.done():
                continue
            self._asked.pop(key, None)
            if error is None:
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()  # nobody may be left to take it


@dataclass(slots=True)
class StepAsk:
    """An `Ask` of one step: who is called `default` answers a request that names nobody.

    Requests are counted for `step`, those to somebody else for "step, name"; and numbered `sample` where
    they name none. Numbers that they name count from `sample * APART`, so that no two samples of a seed share
    a draw. Every text is new to it.
    """

    askers: Mapping[str, Asker]
    default: str
    step: str
    sample: int = 0

    async def __call__(self, prompt: Prompt, /, *, by: str = "", **sampling: Unpack[Sampling]) -> Reply:
        """The reply, from the journal where this was ever asked."""
        if self.sample:
            number = sampling.get("sample")
            sampling["sample"] = self.sample if number is None else self.sample * APART + number
        step = self.step if by in ("", self.default) else f"{self.step}, {by}"
        return await self.askers[by or self.default].ask(prompt, sampling, step)

    async def all(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply | RequestFailed]:
        """The replies to all, in order; what can't be answered stands in its place."""
        said = await asyncio.gather(*(self(prompt, **sampling) for prompt in prompts), return_exceptions=True)
        for each in said:
            if isinstance(each, BaseException) and not isinstance(each, RequestFailed):
                raise each
        return [each for each in said if isinstance(each, Reply | RequestFailed)]

    def repeats(self, texts: Sequence[str], known: Sequence[str] = ()) -> list[Repeated | None]:
        """None of them."""
        return [None] * len(texts)

    def earlier(self, most: int) -> list[str]:
        """None."""
        return []


def request_bytes(model: str, prompt: Prompt, sampling: Sampling) -> bytes:
    """What decides a reply, but the number of the sample, as canonical JSON."""
    body = [model, prompt if isinstance(prompt, str) else list(prompt), sampling]
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def request_key(base: bytes, sample: int = 0) -> str:
    """32 hex digits that hash what decides a reply: model, prompt, sampling and sample number."""
    return hashlib.sha256(base + b"\0%d" % sample if sample else base).hexdigest()[:32]
