"""`rubric`: a model grades the answer by written criteria (Zheng et al. 2023, arXiv 2306.05685).

The mean over the grades' logprobs is DEITA's (Liu et al. 2023, arXiv 2312.15685).
"""

import asyncio
from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, model_validator

from synth.judging import NEEDS, NO_SCORE, TOP, Read, framed, odds, written
from synth.prompts import Prompts
from synth.steps import Judge
from synth.types import Ask, Capability, Record, Verdict


class Rubric(Judge):
    """Rejects below `threshold`, and where the judge gives no grade or one off the scale.

    Each criterion is a request of its own; the answer's score is their mean. Question and answer are shown as
    data (`judging.framed`), and the instructions come after them.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt",)

    prompt: str = "rubric/judge"
    """Gets `question` and `answer` in their frames, `criterion`, `lowest`, `highest` and `written`; the reply
    must be a grade, and with `written` end in `Score: N`."""
    criteria: tuple[str, ...] = Field(
        default=(
            "It does what was asked.",
            "What it says is right.",
            "It is clear and to the point.",
        ),
        min_length=1,
    )
    """What is graded, each by itself."""
    lowest: int = Field(default=1, ge=0)
    highest: int = 5
    threshold: float = 4
    """What the mean of the criteria must reach."""
    minimum: float | None = None
    """What each criterion must reach."""
    read: Read = "odds"
    """"odds": the mean of all grades by how likely the judge was to give each. "choice": the grade that it
    gives. "text": the one at the end of its reasons. A threshold for one is none for another."""
    max_tokens: int = Field(default=120, gt=0)
    """Of a reply with reasons."""

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        if not self.lowest < self.highest:
            raise ValueError("lowest must be below highest; correct the scale")
        if self.read == "odds" and self.highest > 9:
            raise ValueError('highest must be 9 at most where read = "odds": a grade is one digit')
        for name, bound in (("threshold", self.threshold), ("minimum", self.minimum)):
            if bound is not None and not self.lowest <= bound <= self.highest:
                raise ValueError(f"{name} is off the scale {self.lowest}-{self.highest}; correct it")
        return self

    @property
    def needs(self) -> frozenset[Capability]:
        """What `read` takes."""
        return NEEDS[self.read]

    @property
    def grades(self) -> list[str]:
        """The scale, as it is written."""
        return [str(grade) for grade in range(self.lowest, self.highest + 1)]

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """What `judge` fills in."""
        told = {"question", "answer", "criterion", "lowest", "highest", "written"}
        return {self.prompt: frozenset(told)}

    async def judge(self, record: Record, ask: Ask, prompts: Prompts) -> Verdict:
        """Score: the mean of the criteria, on the scale."""
        shown = framed(question=record.question, answer=record.answer)
        asked = (self._grade(shown, criterion, ask, prompts) for criterion in self.criteria)
        found = await asyncio.gather(*asked)
        grades = [grade for grade in found if grade is not None]
        if len(grades) < len(found):
            return Verdict(self.name, False, None, NO_SCORE)
        score = sum(grades) / len(grades)
        if score < self.threshold:
            return Verdict(self.name, False, score, f"score below {self.threshold:g}")
        if self.minimum is not None and min(grades) < self.minimum:
            worst = self.criteria[grades.index(min(grades))]
            return Verdict(self.name, False, score, f"below {self.minimum:g} in: {worst}")
        return Verdict(self.name, True, score)

    async def _grade(
        self, shown: Mapping[str, str], criterion: str, ask: Ask, prompts: Prompts
    ) -> float | None:
        """The grade by one criterion; None where there is none in the reply."""
        told = {"criterion": criterion, "lowest": self.lowest, "highest": self.highest}
        turns = prompts.render(self.prompt, {**shown, **told, "written": self.read == "text"})
        if self.read == "odds":
            reply = await ask(turns, temperature=0.0, max_tokens=1, top_logprobs=TOP)
            shares = odds(reply, self.grades)
            return sum(int(grade) * share for grade, share in shares.items()) if shares else None
        if self.read == "choice":
            reply = await ask(turns, temperature=0.0, choice=self.grades)
            return int(reply.text) if reply.text in self.grades else None
        reply = await ask(turns, temperature=0.0, max_tokens=self.max_tokens)
        said = written(reply, self.grades)
        return None if said is None else int(said)
