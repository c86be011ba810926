"""One training: what it is made of, and what its method makes of the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from synth.student.data import Tokens
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

    `beside` is a folder of what a method reads beside the rows, in `train-*.parquet`: pairs (dpo), what the
    teacher thought when it wrote them (logit_kd), or its own prompts (on_policy). `tokenizer` is the folder
    or name of the teacher's tokenizer, where its token ids are compared with the student's.
    """

    config: Train
    model: Path
    data: Path
    out: Path
    beside: Path | None = None
    teacher: Teacher | None = None
    tokenizer: Path | str | None = None

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps the last two checkpoints until the student is whole."""
        return self.out / "checkpoints"


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows that a trainer takes: a `datasets.Dataset` whose columns are the method's own.

    `tokens` counts them; `longest` is the longest row in tokens; `notes` are counts of the method's own, for
    the manifest and the screen.
    """

    rows: Any
    tokens: Tokens
    longest: int
    notes: Mapping[str, Any] | None = None
