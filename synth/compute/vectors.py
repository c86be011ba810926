"""Neighbours among many unit vectors: the greedy choice of semantic deduplication and DEITA, and k-means.

`greedy` is exact up to EXACT rows. Beyond, rows are compared within the two k-means cells whose centres are
nearest to them, as SemDeDup does (arXiv 2303.09540). It never holds pairs, however alike the rows are.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from synth.compute.folding import kernel

Vectors: TypeAlias = "NDArray[np.float32]"
Places: TypeAlias = "NDArray[np.int64]"
EXACT = 20_000
PROBES = 2
BLOCK = 1024
DIGITS = 4
"""Similarities are rounded before they are compared, so that the machine's last bits decide nothing."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What `greedy` says of each row: the nearest row taken before it (-1: none), and their cosine."""

    taken: "NDArray[np.bool_]"
    nearest: Places
    cosine: Vectors


def greedy(
    vectors: Vectors, order: Places, threshold: float, most: int | None = None, groups: "Places | None" = None
) -> Chosen:
    """Take rows in `order`, each whose cosine to all rows taken before it is below `threshold`.

    It ends when `most` are taken; the rows that it has not come to are neither taken nor near another. Rows
    of different `groups` are never compared.
    """
    limit = len(order) if most is None else most
    groups = np.zeros(len(order), np.int64) if groups is None else groups
    if len(vectors) <= EXACT:
        return _exact(vectors, order, groups, threshold, limit)
    cells = near_cells(vectors, centres(vectors, max(1, round(2 * len(vectors) ** 0.5))))
    sizes = np.bincount(cells.ravel())
    starts = np.concatenate([[0], np.cumsum(sizes)])
    taken, nearest, cosine = _in_cells(vectors, order, groups, cells, starts, np.float32(threshold), limit)
    return Chosen(taken, nearest, cosine)


def _exact(vectors: Vectors, order: Places, groups: Places, threshold: float, limit: int) -> Chosen:
    """Each block of rows against all that are taken, then its rows against one another."""
    rows = len(vectors)
    chosen = Chosen(np.zeros(rows, np.bool_), np.full(rows, -1, np.int64), np.zeros(rows, np.float32))
    held = np.empty_like(vectors)
    places: list[int] = []
    for start in range(0, rows, BLOCK):
        block = order[start : start + BLOCK]
        own, before = vectors[block], len(places)
        far = np.full((len(block), 1), -1, np.float32)
        if before:
            far = _compared(own @ held[:before].T, groups[block], groups[places])
        best = far.argmax(axis=1)
        among = _compared(own @ own.T, groups[block], groups[block])
        new: list[int] = []
        for at, row in enumerate(block.tolist()):
            if len(places) == limit:
                return chosen
            cosine = far[at, best[at]]
            near = places[best[at]] if cosine > -1 else -1
            if new and (top := among[at, new].max()) > cosine:
                near, cosine = int(block[new[int(among[at, new].argmax())]]), top
            if cosine < threshold:
                held[len(places)] = own[at]
                places.append(row)
                new.append(at)
                chosen.taken[row] = True
            chosen.nearest[row], chosen.cosine[row] = near, cosine
    return chosen


def _compared(cosines: Vectors, one: Places, other: Places) -> Vectors:
    """Cosines, rounded; -1 for rows of different groups."""
    rounded: Vectors = np.where(one[:, None] == other[None, :], np.round(cosines, DIGITS), np.float32(-1))
    return rounded


@kernel
def _in_cells(
    vectors: Vectors,
    order: Places,
    groups: Places,
    cells: Places,
    starts: Places,
    threshold: np.float32,
    limit: int,
) -> "tuple[NDArray[np.bool_], Places, Vectors]":
    """`greedy` among the rows that share a cell; those taken so far stand together, cell by cell."""
    rows = len(vectors)
    taken = np.zeros(rows, np.bool_)
    nearest = np.full(rows, -1, np.int64)
    cosine = np.zeros(rows, np.float32)
    members = np.empty(starts[-1], np.int64)
    filled = starts[:-1].copy()
    count = 0
    for row in order:
        if count == limit:
            break
        best, near = np.float32(-1), -1
        for cell in cells[row]:
            for place in range(starts[cell], filled[cell]):
                other = members[place]
                if groups[row] != groups[other]:
                    continue
                dot = _dot(vectors[row], vectors[other])
                if dot > best:
                    best, near = dot, other
        best = np.float32(np.round(best * 10000) / 10000)
        nearest[row], cosine[row] = near, best
        if best < threshold:
            taken[row] = True
            count += 1
            for cell in cells[row]:
                members[filled[cell]] = row
                filled[cell] += 1
    return taken, nearest, cosine


@numba.njit(cache=True, fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _dot(one: Vectors, other: Vectors) -> np.float32:
    total = np.float32(0)
    for place in range(len(one)):
        total += one[place] * other[place]
    return total


def centres(vectors: Vectors, count: int, rounds: int = 4, sample_of: int = 32) -> Vectors:
    """Unit centres of at most `count` cells, by k-means by cosine on at most `sample_of` rows a cell.

    No chance: the first centres and the sample are rows at even distances. An empty cell keeps its centre.
    """
    rows = len(vectors)
    sample = vectors[np.unique(np.linspace(0, rows - 1, min(rows, sample_of * count)).astype(np.int64))]
    start = np.unique(np.linspace(0, len(sample) - 1, min(len(sample), count)).astype(np.int64))
    middle = sample[start].copy()
    for _ in range(rounds):
        cell = near_cells(sample, middle, 1)[:, 0]
        order = np.argsort(cell, kind="stable")
        some, first = np.unique(cell[order], return_index=True)
        sums = np.add.reduceat(sample[order], first, axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        middle[some] = np.where(lengths > 0, sums / np.where(lengths > 0, lengths, 1), middle[some])
    return middle


def near_cells(vectors: Vectors, middle: Vectors, probes: int = PROBES) -> Places:
    """The `probes` cells whose centres are nearest to each row, (rows, probes), nearest first."""
    cells = np.empty((len(vectors), min(probes, len(middle))), np.int64)
    for start in range(0, len(vectors), BLOCK):
        far = vectors[start : start + BLOCK] @ middle.T
        for probe in range(cells.shape[1]):
            best = far.argmax(axis=1)
            cells[start : start + BLOCK, probe] = best
            far[np.arange(len(far)), best] = -2
    return cells
