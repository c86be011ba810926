"""`rephrase`: a text in other styles, each a prompt file under prompts/rephrase/.

`easy`, `medium`, `hard`, `qa`: WRAP (Maini et al. 2024, arXiv 2401.16380). `wikipedia`, `diverse_qa`,
`distill`, `extract`, `list`: Nemotron-CC (Su et al. 2024, arXiv 2412.02595).
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from pydantic import Field

from synth.errors import RequestFailed, Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered
from synth.types import Ask, Message, Reply, Seed

CONVERSATIONS = frozenset({"qa", "diverse_qa"})
LONG = frozenset({"wikipedia", "distill", "extract", "list"})
"""The styles whose short replies Nemotron-CC drops; a list or a conversation of WRAP's may be short."""
LABEL = re.compile(
    r"^[ \t*#.\d-]*(question|answer|q|a)[ \t]?\d*[ \t*]*:[ \t*]*", re.IGNORECASE | re.MULTILINE
)


class Rephrase(Strategy):
    """Rewrites the seed's `text` in each of `styles`.

    Needs seeds with `text`, of about 300 tokens at most (WRAP: from longer ones facts get lost); `[seeds]
    chunk = 220` (words) cuts longer documents. Yields a row a style, in a form of use as instruction data:

    - prose: the student sees the style's prompt with the text, as the teacher did, and its answer is the
      rewriting;
    - `qa`, `diverse_qa`: a conversation about the text. The student sees the text with the first question,
      then the other questions, and answers each; the prompt that made them is not in the row.

    Of the papers' limits, replies under `min_tokens` are dropped for Nemotron-CC's four prose styles; replies
    over the upper limits are those that `max_tokens` cut: a conversation loses its last pair, prose is left
    to the filter `truncated`. `generate` raises `Unusable` where the seed has no text.
    """

    styles: tuple[str, ...] = Field(min_length=1)
    """Rows of a seed: names of prompt files under prompts/rephrase/, yours or those that ship; each gets the
    seed's fields. One that you add is prose."""
    min_tokens: int = Field(default=50, ge=0)
    """Tokens that a reply in `wikipedia`, `distill`, `extract` or `list` has at least."""

    @property
    def rows_per_seed(self) -> int:
        """One a style."""
        return len(self.styles)

    def prompt_names(self) -> list[str]:
        """A file a style."""
        return [f"rephrase/{style}" for style in self.styles]

    def missing(self, fields: frozenset[str]) -> str:
        """The text."""
        return "" if "text" in fields else "needs seeds with `text`"

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """A row a style, in the recipe's order; one that comes to nothing costs no other."""
        text = seed.fields.get("text")
        if not isinstance(text, str) or not text.strip():
            raise Unusable("the seed has no text in `text`")
        rows = (self._rephrased(text.strip(), style, seed, ask, prompts) for style in self.styles)
        return list(await asyncio.gather(*rows))

    async def _rephrased(self, text: str, style: str, seed: Seed, ask: Ask, prompts: Prompts) -> Row:
        prompt = f"rephrase/{style}"
        turns = prompts.render(prompt, seed.fields)
        try:
            reply = await ask(turns)
        except RequestFailed as failed:
            return failed
        if style in LONG and reply.completion_tokens < self.min_tokens:
            return Unusable(f"fewer than {self.min_tokens} tokens in style {style}")
        if reply.text.split() == text.split():
            return Unusable(f"text unchanged in style {style}")
        if style in CONVERSATIONS:
            pairs = question_pairs(reply)
            if not pairs:
                return Unusable("no pair of question and answer in the reply")
            turns = conversation(text, pairs)
            reply = replace(reply, text=pairs[-1][1], finish_reason="stop")
        return answered(turns, reply, prompt=prompts.file(prompt).version, seed=seed)


def question_pairs(reply: Reply) -> list[tuple[str, str]]:
    """Each question that is followed by its answer, once; without the last where the reply was cut."""
    parts = LABEL.split(reply.text)[1:]
    kinds, texts = parts[::2], parts[1::2]
    said = [(kind[0].lower(), text.strip(" \t\n*")) for kind, text in zip(kinds, texts, strict=True)]
    pairs = [(one, two) for (a, one), (b, two) in pairwise(said) if (a, b) == ("q", "a") and one and two]
    once: dict[str, tuple[str, str]] = {}
    for question, answer in pairs[:-1] if reply.cut else pairs:
        once.setdefault(question.lower(), (question, answer))
    return list(once.values())


def conversation(text: str, pairs: Sequence[tuple[str, str]]) -> list[Message]:
    """The turns before the last answer; the first holds the text."""
    turns: list[Message] = []
    for question, answer in pairs:
        turns.append({"role": "user", "content": question if turns else f"{text}\n\n{question}"})
        turns.append({"role": "assistant", "content": answer})
    return turns[:-1]
