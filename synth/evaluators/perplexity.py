"""`perplexity`: how well does a model foresee held-out answers? In bits per byte models with other tokens
compare too (Gao et al. 2020, arXiv 2101.00027).
"""

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import ClassVar

from pydantic import Field

from synth.errors import DataError, Unusable
from synth.evaluators.bases import HeldOut, Likelihood, LikelihoodEvaluator
from synth.evaluators.lines import content_id
from synth.formats import KNOWN, parse
from synth.readers import row_reader
from synth.steps import Graded, Question
from synth.types import Message, said


class Perplexity(LikelihoodEvaluator):
    """Scores the mean loss of a row in nats a trained token: what assistants say, and the tokens that end it.

    Lower is better; perplexity is exp of it. Beside the score: `bits_per_byte` of what the assistant says.
    Only the base and the student are measured, not systems that get another prompt.
    """

    unit: ClassVar[str] = "nats a token"
    higher_is_better: ClassVar[bool] = False
    prompted: ClassVar[bool] = False

    path: str | None = None
    """A chat dataset as `synth curate` reads them; by default the rows that [run] validation holds out."""
    rows: int | None = Field(default=None, gt=0)
    """Measure the first so many; by default all."""

    @property
    def known(self) -> bool:
        """Where they are a file's."""
        return self.path is not None

    def questions(self) -> Iterable[Question]:
        """The rows of `path`, in file order.

        Raises:
            DataError: it can't be read, or a row is in no known format or has no answer.
        """
        if self.path is not None:
            yield from islice(self._of_file(self.path), self.rows)

    def of_rows(self, rows: Iterable[HeldOut]) -> Iterable[Question]:
        """The run's held-out rows."""
        for row_id, turns, tools in islice(rows, self.rows):
            yield Question(row_id, list(turns), fields={"tools": tools})

    def conversations(self, question: Question, prompt: Sequence[Message]) -> list[list[Message]]:
        """The row."""
        return [question.messages]

    def weigh(self, question: Question, found: Sequence[Likelihood]) -> Graded:
        """Nats a token, all assistant turns together."""
        losses = [-logprob for turn in found[0] for logprob in turn]
        answers = [said(turn).strip() for turn in question.messages if turn["role"] == "assistant"]
        bits = sum(losses) / math.log(2) / sum(len(answer.encode()) for answer in answers)
        return Graded(sum(losses) / len(losses), {"bits_per_byte": bits}, answers[-1], len(losses))

    def _of_file(self, path: str) -> Iterable[Question]:
        for number, line in enumerate(row_reader(path)(), 1):
            try:
                parsed = parse(line)
            except Unusable as reason:
                raise DataError(f"{path}:{number}", f"{reason}; rows have {KNOWN}") from reason
            turns = list(parsed.messages)
            if not any(turn["role"] == "assistant" and said(turn).strip() for turn in turns):
                raise DataError(f"{path}:{number}", "has no answer to measure; leave it out")
            row_id = content_id({"turns": [f"{turn['role']}: {said(turn)}" for turn in turns]})
            yield Question(row_id, turns, fields={"tools": parsed.tools})
