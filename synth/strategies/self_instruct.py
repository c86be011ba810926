"""`self_instruct`: new instructions from examples of others, then their answers.

Wang et al. 2022, arXiv 2212.10560: eight in-context instructions, new ones dropped by length, wording and
kind, then answered one by one. A row is one new instruction with its answer.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from synth.errors import RequestFailed, Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered
from synth.types import Ask, Message, Seed

ITEM = re.compile(r"^\s*(?:task\s*)?(\d+)[.):]\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
UNSUITED = re.compile(r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE)


class SelfInstruct(Strategy):
    """Proposes `per_seed` new instructions from the seed's `examples` and answers each.

    Needs `[seeds] sample` (the paper: 8), over lines that have the field `instruction`.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt", "answer_prompt")

    per_seed: int = Field(default=4, gt=0)
    """New instructions asked from one set of examples."""
    prompt: str = "self_instruct/propose"
    """Gets `examples` (a list of instructions) and `first`, `last` (the numbers asked)."""
    answer_prompt: str = "self_instruct/answer"
    """Gets `instruction`."""
    field: str = "instruction"
    """The field of the examples that holds an instruction."""

    @property
    def rows_per_seed(self) -> int:
        """`per_seed`."""
        return self.per_seed

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """Not the seed's fields: the numbered examples, then one instruction."""
        return {
            self.prompt: frozenset({"examples", "first", "last"}),
            self.answer_prompt: frozenset({"instruction"}),
        }

    def missing(self, fields: frozenset[str]) -> str:
        """Seeds must be samples."""
        return "" if "examples" in fields else "needs seeds with `examples`; set [seeds] sample = 8"

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """Rows for the instructions that are new and suited; the others with the reason why not."""
        examples = self._examples(seed)
        first, last = len(examples) + 1, len(examples) + self.per_seed
        turns = prompts.render(self.prompt, {"examples": examples, "first": first, "last": last})
        reply = await ask(turns)
        proposed = [text for number, text in ITEM.findall(reply.text) if first <= int(number) <= last]
        if reply.finish_reason == "length" and proposed:
            proposed.pop()  # the last one was cut
        if not proposed:
            raise Unusable("no numbered instruction in the reply")
        known = {_fold(example) for example in examples}
        return list(
            await asyncio.gather(
                *(self._answer(text, known, seed, ask, prompts) for text in proposed[: self.per_seed])
            )
        )

    async def _answer(self, text: str, known: set[str], seed: Seed, ask: Ask, prompts: Prompts) -> Row:
        if reason := unsuited(text, known):
            return Unusable(reason)
        known.add(_fold(text))
        try:
            reply = await ask(prompts.render(self.answer_prompt, {"instruction": text}))
        except RequestFailed as failed:
            return failed
        question: Message = {"role": "user", "content": text}
        return answered([question], reply, prompt=prompts.file(self.prompt).version, seed=seed)

    def _examples(self, seed: Seed) -> list[str]:
        examples = seed.fields.get("examples")
        if not isinstance(examples, list):
            raise Unusable("the seed has no examples")
        texts = [example.get(self.field) for example in examples if isinstance(example, Mapping)]
        if len(texts) < len(examples) or not all(isinstance(text, str) for text in texts):
            raise Unusable(f"an example has no text in `{self.field}`")
        return [re.sub(r"\s+", " ", str(text)).strip().rstrip(":") for text in texts]


def unsuited(text: str, known: set[str]) -> str:
    """Why an instruction is not taken, by the paper's rules; "" where it is."""
    words = len(text.split())
    if words <= 3 or words > 150:
        return "instruction of at most 3 or over 150 words"
    if UNSUITED.search(text):
        return "instruction needs what a text model has not"
    if text.lower().startswith("write a program"):
        return "instruction asks for a program"
    if not text[0].isascii() or not text[0].isalnum():
        return "instruction begins with no letter"
    if _fold(text) in known:
        return "instruction repeats an example"
    return ""


def _fold(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()
