"""Words and runs of words as hashes of 64 bits: which texts of a fixed set share runs of n words with others.

Words are those of folded text; a Chinese, Japanese or Korean sign is one by itself. The hashes of runs roll
(Karp and Rabin 1987, doi:10.1147/rd.312.0249).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.compute.folding import folded, kernel

Hashes: TypeAlias = "NDArray[np.uint64]"
Counts: TypeAlias = "NDArray[np.int64]"

FNV = np.uint64(1099511628211)
SEED = np.uint64(14695981039346656037)
BLANK = 32
BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of texts, one text behind the other: those of text i are `hashes[ends[i]:ends[i + 1]]`."""

    hashes: Hashes
    ends: Counts

    def __len__(self) -> int:
        return len(self.ends) - 1

    def of(self, text: int) -> Hashes:
        """The words of one text."""
        return self.hashes[self.ends[text] : self.ends[text + 1]]

    def part(self, chosen: Iterable[int]) -> "Words":
        """The words of some of the texts."""
        parts = [self.of(text) for text in chosen]
        hashes = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
        return Words(hashes, np.cumsum([0, *map(len, parts)]))

    @property
    def counts(self) -> Counts:
        """How many words each text has."""
        return np.diff(self.ends)


def words(texts: pa.StringArray) -> Words:
    """The words of folded texts; null has none."""
    text = folded(texts)
    hashes, ends = _words(text.data, text.starts, text.ends)
    return Words(hashes, ends)


@kernel
def _words(
    data: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[Hashes, Counts]:
    """The hash of each word, and where each text's words end."""
    hashes, ends = np.empty(len(data), np.uint64), np.zeros(len(starts) + 1, np.int64)
    total = 0
    for row in range(len(starts)):
        word, inside = SEED, False
        for at in range(starts[row], stops[row] + 1):
            byte = data[at] if at < stops[row] else np.uint8(BLANK)
            alone = 0xE3 <= byte <= 0xED  # the first byte of a sign of Chinese, Japanese or Korean
            if inside and (alone or byte == BLANK):
                hashes[total], inside = word, False
                total += 1
            if byte != BLANK:
                if not inside:
                    word, inside = SEED, True
                word = (word ^ np.uint64(byte)) * FNV
        ends[row + 1] = total
    return hashes[:total].copy(), ends


class Runs:
    """The runs of `size` words of a fixed set of texts, and which of them other texts share.

    Memory: about 40 bytes a word of the set.
    """

    def __init__(self, known: Words, size: int) -> None:
        self.size = size
        runs, places = _runs(known.hashes, known.ends, size)
        order = np.argsort(runs, kind="stable")
        self._distinct, first = np.unique(runs[order], return_index=True)
        self._first = np.append(first, len(runs)).astype(np.int64)
        self._slots = slots(self._distinct)
        self._text = np.searchsorted(known.ends, places[order], side="right") - 1
        self._place = places[order] - known.ends[self._text]

    def shared(self, others: Words) -> tuple[Counts, Counts, Counts]:
        """Three arrays: an other text, one of the set, and how many words of this one lie in shared runs.

        One entry for each pair that shares a run, by the other text and the text's number.
        """
        rows, found = _known(others.hashes, others.ends, self.size, self._slots, self._distinct)
        if not len(rows):
            return rows, rows, rows
        times = self._first[found + 1] - self._first[found]
        ends = np.cumsum(times)
        entries = np.arange(times.sum()) + np.repeat(self._first[found] - ends + times, times)
        rows, texts, places = np.repeat(rows, times), self._text[entries], self._place[entries]
        order = np.lexsort((places, texts, rows))
        rows, texts, places = rows[order], texts[order], places[order]
        new = np.append(True, (rows[1:] != rows[:-1]) | (texts[1:] != texts[:-1]))
        begins = np.flatnonzero(new)
        covers = np.minimum(np.append(np.diff(places), self.size), self.size)
        covers[np.append(begins[1:], len(rows)) - 1] = self.size  # the last run of each pair
        return rows[begins], texts[begins], np.add.reduceat(covers, begins)


@kernel
def _mixed(word: np.uint64) -> np.uint64:
    word ^= word >> np.uint64(32)
    word *= BASE
    return word ^ (word >> np.uint64(29))


@kernel
def _runs(hashes: Hashes, ends: Counts, size: int) -> tuple[Hashes, Counts]:
    """The hash of each run of `size` words, and where it begins."""
    runs, places = np.empty(len(hashes), np.uint64), np.empty(len(hashes), np.int64)
    total, top = 0, np.uint64(1)
    for _ in range(size):
        top *= BASE
    for text in range(len(ends) - 1):
        run = np.uint64(0)
        for at in range(ends[text], ends[text + 1]):
            run = run * BASE + _mixed(hashes[at])
            if at - ends[text] >= size:
                run -= top * _mixed(hashes[at - size])
            if at - ends[text] >= size - 1:
                runs[total], places[total] = run, at - size + 1
                total += 1
    return runs[:total].copy(), places[:total].copy()


@kernel
def _known(
    hashes: Hashes, ends: Counts, size: int, table: NDArray[np.int32], distinct: Hashes
) -> tuple[Counts, Counts]:
    """The text and the place in `distinct` of each run that is known."""
    runs, places = _runs(hashes, ends, size)
    rows, found = np.empty(len(runs), np.int64), np.empty(len(runs), np.int64)
    total, row = 0, 0
    for each in range(len(runs)):
        place = find(runs[each], table, distinct)
        if place >= 0:
            while ends[row + 1] <= places[each]:
                row += 1
            rows[total], found[total] = row, place
            total += 1
    return rows[:total].copy(), found[:total].copy()


@kernel
def slots(distinct: Hashes) -> NDArray[np.int32]:
    """A hash table with open addressing of distinct hashes: the place of each, or -1."""
    size = 16
    while size < 2 * len(distinct):
        size *= 2
    table = np.full(size, -1, np.int32)
    for place in range(len(distinct)):
        slot = np.int64(distinct[place] & np.uint64(size - 1))
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = place
    return table


@kernel
def find(wanted: np.uint64, table: NDArray[np.int32], distinct: Hashes) -> int:
    """The place of a hash, or -1."""
    slot = np.int64(wanted & np.uint64(len(table) - 1))
    while table[slot] >= 0 and distinct[table[slot]] != wanted:
        slot = (slot + 1) & (len(table) - 1)
    return int(table[slot])
