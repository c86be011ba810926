"""`backtranslate`: the instruction that a given text would answer, kept where the pair is good.

Li et al. 2023, arXiv 2308.06259 (Humpback): a model writes the instruction (self-augmentation), then grades
the pair from 1 to 5 (self-curation); pairs of 4.5 and more are kept. The answer is the text, word for word.
"""

import asyncio
import re
from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field, model_validator

from synth.errors import Unusable
from synth.judging import TOP, odds
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered, must_be_new
from synth.strategies.candidates import GRADES, HIGHEST, LOWEST
from synth.strategies.grounding import copied
from synth.types import Ask, Capability, Message, Reply, Seed

SCORE = re.compile(r"score\s*[:=]\s*\**\s*(\d+(?:\.\d+)?)\b", re.IGNORECASE)


class Backtranslate(Strategy):
    """Writes the instruction of the seed's text and grades the pair `scores` times; the mean decides.

    Needs seeds with the text `field`, good enough to be an answer as it is. Yields one row: instruction and
    text, with the mean grade as the field `score`. The paper trains one model for each direction; here the
    teacher does both by prompt.

    `generate` raises `Unusable` for a pair under `min_score` or without a readable grade, for an instruction
    that was cut, is empty or copies an example, and for a seed without a text.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt", "score_prompt")

    min_score: float = Field(default=4.5, ge=LOWEST, le=HIGHEST)
    """The mean grade that a pair needs."""
    scores: int = Field(default=1, gt=0)
    """Grades asked of a pair, each another draw of the teacher's."""
    guided: bool = False
    """Let the grade be a digit alone, by guided decoding, and take the mean of all five by the teacher's odds
    (Liu et al. 2023, arXiv 2303.16634): one request, a finer grade. A reason comes before it otherwise."""
    field: str = "text"
    """The field of the seed that holds the text."""
    prompt: str = "backtranslate/instruct"
    """Gets `text`."""
    score_prompt: str = "backtranslate/score"
    """Gets `instruction`, `text` and `guided`; its reply must hold `Score: N`, or be N, from 1 to 5."""

    @property
    def needs(self) -> frozenset[Capability]:
        """Guided decoding, where it is asked for."""
        return frozenset({"choice", "logprobs"} if self.guided else ())

    @model_validator(mode="after")
    def _once(self) -> Self:
        if self.guided and self.scores > 1:
            raise ValueError("guided grades are the same each time; set scores = 1, or guided = false")
        return self

    @property
    def adds(self) -> frozenset[str]:
        """The mean grade."""
        return frozenset({"score"})

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """Not the seed's fields: the text, and its instruction."""
        return {
            self.prompt: frozenset({"text"}),
            self.score_prompt: frozenset({"instruction", "text", "guided"}),
        }

    def missing(self, fields: frozenset[str]) -> str:
        """The text."""
        return "" if self.field in fields else f"needs seeds with `{self.field}`; or set field"

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row. Grades are asked only of a whole instruction."""
        text = seed.fields.get(self.field)
        if not isinstance(text, str) or not text.strip():
            raise Unusable(f"the seed has no text in `{self.field}`")
        turns = prompts.render(self.prompt, {"text": text})
        reply = await ask(turns)
        instruction = reply.text.strip()
        if reply.cut or not instruction:
            raise Unusable("instruction was cut" if reply.cut else "no instruction in the reply")
        if copied(instruction, turns):
            raise Unusable("instruction copies a worked example")
        must_be_new(ask, instruction)
        material = {"instruction": instruction, "text": text, "guided": self.guided}
        turns = prompts.render(self.score_prompt, material)
        grades = await asyncio.gather(*(self._grade(turns, number, ask) for number in range(self.scores)))
        score = expected(grades[0]) if self.guided else mean_score(grades)
        if score < self.min_score:
            raise Unusable(f"score below {self.min_score:g}")
        question: Message = {"role": "user", "content": instruction}
        whole = replace(reply, text=text)  # the answer is the text, not the reply
        version = prompts.file(self.prompt).version
        record = answered([question], whole, prompt=version, seed=seed, replies=[reply, *grades])
        return [replace(record, fields={**seed.fields, "score": score})]

    async def _grade(self, turns: list[Message], number: int, ask: Ask) -> Reply:
        if self.guided:
            return await ask(turns, temperature=0.0, choice=GRADES, top_logprobs=TOP)
        return await ask(turns, sample=number)


def expected(grade: Reply) -> float:
    """The mean of the grades, weighed by how likely the teacher was to give each.

    Raises:
        Unusable: no grade was likely.
    """
    shares = odds(grade, GRADES)
    if not shares:
        raise Unusable("no score in any grade")
    return sum(int(mark) * share for mark, share in shares.items())


def mean_score(grades: list[Reply]) -> float:
    """The mean of the grades that can be read.

    Raises:
        Unusable: there is none; what can't be read is never taken for a low grade.
    """
    texts = [grade.text.strip() for grade in grades]
    marks = [[text] if text in GRADES else SCORE.findall(text) for text in texts]
    found = [float(each[-1]) for each in marks if each]
    found = [mark for mark in found if LOWEST <= mark <= HIGHEST]
    if not found:
        raise Unusable("no score in any grade")
    return sum(found) / len(found)
