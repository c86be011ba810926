"""`best_of`: of the samples of one seed, only the best."""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from synth.steps import Rows, Selection, Selector
from synth.types import Verdict


class BestOf(Selector):
    """Keeps the `keep` best rows of each seed: by a step's score, then the earlier sample."""

    columns: ClassVar[tuple[str, ...]] = ("id", "strategy", "seed_id", "sample", "verdicts")

    keep: int = Field(default=1, gt=0)
    by: str | None = None
    """The step whose score ranks the rows: higher is better, none is worst. Without it the earliest wins."""

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Holds id, seed and score of every row."""
        ranked: dict[tuple[str, str], list[tuple[float, int, str]]] = defaultdict(list)
        order: list[tuple[str, tuple[str, str]]] = []
        for batch in rows:
            for row in batch.to_pylist():
                group = (row["strategy"], row["seed_id"])
                scores = [
                    v["score"] for v in row["verdicts"] if v["by"] == self.by and v["score"] is not None
                ]
                ranked[group].append((-scores[-1] if scores else math.inf, row["sample"], row["id"]))
                order.append((row["id"], group))
        kept = {
            group: [row_id for *_, row_id in sorted(ranks)[: self.keep]] for group, ranks in ranked.items()
        }
        for row_id, group in order:
            if row_id in kept[group]:
                yield Selection(Verdict(self.name, True))
            else:
                yield Selection(
                    Verdict(self.name, False, None, f"not among the best {self.keep} of its seed"),
                    kept[group][0],
                )
