"""One role's `Ask`: the journal first, HTTP second, and no server at all where every reply is known."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Unpack

from synth.llm.journal import Journal, request_key
from synth.types import Message, Reply, Sampling


@dataclass(slots=True)
class Meter:
    """What a role was asked in this process. Times are seconds of the monotonic clock."""

    requests: int = 0
    from_journal: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first: float = 0.0
    last: float = 0.0

    @property
    def seconds(self) -> float:
        """From the first request to the last reply."""
        return max(0.0, self.last - self.first)

    @property
    def tokens_per_second(self) -> float:
        """Completion tokens a second over that time; 0 where nothing was asked."""
        return self.completion_tokens / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, float]:
        """For the manifest."""
        return {
            "requests": self.requests,
            "from_journal": self.from_journal,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "seconds": round(self.seconds, 1),
        }


class Backend(Protocol):
    """What answers a request that the journal doesn't know: a `Client`, or a scripted teacher."""

    async def chat(self, messages: Sequence[Message], sampling: Sampling, key: str) -> Reply: ...


Connect = Callable[[], Awaitable[Backend]]
"""The backend, made when the first request needs it."""


class Asker:
    """Asks one model. `identity` names the model's bytes in request keys."""

    def __init__(self, identity: str, defaults: Sampling, journal: Journal, connect: Connect) -> None:
        self.identity, self.defaults, self.journal = identity, defaults, journal
        self.meter = Meter()
        self._connect = connect
        self._asked: dict[str, asyncio.Future[Reply]] = {}

    async def __call__(self, messages: Sequence[Message], /, **sampling: Unpack[Sampling]) -> Reply:
        """The reply, from the journal where this was ever asked. Two equal requests at once are sent once."""
        whole: Sampling = {**self.defaults, **sampling}
        if not whole.get("sample"):
            whole.pop("sample", None)
        key = request_key(self.identity, messages, whole)
        if (known := self.journal.get(key)) is not None:
            self.meter.from_journal += 1
            return known
        if (asked := self._asked.get(key)) is not None:
            return await asyncio.shield(asked)
        return await self._send(messages, whole, key)

    async def _send(self, messages: Sequence[Message], sampling: Sampling, key: str) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[key] = future
        try:
            backend = await self._connect()
            self.meter.first = self.meter.first or time.monotonic()
            reply = await backend.chat(messages, sampling, key)
            self.journal.put(reply)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()
            raise
        finally:
            del self._asked[key]
        self.meter.requests += 1
        self.meter.prompt_tokens += reply.prompt_tokens
        self.meter.completion_tokens += reply.completion_tokens
        self.meter.last = time.monotonic()
        future.set_result(reply)
        return reply
