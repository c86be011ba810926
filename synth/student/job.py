"""One training: what it is made of, and what its method makes of the rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.student import replay, templates
from synth.student.replay import Drawn
from synth.student.shards import Counted
from synth.tables import Train


@dataclass(frozen=True, slots=True)
class Job:
    """Settings, the base model's folder, the dataset's folder, and the folder of the student to be.

    `template` names the chat template (`templates.text`); None is the tokenizer's own. `recipe` is the
    recipe's name, for the model card.
    """

    config: Train
    model: Path
    data: Path
    out: Path
    template: str | None = None
    recipe: str = ""

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps the last two checkpoints until the student is whole."""
        return self.out / "checkpoints"

    @property
    def tokens(self) -> Path:
        """Where the tokenized rows lie until the student is whole."""
        return self.checkpoints / "tokens"

    def sources(self) -> dict[str, Any]:
        """The sha256 of the files beside dataset and base that decide the student: template and replay.

        Raises:
            DataError, TrainError: one of them can't be read.
        """
        named = {"template": templates.digest(self.template)} if self.template else {}
        return {**named, "replay": [replay.digest(each.path) for each in self.config.replay]}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows that a trainer takes: a `datasets.Dataset` whose columns are the method's own.

    Two columns are every method's: `row`, the number of a row, and `id`. `counts` is of all rows; `longest`
    is the longest row in tokens; `replay` is what was mixed in.
    """

    rows: Any
    counts: Counted
    longest: int
    replay: tuple[Drawn, ...] = ()

    def ids(self, rows: Iterable[int]) -> list[str]:
        """The ids of rows by their numbers."""
        return [self.rows[row]["id"] for row in rows]
