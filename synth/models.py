"""Which model answers for a role: askers whose vLLM is started when the first unknown request comes."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from synth.llm import server, weights
from synth.llm.asker import Asker, Connect
from synth.llm.client import Client
from synth.llm.journal import Journal
from synth.recipe import Role

Say = Callable[[str], None]


class Models:
    """Askers over one journal; roles that name the same model share one server.

    An async context manager: on the way out every server that it started is stopped.
    """

    def __init__(self, journal: Journal, logs: Path, say: Say) -> None:
        self.journal, self.logs, self.say = journal, logs, say
        self.askers: dict[str, Asker] = {}
        self.retries: Counter[str] = Counter()
        self._stack = AsyncExitStack()
        self._clients: dict[str, Client] = {}
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> "Models":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    def asker(self, name: str, role: Role, *, identity: str | None = None) -> Asker:
        """The asker of a role. `identity` stands for the model in request keys; by default its name."""
        chosen = identity or weights.identify(role.model)
        self.askers[name] = Asker(chosen, role.sampling(), self.journal, self._connect(role))
        return self.askers[name]

    async def release(self) -> None:
        """Stop the servers started so far; a later request starts its own again."""
        for client in self._clients.values():
            self.retries.update(client.retries)
        self._clients.clear()
        await self._stack.aclose()

    def _connect(self, role: Role) -> Connect:
        where = role.endpoint or f"{role.model} {role.max_model_len} {role.flags}"

        async def connect() -> Client:
            async with self._starting:
                if where not in self._clients:
                    self._clients[where] = await self._stack.enter_async_context(self._client(role))
            return self._clients[where]

        return connect

    @contextlib.asynccontextmanager
    async def _client(self, role: Role) -> AsyncIterator[Client]:
        if role.endpoint:
            key = (
                os.environ[role.api_key_env] if role.api_key_env else None
            )  # `check` has seen that it is set
            async with Client(role.endpoint, key, role.model, self.say) as client:
                yield client
            return
        model = weights.find_model(role.model, self.say)
        name = Path(role.model).name
        log = self.logs / f"vllm-{name}.log"
        serving = server.serve(model, name, log, self.say, max_model_len=role.max_model_len, flags=role.flags)
        async with (
            serving as served,
            Client(served.base_url, served.api_key, name, self.say, served.died) as client,
        ):
            yield client
