"""The nearest of a fixed set of texts by TF-IDF (Salton and Buckley 1988, doi:10.1016/0306-4573(88)90021-0).

Two views of a text count: runs of 3 to 5 characters, and runs of 1 to 3 marks: numbers, signs, and names, of
which all but Python's own and those behind a dot are one and the same. The first finds prose in other words,
the second code in which names were changed. Weights are (1 + ln times) (1 + ln((1 + texts) / (1 + texts that
have it))); what no text of the set has makes a text longer. An inverted index, no matrix: nothing is
approximated.
"""

import builtins
import keyword
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synth.compute.folding import kernel
from synth.compute.grams import find, slots

Signs: TypeAlias = "NDArray[np.uint32]"
Ends: TypeAlias = "NDArray[np.int64]"
MARKS = 0.5
"""What the second view weighs beside the first."""
BLANK, DOT, NAME = 32, 46, 7


class Index(NamedTuple):
    """Where each run of a set stands, and its weight there. About 12 bytes a run and text."""

    shortest: int
    longest: int
    unknown: np.float32
    """What a run weighs that no text of the set has."""
    slots: NDArray[np.int32]
    runs: NDArray[np.uint64]
    rarity: NDArray[np.float32]
    begins: NDArray[np.int64]
    owners: NDArray[np.int32]
    weights: NDArray[np.float32]


