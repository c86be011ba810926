"""`diverse`: the best rows that are far from one another, as in DEITA (arXiv 2312.15685)."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from synth.compute.embeddings import WORDS, Model, embedded, identify
from synth.compute.ranks import ranks
from synth.compute.vectors import greedy
from synth.steps import Rows, Selection, Selector
from synth.texts import On
from synth.types import Verdict


class Diverse(Selector):
    """Takes rows from the best to the worst, each whose cosine to all that are taken is below `threshold`.

    A row that is taken, or that comes too late, has the score that ranked it; one that is too near another
    has its cosine to that row.
    """

    columns: ClassVar[tuple[str, ...]] = ("id", "messages", "verdicts")

    rows: int | None = Field(default=None, gt=0)
    """How many to take at most; without it all that are far from one another."""
    by: tuple[str, ...] = ()
    """The steps whose scores, multiplied, rank the rows. A row that lacks one is worst; a tie goes to the
    first row, and so do all rows without it."""
    threshold: float = Field(default=0.9, gt=0, le=1)
    """The cosine from which a row is too near another. It has another meaning for each model."""
    on: On = "question"
    """What is compared."""
    model: Model = WORDS
    """Who embeds: "words", "minilm", or a folder or Hub name that sentence-transformers loads."""

    def versions(self) -> dict[str, str]:
        """The model's."""
        return {f"embeddings.{self.model}": identify(self.model)}

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Holds the vectors, 1 KiB a row for "words", and the ids; the vectors are kept in the folder."""
        scores = self._scores(rows)
        order = np.argsort(-scores, kind="stable")
        chosen = greedy(embedded(rows, self.model, self.on), order, self.threshold, self.rows)
        ids = pa.chunked_array([batch["id"] for batch in rows], pa.string()).combine_chunks()
        for at, score in enumerate(scores.tolist()):
            own = score if np.isfinite(score) else None
            if chosen.taken[at]:
                yield Selection(Verdict(self.name, True, own))
            elif (near := int(chosen.nearest[at])) >= 0:
                cosine = round(float(chosen.cosine[at]), 4)
                verdict = Verdict(self.name, False, cosine, "too near a better row")
                yield Selection(verdict, ids[near].as_py())
            else:
                yield Selection(Verdict(self.name, False, own, "enough better rows are taken"))

    def _scores(self, rows: Rows) -> "NDArray[np.float64]":
        if not self.by:
            return ranks(rows, None)
        factors = np.stack([ranks(rows, step) for step in self.by])
        some = np.isfinite(factors).all(axis=0)
        return np.where(some, np.where(some, factors, 1).prod(axis=0), -np.inf)
