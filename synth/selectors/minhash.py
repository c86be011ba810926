"""`minhash`: near-duplicates by MinHash and banding (Broder 1997; Lee et al. 2022, arXiv 2107.06499)."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from synth.compute import bands, jaccard, sketch
from synth.compute.batches import each
from synth.compute.folding import folded, kernel
from synth.compute.ranks import ranks
from synth.steps import Rows, Selection, Selector
from synth.store import read_parquet, write_parquet
from synth.texts import On, texts
from synth.types import Verdict

MOST = 256
"""The size of a bucket up to which all its rows are compared with one another."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows by their number, and the Jaccard similarity of each pair; a row and its copies have 1."""

    first: NDArray[np.int64 | np.int32]
    second: NDArray[np.int64 | np.int32]
    similarity: NDArray[np.float64]


@dataclass(slots=True)
class _Sketched:
    """Of every row the id, score, keys (bands x rows), number of shingles and hash of them all."""

    ids: pa.ChunkedArray
    scores: NDArray[np.float64]
    keys: NDArray[np.uint32]
    counts: NDArray[np.int32]
    digests: NDArray[np.uint64]


class MinHash(Selector):
    """Of rows that are near each other only the best stays: none is kept that is near another kept one.

    Near is a Jaccard similarity of at least `threshold`, of the sets of shingles of the folded texts; every
    pair is verified. The pairs from `lowest` on are stored with the run: another threshold takes seconds.
    A text without a letter or sign is near nothing.

    Memory: 230 bytes a row; 320 more, and 8 a word, for rows that share a bucket with another.
    """

    columns: ClassVar[tuple[str, ...]] = ("id", "messages", "verdicts")

    threshold: float = Field(default=0.8, gt=0, le=1)
    """From this similarity on two rows are near."""
    lowest: float = Field(default=0.7, ge=0.3, lt=1)
    """From here on pairs are stored, each found with a chance of 0.999 or more; a lower one takes longer."""
    on: On = "conversation"
    """What is compared."""
    by: str | None = None
    """The step whose score ranks the rows: higher is better. Without it the first row stays."""
    shingle: int = Field(default=5, gt=0)
    """Words in a shingle; characters in short texts, and in scripts without spaces."""
    chains: bool = False
    """Of a chain of rows, each near the next, keep only the best, though others may be far from it."""

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
            np.concatenate([np.empty(0), *(score for _, score in seen)]),
            Pairs(first, second, table["similarity"].to_numpy()),
        )

    def _found(self, rows: Rows, path: Path) -> tuple[pa.ChunkedArray, NDArray[np.float64], Pairs]:
        """Read the rows twice: once for sketches, once for the sets of those that share a bucket."""
        sketched = self._sketched(rows)
        by_rank = np.argsort(-sketched.scores, kind="stable")
        by_rank = by_rank[sketched.counts[by_rank] > 0]
        _, first, group = np.unique(sketched.digests[by_rank], return_index=True, return_inverse=True)
        copies = np.flatnonzero(first[group] != np.arange(len(by_rank)))
        alike = Pairs(by_rank[first[group[copies]]], by_rank[copies], np.ones(len(copies)))
        single = by_rank[np.sort(first)]
        with ThreadPoolExecutor(os.cpu_count(), "minhash") as threads:
            shared = threads.map(lambda keys: bands.shared(keys[single]), sketched.keys)
            single = single[np.logical_or.reduce(list(shared))]
            sketched.keys = np.stack([keys[single] for keys in sketched.keys])
            sets = self._sets(rows, single, sketched.counts)
            near, exact = self._near(threads, sketched.keys, sets)
        pairs = Pairs(
            np.concatenate([alike.first, single[near.first]]),
            np.concatenate([alike.second, single[near.second]]),
            np.concatenate([alike.similarity, near.similarity]),
        )
        self._write(path, sketched.ids, pairs, exact=exact)
        return sketched.ids, sketched.scores, pairs

    def _sketched(self, rows: Rows) -> "_Sketched":
        number, wide = bands.plan(self.lowest)
        keys = np.empty((number, len(rows)), np.uint32)
        counts, digests = np.empty(len(rows), np.int32), np.empty(len(rows), np.uint64)
        ids: list[pa.StringArray] = []
        scores: list[NDArray[np.float64]] = [np.empty(0)]

        def sketch_of(batch: pa.RecordBatch, at: int) -> None:
            here = slice(at, at + batch.num_rows)
            signatures, counts[here], digests[here] = sketch.sketches(
                folded(texts(batch, self.on)), self.shingle, number * wide
            )
            bands.keys(signatures, number, keys[:, here])

        def noted() -> Iterator[pa.RecordBatch]:
            for batch in rows:
                ids.append(batch["id"])
                scores.append(ranks([batch], self.by))
                yield batch

        each(sketch_of, noted())
        return _Sketched(pa.chunked_array(ids, pa.string()), np.concatenate(scores), keys, counts, digests)

    def _sets(self, rows: Rows, single: NDArray[np.int64], counts: NDArray[np.int32]) -> jaccard.Sets:
        """The sets of shingles of the rows `single`, in that order, from another pass over all rows."""
        wanted = np.sort(single)
        begins = np.concatenate([[0], np.cumsum(counts[wanted], dtype=np.int64)])
        values, ends = np.empty(begins[-1], np.uint64), np.empty(len(wanted), np.int64)

        def set_of(batch: pa.RecordBatch, at: int) -> None:
            one, other = np.searchsorted(wanted, [at, at + batch.num_rows])
            if one < other:
                column = texts(batch, self.on).take(pa.array(wanted[one:other] - at))
                sketch.write_sets(folded(column), self.shingle, begins[one:other], values, ends[one:other])

        each(set_of, rows)
        place = np.searchsorted(wanted, single)
        return jaccard.Sets(values, begins[:-1][place], ends[place])

    def _near(
        self, threads: ThreadPoolExecutor, columns: NDArray[np.uint32], sets: jaccard.Sets
    ) -> tuple[Pairs, bool]:
        """Verified pairs, and whether they serve any threshold."""
        keys = np.array(columns.T, order="C", copy=True)  # `parted` writes there
        numbers = range(len(columns))
        limits = (self.lowest, self.threshold, MOST)

        def parted(band: int) -> int:
            return jaccard.part_wide(bands.ordered(columns[band]), band, MOST, keys)

        def near(band: int) -> Pairs:
            held = (sets.values, sets.starts, sets.ends)
            return Pairs(*jaccard.pairs_of(bands.ordered(columns[band]), band, keys, held, limits)[:3])

        exact = sum(threads.map(parted, numbers)) == 0
        found = list(threads.map(near, numbers))
        return Pairs(
            np.concatenate([each.first for each in found]),
            np.concatenate([each.second for each in found]),
            np.concatenate([each.similarity for each in found]),
        ), exact

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
