"""How many sequences are in flight: found by watching each endpoint, never set by the user.

A vLLM server tells how many sequences it runs and how many wait. While all that is in flight runs, more is
let in; once sequences wait, the number stays at what runs plus a small queue that keeps the engine fed.
Without metrics the number is found by trying: see `Limit`. Refusals (429, 503) beyond a tenth of what is in
flight cut it by a third.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Generic, Protocol, TypeVar

START, LOWEST, HIGHEST = 32, 4, 4096
START_OF_ENGINE = 256
"""The first limit of a server that tells its counters: it queues what it can't run, and refuses nothing."""
QUEUE_SHARE = 0.5
"""The queue kept before the engine, as a share of what it runs: half to twice this. Replies of one length end
together, and what takes their place must be there: with an eighth a real engine lost a tenth of its speed."""
GAIN, LOSS = 1.1, 0.97
"""How much better more must be to stay with it, and how little worse less may be."""
HOLD, LONGEST_HOLD = 4, 32
"""Rounds between attempts: at first, and after several that brought nothing."""
FEWEST, SHORTEST_ROUND = 64, 1.0
"""Replies and seconds that a round takes at least."""
CALM = 10.0
"""Seconds without a cut after which an engine with metrics is given more again."""


class Limit:
    """How many sequences one endpoint is given at once; it moves with what is seen.

    Without metrics it climbs a hill: it holds a level and tries the next one up, or down, for a round. More
    is kept where it brings `GAIN`, less where it costs no more than `LOSS`: on the flat behind the point
    where the server is saturated it comes back to that point. Steps double until the first that brings
    nothing. As in TCP, refusals cut it once a round trip, not once each.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = START
        self.in_flight = 0
        self.has_metrics = False
        self._clock = clock
        self._began, self._replies, self._tokens = clock(), 0, 0
        self._settling, self._up, self._step = True, True, 2.0
        self._good, self._rate = START, 0.0
        """The level that is held, and tokens a second there."""
        self._failed, self._hold = 0, 1
        self._refused, self._refused_since, self._cut = 0, clock(), -CALM

    @property
    def load(self) -> float:
        """The share of the limit that is in flight."""
        return self.in_flight / self.limit

    def saw_engine(self, running: float, waiting: float, *, hungry: bool) -> None:
        """One look at the engine's own counters; `hungry` where requests wait for this limit."""
        if not self.has_metrics:
            self.has_metrics = True
            self._set(max(self.limit, START_OF_ENGINE))
            return
        queue = max(2.0, running * QUEUE_SHARE)
        if waiting > 2 * queue:
            self._set(int(running + 2 * queue))
        elif waiting < queue and hungry and self._clock() - self._cut >= CALM:
            self._set(self.limit * 2)

    def saw_refusal(self) -> None:
        """The server refused a request because it is too busy."""
        now = self._clock()
        if now - self._cut < SHORTEST_ROUND:
            return  # what was sent before the cut
        if now - self._refused_since > SHORTEST_ROUND:
            self._refused, self._refused_since = 0, now
        self._refused += 1
        if self._refused > max(2, self.in_flight // 10):
            self._set(min(self._good, self.limit * 2 // 3))
            self._refused, self._cut = 0, now
            self._good, self._rate, self._up, self._step = self.limit, 0.0, True, 1.5
            self._failed, self._hold = min(self._failed + 1, 3), HOLD << min(self._failed, 3)

    def saw_reply(self, tokens: int, *, hungry: bool) -> None:
        """A reply of so many tokens; without metrics, whole rounds of them decide."""
        if self.has_metrics:
            return
        self._replies += 1
        self._tokens += tokens
        seconds = self._clock() - self._began
        if self._replies < (self.limit if self._settling else max(FEWEST, self.limit)):
            return
        if seconds < SHORTEST_ROUND:
            return
        rate, settled = self._tokens / seconds, not self._settling
        self._began, self._replies, self._tokens, self._settling = self._clock(), 0, 0, False
        if settled and hungry:
            self._judge(rate)

    def _judge(self, rate: float) -> None:
        if self.limit == self._good:
            self._rate = (self._rate + rate) / 2 if self._rate else rate
            self._hold -= 1
        elif rate > self._rate * (GAIN if self.limit > self._good else LOSS):
            self._good, self._rate, self._failed, self._hold = self.limit, rate, 0, 0
        else:
            self._up, self._step, self._failed = not self._up, 1.5, self._failed + 1
            self._hold = min(LONGEST_HOLD, HOLD << self._failed // 2) if self._failed % 2 == 0 else 1
            self._set(self._good)
            return
        if self._hold <= 0:
            self._set(int(self._good * self._step if self._up else self._good / self._step))
            self._hold = 1

    def _set(self, limit: int) -> None:
        self.limit = min(HIGHEST, max(LOWEST, limit))
        self._settling, self._replies, self._tokens, self._began = True, 0, 0, self._clock()


class Door(Protocol):
    """What a `Gate` leads to: an endpoint."""

    @property
    def limit(self) -> Limit: ...

    @property
    def up(self) -> bool: ...


DoorT = TypeVar("DoorT", bound=Door)


RANK: ContextVar[int] = ContextVar("rank", default=0)
"""Whose turn it is: the engine sets it to the number of the unit. What was begun first is ended first, and a
row's later steps don't wait behind the first steps of rows to come."""


class Gate(Generic[DoorT]):
    """Where requests wait, by `RANK`, then in order, for the least loaded endpoint that is up and has room.

    With no endpoint up they all wait; `fail` ends that.
    """

    def __init__(self, doors: Sequence[DoorT]) -> None:
        self.doors = doors
        self._waiting: list[tuple[int, int, asyncio.Future[DoorT], int]] = []
        self._came = 0
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
        self._came += 1
        heapq.heappush(self._waiting, (-1 if first else RANK.get(), self._came, turn, weight))
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
            if self._waiting[0][2].done():
                heapq.heappop(self._waiting)
            elif (door := self._open()) is not None:
                _, _, turn, weight = heapq.heappop(self._waiting)
                door.limit.in_flight += weight
                turn.set_result(door)
            else:
                return

    def fail(self, error: BaseException) -> None:
        """Everybody who waits or comes gets this error."""
        self._error = error
        for _, _, turn, _ in self._waiting:
            if not turn.done():
                turn.set_exception(error)
        self._waiting.clear()

    def _open(self) -> DoorT | None:
        chosen = None
        for door in self.doors:
            fits = door.up and door.limit.in_flight < door.limit.limit
            if fits and (chosen is None or door.limit.load < chosen.limit.load):
                chosen = door
        return chosen
