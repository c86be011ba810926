"""`exact`: rows whose normalised text repeats another's."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.compute.batches import each
from synth.compute.folding import folded, kernel
from synth.compute.ranks import ranks
from synth.steps import Rows, Selection, Selector
from synth.texts import On, turns
from synth.types import Verdict

ONE, TWO = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


class Exact(Selector):
    """Of the rows that say the same, in the same roles, keeps the best; a row without turns repeats none."""

    columns: ClassVar[tuple[str, ...]] = ("id", "messages", "verdicts")

    on: On = "conversation"
    """Compare all turns, all before the answer, or the answer."""
    by: str | None = None
    """The step whose score ranks the rows: higher is better. Without it the first row stays."""

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Rows are equal where 128 bits of hash are. Memory: 50 bytes a row, and its id."""
        hashes = np.zeros((len(rows), 2), np.uint64)
        ids: list[pa.StringArray] = []
        scores: list[NDArray[np.float64]] = []

        def hashed(batch: pa.RecordBatch, at: int) -> None:
            contents, roles, offsets = turns(batch, self.on)
            said = folded(contents)
            names = roles.dictionary_encode()
            known = np.array([_hash(name) for name in names.dictionary.to_pylist()], np.uint64)
            who = known[np.asarray(names.indices)] if len(known) else np.empty(0, np.uint64)
            _digest(said.data, (said.starts, said.ends), who, np.asarray(offsets), hashes[at:])

        def noted() -> Iterator[pa.RecordBatch]:
            for batch in rows:
                ids.append(batch["id"])
                scores.append(ranks([batch], self.by))
                yield batch

        each(hashed, noted())
        by_rank = np.argsort(-np.concatenate([np.empty(0), *scores]), kind="stable")
        names = pa.chunked_array(ids, pa.string())
        kept = Selection(Verdict(self.name, True))
        repeats = Verdict(self.name, False, 1.0, "repeats another row")
        for row, other in enumerate(_first(hashes, by_rank).tolist()):
            yield kept if other == row else Selection(repeats, names[other].as_py())


def _hash(role: str) -> int:
    return int.from_bytes(blake2b(role.encode(), digest_size=8).digest(), "little")


@kernel
def _digest(
    data: NDArray[np.uint8],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    roles: NDArray[np.uint64],
    offsets: NDArray[np.int32],
    out: NDArray[np.uint64],
) -> None:
    """128 bits of what each row's turns say and who says it; 0 for a row without turns."""
    starts, ends = places
    for row in range(len(offsets) - 1):
        one, two = np.uint64(0), np.uint64(0)
        for turn in range(offsets[row], offsets[row + 1]):
            one, two = _stirred(one, two, roles[turn] | np.uint64(1))
            at, end = starts[turn], ends[turn]
            one, two = _stirred(one, two, np.uint64(end - at))
            while at + 8 <= end:
                word = np.uint64(0)
                for byte in range(8):
                    word |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
                one, two = _stirred(one, two, word)
                at += 8
            word = np.uint64(0)
            for byte in range(end - at):
                word |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
            one, two = _stirred(one, two, word)
        out[row, 0], out[row, 1] = one, two


@kernel
def _stirred(one: np.uint64, two: np.uint64, word: np.uint64) -> tuple[np.uint64, np.uint64]:
    one = (one ^ word) * ONE
    two = (two + word) * TWO
    one ^= (one >> np.uint64(32)) ^ (two << np.uint64(1))
    two ^= (two >> np.uint64(29)) ^ (one << np.uint64(3))
    return one, two


@kernel
def _first(hashes: NDArray[np.uint64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the first in `order` that has the same hash; itself where it has none."""
    slots = 16
    while slots < 2 * len(order):
        slots *= 2
    table = np.full(slots, -1, np.int32)
    instead = np.empty(len(order), np.int64)
    for row in order:
        one, two = hashes[row, 0], hashes[row, 1]
        instead[row] = row
        if one == 0 and two == 0:
            continue
        at = np.int64(one >> np.uint64(20)) & (slots - 1)
        while table[at] >= 0 and not (hashes[table[at], 0] == one and hashes[table[at], 1] == two):
            at = (at + 1) & (slots - 1)
        if table[at] < 0:
            table[at] = row
        instead[row] = table[at]
    return instead
