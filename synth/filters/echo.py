"""`echo`: an answer that says its question again, or copies the text that it should have changed."""

import re

from rapidfuzz.fuzz import ratio

from synth.steps import Filter
from synth.types import Record, Verdict

FRAME = re.compile(r"\b(?:the question is|question|answer|you asked|please|sure|task|instruction|q)\b")
CHANGE = re.compile(
    r"\b(?:summari[sz]e|summary|shorten|paraphrase|rephrase|rewrite|simplify|translate|condense|reword|shorter|simpler)\b",
    re.IGNORECASE,
)
NEAR = 85
"""How alike question and answer are, of 100, to count as the same."""
COPIED = 0.6
"""The share of the question that an unchanged text makes up."""


class Echo(Filter):
    """Rejects an answer that is its question, once or several times, or nearly; and one that copies the text
    of a question that asks for a summary, a translation or other words.

    Case, marks, and labels around it don't count. A question that is followed by an answer is kept.
    """

    def check(self, record: Record) -> Verdict:
        """Score: how alike question and answer are, from 0 to 1, where they begin alike."""
        asked = [turn["content"] for turn in record.messages[:-1] if turn["role"] == "user"]
        if not asked or not record.answer:
            return Verdict(self.name, True)
        if len(record.answer) > 2 * len(asked[-1]) + 100 and not _begins(record.answer, asked[-1]):
            return Verdict(self.name, True)
        question, answer = _words(asked[-1]), _words(record.answer)
        bare = " ".join(FRAME.sub(" ", answer).split())
        plain = " ".join(FRAME.sub(" ", question).split())
        if not plain or not bare:
            return Verdict(self.name, True)
        if bare.replace(plain, "").strip() == "":
            return Verdict(self.name, False, 1.0, "is the question")
        if bare.startswith(plain) and _goes_on(record.answer, asked[-1]):
            return Verdict(self.name, False, 1.0, "goes on with more questions")
        if CHANGE.search(asked[-1][:200]) and answer in question and len(answer) >= COPIED * len(question):
            return Verdict(self.name, False, 1.0, "copies what it should change")
        if bare.split()[0][:4] != plain.split()[0][:4] or len(bare) > 1.35 * len(plain):
            return Verdict(self.name, True)
        alike = ratio(bare, plain)
        keep = alike < NEAR
        return Verdict(self.name, keep, alike / 100, "" if keep else "is nearly the question")


def _words(text: str) -> str:
    """A text without case and marks."""
    text = text.casefold().replace("\u2019", "'").replace("'s ", " is ")
    return " ".join(re.findall(r"\w+", text))


def _begins(answer: str, question: str) -> bool:
    """Whether a long answer begins with the question, up to a few words around it."""
    return _words(question)[:40] in _words(answer[: len(question) + 60])


def _goes_on(answer: str, question: str) -> bool:
    """Whether every sentence of an answer begins with the two words that its question begins with."""
    first = _words(question).split()[:2]
    parts = [_words(part).split() for part in re.split(r"[.!?\n]+", answer)]
    return len(first) == 2 and all(part[:2] == first for part in parts if part)