class Nearest:
    """Finds the nearest texts of a set."""

    def __init__(self, known: Sequence[str]) -> None:
        signs, ends = _signs(known)
        self._count = len(known)
        self._characters = _index(signs, ends, 3, 5)
        marks, stops = _marks(signs, ends, KEPT)
        self._marks = _index(marks, stops, 1, 3)

    def nearest(self, texts: Sequence[str], most: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The `most` nearest of each text, the earlier of equals first; -1 where there are fewer.

        How near is one cosine plus `MARKS` times the other: 0 to 1.5.
        """
        signs, ends = _signs(texts)
        first = (signs, ends, self._characters)
        second = (*_marks(signs, ends, KEPT), self._marks)
        best = np.full((len(texts), most), -1, np.int32)
        values = np.zeros((len(texts), most), np.float32)
        _nearest(first, second, self._count, best, values)
        return best, values


def _signs(texts: Sequence[str]) -> tuple[Signs, Ends]:
    """Code points in lower case with single blanks, and where each text ends; the first place is 0."""
    spaced = [" ".join(text.lower().split()) for text in texts]
    signs = np.frombuffer("".join(spaced).encode("utf-32-le", "surrogatepass"), np.uint32)
    return signs, np.cumsum([0, *map(len, spaced)])


def _index(signs: Signs, ends: Ends, shortest: int, longest: int) -> Index:
    count = len(ends) - 1
    runs, owners = _runs(signs, ends, shortest, longest)
    order = np.lexsort((owners, runs))
    runs, owners = runs[order], owners[order]
    first = np.flatnonzero(np.append(True, (runs[1:] != runs[:-1]) | (owners[1:] != owners[:-1])))[
        : len(runs)
    ]
    times = np.diff(np.append(first, len(runs)))
    owners = owners[first]
    distinct, begins, having = np.unique(runs[first], return_index=True, return_counts=True)
    rarity = np.log((1 + count) / (1 + having)) + 1
    weights = (1 + np.log(times)) * np.repeat(rarity, having)
    weights /= np.sqrt(np.bincount(owners, weights**2, count))[owners]
    return Index(
        shortest,
        longest,
        np.float32(np.log(1 + count) + 1),
        slots(distinct),
        distinct,
        rarity.astype(np.float32),
        np.append(begins, len(first)).astype(np.int64),
        owners.astype(np.int32),
        weights.astype(np.float32),
    )


@kernel
def _hash(signs: Signs, start: int, end: int) -> np.uint64:
    value = np.uint64(end - start)
    for at in range(start, end):
        value = (value ^ np.uint64(signs[at])) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(32)
    return value


@kernel
def _is_digit(sign: int) -> bool:
    return 48 <= sign <= 57


@kernel
def _is_letter(sign: int) -> bool:
    return 97 <= sign <= 122 or sign == 95 or sign >= 0xAA


@kernel
def _marks(signs: Signs, ends: Ends, kept: NDArray[np.uint64]) -> tuple[Signs, Ends]:
    """The marks of each text, and where they end."""
    marks, stops = np.empty(len(signs), np.uint32), np.zeros(len(ends), np.int64)
    total = 0
    for text in range(len(ends) - 1):
        at, end = ends[text], ends[text + 1]
        while at < end:
            start = at
            at += 1
            if _is_letter(signs[start]):
                while at < end and (_is_letter(signs[at]) or _is_digit(signs[at])):
                    at += 1
                word = _hash(signs, start, at)
                place = np.searchsorted(kept, word)
                own = start > ends[text] and signs[start - 1] == DOT
                own = own or (place < len(kept) and kept[place] == word)
                marks[total] = np.uint32(word & np.uint64(0xFFFFFFFF)) if own else NAME
            elif _is_digit(signs[start]):
                while at < end and _is_digit(signs[at]):
                    at += 1
                if at + 1 < end and signs[at] == DOT and _is_digit(signs[at + 1]):
                    at += 1
                    while at < end and _is_digit(signs[at]):
                        at += 1
                marks[total] = np.uint32(_hash(signs, start, at) & np.uint64(0xFFFFFFFF))
            elif signs[start] != BLANK:
                marks[total] = signs[start]
            else:
                continue
            total += 1
        stops[text + 1] = total
    return marks[:total].copy(), stops


@kernel
def _runs(
    signs: Signs, ends: Ends, shortest: int, longest: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hash of each run, and the text that it is of."""
    room = (longest - shortest + 1) * len(signs)
    runs, owners = np.empty(room, np.uint64), np.empty(room, np.int64)
    total = 0
    for text in range(len(ends) - 1):
        for at in range(ends[text], ends[text + 1]):
            for size in range(shortest, longest + 1):
                if at + size <= ends[text + 1]:
                    runs[total], owners[total] = _hash(signs, at, at + size), text
                    total += 1
    return runs[:total].copy(), owners[:total].copy()


@kernel
def _add(
    signs: Signs, bounds: tuple[int, int], index: Index, times: NDArray[np.int32], part: NDArray[np.float32]
) -> None:
    """Write the cosines of one text with all of the set into `part`; `times` is zeros before and after."""
    seen = np.empty((index.longest - index.shortest + 1) * (bounds[1] - bounds[0]), np.int32)
    distinct, unknown = 0, 0
    for at in range(bounds[0], bounds[1]):
        for size in range(index.shortest, min(index.longest, bounds[1] - at) + 1):
            place = find(_hash(signs, at, at + size), index.slots, index.runs)
            if place >= 0:
                if times[place] == 0:
                    seen[distinct] = place
                    distinct += 1
                times[place] += 1
            else:
                unknown += 1
    part[:] = 0
    length = np.float32(unknown) * index.unknown**2
    for place in seen[:distinct]:
        weight = np.float32((1 + np.log(times[place])) * index.rarity[place])
        length += weight * weight
        times[place] = 0
        for entry in range(index.begins[place], index.begins[place + 1]):
            part[index.owners[entry]] += weight * index.weights[entry]
    if distinct:
        part /= np.sqrt(length)


@kernel
def _nearest(
    first: tuple[Signs, Ends, Index],
    second: tuple[Signs, Ends, Index],
    count: int,
    best: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    signs, ends, characters = first
    marks, stops, names = second
    times = np.zeros(max(len(characters.runs), len(names.runs)), np.int32)
    sums, more = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for row in range(len(best)):
        _add(signs, (ends[row], ends[row + 1]), characters, times, sums)
        _add(marks, (stops[row], stops[row + 1]), names, times, more)
        sums += np.float32(MARKS) * more
        _top(sums, best[row], values[row])


@kernel
def _top(sums: NDArray[np.float32], best: NDArray[np.int32], values: NDArray[np.float32]) -> None:
    """Fill in the greatest above zero, the earlier of equals first."""
    most = len(best)
    for text in range(len(sums)):
        if sums[text] > values[most - 1]:
            place = most - 1
            while place > 0 and values[place - 1] < sums[text]:
                best[place], values[place] = best[place - 1], values[place - 1]
                place -= 1
            best[place], values[place] = text, sums[text]


def _kept() -> NDArray[np.uint64]:
    names = {name.lower() for name in (*dir(builtins), *keyword.kwlist)}
    return np.array(sorted(int(_hash(*_signs([name])[:1], 0, len(name))) for name in names), np.uint64)


KEPT = _kept()
"""The hashes of Python's own names."""
