"""MinHash sketches (Broder 1997, doi:10.1109/SEQUEN.1997.666900): sets of shingles and their signatures.

A shingle is so many words in a row, hashed to 64 bits. Text of under `SHORT` words, or written for the most
part without spaces between words, is cut into as many characters in a row instead. Text shorter than a
shingle is one shingle, and no text none.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from synth.compute.folding import SPACE, Folded, character, kernel

SHORT = 8
"""Text of fewer words is compared by its characters."""
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
WORD, CHARACTER = np.uint64(0x2545F4914F6CDD1D), np.uint64(0xD6E8FEB86659FD93)
"""What hashes of words and of characters begin with: they are never alike."""


@functools.cache
def draws(hashes: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Factors (odd) and summands of so many hash functions; always the same."""
    bits = np.random.Generator(np.random.PCG64(20210801)).integers(0, 2**32, (2, hashes), np.uint32)
    return bits[0] | np.uint32(1), bits[1]


@kernel
def _mixed(value: np.uint64) -> np.uint64:
    """A number with its bits spread, as in splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def _spaceless(code: np.int64) -> np.bool_:
    """Whether a character's script puts no spaces between words: Thai, Lao, Burmese, Khmer, kana, Han."""
    return (
        0x0E00 <= code < 0x0F00
        or 0x1000 <= code < 0x10A0
        or 0x1780 <= code < 0x1800
        or 0x3040 <= code < 0x3100
        or 0x3400 <= code < 0xA000
        or 0xF900 <= code < 0xFB00
        or code >= 0x20000
    )


@kernel
def _parts(data: NDArray[np.uint8], start: int, end: int, out: NDArray[np.uint64]) -> int:
    """Hashes of the words of a folded text, or of its characters, into `out`; how many there are."""
    parts, plain = 0, True
    value = WORD
    for at in range(start, end):
        byte = data[at]
        if byte == SPACE:
            out[parts] = _mixed(value)
            parts += 1
            value = WORD
        else:
            plain &= byte < 128
            value = (value ^ np.uint64(byte)) * MULTIPLIER
            value ^= value >> np.uint64(32)
    if end > start:
        out[parts] = _mixed(value)
        parts += 1
    characters = parts < SHORT
    if not plain and not characters:
        without, all_of_them, at = 0, 0, start
        while at < end:
            code, at = character(data, at)
            all_of_them += code != SPACE
            without += int(_spaceless(code))
        characters = 2 * without > all_of_them
    if not characters:
        return parts
    parts, at = 0, start
    while at < end:
        code, at = character(data, at)
        out[parts] = _mixed(np.uint64(code) * MULTIPLIER ^ CHARACTER)
        parts += 1
    return parts


@kernel
def _shingled(parts: NDArray[np.uint64], count: int, size: int) -> int:
    """Turn hashes of parts into those of shingles, in their place; how many there are."""
    if count == 0:
        return 0
    wide = min(size, count)
    power, rolling = np.uint64(1), np.uint64(0)
    for at in range(wide):
        rolling = rolling * MULTIPLIER + parts[at]
        power *= MULTIPLIER
    for at in range(count - wide):
        after, first = parts[at + wide], parts[at]
        parts[at] = _mixed(rolling)
        rolling = rolling * MULTIPLIER + after - first * power
    parts[count - wide] = _mixed(rolling)
    return count - wide + 1


@kernel
def _longest(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> int:
    most = 1
    for row in range(len(starts)):
        most = max(most, ends[row] - starts[row])
    return most


@kernel
def _upper(four: NDArray[np.uint64]) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32]:
    half = np.uint64(32)
    return (
        np.uint32(four[0] >> half),
        np.uint32(four[1] >> half),
        np.uint32(four[2] >> half),
        np.uint32(four[3] >> half),
    )


@kernel
def _sketches(
    texts: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]],
    size: int,
    drawn: tuple[NDArray[np.uint32], NDArray[np.uint32]],
    signatures: NDArray[np.uint32],
    counts: NDArray[np.int32],
    digests: NDArray[np.uint64],
) -> None:
    data, starts, ends = texts
    factors, summands = drawn
    hashes = len(factors)
    parts = np.empty(_longest(starts, ends), np.uint64)
    least = np.empty(hashes, np.uint32)
    for row in range(len(starts)):
        count = _shingled(parts, _parts(data, starts[row], ends[row], parts), size)
        least[:] = np.uint32(0xFFFFFFFF)
        digest = np.uint64(count)
        for at in range(count):
            digest = (digest ^ parts[at]) * MULTIPLIER
            digest ^= digest >> np.uint64(29)
        for at in range(0, count - 3, 4):  # four at once: a third less to load and store
            one, two, three, four = _upper(parts[at : at + 4])
            for k in range(hashes):
                factor, summand = factors[k], summands[k]
                first = min(np.uint32(factor * one + summand), np.uint32(factor * two + summand))
                second = min(np.uint32(factor * three + summand), np.uint32(factor * four + summand))
                least[k] = min(least[k], min(first, second))
        for at in range(count & ~3, count):
            value = np.uint32(parts[at] >> np.uint64(32))
            for k in range(hashes):
                least[k] = min(least[k], np.uint32(factors[k] * value + summands[k]))
        signatures[row, :] = least
        counts[row], digests[row] = count, _mixed(digest)


def sketches(
    texts: Folded, size: int, hashes: int
) -> tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.uint64]]:
    """Signatures (texts x hashes), numbers of shingles, and hashes that are equal for equal texts alone.

    The share of equal numbers in two signatures estimates the Jaccard similarity of the sets of shingles.
    """
    rows = len(texts.starts)
    signatures = np.empty((rows, hashes), np.uint32)
    counts, digests = np.empty(rows, np.int32), np.empty(rows, np.uint64)
    _sketches((texts.data, texts.starts, texts.ends), size, draws(hashes), signatures, counts, digests)
    return signatures, counts, digests


@kernel
def _sets(
    texts: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]],
    size: int,
    begins: NDArray[np.int64],
    out: NDArray[np.uint64],
    stops: NDArray[np.int64],
) -> None:
    data, starts, ends = texts
    parts = np.empty(_longest(starts, ends), np.uint64)
    for row in range(len(starts)):
        count = _shingled(parts, _parts(data, starts[row], ends[row], parts), size)
        ordered = np.sort(parts[:count])
        to = begins[row]
        for at in range(count):
            if at == 0 or ordered[at] != ordered[at - 1]:
                out[to] = ordered[at]
                to += 1
        stops[row] = to


def write_sets(
    texts: Folded, size: int, begins: NDArray[np.int64], out: NDArray[np.uint64], stops: NDArray[np.int64]
) -> None:
    """Write each text's set of shingles, sorted, into `out` from `begins` on; `stops` is where it ends."""
    _sets((texts.data, texts.starts, texts.ends), size, begins, out, stops)
