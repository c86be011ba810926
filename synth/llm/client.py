"""The one client: teacher, judge and student are each one or several OpenAI-compatible endpoints.

A request goes to the least loaded endpoint. What a retry can mend (408, 409, 425, 429, 5xx, resets,
truncated or malformed bodies) is tried again with full jitter, honouring Retry-After. An endpoint that can't
be reached is set aside and probed until it answers; what was in flight there moves elsewhere. With none left
everything waits; when patience ends the run stops with everything safe.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from synth.errors import RequestFailed, TeacherError
from synth.llm import contract
from synth.llm.contract import Contract, Malformed
from synth.llm.endpoint import SUSPECT, Address, Bad, Endpoint, Unreachable, backoff, now, session
from synth.llm.throttle import Gate
from synth.types import Prompt, Reply, Sampling

ATTEMPTS = 5
"""Tries of one request that the server itself answers badly."""
FIRST_PATIENCE, PATIENCE = 60.0, 300.0
"""Seconds for which endpoints that can't be reached are waited for: before any answered, and after."""
LOOK, LONGEST_LOOK = 0.5, 4.0
"""Seconds between two looks at the engines' counters: at first, and once the limits have settled. A look
costs vLLM some 13 ms of CPU."""
BLIND = 3
"""Looks in a row without an answer after which what is in flight moves elsewhere."""
T = TypeVar("T")
BUSY = {"HTTP 429", "HTTP 503"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request to be sent: so many sequences of at most `max_tokens` new tokens."""

    path: str
    data: bytes
    sequences: int
    max_tokens: int


class Client:
    """The endpoints of one model. Use as an async context manager."""

    def __init__(self, addresses: Sequence[Address], model: str, say: Callable[[str], None]) -> None:
        self.model, self.say = model, say
        self.contract = Contract()
        self.patience: float | None = None
        self._session = session()
        self.endpoints = [Endpoint(address, self._session) for address in addresses]
        self._gate = Gate(self.endpoints)
        self._work: set[asyncio.Task[Any]] = set()
        self._dead_since: float | None = None
        self._answered_once = False
        self.queued = 0.0
        """Request-seconds spent waiting inside the engines, by their own counters."""
        self.idle = 0.0
        """Seconds for which less was in flight than the throttle allows, for want of requests."""

    async def __aenter__(self) -> "Client":
        self.spawn(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._work:
            task.cancel()
        try:
            await asyncio.gather(*self._work, return_exceptions=True)
        finally:  # a proof that is cut off closes its own
            await self._session.close()

    @property
    def retries(self) -> Counter[str]:
        """Requests sent again, by what went wrong."""
        return sum((endpoint.retries for endpoint in self.endpoints), Counter())

    @property
    def cached(self) -> tuple[int, int]:
        """Prompt tokens that the engines found in their prefix caches, and all that they looked up."""
        seen = [(e.engine, e.at_first) for e in self.endpoints if e.engine and e.at_first]
        hits = sum(last.cached_tokens - first.cached_tokens for last, first in seen)
        return round(hits), round(sum(last.prompt_tokens - first.prompt_tokens for last, first in seen))

    @property
    def in_flight(self) -> int:
        """Sequences that are asked for now."""
        return self._gate.in_flight

    async def ask(
        self, prompt: Prompt, sampling: Sampling, keys: Sequence[str], *, under: Contract | None = None
    ) -> list[Reply]:
        """One reply for each of `keys`, all samples of one prompt, by one request `under` a contract.

        Raises:
            RequestFailed: the server refuses this request, or answered it badly `ATTEMPTS` times.
            TeacherError: no endpoint can be reached for `PATIENCE` seconds, or none knows the model or key.
        """
        path, body = contract.request(self.model, prompt, sampling, len(keys), under or self.contract)
        form = sampling if under is None else {}  # a probe is to see what came

        def read(answer: bytes, seconds: float) -> tuple[list[Reply], int, int]:
            found, total = contract.replies(answer, prompt, form, self.model, keys, seconds)
            return found, max(reply.completion_tokens for reply in found) or total, total

        asked = _Asked(path, orjson.dumps(body), len(keys), sampling.get("max_tokens", 1024))
        found, _, total = await self._answered(asked, read, probe=under is not None)
        return found if under else contract.share_out(found, total)

    async def score(self, prompt: Sequence[int], answer: Sequence[int], top: int) -> list[dict[int, float]]:
        """For each token of `answer` behind `prompt`, both by their ids: the `top` likeliest tokens there and
        the answer's own, with their log-probabilities (nats).

        Raises:
            RequestFailed: the server refuses it, or answers it without them `ATTEMPTS` times.
            TeacherError: as `ask`.
        """
        path, body = contract.scoring(self.model, prompt, answer, top)

        def read(data: bytes, _: float) -> tuple[list[dict[int, float]], int, int]:
            return contract.scores(data, answer), 1, 1

        return (await self._answered(_Asked(path, orjson.dumps(body), 1, 1), read))[0]

    async def _answered(
        self, asked: "_Asked", read: Callable[[bytes, float], tuple[T, int, int]], *, probe: bool = False
    ) -> tuple[T, int, int]:
        """What `read` makes of a good answer and its seconds: the thing itself, the tokens of the longest
        reply in it, and of all; retries are counted and waited for."""
        attempt = timeouts = 0
        while True:
            endpoint = await self._gate.enter(asked.sequences, first=attempt > 0)
            began, after = now(), None
            try:
                seconds = endpoint.seconds_for(asked.max_tokens) * 2**timeouts
                answer = await self._post(endpoint, asked.path, asked.data, seconds)
                found, longest, total = read(answer, now() - began)
            except Unreachable:
                endpoint.retries["unreachable"] += 1
                self._set_aside(endpoint)
                continue
            except Malformed as error:
                problem = str(error)
                if probe:  # what it is told at once is what it wants to know
                    raise RequestFailed(problem) from error
            except Bad as error:
                problem, after = error.kind, error.after
                timeouts += problem == "timeout"
                if problem in BUSY and attempt + 1 < ATTEMPTS:  # whoever took its place would be refused too
                    await asyncio.sleep(backoff(attempt + 1) if after is None else after)
                    after = 0.0
            else:
                endpoint.answered(longest, now() - began)
                endpoint.limit.saw_reply(total, hungry=self._gate.hungry)
                self._answered_once = True
                return found, longest, total
            finally:
                self._gate.leave(endpoint, asked.sequences)
            endpoint.retries[problem] += 1
            endpoint.streak += 1
            if endpoint.streak >= SUSPECT:
                self._set_aside(endpoint)
            attempt += 1
            if attempt >= ATTEMPTS:
                raise RequestFailed(f"{problem} in each of {ATTEMPTS} tries")
            await asyncio.sleep(after if after is not None else backoff(attempt))

    async def described(self) -> tuple[str, dict[str, Any]]:
        """The first endpoint's version, and what it lists of the model ({} where nothing), once it is there.

        Raises:
            TeacherError: it can't be reached, or serves other models only.
        """
        endpoint = self.endpoints[0]
        if not await endpoint.healthy():
            self._set_aside(endpoint)
        self._gate.leave(await self._gate.enter(1), 1)
        version = (await endpoint.json("/version", root=True) or {}).get("version", "")
        listed = {model["id"]: model for model in (await endpoint.json("/models") or {}).get("data", [])}
        if listed and self.model not in listed:
            serves = ", ".join(sorted(listed)[:5])
            raise TeacherError(f"{endpoint.base_url}: serves {serves}, not {self.model}; correct model")
        if await endpoint.look() and (seen := endpoint.engine) is not None:
            endpoint.limit.saw_engine(seen.running, seen.waiting, hungry=False)
        known = listed.get(self.model, {})
        return version, {key: known.get(key) for key in ("id", "root", "max_model_len") if key in known}

    async def _post(self, endpoint: Endpoint, path: str, data: bytes, seconds: float) -> bytes:
        """The answer; `Unreachable` too where `_set_aside` moves the request elsewhere."""
        task = asyncio.current_task()
        assert task is not None
        cancelled = task.cancelling()
        endpoint.tasks.add(task)
        try:
            return await endpoint.post(path, data, seconds)
        except asyncio.CancelledError:
            # `_set_aside` took it out, and nobody else cancelled it meanwhile
            if task not in endpoint.tasks and task.uncancel() <= cancelled:
                raise Unreachable from None
            raise
        finally:
            endpoint.tasks.discard(task)

    def _set_aside(self, endpoint: Endpoint, *, move: bool = False) -> None:
        """Send nothing there until it answers a probe; `move` what waits for its answer elsewhere."""
        if not endpoint.up:
            return
        endpoint.up = False
        if move:
            moved, endpoint.tasks = endpoint.tasks, set()
            for task in moved:
                task.cancel()
        self.spawn(self._bring_back(endpoint))

    async def _bring_back(self, endpoint: Endpoint) -> None:
        start, said = now(), False
        while not await endpoint.healthy():
            if endpoint.address.died() is not None and endpoint.address.restart is not None:
                try:
                    await endpoint.address.restart()
                except TeacherError as error:
                    endpoint.lost = True
                    if all(other.lost for other in self.endpoints):
                        self._gate.fail(error)
                    else:
                        self.say(f"{error}; the other replicas go on without it")
                    return
                continue
            if not said:
                self.say(f"{endpoint.base_url} can't be reached; {self._outlook()}")
                said = True
            if self._all_dead_for() > self._patience:
                self._gate.fail(
                    TeacherError(
                        f"{endpoint.base_url}: can't be reached for {self._patience:.0f} s; "
                        "start it and run the same command again: every reply so far is kept"
                    )
                )
                return
            await asyncio.sleep(0.5)
        if said:
            self.say(f"{endpoint.base_url} is back after {now() - start:.0f} s")
        endpoint.up, endpoint.streak, self._dead_since = True, 0, None
        self._gate.admit()

    @property
    def _patience(self) -> float:
        return self.patience or (PATIENCE if self._answered_once else FIRST_PATIENCE)

    def _outlook(self) -> str:
        up = sum(endpoint.up for endpoint in self.endpoints)
        if up:
            return f"{up} of {len(self.endpoints)} endpoints go on, and it is tried again"
        return f"everything waits for it, up to {self._patience:.0f} s"

    def _all_dead_for(self) -> float:
        if any(endpoint.up for endpoint in self.endpoints):
            self._dead_since = None
            return 0.0
        self._dead_since = self._dead_since or now()
        return now() - self._dead_since

    async def _watch(self) -> None:
        blind: Counter[Endpoint] = Counter()
        limits: list[int] = []
        pause = LOOK
        while True:
            await asyncio.sleep(pause)
            busy = [endpoint for endpoint in self.endpoints if endpoint.limit.in_flight and endpoint.up]
            looks = await asyncio.gather(*(endpoint.look() for endpoint in busy))
            for endpoint, answered in zip(busy, looks, strict=True):
                blind[endpoint] = 0 if answered else blind[endpoint] + 1
                if blind[endpoint] >= BLIND:
                    blind[endpoint] = 0
                    self._set_aside(endpoint, move=True)
                if answered and (seen := endpoint.engine) is not None:
                    self.queued += pause * seen.waiting
                    endpoint.limit.saw_engine(seen.running, seen.waiting, hungry=self._gate.hungry)
            self._gate.admit()
            if self._gate.in_flight and not self._gate.hungry and self._has_room:
                self.idle += pause
            before, limits = limits, [endpoint.limit.limit for endpoint in self.endpoints]
            settled = limits == before and all(answered for answered in looks)
            pause = min(LONGEST_LOOK, pause * 1.5) if settled else LOOK

    @property
    def _has_room(self) -> bool:
        return any(endpoint.up and endpoint.limit.load < 0.9 for endpoint in self.endpoints)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Work in the background until the client is closed; should it fail, so does whoever waits here."""
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._gate.fail(error)
