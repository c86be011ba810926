"""One role's `Ask`: the journal first, HTTP second, and no server at all where every reply is known."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Protocol, Unpack

from synth.llm.client import Client, Meter
from synth.llm.journal import Journal, request_key
from synth.types import Message, Reply, Sampling


class Backend(Protocol):
    """What answers a request that the journal doesn't know: a `Client`, or a scripted teacher."""

    async def chat(self, messages: Sequence[Message], sampling: Sampling, key: str) -> Reply: ...


Connect = Callable[[AsyncExitStack], Awaitable[Backend]]
"""Makes the backend when the first request needs it; what it enters on the stack is left at the end."""


class Asker:
    """Asks one model. `identity` names the model's bytes in request keys. Use as an async context manager."""

    def __init__(
        self,
        identity: str,
        defaults: Sampling,
        journal: Journal,
        connect: Connect,
        meter: Meter | None = None,
    ) -> None:
        self.identity, self.defaults, self.journal = identity, defaults, journal
        self.meter = meter or Meter()
        self.backend: Backend | None = None
        self._connect = connect
        self._stack = AsyncExitStack()
        self._connecting = asyncio.Lock()
        self._asked: dict[str, asyncio.Future[Reply]] = {}

    async def __aenter__(self) -> "Asker":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

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
            reply = await (await self._ready()).chat(messages, sampling, key)
            self.journal.put(reply)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()
            raise
        else:
            future.set_result(reply)
            return reply
        finally:
            del self._asked[key]

    async def _ready(self) -> Backend:
        if self.backend is None:
            async with self._connecting:
                if self.backend is None:
                    self.backend = await self._connect(self._stack)
        return self.backend

    @property
    def client(self) -> Client | None:
        """The HTTP client, once one was needed."""
        return self.backend if isinstance(self.backend, Client) else None
