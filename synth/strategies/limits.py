"""`limits`: what an assistant can't know or do, said so, beside like questions that it answers.

After SQuAD 2.0 (Rajpurkar et al. 2018, arXiv 1806.03822): an unanswerable question is as close to the text as
an answerable one, so that only the text decides. A model that sees refusals alone learns to refuse.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from synth.errors import RequestFailed, Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered
from synth.strategies.grounded_qa import (
    MARKS,
    NO_TEXT,
    NOT_IN_TEXT,
    answer_from_text,
    fold,
    numbered,
    text_of,
)
from synth.strategies.grounding import copied, grounded, require_grounded
from synth.types import JSON, Ask, Record, Reply, Seed

GROUNDED = 0.5
"""Of the words of an answer the share that the text must have; its numbers always."""
STOP = ["\nQuestion:"]
"""Where a small teacher goes on with a question of its own."""
ANSWERABLE, UNANSWERABLE, LIVE, ACTION = "answerable", "unanswerable", "live", "action"


class Limits(Strategy):
    """Asks, of each seed's `text`, for questions that it answers, near misses, live questions and deeds.

    Needs seeds with `text`, as `grounded_qa` does. Requests: one for each of the three lists, four a pair
    (three without `verify`), and one for each other question. Yields `2 * pairs + live + actions` rows a
    sample. Their fields are the seed's, `question`, `kind` (answerable, unanswerable, live, action), and of a
    near miss `twin`, the answerable question. The filter `honesty` checks that an answer fits its kind.
    """

    prompts_used: ClassVar[tuple[str, ...]] = (
        "prompt",
        "twin_prompt",
        "answer_prompt",
        "honest_prompt",
        "student_prompt",
    )

    pairs: int = Field(default=2, gt=0)
    """Questions that the text answers, each with a near miss that it does not."""
    live: int = Field(default=1, ge=0)
    """Questions about this very moment."""
    actions: int = Field(default=1, ge=0)
    """Requests to do something that takes more than words."""
    verify: bool = True
    """Ask the near miss of the text too, and reject it where the text seems to answer it."""
    context: bool = False
    """Show the text to the student, before the question."""
    prompt: str = "limits/propose"
    """Gets the seed's fields, `kind` (never unanswerable) and `count`; its reply is a numbered list."""
    twin_prompt: str = "limits/twin"
    """Gets the seed's fields and the answerable `question`; its reply is the near miss."""
    answer_prompt: str = "limits/answer"
    """Gets the seed's fields and `question`; its reply is NOT IN THE TEXT where the text does not answer."""
    honest_prompt: str = "limits/honest"
    """Gets the seed's fields, `question` and `kind` (never answerable)."""
    student_prompt: str = "limits/student"
    """Its turns are stored in the row. Gets the seed's fields, `question` and `context`."""

    @property
    def rows_per_seed(self) -> int:
        """Two a pair, one for each of the others."""
        return 2 * self.pairs + self.live + self.actions

    @property
    def adds(self) -> frozenset[str]:
        """The question and its kind."""
        return frozenset({"question", "kind"})

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The seed's fields, and what each prompt file is told beside them."""
        return {
            self.prompt: fields | {"kind", "count"},
            self.twin_prompt: fields | {"question"},
            self.answer_prompt: fields | {"question"},
            self.honest_prompt: fields | {"question", "kind"},
            self.student_prompt: fields | {"question", "context"},
        }

    def missing(self, fields: frozenset[str]) -> str:
        """Seeds must have a text."""
        return "" if "text" in fields else NO_TEXT

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """The rows of every kind; a kind that fails costs its own rows alone.

        Raises:
            Unusable: the seed has no text.
        """
        text_of(seed)
        made = _Maker(self, seed, ask, prompts)
        counts = ((ANSWERABLE, self.pairs), (LIVE, self.live), (ACTION, self.actions))
        kinds = await asyncio.gather(*(made.kind(kind, count) for kind, count in counts if count))
        return [row for rows in kinds for row in rows]


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the rows of one seed."""

    step: Limits
    seed: Seed
    ask: Ask
    prompts: Prompts

    async def kind(self, kind: str, count: int) -> list[Row]:
        """The rows of one kind; each answerable one is followed by its near miss."""
        each = 2 if kind == ANSWERABLE else 1
        try:
            proposed = await self._asked(self.step.prompt, kind=kind, count=count)
            questions = numbered(proposed, count)
        except (RequestFailed, Unusable) as failed:
            return [failed] * (each * count)
        making: list[Awaitable[Record]] = []
        for question, repeated in zip(questions, self.ask.repeats(questions), strict=True):
            if repeated is not None:
                making += [_refused(repeated)] * each
            elif kind == ANSWERABLE:
                making += [self._answered(question), self._near_miss(question)]
            else:
                making.append(self._honest(kind, question))
        rows = await asyncio.gather(*map(_row, making))
        lacking = Unusable("the teacher gave fewer questions than asked")
        return [*rows, *[lacking] * (each * count - len(rows))]

    async def _answered(self, question: str) -> Record:
        """An answer that the text gives."""
        reply = await answer_from_text(self.prompts, self.step.answer_prompt, self._told(question), self.ask)
        require_grounded(reply.text, question, text_of(self.seed), GROUNDED)
        return self._record(reply, ANSWERABLE, question)

    async def _near_miss(self, question: str) -> Record:
        """A question that looks like this one and can't be answered from the text, with an honest answer."""
        reply = await self._asked(self.step.twin_prompt, question=question)
        lines = [line.strip(MARKS) for line in reply.text.splitlines()]
        twin = next(filter(None, lines), "")
        if reply.cut or not twin.endswith("?"):
            raise Unusable("no near miss in the reply")
        if fold(twin) == fold(question):
            raise Unusable("the near miss is the same question")
        if self.step.verify:
            answer = await self._asked(self.step.answer_prompt, question=twin)
            if not NOT_IN_TEXT.match(answer.text):
                raise Unusable("the text may answer the near miss")
        return await self._honest(UNANSWERABLE, twin, twin=question)

    async def _honest(self, kind: str, question: str, **more: JSON) -> Record:
        """What the assistant can't know or do, said so; of something that has to do with the text."""
        if not grounded(question, text_of(self.seed)):
            raise Unusable("the question has no word of the text")
        reply = await self._asked(self.step.honest_prompt, kind=kind, question=question)
        if reply.cut:
            raise Unusable("the answer was cut")
        return self._record(reply, kind, question, **more)

    async def _asked(self, prompt: str, **more: JSON) -> Reply:
        """The reply, which says nothing that a worked example of its prompt says."""
        turns = self.prompts.render(prompt, {**self.seed.fields, **more})
        reply = await self.ask(turns, stop=STOP)
        if copied(reply.text, turns):
            raise Unusable("the reply copies a worked example")
        return reply

    def _told(self, question: str) -> dict[str, JSON]:
        return {**self.seed.fields, "question": question}

    def _record(self, reply: Reply, kind: str, question: str, **more: JSON) -> Record:
        fields = self._told(question)
        turns = self.prompts.render(self.step.student_prompt, {**fields, "context": self.step.context})
        version = self.prompts.file(self.step.prompt).version
        record = answered(turns, reply, prompt=version, seed=self.seed)
        return replace(record, fields={**fields, "kind": kind, **more})


async def _refused(why: Unusable) -> Record:
    raise why


async def _row(making: Awaitable[Record]) -> Row:
    try:
        return await making
    except (RequestFailed, Unusable) as failed:
        return failed
