"""Which rows repeat or rephrase evaluation items: the rules of `decontaminate`, each by itself.

Those by runs of words are GPT-3's (Brown et al. 2020, arXiv 2005.14165: 13 words in a row) and Tulu 3's
(Lambert et al. 2024, arXiv 2411.15124: over half of an item's words lie in shared runs of 8).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.compute.grams import Runs, words
from synth.compute.rephrased import Rephrased
from synth.items import Item
from synth.store import read_parquet

RULES = ("exact", "run", "cover", "rephrased")
COVER = 8
"""Words of the runs that `cover` counts."""
WHOLE = 5
"""An item of fewer words must be all of a row; others may be a part of it."""
LEAST = {"cover": 0.2, "rephrased": 0.05}
"""What scores less is not worth a line."""
SHOWN = 4_000
"""Characters of a text that a line holds."""
MATCHES = pa.schema(
    [
        ("place", pa.int64()),
        ("id", pa.string()),
        ("item", pa.string()),
        ("rule", pa.string()),
        ("score", pa.float64()),
        ("row", pa.string()),
        ("text", pa.string()),
    ]
)
"""A row's place and id, the item's id, the rule, its score, and the two texts."""


class Match(NamedTuple):
    """A row and the item that a rule finds in it. The score is 1, the share of words, or the likeness."""

    row: int
    item: int
    rule: str
    score: float


class Items:
    """Evaluation items, made ready to be found in rows; those that say the same count once.

    Memory: about 100 bytes a word, and 12 bytes for each distinct run of characters of each item.
    """

    def __init__(self, items: Iterable[Item], run: int = 13) -> None:
        held = list(items)
        found = words(pa.array([item.text for item in held], pa.string()))
        first = {found.of(place).tobytes(): place for place in reversed(range(len(held)))}
        first.pop(b"", None)
        self.items = [held[place] for place in sorted(first.values())]
        texts = [item.text for item in self.items]
        self._run = run
        self._words = words(pa.array(texts, pa.string()))
        counts = self._words.counts
        self._runs = {size: Runs(self._words, size) for size in sorted({COVER, run})}
        self._short: list[tuple[int, NDArray[np.int64], Runs]] = []
        for size in np.unique(counts[counts < COVER]).tolist():
            of = np.flatnonzero(counts == size)
            self._short.append((size, of, Runs(self._words.part(of), size)))
        self._rephrased = Rephrased(texts)

    def __len__(self) -> int:
        return len(self.items)

    def matches(self, texts: pa.StringArray) -> list[Match]:
        """The best match of each row by each rule that finds one, by row and in the order of `RULES`."""
        found: dict[tuple[int, int], Match] = {}
        for match in (*self.by_words(texts), *self.by_meaning(texts)):
            key = match.row, RULES.index(match.rule)
            best = found.get(key)
            if best is None or (-match.score, match.item) < (-best.score, best.item):
                found[key] = match
        return [found[key] for key in sorted(found)]

    def by_meaning(self, texts: pa.StringArray) -> Iterator[Match]:
        """The item that each row may rephrase."""
        if not self.items:
            return
        for row, item, likeness in self._rephrased.find(texts.to_pylist()):
            if likeness >= LEAST["rephrased"]:
                yield Match(row, item, "rephrased", likeness)

    def by_words(self, texts: pa.StringArray) -> Iterator[Match]:
        """All pairs of a row and an item that the other rules find."""
        others = words(texts)
        for size, of, runs in self._short:
            for row, item, _ in zip(*runs.shared(others), strict=True):
                if size >= WHOLE or others.counts[row] == size:
                    yield Match(int(row), int(of[item]), "exact", 1.0)
        for size, runs in self._runs.items():
            for row, item, covered in zip(*runs.shared(others), strict=True):
                share = float(covered / self._words.counts[item])
                if size == self._run:
                    yield Match(int(row), int(item), "run", share)
                if size == COVER and share >= LEAST["cover"]:
                    yield Match(int(row), int(item), "cover", share)
                    if share == 1 and _holds(others.of(row), self._words.of(item)):
                        yield Match(int(row), int(item), "exact", 1.0)

    def described(self, match: Match, place: int, row_id: str, texts: pa.StringArray) -> dict[str, Any]:
        """A line of `MATCHES`, for a batch that begins at this place."""
        item = self.items[match.item]
        row = texts[match.row].as_py()
        return {
            "place": place + match.row,
            "id": row_id,
            "item": item.id,
            "rule": match.rule,
            "score": match.score,
            "row": row[:SHOWN],
            "text": item.text[:SHOWN],
        }


def _holds(text: NDArray[np.uint64], part: NDArray[np.uint64]) -> bool:
    """Whether words stand in a text one behind the other."""
    return any(np.array_equal(text[at : at + len(part)], part) for at in np.flatnonzero(text == part[0]))


def matches(folder: Path, removed: Mapping[str, str]) -> pa.Table:
    """The lines of `MATCHES`, by place, of rows that a run's `decontaminate` removed.

    `folder` is the run's `index/`; `removed` has the id of each such row and that of its item.
    """
    tables = [read_parquet(file) for file in sorted(folder.glob("decontaminate-*.parquet"))]
    lines = {
        (line["id"], line["rule"]): line
        for table in tables
        for line in table.to_pylist()
        if removed.get(line["id"]) == line["item"]
    }
    ordered = sorted(lines.values(), key=lambda line: (line["place"], RULES.index(line["rule"])))
    return pa.Table.from_pylist(ordered, schema=MATCHES)
