"""`exact`: rows whose normalised text repeats an earlier row's."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal

from synth.steps import Rows, Selection, Selector
from synth.store import message
from synth.texts import fold
from synth.types import Verdict, said


class Exact(Selector):
    """Keeps the first row (by id) of those that say the same."""

    on: Literal["question", "conversation"] = "conversation"
    """Compare all turns, or all but the last."""

    def select(self, rows: Rows) -> Iterator[Selection]:
        """16 bytes of hash and the id are held for each kept row."""
        seen: dict[bytes, str] = {}
        for batch in rows:
            for row in batch.to_pylist():
                turns = row["messages"] if self.on == "conversation" else row["messages"][:-1]
                text = "\0".join(f"{turn['role']}\0{fold(said(message(turn)))}" for turn in turns)
                first = seen.setdefault(blake2b(text.encode(), digest_size=16).digest(), row["id"])
                if first == row["id"]:
                    yield Selection(Verdict(self.name, True))
                else:
                    yield Selection(Verdict(self.name, False, 1.0, "repeats another row"), first)
