"""Words and runs of words as 64-bit hashes: which texts of a fixed set share runs of n words with others.

Words are runs of letters and digits in NFKC and lower case; a Chinese, Japanese or Korean sign is one by
itself. The hashes of runs roll (Karp and Rabin 1987, doi:10.1147/rd.312.0249). numba releases the GIL.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes: TypeAlias = "NDArray[np.uint64]"
Counts: TypeAlias = "NDArray[np.int64]"

FNV = np.uint64(1099511628211)
SEED = np.uint64(14695981039346656037)
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

    @property
    def counts(self) -> Counts:
        """How many words each text has."""
        return np.diff(self.ends)


def words(texts: pa.StringArray) -> Words:
    """The words of texts; null has none."""
    folded = pa.compute.utf8_lower(pa.compute.utf8_normalize(pa.compute.fill_null(texts, ""), "NFKC"))
    folded = folded.cast(pa.large_string())
    _, offsets, data = folded.buffers()
    starts = np.frombuffer(offsets, np.int64)[folded.offset : folded.offset + len(folded) + 1]
    text = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    ends = np.zeros(len(folded) + 1, np.int64)
    hashes = np.empty(int(starts[-1] - starts[0]), np.uint64)
    total = _words(text, starts, hashes, ends)
    return Words(hashes[:total].copy(), ends)


@numba.njit(cache=True, nogil=True)
def _words(text, starts, hashes, ends):  # type: ignore[no-untyped-def]
    """Fills `hashes` and `ends`; says how many words there are. UTF-8 is read byte by byte."""
    total = 0
    for row in range(len(starts) - 1):
        at, word = starts[row], SEED
        inside = False
        while at < starts[row + 1]:
            byte = text[at]
            size = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            alone = False
            if size == 1:
                letter = 48 <= byte <= 57 or 97 <= byte <= 122
            elif size == 2:
                letter = byte > 0xC2 or text[at + 1] >= 0xAA  # up to U+00A9 are signs
                if byte == 0xC3 and (text[at + 1] == 0x97 or text[at + 1] == 0xB7):
                    letter = False  # times, divided by
                if byte == 0xC2:
                    letter = text[at + 1] in (0xAA, 0xB5, 0xBA)
            elif size == 3:
                letter = not (byte == 0xE2 and text[at + 1] < 0xB0)  # U+2000 to U+2BFF
                letter = letter and not (byte == 0xE3 and text[at + 1] == 0x80)  # U+3000 to U+303F
                alone = letter and 0xE3 <= byte <= 0xED
            else:
                letter = byte == 0xF0 and text[at + 1] != 0x9F  # emoji
                alone = letter and text[at + 1] >= 0xA0
            if inside and (alone or not letter):
                hashes[total] = word
                total += 1
                inside = False
            if letter:
                if not inside:
                    word, inside = SEED, True
                for place in range(at, at + size):
                    word = (word ^ np.uint64(text[place])) * FNV
                if alone:
                    hashes[total] = word
                    total += 1
                    inside = False
            at += size
        if inside:
            hashes[total] = word
            total += 1
        ends[row + 1] = total
    return total


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


@numba.njit(cache=True, nogil=True)
def _mixed(word):  # type: ignore[no-untyped-def]
    word ^= word >> np.uint64(32)
    word *= BASE
    return word ^ (word >> np.uint64(29))


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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
