"""Which model answers for a role: askers whose vLLM is started when the first unknown request comes."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from synth import weights
from synth.errors import TeacherError
from synth.llm import probe, served, server
from synth.llm.asker import Asker, Backend, Connect
from synth.llm.client import Client
from synth.llm.contract import Contract
from synth.llm.endpoint import Address
from synth.llm.journal import Journal
from synth.student.local import LocalModel
from synth.tables import Role
from synth.types import Capability

Say = Callable[[str], None]
Needs = Mapping[Capability, str]
"""What an endpoint must be able to do, and which step needs it."""
MOST_SAMPLES = 32
"""Samples of one prompt that one request asks for at most: what is lost when it fails."""


def servers_of(role: Role) -> int:
    """How many servers answer for a role: its endpoints, else the replicas that are started here."""
    return len(role.endpoint) or role.replicas or max(1, len(server.visible_gpus()))


def refuse_seed(role: Role) -> None:
    """Raise `TeacherError` where a role that is served here asks what ends vLLM's engine."""
    if role.seed is not None and server.build_of_vllm() == "cpu":
        raise TeacherError("vLLM's CPU build ends at a request with a seed; remove seed from the recipe")


class Models:
    """Askers over one journal; roles that name the same model share one server.

    An async context manager: on the way out every server that it started is stopped.
    """

    def __init__(self, journal: Journal, logs: Path, say: Say) -> None:
        self.journal, self.logs, self.say = journal, logs, say
        self.askers: dict[str, Asker] = {}
        self.clients: dict[str, Client] = {}
        self.locals: dict[str, LocalModel] = {}
        self._proofs: dict[str, asyncio.Task[Contract]] = {}
        self._stack = AsyncExitStack()
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> "Models":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for asker in self.askers.values():
            await asker.aclose()
        await self.release()

    def asker(
        self,
        name: str,
        role: Role,
        *,
        identity: str | None = None,
        needs: Needs | None = None,
        several: bool = False,
        local: Path | None = None,
    ) -> Asker:
        """The asker of a role. `identity` stands for the model in request keys; by default its name.

        Work waits for the contract's proof where a step `needs` something of it, or `several` samples of a
        prompt are to go out in one request; else the proof runs beside it.

        With `local`, the folder of a tokenizer, a role without an endpoint is answered for by transformers.
        """
        chosen = identity or weights.identify(role.model)
        connect: Connect = self._connect(role, needs or {}, several=several)
        if local is not None and not role.endpoint:
            connect = self._in_process(role, local)
        self.askers[name] = Asker(chosen, role.sampling(), self.journal, connect)
        return self.askers[name]

    async def client(self, role: Role) -> Client:
        """The client of a role, its server up."""
        return (await self._connect(role, {}, several=False)())[0]

    @property
    def contracts(self) -> dict[str, Contract]:
        """What the servers were shown to do, by endpoint or model."""
        return {where: client.contract for where, client in self.clients.items()}

    async def release(self) -> None:
        """Stop the servers started so far; a later request starts its own again."""
        self.clients.clear()
        self.locals.clear()
        self._proofs.clear()
        await self._stack.aclose()

    def _connect(
        self, role: Role, needs: Needs, *, several: bool
    ) -> Callable[[], Awaitable[tuple[Client, int]]]:
        where = " ".join(role.endpoint) or f"{role.model} {role.max_model_len} {role.flags} {role.replicas}"
        proven = False

        async def connect() -> tuple[Client, int]:
            nonlocal proven
            if not proven:
                async with self._starting:
                    if where not in self.clients:
                        client = await self._stack.enter_async_context(self._client(role))
                        self.clients[where] = client
                        self._proofs[where] = client.spawn(self._prove(role, client, where))
                if needs or several or role.seed is not None:
                    await asyncio.shield(self._proofs[where])
                self._check(role, self.clients[where], needs)
                proven = True
            client = self.clients[where]
            return client, MOST_SAMPLES if "n" in client.contract.can else 1

        return connect

    def _in_process(self, role: Role, tokenizer: Path) -> Connect:
        async def connect() -> tuple[Backend, int]:
            async with self._starting:
                if role.model not in self.locals:
                    model = LocalModel(
                        weights.find_model(role.model, self.say), tokenizer, role.max_model_len
                    )
                    self.say(f"{Path(role.model).name}: vLLM is not installed; transformers answers")
                    self.locals[role.model] = await self._stack.enter_async_context(model)
            return self.locals[role.model], 1

        return connect

    async def _prove(self, role: Role, client: Client, where: str) -> Contract:
        """The contract, which all runs of the project remember."""
        runs, seeded = self.journal.path.parent.parent.parent, role.seed is not None
        contract = await probe.prove(
            client,
            runs,
            seeded=seeded,
            where="" if role.endpoint else f"{weights.identify(role.model)} {where}",
        )
        self.say(f"{', '.join(each.base_url for each in client.endpoints)}: {contract}")
        return contract

    def _check(self, role: Role, client: Client, needs: Needs) -> None:
        address = client.endpoints[0].base_url
        if lack := probe.lacking(client.contract, needs):
            raise TeacherError(f"{address}: {lack}, which it can't do; use another endpoint or another step")
        if role.seed is not None and "seed" not in client.contract.can:
            raise TeacherError(f"{address}: a seed changes nothing there; remove seed from the recipe")
        if (context := client.contract.context) is not None and context <= role.max_tokens:
            raise TeacherError(
                f"{address}: its context is {context} tokens, no more than max_tokens = {role.max_tokens}; "
                "lower max_tokens"
            )

    @contextlib.asynccontextmanager
    async def _client(self, role: Role) -> AsyncIterator[Client]:
        async with contextlib.AsyncExitStack() as stack:
            name, addresses = role.model, []
            if role.endpoint:
                key = os.environ[role.api_key_env] if role.api_key_env else None  # `check` has seen it
                addresses = [Address(url, key) for url in role.endpoint]
            elif kept := await served.find(role.model, role.max_model_len, role.flags, role.replicas):
                self.say(f"using the vLLM that `synth serve` keeps up (process {kept.pid})")
                name, addresses = kept.model, [Address(url, kept.api_key) for url in kept.urls]
            else:
                name = Path(role.model).name
                serving = server.serve(
                    weights.find_model(role.model, self.say),
                    name,
                    self.logs,
                    self.say,
                    max_model_len=role.max_model_len,
                    flags=role.flags,
                    replicas=role.replicas,
                )
                servers = await stack.enter_async_context(serving)
                addresses = [Address(s.base_url, s.api_key, s.died, s.restart) for s in servers]
            client = await stack.enter_async_context(Client(addresses, name, self.say))
            if not role.endpoint:
                refuse_seed(role)
            version, listed = await client.described()
            client.contract = Contract(version=version, context=listed.get("max_model_len"))
            yield client


async def keep_up(role: Role, logs: Path, say: Say) -> None:
    """Serve a role's model until cancelled; `Models` of other processes find it.

    Raises:
        TeacherError: vLLM can't be served, or died again and again.
    """
    if kept := await served.find(role.model, role.max_model_len, role.flags, role.replicas):
        raise TeacherError(f"{role.model}: process {kept.pid} keeps it up already")
    model, name = weights.find_model(role.model, say), Path(role.model).name
    serving = server.serve(
        model, name, logs, say, max_model_len=role.max_model_len, flags=role.flags, replicas=role.replicas
    )
    async with serving as servers:
        with served.note(role.model, role.max_model_len, role.flags, role.replicas, servers):
            urls = ", ".join(each.base_url for each in servers)
            say(f"{name} is up at {urls}; runs use it by themselves. Ctrl-C ends it")
            await served.watch(servers)
