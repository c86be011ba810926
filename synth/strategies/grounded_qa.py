"""`grounded_qa`: questions about a text, answers from it alone, and the sentence that bears each one out.

After LAB's knowledge pipeline (Sudalairaj et al. 2024, arXiv 2403.01081): questions and answers from a chunk
of a document, then a check of each pair against it. Here the check is a quote, which code looks up in the
text: it proves that the words stand there, not that they bear the answer out; a `rubric` judge weighs that.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from synth.chunks import find
from synth.errors import RequestFailed, Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered
from synth.types import JSON, Ask, Reply, Seed

ITEM = re.compile(r"^[\s*#]*(?:question\s*)?\d+[.):](.+)$", re.IGNORECASE | re.MULTILINE)
NOT_IN_TEXT = re.compile(r"\W*(?:none\W*$|not\s+in\s+the\s+(?:text|document)\b)", re.IGNORECASE)
QUOTED = re.compile(r'["\u201c](.+?)["\u201d]', re.DOTALL)
MARKS = " \t\n\"'\u2018\u2019\u201c\u201d`*>-"
SHORTEST = 3
"""Words of a quote: fewer are found in any text."""
NO_TEXT = "needs seeds with `text`; point [seeds] path to a folder of documents, and set chunk = 300"


class GroundedQA(Strategy):
    """Asks `per_chunk` questions about the seed's `text`, answers each, and keeps those with evidence.

    Needs seeds with `text`: chunks of documents (`[seeds] chunk`), each with `file`, `start` and `end`, or
    texts short enough to be read at once. Requests: one a seed and two a question. Yields `per_chunk` rows a
    sample, with these fields: the seed's, `start` and `end` of the text, `question`, and `evidence`, which
    has `text`, and `start` and `end` in the document.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt", "answer_prompt", "quote_prompt", "student_prompt")

    per_chunk: int = Field(default=3, gt=0)
    """Questions asked about one text."""
    context: bool = False
    """Show the text to the student, before the question; without it answers are learnt by heart."""
    prompt: str = "grounded_qa/ask"
    """Gets the seed's fields and `per_chunk`; its reply is a numbered list."""
    answer_prompt: str = "grounded_qa/answer"
    """Gets the seed's fields and `question`; its reply is NOT IN THE TEXT where the text does not answer."""
    quote_prompt: str = "grounded_qa/quote"
    """Gets the seed's fields, `question` and `answer`; its reply is a sentence of the text, or NONE."""
    student_prompt: str = "grounded_qa/student"
    """Its turns are stored in the row. Gets the seed's fields, `question` and `context`."""

    @property
    def rows_per_seed(self) -> int:
        """`per_chunk`."""
        return self.per_chunk

    @property
    def adds(self) -> frozenset[str]:
        """The question and its evidence, and the place of the text."""
        return frozenset({"start", "end", "question", "evidence"})

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The seed's fields, and what each prompt file is told beside them."""
        return {
            self.prompt: fields | {"per_chunk"},
            self.answer_prompt: fields | {"question"},
            self.quote_prompt: fields | {"question", "answer"},
            self.student_prompt: fields | {"question", "context"},
        }

    def missing(self, fields: frozenset[str]) -> str:
        """Seeds must have a text."""
        return "" if "text" in fields else NO_TEXT

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """A row a question, or why there is none.

        Raises:
            Unusable: the seed has no text, or the reply no numbered question.
        """
        text_of(seed)
        asked = await ask(prompts.render(self.prompt, {**seed.fields, "per_chunk": self.per_chunk}))
        known: set[str] = set()
        rows = [
            self._row(question, known, asked, seed, ask, prompts)
            for question in numbered(asked, self.per_chunk)
        ]
        return list(await asyncio.gather(*rows))

    async def _row(
        self, question: str, known: set[str], asked: Reply, seed: Seed, ask: Ask, prompts: Prompts
    ) -> Row:
        if fold(question) in known:
            return Unusable("question repeats another")
        known.add(fold(question))
        text, fields = text_of(seed), {**seed.fields, "question": question}
        try:
            answer = await answer_from_text(prompts, self.answer_prompt, fields, ask)
            told = {**fields, "answer": answer.text.strip()}
            quote = await ask(prompts.render(self.quote_prompt, told), temperature=0.0)
            start, end = quoted(quote.text, text)
            turns = prompts.render(self.student_prompt, {**fields, "context": self.context})
        except (RequestFailed, Unusable) as failed:
            return failed
        first = seed.fields.get("start")
        origin = first if isinstance(first, int) else 0
        place: Mapping[str, JSON] = {"start": origin, "end": origin + len(text)}
        evidence: JSON = {"start": origin + start, "end": origin + end, "text": text[start:end]}
        return replace(
            answered(turns, answer, prompt=prompts.file(self.prompt).version, seed=seed),
            fields={**place, **fields, "evidence": evidence},
            replies=(asked.key, answer.key, quote.key),
        )


def text_of(seed: Seed) -> str:
    """The seed's text; `Unusable` where it has none."""
    text = seed.fields.get("text")
    if not isinstance(text, str) or not text.strip():
        raise Unusable("the seed has no text")
    return text


def numbered(reply: Reply, most: int) -> list[str]:
    """The first items of a numbered list, without one that was cut; `Unusable` where there are none."""
    items = [item.strip(MARKS) for item in ITEM.findall(reply.text)]
    whole = [item for item in (items[:-1] if reply.cut else items) if item]
    if not whole:
        raise Unusable("no numbered question in the reply")
    return whole[:most]


async def answer_from_text(prompts: Prompts, prompt: str, fields: Mapping[str, JSON], ask: Ask) -> Reply:
    """An answer that the text gives; `Unusable` where it gives none, or the answer was cut."""
    answer = await ask(prompts.render(prompt, fields))
    if not answer.text.strip() or NOT_IN_TEXT.match(answer.text):
        raise Unusable("the text does not answer the question")
    if answer.cut:
        raise Unusable("the answer was cut")
    return answer


def quoted(reply: str, text: str) -> tuple[int, int]:
    """Where a text has what a reply quotes: all of it, else what stands between quotation marks, else a line.

    Raises:
        Unusable: nothing is quoted, or the text has none of it.
    """
    found = [part.strip(MARKS) for part in (reply, *QUOTED.findall(reply), *reply.splitlines())]
    quotes = [part for part in found if len(part.split()) >= SHORTEST]
    if not quotes or NOT_IN_TEXT.match(reply):
        raise Unusable("no evidence quoted")
    for quote in quotes:
        if (place := find(text, quote)) is not None:
            return place
    raise Unusable("the quote is not in the text")


def fold(text: str) -> str:
    """A text without case and marks, to compare."""
    return " ".join(re.findall(r"\w+", text.lower()))
