"""Texts that say in other words what one of a fixed set says: the nearest by TF-IDF, then a likeness.

Two stages as in the LLM decontaminator (Yang et al. 2023, arXiv 2311.04850), here without any model. The
second is a logistic rule of three figures: how near two texts are, how much nearer than the set's texts use
to be, and whether they name the same numbers. docs/decontamination.md says on what it was fitted.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from synth.compute.leading import STOP_WORDS
from synth.compute.tfidf import Nearest

COMPARED = 5
"""Texts of the set that a text is compared with."""
RANKS = 10, 20
"""The neighbours, by rank, that tell how near the set's texts are to any text of this kind."""
USUAL = 0.2
"""How near those neighbours are at least taken to be."""
FARTHEST = 0.22
"""Texts that are no nearer never reach a likeness of 0.05."""
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|[a-z]+")
WORD = re.compile(r"[^\W\d_]+")
CODE = re.compile(
    r"^\s*(?:def \w+\(|class \w+|import \w|from \w+ import|return\b|#include|public |func(?:tion)? \w+\()",
    re.M,
)
VALUES = """0 zero 1 one first 2 two second couple pair twice double doubled 3 three third thrice triple
4 four fourth quarter 5 five fifth 6 six 7 seven 8 eight 9 nine 10 ten 11 eleven 12 twelve dozen 13 thirteen
14 fourteen 15 fifteen 16 sixteen 17 seventeen 18 eighteen 19 nineteen 20 twenty 30 thirty 40 forty 50 fifty
60 sixty 70 seventy 80 eighty 90 ninety 100 hundred 1000 thousand 1000000 million 0.5 half"""


def _named() -> Mapping[str, float]:
    """The value of each word of `VALUES`, the number before it."""
    value, named = 0.0, {}
    for word in VALUES.split():
        if word[0].isdigit():
            value = float(word)
        else:
            named[word] = value
    return named


NAMED = _named()


class Rule(NamedTuple):
    """A logistic rule: what each figure weighs, and what is added."""

    near: float
    apart: float
    numbers: float
    added: float

    def likeness(self, near: float, around: float, numbers: float) -> float:
        """From 0 to 1; a half is where about 1% of unrelated questions lie above."""
        value = self.near * math.log(near) + self.apart * math.log(near / around) + self.numbers * numbers
        return 1 / (1 + math.exp(-value - self.added))


NUMBERED = Rule(4.83, 5.21, 8.41, -6.35)
PROSE = Rule(7.32, 5.73, 0.0, -2.43)
PROGRAM = Rule(10.23, 0.0, 0.0, 12.24)


def numbers(text: str) -> frozenset[float]:
    """The numbers that a text names, in digits or English words; a third and three are one."""
    found = set()
    for word in NUMBER.findall(text.lower()):
        if word[0].isdigit():
            found.add(float(word.replace(",", "")))
        elif word in NAMED:
            found.add(NAMED[word])
    return frozenset(found)


def subjects(text: str) -> frozenset[str]:
    """The beginnings of the words that are no stop words: keeper and keepers are one."""
    return frozenset(word[:5] for word in WORD.findall(text.lower()) if word not in STOP_WORDS)


class Rephrased:
    """Finds for texts the one of a fixed set that they may rephrase."""

    def __init__(self, known: Sequence[str]) -> None:
        self._nearest = Nearest(known)
        self._numbers = [numbers(text) for text in known]
        self._subjects = [subjects(text) for text in known]
        self._is_code = [CODE.search(text) is not None for text in known]
        self._having = Counter(number for each in self._numbers for number in each)

    def find(self, texts: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        """A text's number, that of the set's likest, and the likeness (0 to 1), where they are near."""
        best, values = self._nearest.nearest(texts, RANKS[1])
        for row in (values[:, 0] > FARTHEST).nonzero()[0].tolist():
            around = max(float(values[row, slice(*RANKS)].mean()), USUAL)
            named = numbers(texts[row])
            near = zip(best[row, :COMPARED].tolist(), values[row, :COMPARED].tolist(), strict=True)
            about = subjects(texts[row])
            scored = [(self._likeness(item, at, around, named, about), -item) for item, at in near if at]
            likeness, item = max(scored)
            yield row, -item, likeness

    def _likeness(
        self, item: int, near: float, around: float, named: frozenset[float], about: frozenset[str]
    ) -> float:
        if self._is_code[item]:
            return PROGRAM.likeness(near, around, 0)
        if min(len(named), len(self._numbers[item])) < 2:  # one number in common says little
            shared = about & self._subjects[item]
            return PROSE.likeness(near, around, 0) if shared else 0.0  # short ones are near by "what do"
        return NUMBERED.likeness(near, around, self._shared(self._numbers[item], named))

    def _shared(self, known: frozenset[float], other: frozenset[float]) -> float:
        """The share of all numbers that both name; rare ones count for more."""
        count = len(self._numbers)
        weight = {n: math.log((count + 1) / (self._having[n] + 0.5)) for n in sorted(known | other)}
        return math.fsum(weight[n] for n in known & other) / math.fsum(weight.values())
