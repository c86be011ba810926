"""`consistent`: rows that answer one question differently; by default all of them go (Self-Instruct)."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from typing import ClassVar, Literal

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from synth.answers import fences, normalised, number, numbers, said, shown
from synth.compute.ranks import ranks
from synth.steps import Rows, Selection, Selector
from synth.texts import texts
from synth.types import Verdict

YES_NO = re.compile(r"(yes|no|true|false)(?:\s*$|\s*[,.;:!\u2013\u2014-](?!\w))", re.I)
LETTER = re.compile(r"\(?([A-H])[).:](?:\s|$)|\(?([A-Ha-h])[).]?$")
MARKED_WORDS, WORDS, CHARACTERS = 5, 3, 60
"""Of a result that is marked as one, or of an answer that is nothing else, at most: then its text counts."""


class Consistent(Selector):
    """Rejects rows whose question others answer otherwise, all of them or the weaker side.

    The question is the same up to case and white space: signs count, for 2 + 3 is not 2 - 3.
    """

    columns: ClassVar[tuple[str, ...]] = ("id", "messages", "verdicts")

    compare: Literal["final", "text"] = "final"
    """What must agree: the result that an answer comes to (a number, a choice, yes or no, JSON, a few words),
    where rows without one contradict nobody; or the whole text up to case, articles and white space."""
    keep: Literal["none", "majority", "best"] = "none"
    """Which of the sides stays: none of them, the one with most rows (none where two have as many), or the
    one that has the best row by the score of `by`, else the first row."""
    by: str | None = None
    """The step whose score ranks the rows: higher is better, none is worst. Without it the first is best."""

    def select(self, rows: Rows) -> Iterator[Selection]:
        """Holds 32 bytes of hashes a row, and the id where there is a contradiction."""
        sides: list[bytes | None] = []
        asked: dict[bytes, list[int]] = defaultdict(list)
        for batch in rows:
            pairs = zip(_list(batch, "question"), _list(batch, "answer"), strict=True)
            for question, answer in pairs:
                side = final(answer) if self.compare == "final" else normalised(answer)
                if side is not None:
                    asked[_hash(_same(question))].append(len(sides))
                sides.append(None if side is None else _hash(side))
        scores = ranks(rows, self.by)
        gone: dict[int, tuple[str, int | None]] = {}
        for members in asked.values():
            if len({sides[row] for row in members}) > 1:
                gone |= self._against(members, sides, scores)
        named = {winner for _, winner in gone.values() if winner is not None}
        ids = self._ids(rows, named)
        kept = Selection(Verdict(self.name, True))
        for row in range(len(sides)):
            if row not in gone:
                yield kept
                continue
            reason, winner = gone[row]
            yield Selection(Verdict(self.name, False, None, reason), None if winner is None else ids[winner])

    def _against(
        self, members: list[int], sides: list[bytes | None], scores: "NDArray[np.float64]"
    ) -> dict[int, tuple[str, int | None]]:
        """The rows of a contradiction that go: why, and the row that stays in their place."""
        best = sorted(members, key=lambda row: (-scores[row], row))
        if self.keep == "none":
            return dict.fromkeys(members, ("the same question has another answer", None))
        winner = sides[best[0]]
        if self.keep == "majority":
            (winner, most), (_, next_most) = Counter(sides[row] for row in members).most_common(2)
            if most == next_most:
                return dict.fromkeys(members, ("the same question has other answers as often", None))
        stays = next(row for row in best if sides[row] == winner)
        reason = f"contradicts the {'majority' if self.keep == 'majority' else 'best row'}"
        return {row: (reason, stays) for row in members if sides[row] != winner}

    def _ids(self, rows: Rows, named: set[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        start = 0
        for batch in rows if named else ():
            ids = batch["id"]
            inside = [row for row in range(start, start + len(ids)) if row in named]
            found |= {row: str(ids[row - start].as_py()) for row in inside}
            start += len(ids)
        return found


def final(answer: str) -> str | None:
    """The result that an answer comes to, in one form for all ways to write it; None where it marks none.

    In this order: JSON, what it marks as its result (see `answers.said`), a short answer, a leading yes or no
    or option letter.
    """
    blocks = fences(answer)
    whole = (blocks[0][1] if len(blocks) == 1 else answer).strip()
    if whole.startswith(("{", "[")):
        try:
            return "json " + orjson.dumps(orjson.loads(whole), option=orjson.OPT_SORT_KEYS).decode()
        except orjson.JSONDecodeError:
            pass
    mark = said(answer)
    text = (answer if mark is None else mark).strip().strip("*_`").strip()
    if not text:
        return None
    if found := YES_NO.match(text):
        return {"true": "yes", "false": "no"}.get(found[1].lower(), found[1].lower())
    if found := LETTER.match(text):
        return f"option {(found[1] or found[2]).upper()}"
    if (value := number(text.rpartition("=")[2])) is not None:
        return f"number {shown(value)}"
    most = WORDS if mark is None else MARKED_WORDS
    if len(text.split()) > most or len(text) > CHARACTERS or text.endswith(("?", "\uff1f")):
        return None
    values = numbers(text.rpartition("=")[2])
    return f"number {shown(values[0])}" if len(values) == 1 else normalised(text) or None


def _same(question: str) -> str:
    return " ".join(unicodedata.normalize("NFC", question).split()).casefold()


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _list(batch: pa.RecordBatch, on: Literal["question", "answer"]) -> list[str]:
    return [str(text) for text in texts(batch, on).to_pylist()]
