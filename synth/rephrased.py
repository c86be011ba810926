"""Texts that say in other words what one of a fixed set says: the nearest by TF-IDF, then a likeness.

Two stages as in the LLM decontaminator (Yang et al. 2023, arXiv 2311.04850), both of them free.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

NEAREST = 5
"""Texts of the set that a text is compared with."""
BLOCK = 512
FLOOR = 0.02
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|[a-z]+")
UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
)
NAMED = {word: float(value) for value, word in enumerate(UNITS.split())}
NAMED |= {word: 10.0 * value for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty"], 2)}
NAMED |= {"seventeen": 17, "eighteen": 18, "nineteen": 19, "seventy": 70, "eighty": 80, "ninety": 90}
NAMED |= {"hundred": 100, "thousand": 1000, "million": 1_000_000, "dozen": 12, "couple": 2, "pair": 2}
NAMED |= {"twice": 2, "double": 2, "doubled": 2, "triple": 3, "thrice": 3, "half": 0.5}
NAMED |= {"first": 1, "second": 2, "third": 3, "fourth": 4, "quarter": 4, "fifth": 5}


def numbers(text: str) -> frozenset[float]:
    """The numbers that a text names, in digits or English words; a third and three are one."""
    found = set()
    for word in NUMBER.findall(text.lower()):
        if word[0].isdigit():
            found.add(float(word.replace(",", "")))
        elif word in NAMED:
            found.add(float(NAMED[word]))
    return frozenset(found)


class Rephrased:
    """Finds for texts the one of a fixed set that they may rephrase."""

    def __init__(self, known: Sequence[str]) -> None:
        self._tfidf = TfidfVectorizer(
            analyzer="char", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32
        )
        self._known = self._tfidf.fit_transform(map(_spaced, known)).T.tocsr()
        self._numbers = [numbers(text) for text in known]
        self._count = len(known)
        self._having = Counter(number for each in self._numbers for number in each)

    def nearest(self, texts: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        """For each text its number, the nearest of the set, and how surely it rephrases it (0 to 1)."""
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            cosines = (self._tfidf.transform(map(_spaced, block)) @ self._known).toarray()
            for row, text in enumerate(block):
                scored = [
                    (self._likeness(text, cosines[row], item), -item) for item in _top(cosines[row], NEAREST)
                ]
                if scored:
                    score, item = max(scored)
                    yield start + row, -item, score

    def _likeness(self, text: str, cosines: "np.typing.NDArray[np.float32]", item: int) -> float:
        cosine = float(cosines[item])
        if cosine <= FLOOR:
            return 0.0
        ranked = np.sort(cosines)[::-1][10:20]
        others = max(float(ranked.mean()) if len(ranked) else 0.1, FLOOR)
        numbered = self._same_numbers(self._numbers[item], numbers(text))
        return _sigmoid(6.25 * math.log(cosine / others) + 12.1 * numbered - 14.8)

    def _same_numbers(self, known: frozenset[float], other: frozenset[float]) -> float:
        """The share of numbers that both name, rare ones counting for more; a half where there are none."""
        weight = {n: math.log((self._count + 1) / (self._having[n] + 0.5)) for n in known | other}
        total = math.fsum(weight.values())
        return math.fsum(weight[n] for n in known & other) / total if total else 0.5


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _top(cosines: "np.typing.NDArray[np.float32]", most: int) -> list[int]:
    """The places of the greatest, the earlier of equals first; zeros left out."""
    order = np.argsort(-cosines, kind="stable")[:most]
    return [int(place) for place in order if cosines[place] > 0]


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))
