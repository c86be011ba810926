"""Verification: the exact Jaccard similarity of candidates, from their sets of shingles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.compute.folding import kernel


@dataclass(frozen=True, slots=True)
class Sets:
    """Sorted sets of hashes: set i is `values[starts[i]:ends[i]]`."""

    values: NDArray[np.uint64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


@kernel
def jaccard(values: NDArray[np.uint64], one: tuple[int, int], other: tuple[int, int], lowest: float) -> float:
    """|A and B| / |A or B| of two sorted sets, given by where they begin and end; 0 where under `lowest`."""
    at, end = one
    to, stop = other
    sizes = end - at + stop - to
    needed = lowest * sizes / (1 + lowest) - 1e-9
    most = min(end - at, stop - to)
    if most < needed or sizes == 0:
        return 0.0
    spare = most - needed
    rest, remain = end - at - most, stop - to - most  # what the larger may lack without a loss
    left, right = spare + rest, spare + remain
    both = 0
    while at < end and to < stop:
        first, second = values[at], values[to]
        if first == second:
            both += 1
            at += 1
            to += 1
        elif first < second:
            at += 1
            left -= 1
            if left < 0:
                return 0.0
        else:
            to += 1
            right -= 1
            if right < 0:
                return 0.0
    share = both / (sizes - both)
    return share if share >= lowest else 0.0


@kernel
def _end(packed: NDArray[np.uint64], begin: int) -> int:
    """Where the bucket that begins here ends."""
    half, end = np.uint64(32), begin + 1
    while end < len(packed) and packed[end] >> half == packed[begin] >> half:
        end += 1
    return end


@kernel
def _agree(keys: NDArray[np.uint32], one: np.int64, other: np.int64, number: int) -> bool:
    """Whether two rows agree in one of the first bands."""
    agree = 0
    for band in range(number):  # without a way out, so that it is done many at once
        agree += keys[one, band] == keys[other, band]
    return agree > 0


@kernel
def pairs_of(
    packed: NDArray[np.uint64],
    number: int,
    keys: NDArray[np.uint32],
    sets: tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]],
    limits: tuple[float, float, int],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], int]:
    """Pairs of at least the lowest similarity in the buckets of band `number`, and how many were compared.

    `packed` is the band as `bands.ordered` gives it, of rows in the order of their rank; `keys` is rows x
    bands, as `part_wide` leaves it: a pair that agrees in an earlier band is left out. `limits` are the
    lowest similarity, the threshold, and the size of a bucket up to which all its rows are compared. In a
    larger one a row is compared with those before it that are near none before them by the threshold, so
    that no two rows stay that are near each other, and a bucket of n near rows costs n comparisons.
    """
    values, starts, ends = sets
    lowest, threshold, most = limits
    low = np.uint64(0xFFFFFFFF)
    room, found, compared = 1024, 0, 0
    first, second, shares = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room)
    leaders = np.empty(len(packed), np.int64)
    begin = 0
    while begin < len(packed):
        end = _end(packed, begin)
        small = end - begin <= most
        lead = 0
        for at in range(begin, end):
            row = np.int64(packed[at] & low)
            near = False
            for k in range(lead):
                other = leaders[k]
                known = _agree(keys, row, other, number)
                if known and small:
                    continue
                compared += 1
                share = jaccard(values, (starts[other], ends[other]), (starts[row], ends[row]), lowest)
                if share > 0 and not known:
                    if found == room:
                        room *= 2
                        first, second = _grown(first, room), _grown(second, room)
                        more = np.empty(room)
                        more[:found] = shares
                        shares = more
                    first[found], second[found], shares[found] = other, row, share
                    found += 1
                if share >= threshold and not small:
                    near = True
                    break
            if small or not near:
                leaders[lead] = row
                lead += 1
        begin = end
    return first[:found].copy(), second[:found].copy(), shares[:found].copy(), compared


@kernel
def _grown(values: NDArray[np.int32], room: int) -> NDArray[np.int32]:
    more = np.empty(room, np.int32)
    more[: len(values)] = values
    return more


@kernel
def part_wide(packed: NDArray[np.uint64], number: int, most: int, keys: NDArray[np.uint32]) -> int:
    """Part the keys in band `number` of rows in buckets of more than `most`; how many rows that are.

    They then agree with none in this band: that two rows shared such a bucket doesn't mean that they were
    compared.
    """
    parted, begin = 0, 0
    while begin < len(packed):
        end = _end(packed, begin)
        if end - begin > most:
            parted += end - begin
            for at in range(begin, end):
                row = np.int64(packed[at] & np.uint64(0xFFFFFFFF))
                keys[row, number] = np.uint32(row)
        begin = end
    return parted
