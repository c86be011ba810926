"""Evaluation items, and which rows repeat or rephrase one: what `decontaminate` is made of.

The rules by runs of words are those of GPT-3 (Brown et al. 2020, arXiv 2005.14165: 13 words in a row) and of
Tulu 3 (Lambert et al. 2024, arXiv 2411.15124: over half of an item's words lie in shared runs of 8).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from synth.grams import Runs, Words, words
from synth.items import Item
from synth.rephrased import Rephrased

COVER = 8
"""Words of the runs that the rule of cover counts."""
WHOLE = 5
"""An item of fewer words must be all of a row; others may be a part of it."""


class Match(NamedTuple):
    """A row and the item that a rule finds in it. The score is 1, the share of words, or the likeness."""

    row: int
    item: int
    rule: str
    score: float


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rules are asked, and how long a run of words is too long."""

    names: Sequence[str]
    run: int


class Items:
    """Evaluation items, made ready to be found in rows; those that say the same count once.

    Memory: about 100 bytes a word, and what `Rephrased` says.
    """

    def __init__(self, items: Iterable[Item], rules: Rules) -> None:
        self.rules = rules
        held = list(items)
        found = words(pa.array([item.text for item in held], pa.string()))
        first = {found.of(place).tobytes(): place for place in reversed(range(len(held)))}
        first.pop(b"", None)
        chosen = sorted(first.values())
        self.items = [held[place] for place in chosen]
        texts = [item.text for item in self.items]
        self.words = words(pa.array(texts, pa.string()))
        counts = self.words.counts
        self._runs = {size: Runs(self.words, size) for size in {COVER, rules.run}}
        self._short = {
            size: (of := np.flatnonzero(counts == size), Runs(_part(self.words, of), size))
            for size in np.unique(counts[counts < COVER]).tolist()
        }
        self._rephrased = Rephrased(texts) if "rephrased" in rules.names else None

    def __len__(self) -> int:
        return len(self.items)

    def matches(self, texts: pa.StringArray) -> list[Match]:
        """The best match of each row by each rule that finds one, sorted by row; rows count from 0."""
        others = words(texts)
        found: dict[tuple[int, str], Match] = {}
        for match in self._by_words(others):
            if match.rule in self.rules.names:
                best = found.get((match.row, match.rule))
                if best is None or (-match.score, match.item) < (-best.score, best.item):
                    found[match.row, match.rule] = match
        if self._rephrased is not None:
            for row, item, score in self._rephrased.nearest(texts.to_pylist()):
                found[row, "rephrased"] = Match(row, item, "rephrased", score)
        return sorted(found.values())

    def _by_words(self, others: Words) -> Iterator[Match]:
        for size, (of, runs) in self._short.items():
            for row, item, _ in zip(*runs.shared(others), strict=True):
                if size >= WHOLE or others.counts[row] == size:
                    yield Match(int(row), int(of[item]), "exact", 1.0)
        for size in sorted({COVER, self.rules.run}):
            for row, item, covered in zip(*self._runs[size].shared(others), strict=True):
                share = float(covered / self.words.counts[item])
                if size == COVER:
                    yield Match(int(row), int(item), "cover", share)
                    if share == 1 and _holds(others.of(row), self.words.of(item)):
                        yield Match(int(row), int(item), "exact", 1.0)
                if size == self.rules.run:
                    yield Match(int(row), int(item), "run", share)


def _part(of: Words, chosen: "np.typing.NDArray[np.int64]") -> Words:
    """The words of some of the texts."""
    parts = [of.of(place) for place in chosen]
    ends = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Words(np.concatenate(parts), ends)


def _holds(text: "np.typing.NDArray[np.uint64]", part: "np.typing.NDArray[np.uint64]") -> bool:
    """Whether words stand in a text one behind the other."""
    return part.tobytes() in text.tobytes() and any(
        np.array_equal(text[at : at + len(part)], part) for at in np.flatnonzero(text == part[0])
    )
