"""`semantic`: rows that mean the same, by the cosine of their embeddings (SemDeDup, arXiv 2303.09540)."""

import re
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
from synth.texts import On, texts
from synth.types import Verdict

COUNTED = "zero two three four five six seven eight nine ten eleven twelve"
ORDERED = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
VALUES = {word: str(n + (n > 0)) for n, word in enumerate(COUNTED.split())}
VALUES |= {word: str(n) for n, word in enumerate(ORDERED.split(), 1)}
NUMBER = re.compile(rf"\d+(?:[.,]\d+)*|\b(?:{'|'.join(VALUES)})\b", re.I)


def numbers_of(text: str) -> tuple[str, ...]:
    """The numbers of a text, each once, in digits; "one" is left out, for it stands for anything."""
    found = (number.lower() for number in NUMBER.findall(text))
    return tuple(sorted({VALUES.get(number, number.replace(",", "")) for number in found}))


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
    numbers: bool = True
    """Whether rows whose numbers differ are different, however alike they are: "season three" is not "season
    four", and a sum with other figures is another sum. Words for numbers are read in English."""
    by: str | None = None
    """The step whose score ranks the rows: higher is better, none is worst. Without it the first is best."""

    def versions(self) -> dict[str, str]:
        """The model's."""
        return {f"embeddings.{self.model}": identify(self.model)}

    def _groups(self, rows: Rows) -> "NDArray[np.int64] | None":
        if not self.numbers:
            return None
        told = (numbers_of(text) for batch in rows for text in texts(batch, self.on).to_pylist())
        known: dict[tuple[str, ...], int] = {}
        return np.array([known.setdefault(each, len(known)) for each in told], np.int64)

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Holds the vectors, 1 KiB a row for "words", and the ids; the vectors are kept in the folder."""
        order = np.argsort(-ranks(rows, self.by), kind="stable")
        chosen = greedy(embedded(rows, self.model, self.on), order, self.threshold, groups=self._groups(rows))
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
