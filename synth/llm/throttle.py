"""How many requests are in flight: found by watching the engine, never set by the user.

A vLLM server tells how many sequences it runs and how many wait. While all that is in flight runs, more is
let in; once sequences wait, the number stays at what runs plus a small queue that keeps the engine fed.
A server without metrics is judged by its refusals (429, 503): they halve the number, calm lets it grow.
"""

import asyncio
from types import TracebackType

START, LOWEST, HIGHEST = 32, 4, 2048
QUEUE_SHARE = 0.125
"""The queue kept before the engine, as a share of what it runs."""


class Throttle:
    """An async context manager that admits at most `limit` at once; `limit` moves with what is seen."""

    def __init__(self) -> None:
        self.limit = START
        self.in_flight = 0
        self._waiters: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self._calm = 0

    async def __aenter__(self) -> None:
        if self.in_flight < self.limit and self._waiters.empty():
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.put_nowait(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self.in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self.in_flight < self.limit and not self._waiters.empty():
            turn = self._waiters.get_nowait()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    @property
    def full(self) -> bool:
        """Whether the limit is what holds requests back."""
        return not self._waiters.empty()

    def saw_engine(self, running: float, waiting: float) -> None:
        """One look at the engine's own counters of sequences."""
        queue = max(2.0, running * QUEUE_SHARE)
        if waiting > 2 * queue:
            self._set(int(running + queue))
        elif waiting <= queue and self.full:
            self._set(int(self.limit * 1.5))

    def saw_refusal(self) -> None:
        """The server refused a request because it is too busy."""
        self._calm = 0
        self._set(self.limit // 2)

    def saw_reply(self) -> None:
        """A reply came; without metrics, a whole round without refusal lets one more in eight in."""
        self._calm += 1
        if self._calm >= self.limit and self.full:
            self._calm = 0
            self._set(self.limit + max(1, self.limit // 8))

    def _set(self, limit: int) -> None:
        self.limit = min(HIGHEST, max(LOWEST, limit))
        self._admit()
