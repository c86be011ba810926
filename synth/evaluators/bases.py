"""The bases of evaluators that ask for something else than an answer to be graded."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from synth.prompts import Prompts
from synth.steps import Evaluation, Graded, Question
from synth.types import JSON, Ask, Message

Likelihood: TypeAlias = Sequence[Sequence[float]]
"""Of a conversation, for each assistant turn, the log-probabilities (nats) of its tokens; the last of them
ends the turn."""
HeldOut: TypeAlias = tuple[str, Sequence[Message], Sequence[Mapping[str, JSON]]]
"""Id, turns and tools of a row that was not trained on."""
Other: TypeAlias = Literal["base", "teacher_prompt", "retrieval"]
"""The systems beside which a student stands."""


class LikelihoodEvaluator(Evaluation):
    """Questions by how likely a model finds what is given; it writes nothing."""

    prompted: ClassVar[bool] = True
    """Whether systems that get another prompt than the student are measured too."""

    @abstractmethod
    def conversations(self, question: Question, prompt: Sequence[Message]) -> Sequence[Sequence[Message]]:
        """What is measured: the assistant's turns in each. `prompt` is what the system gets."""

    @abstractmethod
    def weigh(self, question: Question, found: Sequence[Likelihood]) -> Graded:
        """The score, given what was found of each conversation."""

    def of_rows(self, rows: Iterable[HeldOut]) -> Iterable[Question]:
        """Questions made of the run's held-out rows, where they are not `known` before."""
        return ()


class PairEvaluator(Evaluation):
    """Questions that two systems answer, and a judge that compares the answers.

    A score is 1 where the student's answer is the better one, 0.5 for a tie; the other system has 0.5.
    """

    against: Other = "base"
    """Whose answers the student's are compared with."""

    @abstractmethod
    async def compare(
        self, question: Question, answer: str, other: str, ask: Ask, prompts: Prompts
    ) -> Graded | None:
        """How the student's `answer` does beside the `other`; None where the judge gives no verdict."""


class ModelEvaluator(Evaluation):
    """Measures a model's folder by a program of its own."""

    @property
    def known(self) -> bool:
        """The program knows them."""
        return False

    def questions(self) -> Iterable[Question]:
        """None."""
        return ()

    @abstractmethod
    def measure(self, model: Path | str, out: Path) -> Iterable[tuple[Question, Graded]]:
        """Every question with its score. In `out`, this model's alone, it may keep what cost time."""
