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

from synth.folding import folded, kernel

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
        self._places = places[order]
        self._text = np.searchsorted(known.ends, self._places, side="right") - 1
        self._place = self._places - known.ends[self._text]
        distinct, first = np.unique(runs[order], return_index=True)
        self._first = np.append(first, len(runs)).astype(np.int64)
        self._slots = _slots(distinct)
        self._distinct = distinct

    def shared(self, others: Words) -> tuple[Counts, Counts, Counts]:
        """Three arrays: an other text, a text of the set, and how many words of the latter lie in shared runs.

        One entry for each pair that shares a run, by the other text and the text's number.
        """
        if not len(self._distinct):
            return (np.zeros(0, np.int64),) * 3
        found = _shared(
            others.hashes,
            others.ends,
            self.size,
            self._distinct,
            self._slots,
            self._first,
            self._text,
            self._place,
        )
        return found[:, 0], found[:, 1], found[:, 2]


@kernel
def _mixed(word):  # type: ignore[no-untyped-def]
    word ^= word >> np.uint64(32)
    word *= BASE
    return word ^ (word >> np.uint64(29))


@kernel
def _runs(hashes, ends, size):  # type: ignore[no-untyped-def]
    """The hash of each run of `size` words, and where it begins."""
    runs = np.empty(len(hashes), np.uint64)
    places = np.empty(len(hashes), np.int64)
    total = 0
    top = np.uint64(1)
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
def _slots(distinct):  # type: ignore[no-untyped-def]
    """A hash table with open addressing: the place in `distinct`, or -1."""
    size = 16
    while size < 2 * len(distinct):
        size *= 2
    slots = np.full(size, -1, np.int64)
    for place in range(len(distinct)):
        slot = np.int64(_mixed(distinct[place]) & np.uint64(size - 1))
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = place
    return slots


@kernel
def _shared(hashes, ends, size, distinct, slots, first, texts, places):  # type: ignore[no-untyped-def]
    found = np.empty((16, 3), np.int64)
    total = 0
    hits = np.empty((16, 2), np.int64)
    top = np.uint64(1)
    for _ in range(size):
        top *= BASE
    for row in range(len(ends) - 1):
        count = 0
        run = np.uint64(0)
        for at in range(ends[row], ends[row + 1]):
            run = run * BASE + _mixed(hashes[at])
            if at - ends[row] >= size:
                run -= top * _mixed(hashes[at - size])
            if at - ends[row] < size - 1:
                continue
            slot = np.int64(_mixed(run) & np.uint64(len(slots) - 1))
            while slots[slot] >= 0 and distinct[slots[slot]] != run:
                slot = (slot + 1) & (len(slots) - 1)
            if slots[slot] < 0:
                continue
            for entry in range(first[slots[slot]], first[slots[slot] + 1]):
                if count == len(hits):
                    more = np.empty((2 * count, 2), np.int64)
                    more[:count] = hits
                    hits = more
                hits[count, 0], hits[count, 1] = texts[entry], places[entry]
                count += 1
        if count == 0:
            continue
        order = np.argsort(hits[:count, 0] * (1 << 32) + hits[:count, 1])
        text, upto, covered = np.int64(-1), np.int64(0), np.int64(0)
        for each in range(count + 1):
            now = hits[order[each], 0] if each < count else np.int64(-1)
            if now != text:
                if text >= 0:
                    if total == len(found):
                        wider = np.empty((2 * total, 3), np.int64)
                        wider[:total] = found
                        found = wider
                    found[total, 0], found[total, 1], found[total, 2] = row, text, covered
                    total += 1
                text, upto, covered = now, np.int64(0), np.int64(0)
            if each < count:
                start = hits[order[each], 1]
                covered += start + size - max(upto, start)
                upto = start + size
    return found[:total].copy()
