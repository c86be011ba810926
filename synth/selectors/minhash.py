"""`minhash`: near-duplicates by MinHash and banding (Broder 1997; Lee et al. 2022, arXiv 2107.06499)."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from synth import bands, jaccard, sketch
from synth.folding import folded, kernel
from synth.ranks import ranks
from synth.steps import Rows, Selection, Selector
from synth.store import read_parquet, write_parquet
from synth.texts import On, texts
from synth.types import Verdict

MOST = 256
"""The size of a bucket up to which all its rows are compared with one another."""
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows by their number, and the Jaccard similarity of each pair; a row and its copies have 1."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: NDArray[np.float64]


class MinHash(Selector):
    """Of rows that are near each other only the best stays: none is kept that is near another kept one.

    Near is a Jaccard similarity of at least `threshold`, of the sets of shingles of the folded texts; every
    pair is verified. The pairs from `lowest` on are stored with the run: another threshold takes seconds.
    A text without a letter or sign is near nothing.

    Memory: 160 bytes a row, and 8 a word of those rows that share a bucket with another.
    """

    columns: ClassVar[tuple[str, ...]] = ("id", "messages", "verdicts")

    threshold: float = Field(default=0.8, gt=0, le=1)
    """From this similarity on two rows are near."""
    lowest: float = Field(default=0.7, ge=0.3, lt=1)
    """From this similarity on pairs are stored, each found with a chance of at least 0.999; lower is slower."""
    on: On = "conversation"
    """What is compared."""
    by: str | None = None
    """The step whose score ranks the rows: higher is better, none is worst. Without it the first row stays."""
    shingle: int = Field(default=5, gt=0)
    """Words in a shingle; characters in short texts, and in scripts without spaces."""
    chains: bool = False
    """Of a chain of rows, each near the next, keep only the best, though it may be far from others of them."""

    @model_validator(mode="after")
    def _ordered(self) -> "MinHash":
        if self.threshold < self.lowest:
            raise ValueError(f"threshold {self.threshold:g} is below lowest; set lowest to it or less")
        return self

    def select(self, rows: Rows) -> Iterator[Selection]:
        """A removed row's score is its own similarity to the row kept; a chain's may have none."""
        path = rows.folder / f"{self.name}-{self._key(rows.digest)}.parquet"
        ids, scores, pairs = self._stored(rows, path) or self._found(rows, path)
        by_rank = np.argsort(-scores, kind="stable")
        instead, similarity = settled(pairs, by_rank, self.threshold, chains=self.chains)
        kept = Selection(Verdict(self.name, True))
        for row, other in enumerate(instead.tolist()):
            if other == row:
                yield kept
                continue
            score = float(similarity[row])
            near = score >= self.threshold
            reason = "near another row" if near else "near a row that is near the kept one"
            yield Selection(Verdict(self.name, False, score if near else None, reason), ids[other].as_py())

    def _key(self, digest: str) -> str:
        decides = repr((digest, self.on, self.shingle, self.lowest, self.by, bands.HASHES, MOST))
        return hashlib.sha256(decides.encode()).hexdigest()[:16]

    def _stored(self, rows: Rows, path: Path) -> tuple[pa.ChunkedArray, NDArray[np.float64], Pairs] | None:
        """What an earlier pass found; None where there was none, or only for its own threshold."""
        if not path.exists():
            return None
        table = read_parquet(path)
        if table.schema.metadata[b"threshold"] not in (b"any", repr(self.threshold).encode()):
            return None
        seen = [(batch["id"], ranks([batch], self.by)) for batch in rows]
        ids = pa.chunked_array([each for each, _ in seen], pa.string())
        first, second = (
            np.asarray(pa.compute.index_in(table[name], value_set=ids)).astype(np.int64)
            for name in ("id", "other")
        )
        return (
            ids,
            _joined([score for _, score in seen]),
            Pairs(first, second, table["similarity"].to_numpy()),
        )

    def _found(self, rows: Rows, path: Path) -> tuple[pa.ChunkedArray, NDArray[np.float64], Pairs]:
        """Read the rows twice: once for sketches, once for the sets of those that share a bucket."""
        number, wide = bands.plan(self.lowest)
        keys = np.empty((number, len(rows)), np.uint32)
        counts, digests = np.empty(len(rows), np.int32), np.empty(len(rows), np.uint64)
        ids: list[pa.StringArray] = []
        scores: list[NDArray[np.float64]] = []

        def sketched(batch: pa.RecordBatch, at: int) -> None:
            here = slice(at, at + batch.num_rows)
            signatures, counts[here], digests[here] = sketch.sketches(
                folded(texts(batch, self.on)), self.shingle, number * wide
            )
            bands.keys(signatures, number, keys[:, here])

        def noted(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                ids.append(batch["id"])
                scores.append(ranks([batch], self.by))
                yield batch

        with ThreadPoolExecutor(os.cpu_count(), "minhash") as threads:
            _each(threads, sketched, noted(rows))
            ranked = _joined(scores)
            by_rank = np.argsort(-ranked, kind="stable")
            by_rank = by_rank[counts[by_rank] > 0]
            _, first, group = np.unique(digests[by_rank], return_index=True, return_inverse=True)
            copies = np.flatnonzero(first[group] != np.arange(len(by_rank)))
            alike = Pairs(by_rank[first[group[copies]]], by_rank[copies], np.ones(len(copies)))
            single = by_rank[np.sort(first)]
            del digests, group, first, copies
            columns = [keys[band][single] for band in range(number)]
            del keys
            shared = bands.shared(columns, len(single))
            columns = [column[shared] for column in columns]
            single = single[shared]
            sets = self._sets(threads, rows, single, counts)
            near, exact = self._near(threads, columns, sets)
        pairs = Pairs(
            np.concatenate([alike.first, single[near.first]]),
            np.concatenate([alike.second, single[near.second]]),
            np.concatenate([alike.similarity, near.similarity]),
        )
        chunked = pa.chunked_array(ids, pa.string())
        self._write(path, chunked, pairs, exact=exact)
        return chunked, ranked, pairs

    def _sets(
        self, threads: ThreadPoolExecutor, rows: Rows, single: NDArray[np.int64], counts: NDArray[np.int32]
    ) -> jaccard.Sets:
        """The sets of shingles of the rows `single`, in that order, from a second pass over all rows."""
        wanted = np.sort(single)
        begins = np.concatenate([[0], np.cumsum(counts[wanted], dtype=np.int64)])
        values, ends = np.empty(begins[-1], np.uint64), np.empty(len(wanted), np.int64)

        def taken(batch: pa.RecordBatch, at: int) -> None:
            one, other = np.searchsorted(wanted, [at, at + batch.num_rows])
            if one < other:
                column = texts(batch, self.on).take(pa.array(wanted[one:other] - at))
                sketch.write_sets(folded(column), self.shingle, begins[one:other], values, ends[one:other])

        _each(threads, taken, rows)
        place = np.searchsorted(wanted, single)
        return jaccard.Sets(values, begins[:-1][place], ends[place])

    def _near(
        self, threads: ThreadPoolExecutor, columns: list[NDArray[np.uint32]], sets: jaccard.Sets
    ) -> tuple[Pairs, bool]:
        """Verified pairs, and whether they serve any threshold."""
        keys = np.stack(columns, axis=1) if columns else np.empty((0, 0), np.uint32)
        parted = sum(
            threads.map(
                lambda band: jaccard.part_wide(bands.ordered(columns[band]), band, MOST, keys),
                range(len(columns)),
            )
        )
        limits = (self.lowest, self.threshold, MOST)
        found = list(
            threads.map(
                lambda band: jaccard.pairs_of(
                    bands.ordered(columns[band]), band, keys, (sets.values, sets.starts, sets.ends), limits
                )[:3],
                range(len(columns)),
            )
        )
        first, second, similarity = (_joined(each) for each in zip(*found, strict=True))
        return Pairs(first, second, similarity), parted == 0

    def _write(self, path: Path, ids: pa.ChunkedArray, pairs: Pairs, *, exact: bool) -> None:
        order = np.lexsort((pairs.second, pairs.first))
        names = [ids.take(pa.array(rows[order])) for rows in (pairs.first, pairs.second)]
        table = pa.table({"id": names[0], "other": names[1], "similarity": pairs.similarity[order]})
        serves = "any" if exact else repr(self.threshold)
        write_parquet(path, table.replace_schema_metadata({"threshold": serves}))


def settled(
    pairs: Pairs, by_rank: NDArray[np.int64], threshold: float, *, chains: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each row the row kept in its place (itself where it stays), and their similarity.

    Rows of similarity 1 stand for one another. The best row comes first and stays; another stays if it is
    near none that stays, else the nearest of those is named. With `chains` the best of each connected
    component stays alone; the similarity to it is 0 where the two were not paired.
    """
    rows = len(by_rank)
    place = np.empty(rows, np.int64)
    place[by_rank] = np.arange(rows)
    near = pairs.similarity >= threshold
    first, second, share = place[pairs.first[near]], place[pairs.second[near]], pairs.similarity[near]
    best = _best(first[share == 1], second[share == 1], rows)
    first, second = best[first], best[second]
    between = first != second
    first, second, share = first[between], second[between], share[between]
    earlier, later = np.minimum(first, second), np.maximum(first, second)
    instead, similarity = best.copy(), np.ones(rows)
    if chains:
        instead = _best(earlier, later, rows)
        direct = instead[later] == earlier
        similarity[instead != np.arange(rows)] = 0
        similarity[later[direct]] = share[direct]
    else:
        order = np.lexsort((earlier, -share, later))  # a row's nearest first
        _name_nearest(earlier[order], later[order], share[order], instead, similarity)
    copies = best != np.arange(rows)
    similarity[copies] = np.where(instead[best[copies]] == best[copies], 1, similarity[best[copies]])
    instead[copies] = instead[best[copies]]
    kept, shares = np.empty(rows, np.int64), np.empty(rows)
    kept[by_rank], shares[by_rank] = by_rank[instead], similarity
    return kept, shares


