"""`pairwise`: whose answer does a judge prefer, asked in both orders? (Zheng et al. 2023, arXiv 2306.05685).

Judges prefer a place and length. A win in one order alone is a tie, and the win rate is shown once more over
the answers of like length.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from pydantic import Field

from synth.evaluators.bases import PairEvaluator
from synth.evaluators.lines import content_id, read_lines
from synth.judging import COMPARED, NEEDS, Read, better
from synth.prompts import Prompts
from synth.steps import Graded, Question
from synth.types import Ask, Capability, Message

ALIKE = 1.25
"""Answers are of like length where the longer has at most so many times the characters of the other."""


class Pairwise(PairEvaluator):
    """Scores 1 where the judge prefers the student's answer in both orders, 0 where the other one, else 0.5.

    `path` is a JSONL file with `question`; the optional field `kind` groups the report. Both answers are
    shown to the judge as data (`judging.framed`). Beside the score: `like_length`, the score over those
    questions whose answers are of like length, and `longer`, on how many the student's is the longer one.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt",)

    path: str
    prompt: str = "pairwise/judge"
    """Gets `question`, `first` and `second` in their frames, `criteria` and `written`; the reply must be 1 or
    2, and with `written` end in `Score: N`."""
    criteria: tuple[str, ...] = Field(default=COMPARED, min_length=1)
    """By what the answers are compared, all together."""
    read: Read = "odds"
    """"odds": the likelier answer of the judge's first token. "choice": the one that it names. "text": the
    one at the end of its reasons."""
    max_tokens: int = Field(default=120, gt=0)
    """Of a reply with reasons."""

    @property
    def needs(self) -> frozenset[Capability]:
        """What `read` takes of the judge."""
        return NEEDS[self.read]

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """What `compare` fills in."""
        return {self.prompt: frozenset({"question", "first", "second", "criteria", "written"})}

    def questions(self) -> Iterable[Question]:
        """Every line as one user turn, in file order.

        Raises:
            DataError: names file, line and mend.
        """
        for _, fields in read_lines(self.path, ("question",)):
            yield Question(
                id=content_id(fields),
                messages=[{"role": "user", "content": str(fields["question"])}],
                kind=str(fields.get("kind", "")),
                fields=fields,
            )

    async def compare(
        self, question: Question, answer: str, other: str, ask: Ask, prompts: Prompts
    ) -> Graded | None:
        """Two requests, one in each order; none where the answers are the same."""

        def turns(shown: Mapping[str, str]) -> list[Message]:
            return prompts.render(
                self.prompt, {**shown, "criteria": self.criteria, "written": self.read == "text"}
            )

        asked = "\n\n".join(turn["content"] for turn in question.messages)
        score = await better(ask, turns, (asked, answer, other), self.read, self.max_tokens)
        if score is None:
            return None
        details = {"longer": float(len(answer) > len(other))}
        if max(len(answer), len(other)) <= ALIKE * min(len(answer), len(other)):
            details["like_length"] = score
        return Graded(score, details)
