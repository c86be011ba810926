"""A server simulated event by event, with a clock of its own, that a `Limit` is tried on."""

import heapq
import random

from synth.llm.throttle import Limit

SERVICE = 2.0
"""Seconds of a request in its slot, on average."""
ANSWER, AGAIN = 0.005, 1.0
"""Seconds until a refusal, and from there to the next try; the request keeps its place meanwhile."""


class Simulated:
    """`slots` requests run at once and the others queue; refused is what comes above `rate` a second."""

    def __init__(self, slots: int, *, rate: int = 0, most: int = 0) -> None:
        self.now = 0.0
        self.limit = Limit(lambda: self.now)
        self.slots, self.rate, self.most = slots, rate, most
        self.done: list[float] = []
        self.refused: list[float] = []
        self._running = self._queued = self._number = 0
        self._bucket, self._filled = float(rate), 0.0
        self._random = random.Random(1)
        self._events: list[tuple[float, int, str, float]] = []

    def run(self, seconds: float) -> "Simulated":
        """More requests than the limit lets in wait all the time."""
        self._fill()
        while self.now < seconds:
            self.now, _, what, served = heapq.heappop(self._events)
            if what == "refused":
                self.refused.append(self.now)
                self.limit.saw_refusal()
                self._later(AGAIN, "left", 0.0)
                continue
            if what == "served":
                self._running -= 1
                self.done.append(self.now)
                self.limit.saw_reply(round(100 * served), hungry=True)
                if self._queued:
                    self._queued -= 1
                    self._begin()
            self.limit.in_flight -= 1
            self._fill()
        return self

    def _fill(self) -> None:
        while self.limit.in_flight < self.limit.limit:
            self.limit.in_flight += 1
            self._bucket = min(self.rate, self._bucket + (self.now - self._filled) * self.rate)
            self._filled = self.now
            if (self.rate and self._bucket < 1) or (self.most and self._running >= self.most):
                self._later(ANSWER, "refused", 0.0)
                continue
            self._bucket -= 1
            if self._running < self.slots:
                self._begin()
            else:
                self._queued += 1

    def _begin(self) -> None:
        self._running += 1
        served = SERVICE * self._random.uniform(0.5, 1.5)
        self._later(served, "served", served)

    def _later(self, seconds: float, what: str, served: float) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, what, served))
