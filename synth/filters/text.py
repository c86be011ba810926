"""Free checks of an answer's text: `truncated`, `length`, `repetition`."""

import re
from collections import Counter

from pydantic import Field

from synth.steps import Filter
from synth.types import Record, Verdict


class Truncated(Filter):
    """Rejects an answer that did not end by itself, or is empty."""

    def check(self, record: Record) -> Verdict:
        """Keep what the endpoint finished with "stop"."""
        if record.finish_reason != "stop":
            return Verdict(self.name, False, None, f"finish_reason {record.finish_reason}")
        return Verdict(
            self.name, bool(record.answer.strip()), None, "" if record.answer.strip() else "empty answer"
        )


class Length(Filter):
    """Rejects answers by their number of words (runs without white space)."""

    min_words: int = Field(default=1, ge=0)
    max_words: int = Field(default=2000, gt=0)

    def check(self, record: Record) -> Verdict:
        """Score: words."""
        words = len(record.answer.split())
        if words < self.min_words:
            return Verdict(self.name, False, words, f"fewer than {self.min_words} words")
        if words > self.max_words:
            return Verdict(self.name, False, words, f"more than {self.max_words} words")
        return Verdict(self.name, True, words)


FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
TOP = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


class Repetition(Filter):
    """Gopher's repetition rules (Rae et al. 2021, arXiv 2112.11446, table A1) on the answer alone.

    Fenced code is left out. Texts under `min_words` words are kept: a share means little there.
    """

    min_words: int = Field(default=20, gt=0)
    tolerance: float = Field(default=1.0, gt=0)
    """Multiplies every threshold of the paper; above 1 is milder."""

    def check(self, record: Record) -> Verdict:
        """Score: the largest share found, as a multiple of its threshold."""
        text = FENCE.sub(" ", record.answer)
        words = text.split()
        if len(words) < self.min_words:
            return Verdict(self.name, True)
        shares = {"duplicate lines": (_duplicate_lines(text), 0.30)}
        for n, limit in TOP.items():
            shares[f"the top {n}-gram"] = (_top_share(words, n), limit)
        for n, limit in DUPLICATE.items():
            shares[f"repeated {n}-grams"] = (_duplicate_share(words, n), limit)
        what, (share, limit) = max(shares.items(), key=lambda item: item[1][0] / item[1][1])
        excess = share / (limit * self.tolerance)
        if excess > 1:
            return Verdict(self.name, False, excess, f"too much of the text is {what}")
        return Verdict(self.name, True, excess)


def _duplicate_lines(text: str) -> float:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _top_share(words: list[str], n: int) -> float:
    """Characters in the commonest n-gram of all characters, where it occurs more than once."""
    counts = Counter(_grams(words, n))
    if not counts:
        return 0.0
    gram, times = counts.most_common(1)[0]
    return times * sum(map(len, gram)) / sum(map(len, words)) if times > 1 else 0.0


def _duplicate_share(words: list[str], n: int) -> float:
    """Characters covered by n-grams that occurred before, of all characters."""
    seen: set[tuple[str, ...]] = set()
    covered = [False] * len(words)
    for start, gram in enumerate(_grams(words, n)):
        if gram in seen:
            covered[start : start + n] = [True] * n
        seen.add(gram)
    return sum(len(word) for word, twice in zip(words, covered, strict=True) if twice) / sum(map(len, words))
