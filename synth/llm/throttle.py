"""How many sequences are in flight: found by watching each endpoint, never set by the user.

A vLLM server tells how many sequences it runs and how many wait. While all that is in flight runs, more is
let in; once sequences wait, the number stays at what runs plus a small queue that keeps the engine fed.
A server without metrics is climbed: the number grows by half while a round of replies (as many as are in
flight) brings at least 5% more tokens a second than the best round before, else it goes back and tries again
later. Refusals (429, 503) beyond a tenth of what is in flight cut it by a third.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

START, LOWEST, HIGHEST = 32, 4, 2048
QUEUE_SHARE = 0.125
"""The queue kept before the engine, as a share of what it runs."""
GAIN = 1.05
"""How much better a round must be for the next step up."""
HOLD = 8
"""Rounds between two attempts to go up, where the last brought nothing."""
SHORTEST_ROUND = 1.0
"""Seconds."""


class Limit:
    """How many sequences one endpoint is given at once; it moves with what is seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = START
        self.in_flight = 0
        self.has_metrics = False
        self._clock = clock
        self._began, self._replies, self._tokens = clock(), 0, 0
        self._settling = self._hold = 0
        self._best, self._good = 0.0, START
        self._refused, self._refused_since = 0, clock()

    @property
    def load(self) -> float:
        """The share of the limit that is in flight."""
        return self.in_flight / self.limit

    def saw_engine(self, running: float, waiting: float, *, hungry: bool) -> None:
        """One look at the engine's own counters; `hungry` where requests wait for this limit."""
        self.has_metrics = True
        queue = max(2.0, running * QUEUE_SHARE)
        if waiting > 2 * queue:
            self._set(int(running + queue))
        elif waiting <= queue and hungry:
            self._set(int(self.limit * 1.5))

    def saw_refusal(self) -> None:
        """The server refused a request because it is too busy."""
        now = self._clock()
        if now - self._refused_since > SHORTEST_ROUND:
            self._refused, self._refused_since = 0, now
        self._refused += 1
        if self._refused > max(2, self.in_flight // 10):
            self._set(self.limit * 2 // 3)
            self._refused, self._best, self._good, self._hold = 0, 0.0, self.limit, HOLD
            self._next_round(settle=True)

    def saw_reply(self, tokens: int, *, hungry: bool) -> None:
        """A reply of so many tokens; without metrics, whole rounds of them decide."""
        if self.has_metrics:
            return
        self._replies += 1
        self._tokens += tokens
        seconds = self._clock() - self._began
        if self._replies < self.limit or seconds < SHORTEST_ROUND:
            return
        if self._settling or not hungry:
            self._next_round(settle=False)
            return
        rate = self._tokens / seconds
        if self._hold:
            self._hold -= 1
            self._best = max(rate, self._best * 0.98)
            self._next_round(settle=False)
        elif rate > self._best * GAIN or self.limit == self._good:
            self._best, self._good = max(rate, self._best), self.limit
            self._set(int(self.limit * 1.5))
            self._next_round(settle=True)
        else:
            self._set(self._good)
            self._hold = HOLD
            self._next_round(settle=True)

    def _next_round(self, *, settle: bool) -> None:
        self._settling = settle
        self._began, self._replies, self._tokens = self._clock(), 0, 0

    def _set(self, limit: int) -> None:
        self.limit = min(HIGHEST, max(LOWEST, limit))


class Door(Protocol):
    """What a `Gate` leads to: an endpoint."""

    @property
    def limit(self) -> Limit: ...

    @property
    def up(self) -> bool: ...


DoorT = TypeVar("DoorT", bound=Door)


class Gate(Generic[DoorT]):
    """Where requests wait, in order, for the least loaded endpoint that is up and has room.

    With no endpoint up they all wait; `fail` ends that.
    """

    def __init__(self, doors: Sequence[DoorT]) -> None:
        self.doors = doors
        self._waiting: deque[tuple[asyncio.Future[DoorT], int]] = deque()
        self._error: BaseException | None = None

    @property
    def hungry(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    @property
    def in_flight(self) -> int:
        """Sequences behind all doors."""
        return sum(door.limit.in_flight for door in self.doors)

    async def enter(self, weight: int, *, first: bool = False) -> DoorT:
        """The endpoint that takes a request of `weight` sequences; `first` goes before all that wait.

        Raises:
            BaseException: what `fail` was given.
        """
        if self._error is not None:
            raise self._error
        if not self._waiting and (door := self._open()) is not None:
            door.limit.in_flight += weight
            return door
        turn: asyncio.Future[DoorT] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)((turn, weight))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(turn.result(), weight)
            raise

    def leave(self, door: DoorT, weight: int) -> None:
        """The request of `weight` sequences has left `door`."""
        door.limit.in_flight -= weight
        self.admit()

    def admit(self) -> None:
        """Let in whom the doors have room for now."""
        while self._waiting:
            if self._waiting[0][0].done():
                self._waiting.popleft()
            elif (door := self._open()) is not None:
                turn, weight = self._waiting.popleft()
                door.limit.in_flight += weight
                turn.set_result(door)
            else:
                return

    def fail(self, error: BaseException) -> None:
        """Everybody who waits or comes gets this error."""
        self._error = error
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

    def _open(self) -> DoorT | None:
        chosen = None
        for door in self.doors:
            fits = door.up and door.limit.in_flight < door.limit.limit
            if fits and (chosen is None or door.limit.load < chosen.limit.load):
                chosen = door
        return chosen
