"""One training: what it is made of, and what its method makes of the rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from synth.student import replay, templates
from synth.student.replay import Drawn
from synth.student.shards import Counted
from synth.tables import Train


class Teacher(Protocol):
    """Who says what it thinks of the student's own words (on_policy)."""

    @property
    def identity(self) -> str:
        """Names its bytes and how it is asked."""

    def score(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> list[list[dict[int, float]]]:
        """For each token of each answer behind its prompt, all by their ids: the teacher's likeliest tokens
        there and the answer's own, with their log-probabilities (nats)."""


@dataclass(frozen=True, slots=True)
class Job:
    """Settings, the base model's folder, the dataset's folder, and the folder of the student to be.

    `template` names the chat template (`templates.text`); None is the tokenizer's own. `recipe` is the
    recipe's name, for the model card. `beside` is a folder of what a method reads beside the rows, in
    `train-*.parquet`: pairs (dpo), what the teacher thought when it wrote them (logit_kd), or its own prompts
    (on_policy). `tokenizer` is the folder or name of the teacher's tokenizer, where its token ids are
    compared with the student's.
    """

    config: Train
    model: Path
    data: Path
    out: Path
    template: str | None = None
    recipe: str = ""
    beside: Path | None = None
    teacher: Teacher | None = None
    tokenizer: Path | str | None = None

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

    Column `id` is every method's; `row`, the number of a row, tells a batch's rows. `counts` is of all rows;
    `longest` is the longest row in tokens; `replay` is what was mixed in; `notes` are counts of the method's
    own, for the manifest and the screen.
    """

    rows: Any
    counts: Counted
    longest: int
    replay: tuple[Drawn, ...] = ()
    notes: Mapping[str, Any] | None = None

    def ids(self, rows: Iterable[int]) -> list[str]:
        """The ids of rows by their numbers."""
        return [self.rows[row]["id"] for row in rows]
