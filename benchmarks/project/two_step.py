"""The strategy that is measured: a question is asked for, then its answer; the record is the pair."""

from typing import ClassVar

from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered
from synth.types import JSON, Ask, Capability, Message, Sampling, Seed

SCHEMA: dict[str, JSON] = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


class TwoStep(Strategy):
    """Asks `question`, gives the reply to `answer` as `asked`, and stores both replies as one turn each."""

    prompts_used: ClassVar[tuple[str, ...]] = ("question", "answer")

    question: str = "question"
    answer: str = "answer"
    structured: bool = False
    """Ask for the answer as JSON by a schema."""

    @property
    def needs(self) -> frozenset[Capability]:
        """A schema, where the answer is asked for by one."""
        return frozenset({"json_schema"} if self.structured else ())

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The second prompt is also given the first reply."""
        return {self.question: fields, self.answer: fields | {"asked"}}

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row a seed, of two chained requests."""
        asked = await ask(prompts.render(self.question, seed.fields))
        sampling: Sampling = {"json_schema": SCHEMA} if self.structured else {}
        reply = await ask(prompts.render(self.answer, {**seed.fields, "asked": asked.text}), **sampling)
        turns: list[Message] = [{"role": "user", "content": asked.text}]
        version = prompts.file(self.question).version
        return [answered(turns, reply, prompt=version, seed=seed, replies=[asked, reply])]
