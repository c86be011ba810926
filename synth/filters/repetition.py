"""`repetition`: Gopher's rules (Rae et al. 2021, arXiv 2112.11446, table A1), adapted to answers."""

import re
from collections import Counter
from collections.abc import Sequence

import orjson
from pydantic import Field

from synth.filters.prose import unfenced, unspaced
from synth.steps import Filter
from synth.types import Record, Verdict

TOP = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
LINES, CHARACTERS = 0.30, 0.20
"""The paper's limits of duplicate lines and paragraphs: by number, by their characters."""
ITEMS = 0.60
"""Of list items and rows of tables half may be alike."""
VERSE = 0.50
"""Of a song half may be its chorus."""
PARALLEL = 0.60
"""Of short lines in one form ("Mars: rocky") the n-grams may be alike; equal lines are counted as lines."""
TIMES = 4
"""How often an n-gram must come to be the top one: in a short answer a name may come thrice."""
SHORT = 25
"""Words: the n-grams' limits grow by this over the text's words, as the paper's are for whole web pages."""
STUTTER = 6
"""A word may follow itself so often."""
ITEM = re.compile(r"[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])[ \t]+")
FORMULA = re.compile(r"\$\$[^$]*\$\$")
ROW = re.compile(r"[ \t]*\|.*\|[ \t]*$")
CODE = re.compile(r".*[;{}][ \t]*$|[ \t]*</?[a-zA-Z][^>]*>")


class Repetition(Filter):
    """Rejects an answer of which too much repeats itself: lines, paragraphs, n-grams.

    Fenced code, formulas, JSON and lines of code are left out. Rows of tables and list items count as lines
    alone, and half of them may be alike; in verse (short lines in stanzas) half may be a chorus. Chinese,
    Japanese and Thai are measured by characters. Texts under `min_words` words are kept: a share means little
    there.
    """

    min_words: int = Field(default=20, gt=0)
    tolerance: float = Field(default=1.0, gt=0)
    """Multiplies every threshold; above 1 is milder."""

    def check(self, record: Record) -> Verdict:
        """Score: the largest share found, as a multiple of its threshold."""
        text = FORMULA.sub(" ", unfenced(record.answer))
        if _is_json(text):
            return Verdict(self.name, True)
        items, lines, prose = _parts(text)
        per_word = unspaced(prose)
        units: Sequence[str] = [c for c in prose if not c.isspace()] if per_word else prose.split()
        if len(units) + sum(len(item.split()) for item in items) < self.min_words * (per_word or 1):
            return Verdict(self.name, True)
        shares = {"duplicate items": (_duplicates(items)[0], ITEMS)} if len(items) > 3 else {}
        if len(units) >= self.min_words * (per_word or 1):
            shares |= _shares(units, per_word or 1, PARALLEL if _is_short(prose, len(units)) else 0.0)
            shares |= _line_shares(lines, prose)
        if not shares:
            return Verdict(self.name, True, 0.0)
        what, (share, limit) = max(shares.items(), key=lambda item: item[1][0] / item[1][1])
        excess = share / (limit * self.tolerance)
        if excess > 1:
            return Verdict(self.name, False, excess, f"too much of the text is {what}")
        return Verdict(self.name, True, excess)


def _is_json(text: str) -> bool:
    text = text.strip()
    if not (text.startswith(("{", "[")) and text.endswith(("}", "]"))):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _parts(text: str) -> tuple[list[str], list[str], str]:
    """List items and rows of tables, the other lines, and the text whose n-grams count."""
    items, lines, prose = [], [], []
    under = False  # whether the last line was an item
    for line in text.splitlines():
        if not line.strip():
            prose.append("")
            under = False
        elif ROW.match(line):
            items.append(line.strip())
        elif found := ITEM.match(line):
            items.append(line[found.end() :].strip())
            prose.append(items[-1])
            under = True
        elif under and line[0].isspace():
            items.append(line.strip())
            prose.append(items[-1])
        elif not CODE.match(line):
            lines.append(line.strip())
            prose.append(lines[-1])
    return items, lines, "\n".join(prose)


def _is_short(prose: str, words: int) -> bool:
    """Whether a text of so many words is a list, labels or verse: four lines, of 12 words on average."""
    lines = sum(1 for line in prose.splitlines() if line.strip())
    return lines > 3 and words <= 12 * lines


def _is_verse(lines: list[str], paragraphs: list[str]) -> bool:
    """Whether lines stand in stanzas: at least eight, none of more than 14 words."""
    stanzas = len(paragraphs)
    return stanzas > 1 and len(lines) >= max(8, 2 * stanzas) and max(len(x.split()) for x in lines) <= 14


def _duplicates(parts: list[str]) -> tuple[float, float]:
    """The share of parts that came before, and that of their characters."""
    if len(set(parts)) == len(parts):
        return 0.0, 0.0
    again = len("".join(parts)) - len("".join(set(parts)))
    return 1 - len(set(parts)) / len(parts), again / len("".join(parts))


def _line_shares(lines: list[str], prose: str) -> dict[str, tuple[float, float]]:
    paragraphs = [part.strip() for part in prose.split("\n\n") if part.strip()]
    shares = {}
    for what, parts in (("lines", lines), ("paragraphs", paragraphs)):
        number, characters = _duplicates(parts)
        if number:
            least = VERSE if _is_verse(lines, paragraphs) else 0.0
            shares[f"duplicate {what}"] = (number, max(LINES, least))
            shares[f"characters of duplicate {what}"] = (characters, max(CHARACTERS, least))
    return shares


def _shares(units: Sequence[str], per_word: int, least: float) -> dict[str, tuple[float, float]]:
    """The n-gram shares, longer ones while shorter ones repeat; `per_word` units are a word."""
    total = sum(map(len, units))
    longer = 1 + SHORT * per_word / len(units)
    shares: dict[str, tuple[float, float]] = {}
    units, starts = tuple(units), list(range(len(units)))
    for n, limit in (TOP | DUPLICATE).items():
        width = n * per_word
        if len(starts) == len(units):
            grams = list(zip(*(units[start:] for start in range(width)), strict=False))
        else:
            grams = [units[start : start + width] for start in starts if start + width <= len(units)]
        counts = Counter(grams)
        if len(counts) == len(grams):
            break
        limit = max(limit * longer, least)
        if n in TOP:
            gram, times = counts.most_common(1)[0]
            if n == 2 and len(set(gram)) == 1:
                shares["one word"] = (times / STUTTER, 1.0)
            covered = times * sum(map(len, gram)) if times >= TIMES else 0
            shares[f"the top {n}-gram"] = (covered / total, limit)
        else:
            shares[f"repeated {n}-grams"] = (_covered(units, starts, grams, width) / total, limit)
        starts = [start for start, gram in zip(starts, grams, strict=False) if counts[gram] > 1]
    return shares


def _covered(
    units: Sequence[str], starts: Sequence[int], grams: Sequence[tuple[str, ...]], width: int
) -> int:
    """Characters covered by n-grams that occurred before."""
    seen: set[tuple[str, ...]] = set()
    covered, end = 0, 0
    for start, gram in zip(starts, grams, strict=False):
        if gram in seen:
            covered += sum(map(len, units[max(start, end) : start + width]))
            end = start + width
        seen.add(gram)
    return covered
