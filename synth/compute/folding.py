"""`texts.fold` for whole Arrow columns: compiled, and without the interpreter's lock for nearly all text.

NFKC and case folding go character by character wherever no character joins the one before it (combining
marks, Hangul jamo). Text with such characters, with none from below U+20000, or without any letter or digit
is left to `fold` itself: what comes out is the same.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from synth.texts import fold

Function = TypeVar("Function", bound=Callable[..., Any])
KNOWN = 0x20000
"""Code points with an entry in the table."""
SPACE = 32
JOINS = 255
"""In place of a length: a character that may change the one before it."""


def kernel(function: Function) -> Function:
    """A function compiled at its first call; it runs without the interpreter's lock."""
    return cast(Function, njit(nogil=True, cache=True)(function))


@dataclass(frozen=True, slots=True)
class Folded:
    """Folded texts as UTF-8: text i is `data[starts[i]:ends[i]]`, its words parted by single spaces."""

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def text(self, row: int) -> str:
        """One of them."""
        return self.data[self.starts[row] : self.ends[row]].tobytes().decode()


def folded(column: pa.StringArray) -> Folded:
    """Each text as `fold` gives it; "" for null."""
    _, offsets, data = column.buffers()
    if not len(column) or data is None:
        return Folded(np.empty(0, np.uint8), *np.zeros((2, len(column)), np.int64))
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    raw = np.frombuffer(data, np.uint8)
    out, starts, stops, left = _fold(raw, ends, *_table())
    rest = [fold(column[row].as_py() or "").encode() for row in np.flatnonzero(left).tolist()]
    if rest:
        sizes = np.array([len(text) for text in rest])
        stops[left] = len(out) + np.cumsum(sizes)
        starts[left] = stops[left] - sizes
        out = np.concatenate([out, np.frombuffer(b"".join(rest), np.uint8)])
    return Folded(out, starts, stops)


@cache
def _table() -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8]]:
    """Each character folded on its own, in UTF-8, non-words as spaces: the bytes, and where each begins."""
    joining = _joining()
    parts, sizes = [], np.zeros(KNOWN, np.uint8)
    for code in range(KNOWN):
        if 0xD800 <= code < 0xE000:
            continue
        normal = unicodedata.normalize("NFKC", chr(code))
        first = unicodedata.normalize("NFKD", chr(code))[0]
        if unicodedata.combining(first) or first in joining:
            sizes[code] = JOINS
            continue
        part = "".join(c if c.isalnum() else " " for c in normal.casefold()).encode()
        sizes[code] = len(part)
        parts.append(part)
    starts = np.zeros(KNOWN, np.int32)
    starts[1:] = np.cumsum(np.where(sizes == JOINS, 0, sizes)[:-1])
    return np.frombuffer(b"".join(parts), np.uint8), starts, sizes


def _joining() -> set[str]:
    """Characters that compose with the one before them."""
    found = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for code in range(KNOWN):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(chr(int(parts[1], 16)))
    return found


@kernel
def character(data: NDArray[np.uint8], at: int) -> tuple[np.int64, int]:
    """The character whose UTF-8 begins here, and where the next one does."""
    byte = np.int64(data[at])
    if byte < 0x80:
        return byte, at + 1
    if byte < 0xE0:
        return (byte & 31) << 6 | (np.int64(data[at + 1]) & 63), at + 2
    two = (np.int64(data[at + 1]) & 63) << 6 | (np.int64(data[at + 2]) & 63)
    if byte < 0xF0:
        return (byte & 15) << 12 | two, at + 3
    return (byte & 7) << 18 | two << 6 | (np.int64(data[at + 3]) & 63), at + 4


@kernel
def _fold(
    raw: NDArray[np.uint8],
    ends: NDArray[np.int32],
    table: NDArray[np.uint8],
    begins: NDArray[np.int32],
    sizes: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Folded texts, where each begins and ends, and which of them are left to Python."""
    rows = len(ends) - 1
    room = 2 * np.int64(ends[rows] - ends[0]) + 64
    out = np.empty(room, np.uint8)
    starts, stops = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    left = np.zeros(rows, np.bool_)
    plain = np.full(128, SPACE, np.uint8)
    for letter in range(128):
        if sizes[letter] == 1:
            plain[letter] = table[begins[letter]]
    to, code = 0, np.int64(0)
    for row in range(rows):
        start, at, end = to, ends[row], ends[row + 1]
        last = np.uint8(SPACE)  # a space goes nowhere behind a space
        while at < end:
            byte = raw[at]
            if byte < 128:
                at += 1
                byte = plain[byte]
                out[to] = byte
                to += (byte != SPACE) | (last != SPACE)
                last = byte
                continue
            code, at = character(raw, at)
            # the rest of the input needs as much room again
            if code >= KNOWN or sizes[code] == JOINS or to + sizes[code] + ends[rows] - at >= room:
                left[row] = True
                break
            for each in range(begins[code], begins[code] + sizes[code]):
                byte = table[each]
                out[to] = byte
                to += (byte != SPACE) | (last != SPACE)
                last = byte
        to -= to > start and last == SPACE
        if left[row] or to == start:  # what has no letter and no digit is not folded to nothing
            left[row] = end > ends[row]
            to = start
        starts[row], stops[row] = start, to
    return out[:to], starts, stops, left
