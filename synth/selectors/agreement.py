"""`agreement`: of a seed's samples, those that come to what most of them come to (self-consistency).

Wang et al. 2022, arXiv 2203.11171: the answer that most ways of reasoning reach is likelier right.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from synth.answers import choice, last_number, normalised, said
from synth.steps import Rows, Selection, Selector
from synth.texts import texts
from synth.types import Verdict


class Agreement(Selector):
    """Keeps the rows whose final answer is that of at least `share` of their seed's rows, and of most.

    Held against each other are the rows of one strategy and seed that all before this step kept: ask several
    by `samples`. The final answer is read as the verifiers `maths` and `choice` do; a row that comes to none
    counts against every other. Rows of a seed with fewer than `samples` rows, or with a tie for the most, are
    rejected.
    """

    columns: ClassVar[tuple[str, ...]] = ("id", "strategy", "seed_id", "messages")

    answer: Literal["number", "choice", "text"] = "number"
    """What a row comes to: its last or marked number; one of `labels`; or what it marks by `####`,
    `\\boxed{}` or "answer is", else all of it, up to case, articles and marks."""
    labels: tuple[str, ...] = ()
    """With "choice": all labels."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Of a seed's rows, how many must agree."""
    samples: int = Field(default=2, ge=2)
    """Rows that a seed must have left: one alone agrees with nobody."""

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if (self.answer == "choice") != bool(self.labels):
            raise ValueError('answer = "choice" and labels go together; give both or none')
        return self

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Score: the share of the seed's rows that come to the same. Holds seed and answer of every row."""
        order: list[tuple[tuple[str, str], str | None]] = []
        groups: dict[tuple[str, str], Counter[str | None]] = defaultdict(Counter)
        for batch in rows:
            keys = zip(batch["strategy"].to_pylist(), batch["seed_id"].to_pylist(), strict=True)
            for key, text in zip(keys, texts(batch, "answer").to_pylist(), strict=True):
                order.append((key, self._final(text)))
                groups[key][order[-1][1]] += 1
        for key, final in order:
            yield Selection(self._verdict(final, groups[key]))

    def _verdict(self, final: str | None, group: Counter[str | None]) -> Verdict:
        total, most = group.total(), max((n for each, n in group.items() if each is not None), default=0)
        if final is None:
            return Verdict(self.name, False, None, "comes to no final answer")
        if total < self.samples:
            return Verdict(self.name, False, None, f"fewer than {self.samples} rows of its seed")
        score = group[final] / total
        if group[final] < most:
            return Verdict(self.name, False, score, "comes to another answer than most")
        if sum(n == most for each, n in group.items() if each is not None) > 1:
            return Verdict(self.name, False, score, "a tie for the most")
        keep = score >= self.share
        return Verdict(self.name, keep, score, "" if keep else f"fewer than {100 * self.share:g}% agree")

    def _final(self, text: str) -> str | None:
        if self.answer == "number":
            number = last_number(text)
            return None if number is None else str(number)
        if self.answer == "choice":
            return choice(text, self.labels)
        mark = said(text)
        return normalised(text if mark is None else mark) or None
