"""Locality-sensitive banding (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3.4).

A signature is cut into bands; rows that agree in all numbers of a band are in one bucket, and candidates.
"""

from math import ceil, log, log1p

import numpy as np
from numpy.typing import NDArray

from synth.compute.folding import kernel
from synth.compute.sketch import MULTIPLIER

MISSED = 0.001
"""The chance that a pair of the lowest similarity asked is in no bucket."""
HASHES = 200
"""At most so many numbers in a signature."""


def plan(lowest: float) -> tuple[int, int]:
    """Bands, and numbers in each: as many numbers as fit, for they keep unlike rows apart.

    A pair of similarity `lowest` is found with a chance of at least 1 - `MISSED`, a nearer one more surely.
    """
    plans = [(ceil(log(MISSED) / log1p(-(lowest**wide))), wide) for wide in range(1, 33)]
    return [(bands, wide) for bands, wide in plans if bands * wide <= HASHES][-1]


@kernel
def keys(signatures: NDArray[np.uint32], bands: int, out: NDArray[np.uint32]) -> None:
    """Write a 32-bit key for each band and text (bands x texts) into `out`.

    Two keys agree by chance once in 4e9 pairs: what is in a bucket is verified anyhow.
    """
    wide = signatures.shape[1] // bands
    for row in range(len(signatures)):
        for band in range(bands):
            value = np.uint64(band)
            for at in range(band * wide, (band + 1) * wide):
                value = (value ^ np.uint64(signatures[row, at])) * MULTIPLIER
                value ^= value >> np.uint64(32)
            out[band, row] = np.uint32(value)


def ordered(band: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Keys of a band in the upper half, the rows that have them in the lower; sorted by both."""
    packed = band.astype(np.uint64) << np.uint64(32) | np.arange(len(band), dtype=np.uint64)
    packed.sort()
    return packed


def shared(band: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which rows share a bucket of a band with another."""
    found = np.zeros(len(band), np.bool_)
    _mark(ordered(band), found)
    return found


@kernel
def _mark(packed: NDArray[np.uint64], found: NDArray[np.bool_]) -> None:
    for at in range(1, len(packed)):
        one, other = packed[at - 1], packed[at]
        if one >> np.uint64(32) == other >> np.uint64(32):
            found[np.int64(one & np.uint64(0xFFFFFFFF))] = True
            found[np.int64(other & np.uint64(0xFFFFFFFF))] = True
