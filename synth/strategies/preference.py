"""`preference`: two answers to one prompt, a better and a worse, to be trained on (DPO, arXiv 2305.18290).

Cui et al. 2023, arXiv 2310.01377 (UltraFeedback): answers of several models, scored by a judge on criteria.
Lambert et al. 2024, arXiv 2411.15124 (Tulu 3): the worse answers the prompt without one of its constraints.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from synth.constraints import constraints_of
from synth.errors import Unusable
from synth.prompts import Prompts
from synth.steps import Row
from synth.strategies.candidates import (
    Answer,
    Candidates,
    known,
    none_passed,
    readable,
    row_of,
    score_of,
)
from synth.types import JSON, Ask, Message, Reply, Seed


class Preference(Candidates):
    """Asks `n` answers to a prompt, and makes a pair of the best and one that is worse.

    With `judge` the scores decide; with `verify` the chosen answer passes, and without a judge the rejected
    one does not. Needs seeds that have every variable of its prompt files, and what its verifiers read.
    Yields one row: the prompt with the chosen answer, and these fields beside the seed's: `rejected` (the
    turns in its place), `rejected_model`, with `judge` `score` and `rejected_score`, with relaxed pairs the
    constraint `dropped`. The run's folder `preference/` has them as `prompt`, `chosen` and `rejected`.
    """

    teachers: tuple[str, ...] = ()
    """Who answers in turn: "teacher" and names of [teachers.NAME]; by default `teacher` alone."""
    temperatures: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """The temperatures of the answers, in turn, one a round of the teachers; the model's own by default."""
    pairs: Literal["sampled", "relaxed"] = Field(default="sampled", validate_default=True)
    """Where the rejected answer comes from: it is one of the n; or one of n more, to the prompt without one
    of the seed's `constraints`, which the prompt file must put in words (as `persona/answer` does)."""
    rejected: Literal["worst", "random"] = "worst"
    """Which of the worse answers: the lowest score (the first that does not pass), or one drawn."""
    margin: float = Field(default=1.0, gt=0)
    """By how much the chosen answer's score must be the higher one."""

    @field_validator("pairs")
    @classmethod
    def _decided(cls, pairs: str, given: ValidationInfo) -> str:
        if "verify" not in given.data or "judge" not in given.data:
            return pairs
        if pairs == "relaxed" and not given.data["verify"]:
            raise ValueError(
                'needs a verifier that sees the difference; add verify = [{ use = "constraint" }]'
            )
        if not given.data["verify"] and not given.data["judge"]:
            raise ValueError("nothing tells which answer is better; add judge = true, or verify")
        return pairs

    @property
    def askers(self) -> tuple[str, ...]:
        """Those who answer, and the judge where it scores."""
        return tuple(dict.fromkeys((*self._teachers, *(("judge",) if self.judge else ()))))

    @property
    def _teachers(self) -> tuple[str, ...]:
        return self.teachers or (self.teacher,)

    def missing(self, fields: frozenset[str]) -> str:
        """What a verifier lacks, or the constraints of which one is dropped."""
        if self.pairs == "relaxed" and "constraints" not in fields:
            return 'needs seeds with `constraints` for pairs = "relaxed"'
        return super().missing(fields)

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row.

        Raises:
            Unusable: no two answers make a pair; or the seed's constraints can't be relaxed.
        """
        turns = prompts.render(self.prompt, seed.fields)
        relaxed = self._relaxed(turns, seed, prompts) if self.pairs == "relaxed" else []
        if again := known(self.turns(seed, prompts), seed, ask):
            return [again]
        each = [turns] * self.n + [without for without, _ in relaxed]
        replies = await asyncio.gather(*(self._ask(prompt, at, ask) for at, prompt in enumerate(each)))
        answers = await self.held(replies, seed, prompts)
        own, others = answers[: self.n], answers[self.n :]
        chosen = [answer for answer in own if answer.rejection is None]
        if not chosen:
            return [none_passed(self.name, own, answers)]
        worse = self._worse(own, others)
        if self.judge:
            both = {answer.number: answer for answer in (*chosen, *worse)}
            scored = {a.number: a for a in await self.scored(list(both.values()), ask, prompts)}
            answers = [scored.get(answer.number, answer) for answer in answers]
            chosen, worse = ([scored[a.number] for a in group] for group in (chosen, worse))
        best, rejected = self._pair(chosen, worse, seed)
        more: dict[str, JSON] = {"dropped": relaxed[rejected.number - self.n][1]} if relaxed else {}
        if self.judge:
            more |= {"score": best.score, "rejected_score": rejected.score}
        turn = {"role": "assistant", "content": rejected.row.answer}
        return [row_of(best, answers, rejected=[turn], rejected_model=rejected.row.model, **more)]

    async def _ask(self, turns: list[Message], number: int, ask: Ask) -> Reply:
        names, warm = self._teachers, self.temperatures
        name = names[number % len(names)]
        if not warm:
            return await ask(turns, by=name, sample=number)
        return await ask(turns, by=name, sample=number, temperature=warm[number // len(names) % len(warm)])

    def _relaxed(
        self, turns: list[Message], seed: Seed, prompts: Prompts
    ) -> list[tuple[list[Message], Mapping[str, JSON]]]:
        """`n` prompts that lack one of the seed's constraints, each with what it lacks; all in turn."""
        try:
            every = constraints_of(seed.fields)
        except ValueError as error:
            raise Unusable(f"the seed's constraints: {error}") from error
        found = []
        for drop in every:
            rest = [constraint for constraint in every if constraint is not drop]
            without = prompts.render(self.prompt, {**seed.fields, "constraints": rest})
            if without != turns:
                found.append((without, drop))
        if not found:
            raise Unusable("the prompt says nothing of the seed's constraints")
        first = drawn(seed.id)
        return [found[(first + number) % len(found)] for number in range(self.n)]

    def _worse(self, own: list[Answer], others: list[Answer]) -> list[Answer]:
        """The answers that may be the rejected one, before scores are known."""
        if self.pairs == "sampled" and self.judge:
            whole = [answer for answer in own if not answer.truncated]
            if len({answer.same for answer in whole}) < 2:
                raise Unusable("fewer than two different answers")
            return whole
        failing = [answer for answer in (others or own) if answer.rejection and not answer.truncated]
        if not failing:
            raise Unusable("no answer fails the verifiers")
        return failing

    def _pair(self, chosen: list[Answer], worse: list[Answer], seed: Seed) -> tuple[Answer, Answer]:
        """The best and a worse one."""
        if self.judge:
            chosen, worse = readable(chosen), readable(worse)
            best = max(chosen, key=score_of)
            below = [other for other in worse if score_of(best) - score_of(other) >= self.margin]
            if not below:
                raise Unusable("no answer is worse by the margin")
            below.sort(key=score_of)
        else:
            best, below = chosen[0], worse
        return best, below[0 if self.rejected == "worst" else drawn(seed.id, best.same) % len(below)]


def drawn(*parts: str) -> int:
    """A number that is always the same for these texts."""
    return int(hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8], 16)
