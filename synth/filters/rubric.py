"""`rubric`: a model scores the answer by written criteria (Zheng et al. 2023, arXiv 2306.05685)."""

import re
from typing import ClassVar

from pydantic import Field

from synth.prompts import Prompts
from synth.steps import Judge
from synth.types import Ask, Record, Verdict

SCORE = re.compile(r"score\s*[:=]\s*\**\s*(\d+(?:\.\d+)?)\b", re.IGNORECASE)


class Rubric(Judge):
    """Rejects below `threshold`, and where the judge gives no score or one off the scale."""

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt",)

    prompt: str = "rubric/judge"
    """Gets `question`, `answer`, `criteria`, `lowest`, `highest`; its reply must hold `Score: N`."""
    criteria: tuple[str, ...] = (
        "It does what was asked.",
        "What it says is right.",
        "It is clear and to the point.",
    )
    lowest: int = 1
    highest: int = 5
    threshold: float = 4
    max_tokens: int = Field(default=120, gt=0)

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """What `judge` fills in."""
        return {self.prompt: frozenset({"question", "answer", "criteria", "lowest", "highest"})}

    async def judge(self, record: Record, ask: Ask, prompts: Prompts) -> Verdict:
        """Score: the judge's, on its scale."""
        fields = {
            "question": record.question,
            "answer": record.answer,
            "criteria": self.criteria,
            "lowest": self.lowest,
            "highest": self.highest,
        }
        reply = await ask(prompts.render(self.prompt, fields), temperature=0.0, max_tokens=self.max_tokens)
        found = SCORE.findall(reply.text)
        if not found:
            return Verdict(self.name, False, None, "no score in the judge's reply")
        score = float(found[-1])
        if not self.lowest <= score <= self.highest:
            return Verdict(self.name, False, None, f"score off the scale {self.lowest}-{self.highest}")
        keep = score >= self.threshold
        return Verdict(self.name, keep, score, "" if keep else f"score below {self.threshold:g}")
