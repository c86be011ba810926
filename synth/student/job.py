"""One training: what it is made of, and what its method makes of the rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.student.data import Tokens
from synth.tables import Train


@dataclass(frozen=True, slots=True)
class Job:
    """Settings, the base model's folder, the dataset's folder, and the folder of the student to be.

    `recipe` is the recipe's name, for the model card.
    """

    config: Train
    model: Path
    data: Path
    out: Path
    recipe: str = ""

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps the last two checkpoints until the student is whole."""
        return self.out / "checkpoints"


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows that a trainer takes: a `datasets.Dataset` whose columns are the method's own.

    `tokens` counts them; `longest` is the longest row in tokens.
    """

    rows: Any
    tokens: Tokens
    longest: int