@kernel
def _name_nearest(
    earlier: NDArray[np.int64],
    later: NDArray[np.int64],
    share: NDArray[np.float64],
    instead: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    for at in range(len(later)):
        row, other = later[at], earlier[at]
        if instead[other] == other and instead[row] == row:
            instead[row], similarity[row] = other, share[at]


def _best(first: NDArray[np.int64], second: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """For each place the lowest of its connected component."""
    graph = coo_array((np.ones(len(first), np.bool_), (first, second)), (rows, rows))
    _, labels = connected_components(graph, directed=False)
    _, lowest, group = np.unique(labels, return_index=True, return_inverse=True)
    return lowest[group]


def _each(
    threads: ThreadPoolExecutor,
    work: Callable[[pa.RecordBatch, int], None],
    batches: Iterable[pa.RecordBatch],
) -> None:
    """Do work on each batch, given the number of its first row; a few batches are held at once."""
    under_way: deque[Future[None]] = deque()
    at = 0
    for batch in batches:
        under_way.append(threads.submit(work, batch, at))
        at += batch.num_rows
        if len(under_way) > 4:
            under_way.popleft().result()
    for each in under_way:
        each.result()


def _joined(parts: Iterable[NDArray[np.generic]]) -> NDArray:
    return np.concatenate(list(parts))
