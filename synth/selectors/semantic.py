"""`semantic`: rows that mean the same, by the cosine of their embeddings (SemDeDup, arXiv 2303.09540)."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from synth.embeddings import WORDS, Model, embedded, identify
from synth.ranks import ranks
from synth.steps import Rows, Selection, Selector
from synth.texts import On
from synth.types import Verdict
from synth.vectors import greedy


class Semantic(Selector):
    """Keeps, from the best row to the worst, each that resembles no row kept before it.

    So every row that goes resembles the row that it names, which is kept and no worse.
    """

    columns: ClassVar[tuple[str, ...]] = ("id", "messages", "verdicts")

    on: On = "question"
    """What is compared. With the answers in, rows of one long answer style look alike."""
    model: Model = WORDS
    """Who embeds: "words", "minilm", or a folder or Hub name that sentence-transformers loads."""
    threshold: float = Field(default=0.95, gt=0, le=1)
    """The cosine from which rows mean the same. It has another meaning for each model: docs/selectors.md."""
    by: str | None = None
    """The step whose score ranks the rows: higher is better, none is worst. Without it the first is best."""

    def versions(self) -> dict[str, str]:
        """The model's."""
        return {f"embeddings.{self.model}": identify(self.model)}

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Holds the vectors, 1 KiB a row for "words", and the ids; the vectors are kept in the folder."""
        order = np.argsort(-ranks(rows, self.by), kind="stable")
        chosen = greedy(embedded(rows, self.model, self.on), order, self.threshold)
        ids = pa.chunked_array([batch["id"] for batch in rows], pa.string()).combine_chunks()
        kept = Selection(Verdict(self.name, True))
        for taken, near, cosine in zip(
            chosen.taken.tolist(), chosen.nearest.tolist(), chosen.cosine.tolist(), strict=True
        ):
            if taken:
                yield kept
            else:
                verdict = Verdict(self.name, False, round(cosine, 4), "means the same as another row")
                yield Selection(verdict, ids[near].as_py())
