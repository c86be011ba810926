"""`grounded_qa`: questions about a text, answers from it alone, and the sentence that bears each one out.

After LAB's knowledge pipeline (Sudalairaj et al. 2024, arXiv 2403.01081): questions and answers from a chunk
of a document, then a check of each pair against it. Here code checks that the evidence stands in the text and
the answer's words and numbers too: not that they were put together rightly; a `rubric` judge weighs that.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from synth.chunks import find, sentences
from synth.errors import RequestFailed, Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered
from synth.strategies.grounding import grounded, require_grounded
from synth.types import JSON, Ask, Reply, Seed

ITEM = re.compile(r"^[\s*#]*(?:question\s*)?\d+[.):](.+)$", re.IGNORECASE | re.MULTILINE)
NOT_IN_TEXT = re.compile(r"\W*(?:none\W*$|not\s+in\s+the\s+(?:text|document)\b)", re.IGNORECASE)
QUOTED = re.compile(r'["\u201c](.+?)["\u201d]', re.DOTALL)
MARKS = " \t\n\"'\u2018\u2019\u201c\u201d`*>-"
SHORTEST = 3
"""Words of a quote: fewer are found in any text."""
FEWEST = 5
"""Words of a sentence that is asked about."""
NO_TEXT = "needs seeds with `text`; point [seeds] path to a folder of documents, and set chunk = 300"


class GroundedQA(Strategy):
    """Asks `per_chunk` questions about the seed's `text`, answers each, and keeps those with evidence.

    Needs seeds with `text`: chunks of documents (`[seeds] chunk`), each with `file`, `start` and `end`, or
    texts short enough to be read at once. Requests: one a seed and two a question, or two a question where
    `evidence_first`. Yields `per_chunk` rows a sample, with these fields: the seed's, `start` and `end` of
    the text, `question`, `grounded` (share of the answer's words that the text has), and `evidence`, which
    has `text`, and `start` and `end` in the document.
    """

    prompts_used: ClassVar[tuple[str, ...]] = (
        "prompt",
        "sentence_prompt",
        "answer_prompt",
        "quote_prompt",
        "student_prompt",
    )

    per_chunk: int = Field(default=3, gt=0)
    """Questions asked about one text."""
    evidence_first: bool = False
    """Draw sentences of the text, ask about each, and answer from it alone: the evidence is always real, and
    no question needs two sentences. Without it the teacher asks, answers, and quotes what bears it out."""
    min_grounded: float = Field(default=0.5, ge=0, le=1)
    """Of the answer's words the share that the text must have, or the sentence where `evidence_first`; and
    there of the question's the share that the text has. A number must be there whatever the share."""
    context: bool = False
    """Show the text to the student, before the question; without it answers are learnt by heart."""
    prompt: str = "grounded_qa/ask"
    """Gets the seed's fields and `per_chunk`; its reply is a numbered list."""
    sentence_prompt: str = "grounded_qa/ask_sentence"
    """In its place where `evidence_first`. Gets the seed's fields and `sentence`; its reply is a question."""
    answer_prompt: str = "grounded_qa/answer"
    """Gets the seed's fields and `question`; its reply is NOT IN THE TEXT where the text does not answer.
    Where `evidence_first` its `text` is the sentence."""
    quote_prompt: str = "grounded_qa/quote"
    """Gets the seed's fields, `question` and `answer`; its reply is a sentence of the text, or NONE."""
    student_prompt: str = "grounded_qa/student"
    """Its turns are stored in the row. Gets the seed's fields, `question` and `context`."""

    @property
    def rows_per_seed(self) -> int:
        """`per_chunk`."""
        return self.per_chunk

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The seed's fields, and what each prompt file is told beside them."""
        return {
            self.prompt: fields | {"per_chunk"},
            self.sentence_prompt: fields | {"sentence"},
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
            Unusable: the seed has no text; or the reply no numbered question, or the text no whole sentence.
        """
        making = _Maker(self, text_of(seed), seed, ask, prompts)
        asked = await (making.from_sentences() if self.evidence_first else making.listed())
        known: set[str] = set()
        rows = []
        for each in asked:
            repeats = isinstance(each, _Asked) and fold(each.question) in known
            rows.append(making.row(Unusable("question repeats another") if repeats else each))
            known |= {fold(each.question)} if isinstance(each, _Asked) else set()
        return list(await asyncio.gather(*rows))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, the reply that holds it, and the sentence that it was made of, where it was of one."""

    question: str
    reply: Reply
    sentence: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the rows of one seed."""

    step: GroundedQA
    text: str
    seed: Seed
    ask: Ask
    prompts: Prompts

    async def listed(self) -> list["_Asked | Row"]:
        """The questions of one numbered list."""
        told = {**self.seed.fields, "per_chunk": self.step.per_chunk}
        reply = await self.ask(self.prompts.render(self.step.prompt, told))
        return [_Asked(question, reply) for question in numbered(reply, self.step.per_chunk)]

    async def from_sentences(self) -> list["_Asked | Row"]:
        """A question for each of the sentences drawn, in the text's order."""

        def rank(span: tuple[int, int]) -> bytes:
            return hashlib.sha256(f"{self.seed.id}:{span[0]}".encode()).digest()

        whole = [span for span in sentences(self.text) if len(self.text[slice(*span)].split()) >= FEWEST]
        if not whole:
            raise Unusable("the text has no whole sentence")
        drawn = sorted(sorted(whole, key=rank)[: self.step.per_chunk])
        lacking = Unusable("the text has fewer sentences than questions are asked")
        return [
            *await asyncio.gather(*map(self._of_sentence, drawn)),
            *[lacking] * (self.step.per_chunk - len(drawn)),
        ]

    async def _of_sentence(self, span: tuple[int, int]) -> "_Asked | Row":
        told = {**self.seed.fields, "sentence": self.text[slice(*span)]}
        try:
            reply = await self.ask(self.prompts.render(self.step.sentence_prompt, told))
        except RequestFailed as failed:
            return failed
        question = reply.text.strip().split("\n", 1)[0].strip(MARKS)
        if not question or (reply.cut and "\n" not in reply.text.strip()):
            return Unusable("no whole question in the reply")
        if grounded(question, self.text) < self.step.min_grounded:
            return Unusable("the question has words that the text has not")
        return _Asked(question, reply, span)

    async def row(self, asked: "_Asked | Row") -> Row:
        """The row of a question, or why there is none."""
        if not isinstance(asked, _Asked):
            return asked
        step, fields = self.step, {**self.seed.fields, "question": asked.question}
        source = self.text[slice(*asked.sentence)] if asked.sentence else self.text
        try:
            told = {**fields, "text": source}
            answer = await answer_from_text(self.prompts, step.answer_prompt, told, self.ask)
            share = require_grounded(answer.text, asked.question, source, step.min_grounded)
            keys: tuple[str, ...] = (asked.reply.key, answer.key)
            start, end = asked.sentence or (0, 0)
            if not asked.sentence:
                told = {**fields, "answer": answer.text.strip()}
                quote = await self.ask(self.prompts.render(step.quote_prompt, told), temperature=0.0)
                keys, (start, end) = (*keys, quote.key), quoted(quote.text, self.text)
            turns = self.prompts.render(step.student_prompt, {**fields, "context": step.context})
        except (RequestFailed, Unusable) as failed:
            return failed
        first = self.seed.fields.get("start")
        origin = first if isinstance(first, int) else 0
        place: Mapping[str, JSON] = {"start": origin, "end": origin + len(self.text)}
        evidence: JSON = {"start": origin + start, "end": origin + end, "text": self.text[start:end]}
        version = self.prompts.file(step.sentence_prompt if asked.sentence else step.prompt).version
        return replace(
            answered(turns, answer, prompt=version, seed=self.seed),
            fields={**place, **fields, "grounded": share, "evidence": evidence},
            replies=keys,
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
