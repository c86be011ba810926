"""`best_of_n`: several answers to each prompt, of which those are kept that a check finds right.

Yuan et al. 2023, arXiv 2308.01825 (rejection sampling fine-tuning): of 100 answers to a problem, sampled at a
temperature of 0.7, the right ones with right and different equations are kept. Without a known answer the one
that most of them give is taken for right (self-consistency, Wang et al. 2022, arXiv 2203.11171).
"""

import asyncio
import re
from collections import Counter
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from synth.answers import last_number, normalised, number, shown
from synth.errors import Unusable
from synth.prompts import Prompts
from synth.steps import Row
from synth.strategies.candidates import Answer, Candidates, known, none_passed, readable, row_of, score_of
from synth.strategies.equations import equations, holds
from synth.types import JSON, Ask, Seed, Verdict


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from error
    return text


class BestOfN(Candidates):
    """Asks `n` answers to a prompt, and keeps those that pass `verify` and agree with the most.

    Needs seeds that have every variable of its prompt files, and what its verifiers read. Yields one row, or
    `n` with `keep` all or distinct. Their fields are the seed's, `passed` and `of` (how many answers passed,
    of how many: the prompt's pass rate), with `agreement` its share and `majority`, with `judge` a `score`.
    """

    agreement: float | None = Field(default=None, gt=0, le=1, validate_default=True)
    """Take the final answer that most of the n give for right, where at least this share of them gives it."""
    final: Annotated[str, AfterValidator(_pattern)] | None = None
    """A regular expression that finds the final answer: its last match, or the group in it. By default the
    last number."""
    keep: Literal["one", "all", "distinct"] = "one"
    """Of the answers that pass: the first (or with `judge` the best), all, or those whose equations differ
    (whose words differ, where there are no equations)."""
    sums: bool = False
    """Reject an answer in which an equation such as 14 - 9 = 18 is wrong, though its end may be right."""
    skip_identical: bool = False
    """Reject a prompt to which all n answers are the same: it has little to teach."""

    @field_validator("agreement")
    @classmethod
    def _checks(cls, agreement: float | None, given: ValidationInfo) -> float | None:
        if agreement is None and not given.data.get("verify") and not given.data.get("judge"):
            raise ValueError("nothing tells which answer is right; add it, verify, or judge = true")
        return agreement

    @field_validator("keep")
    @classmethod
    def _fits(cls, keep: str, given: ValidationInfo) -> str:
        if keep != "one" and given.data.get("judge"):
            raise ValueError('a judge picks one answer; write keep = "one", or judge = false')
        return keep

    @property
    def rows_per_seed(self) -> int:
        """One, or `n` where more than one may be kept."""
        return 1 if self.keep == "one" else self.n

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """The answer that is kept; or a row an answer, those that did not pass with their rejection.

        Raises:
            Unusable: all answers are alike (`skip_identical`), or the judge gave no readable score.
        """
        turns = prompts.render(self.prompt, seed.fields)
        if again := known(self.turns(seed, prompts), seed, ask):
            return [again] * self.rows_per_seed
        replies = await asyncio.gather(*(ask(turns, sample=number) for number in range(self.n)))
        answers = await self.held(replies, seed, prompts)
        if self.skip_identical and len({answer.same for answer in answers}) == 1:
            raise Unusable("all n answers are the same")
        if self.sums:
            answers = [_summed(answer) for answer in answers]
        told: dict[str, JSON] = {}
        if self.agreement is not None:
            answers, told = self._agreeing(answers, self.agreement)
        passed = sum(answer.rejection is None for answer in answers)
        told |= {"passed": passed, "of": self.n}
        if self.keep == "one":
            return [await self._one(answers, told, ask, prompts)]
        return [
            self._row(answer, told) for answer in (_distinct(answers) if self.keep == "distinct" else answers)
        ]

    def _row(self, answer: Answer, told: dict[str, JSON]) -> Row:
        row = row_of(answer, [answer], **told)
        return replace(row, status="rejected", verdicts=(answer.rejection,)) if answer.rejection else row

    async def _one(self, answers: list[Answer], told: dict[str, JSON], ask: Ask, prompts: Prompts) -> Row:
        passed = [answer for answer in answers if answer.rejection is None]
        if not passed:
            return none_passed(self.name, answers, answers, **told)
        if not self.judge:
            return row_of(passed[0], answers, **told)
        scored = await self.scored(passed, ask, prompts)
        best = max(readable(scored), key=score_of)
        others = [answer for answer in answers if answer.rejection]
        return row_of(best, [*scored, *others], **told, score=best.score)

    def _agreeing(self, answers: list[Answer], least: float) -> tuple[list[Answer], dict[str, JSON]]:
        """The answers, those that do not give the majority's final answer rejected; and its share of all."""
        finals = [self._final(answer) for answer in answers]
        (most, votes), *_ = Counter(final for final in finals if final).most_common(1) or [("", 0)]
        share = votes / len(answers)
        reason = "the answers do not agree" if share < least else "not the answer of the majority"
        other = Verdict("agreement", False, None, reason)
        agreeing = [
            answer
            if answer.rejection or (share >= least and final == most)
            else replace(answer, rejection=other)
            for answer, final in zip(answers, finals, strict=True)
        ]
        return agreeing, {"agreement": share, "majority": most}

    def _final(self, answer: Answer) -> str:
        """The final answer in one form; "" where there is none, or the answer was cut."""
        if answer.truncated:
            return ""
        if not self.final:
            value = last_number(answer.row.answer)
            return "" if value is None else shown(value)
        found = list(re.finditer(self.final, answer.row.answer))
        return plain(found[-1][1 if found[-1].re.groups else 0]) if found else ""


def plain(text: str | None) -> str:
    """A final answer without what doesn't count: case, outer marks, and in a number commas and last zeros."""
    value = number(text or "")
    return normalised(text or "") if value is None else shown(value)


def _summed(answer: Answer) -> Answer:
    """The answer, rejected where one of its equations is wrong."""
    if answer.rejection or all(map(holds, equations(answer.row.answer))):
        return answer
    return replace(answer, rejection=Verdict("sums", False, None, "an equation is wrong"))


def _distinct(answers: list[Answer]) -> list[Answer]:
    """The answers, those that passed and go the way of an earlier one rejected."""
    seen: set[tuple[str, ...]] = set()
    repeats = Verdict("best_of_n", False, None, "goes the way of another answer")
    out = []
    for answer in answers:
        if answer.rejection is None:
            way = equations(answer.row.answer) or tuple(re.findall(r"\w+", answer.row.answer.lower()))
            answer = replace(answer, rejection=repeats) if way in seen else answer
            seen.add(way)
        out.append(answer)
    return out
