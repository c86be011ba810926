"""What `best_of_n` and `preference` share: several answers to one prompt, held against filters, and scored.

An answer is scored by itself, one criterion at a time, as in UltraFeedback (Cui et al. 2023, arXiv
2310.01377). Its makers found 2,628 rows with an overall score of 10 that was a 1: here a number off the scale
is no score, and one criterion without a score leaves the answer without.
"""

import asyncio
import re
from abc import ABC
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from synth.errors import Repeated, Unusable
from synth.judging import framed
from synth.prompts import Prompts
from synth.steps import Filter, Strategy, Verifiers, answered, first_rejection
from synth.types import JSON, Ask, Capability, Message, Record, Reply, Seed, Verdict

TRUNCATED = "truncated"
"""By whom a cut or empty answer is rejected, as by the filter of that name."""
LOWEST, HIGHEST = 1, 5
GRADES = [str(grade) for grade in range(LOWEST, HIGHEST + 1)]
SCORE = re.compile(r"score\s*[:=]\s*\**\s*(\d+(?:\.\d+)?)(?!\w)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its row as it would be kept, why a check rejected it, and the judge's scores."""

    number: int
    reply: Reply
    row: Record
    rejection: Verdict | None = None
    marks: tuple[Reply, ...] = ()
    """The judge's replies, one a criterion."""
    score: float | None = None
    """The mean of the criteria; None where it was not judged, or not readably."""

    @property
    def truncated(self) -> bool:
        """Whether it is cut or empty."""
        return self.rejection is not None and self.rejection.by == TRUNCATED

    @property
    def same(self) -> str:
        """The answer's text, to find those that are alike."""
        return " ".join(self.row.answer.split())


class Candidates(Strategy, ABC):
    """The base of strategies that choose among `n` answers to one prompt."""

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt", "student_prompt", "score_prompt")

    prompt: str
    """The prompt file that is answered. Gets the seed's fields."""
    student_prompt: str | None = None
    """The prompt file whose turns are stored in the row; the same by default. Gets the seed's fields."""
    n: int = Field(default=4, ge=2)
    """Answers asked of each prompt."""
    verify: Verifiers = ()
    """Filters that an answer must pass: [[generate.verify]], cheapest first."""
    judge: bool = False
    """Have [judge] score the answers."""
    criteria: tuple[str, ...] = Field(
        default=(
            "It does what was asked, to the letter.",
            "What it says is true.",
            "It says what it does not know, and claims no more than it can.",
            "It helps who asked, and is clear and to the point.",
        ),
        min_length=1,
    )
    """What the judge scores, each with a request of its own, from 1 to 5; their mean counts."""
    score_prompt: str = "preference/score"
    """Gets `question` and `answer` in their frames, `criterion` and `guided`; its reply must hold `Score: N`,
    or be N."""
    guided: bool = False
    """Let a score be one of the digits alone, by guided decoding; a reason comes before it otherwise."""

    @property
    def askers(self) -> tuple[str, ...]:
        """Its teacher, and the judge where it scores."""
        return (*dict.fromkeys((self.teacher, *(("judge",) if self.judge else ()))),)

    @property
    def several(self) -> bool:
        """All answers are asked at once."""
        return True

    def needs_of(self, asker: str) -> frozenset[Capability]:
        """Guided decoding of the judge, where it is asked for."""
        return frozenset({"choice"} if asker == "judge" and self.judge and self.guided else ())

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The seed's fields; the judge sees question and answer alone."""
        scored = frozenset({"question", "answer", "criterion", "guided"})
        return {**dict.fromkeys(self.prompt_names(), fields), self.score_prompt: scored}

    def missing(self, fields: frozenset[str]) -> str:
        """What a verifier lacks."""
        return lacking(self.verify, fields)

    def turns(self, seed: Seed, prompts: Prompts) -> list[Message]:
        """What the row shows before the answer."""
        return prompts.render(self.student_prompt or self.prompt, seed.fields)

    async def held(self, replies: Sequence[Reply], seed: Seed, prompts: Prompts) -> list[Answer]:
        """Replies as answers, each with the first check that rejects it; a cut or empty one passes none."""
        turns, version = self.turns(seed, prompts), prompts.file(self.prompt).version

        async def answer(number: int, reply: Reply) -> Answer:
            row = answered(turns, reply, prompt=version, seed=seed)
            if reply.cut or not row.answer:
                reason = "the answer was cut" if reply.cut else "the answer is empty"
                return Answer(number, reply, row, Verdict(TRUNCATED, False, None, reason))
            return Answer(number, reply, row, await first_rejection(row, self.verify))

        return list(await asyncio.gather(*(answer(*each) for each in enumerate(replies))))

    async def scored(self, answers: Sequence[Answer], ask: Ask, prompts: Prompts) -> list[Answer]:
        """The answers with the judge's scores; equal answers are asked about once."""
        return list(await asyncio.gather(*(self._scored(answer, ask, prompts) for answer in answers)))

    async def _scored(self, answer: Answer, ask: Ask, prompts: Prompts) -> Answer:
        shown = framed(question=answer.row.question, answer=answer.row.answer)
        told = {**shown, "guided": self.guided}

        async def mark(criterion: str) -> Reply:
            turns = prompts.render(self.score_prompt, {**told, "criterion": criterion})
            if self.guided:
                return await ask(turns, by="judge", temperature=0.0, choice=GRADES)
            return await ask(turns, by="judge", temperature=0.0)

        marks = tuple(await asyncio.gather(*map(mark, self.criteria)))
        scores = [score for reply in marks if (score := read_score(reply.text)) is not None]
        mean = sum(scores) / len(scores) if len(scores) == len(marks) else None
        return replace(answer, marks=marks, score=mean)


def read_score(text: str) -> int | None:
    """The last score that a judge's reply names; None where it is no whole number on the scale."""
    found = [text.strip()] if text.strip() in GRADES else SCORE.findall(text)
    return int(found[-1]) if found and found[-1] in GRADES else None


def readable(answers: list[Answer]) -> list[Answer]:
    """The answers that have a score; `Unusable` where none has."""
    found = [answer for answer in answers if answer.score is not None]
    if not found:
        raise Unusable("no score in any of the judge's replies")
    return found


def score_of(answer: Answer) -> float:
    """The score of an answer that has one."""
    assert answer.score is not None
    return answer.score


def row_of(answer: Answer, answers: Iterable[Answer], **more: JSON) -> Record:
    """The answer's row, with these fields too; all `answers` are paid for in it."""
    replies = [reply for each in answers for reply in (each.reply, *each.marks)]
    return replace(
        answer.row,
        fields={**answer.row.fields, **more},
        replies=tuple(reply.key for reply in replies),
        prompt_tokens=sum(reply.prompt_tokens for reply in replies),
        completion_tokens=sum(reply.completion_tokens for reply in replies),
    )


def none_passed(name: str, answers: Sequence[Answer], paid: Sequence[Answer], **more: JSON) -> Record:
    """The first of answers that are all rejected, with a verdict that says which check most of them failed.

    `paid` are all that were asked for the row.
    """
    by = Counter(answer.rejection.by for answer in answers if answer.rejection)
    verdict = Verdict(name, False, None, f"none of the n answers passed: {by.most_common(1)[0][0]}")
    return replace(row_of(answers[0], paid, **more), status="rejected", verdicts=(verdict,))


def known(turns: Sequence[Message], seed: Seed, ask: Ask) -> Repeated | None:
    """What the prompt repeats of an earlier one; asked before its answers are."""
    question = seed.fields.get("question")
    text = question if isinstance(question, str) else turns[-1]["content"]
    return ask.repeats([text])[0]


def lacking(checks: Iterable[Filter], fields: frozenset[str]) -> str:
    """What the first of these filters lacks in the seeds; "" where none does."""
    lacks = ((check.name, check.missing(fields)) for check in checks)
    return next((f"verifies by `{name}`, which {lack}" for name, lack in lacks if lack), "")
