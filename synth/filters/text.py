"""Free checks of an answer's text: `truncated`, `length`."""

import re

from pydantic import Field, model_validator

from synth.filters.prose import blocks, count_words, outside_code
from synth.filters.tokens import counter, lacking
from synth.steps import Filter
from synth.types import Record, Verdict

DANGLING = re.compile(
    r"""(?:^|\s)(?:the|an|and|or|because|than|whose|their|your|my|our|into|during|whether
        |und|oder|das|der|die|ein|eine|weil|durch|le|la|les|des|et|parce\sque|el|los|las|porque|che)$""",
    re.VERBOSE,
)
"""Words on which no sentence of eight words or more ends without a mark."""
LOOSE = re.compile(
    r"\s(?:of|with|to|for|from|by|at|into|but|that|which|who|is|are|was|were|as|if|when|it|this|these|not|be|a)$"
)
"""Words on which a sentence may end, but not in a text that sets full stops."""
STOP = re.compile(r"[.!?][\"\u201d)]?\s")
OPEN_TAG, CLOSED_TAG = (
    re.compile(rf"<{slash}(?:ul|ol|table|div|html|body|svg)\b", re.IGNORECASE) for slash in ("", "/")
)
CHINESE = re.compile(
    "(?:\u56e0\u4e3a|\u4f46\u662f|\u6240\u4ee5|\u5e76\u4e14|\u4ee5\u53ca|\u548c|\u6216\u8005|\u7684\u662f|[\uff0c\u3001\uff1a])$"
)
LONG = 8
"""Words from which a line is a sentence rather than a label."""


class Truncated(Filter):
    """Rejects an answer that did not end by itself, is empty, or shows that it was cut.

    Sure signs alone: a fence, formula, JSON, bold or bracket that never closes, an empty list item or heading
    at the end, a long sentence that ends on "the", "and" or a comma. A cut after any other word is not seen.
    """

    def check(self, record: Record) -> Verdict:
        """Keep what the endpoint finished with "stop" and what looks whole; no score."""
        if record.finish_reason != "stop":
            return Verdict(self.name, False, None, f"finish_reason {record.finish_reason}")
        reason = cut(record.answer.strip())
        return Verdict(self.name, not reason, None, reason)


def cut(text: str) -> str:
    """The sign that a text was cut, or ""."""
    if not text:
        return "empty answer"
    fences = blocks(text)
    if fences and not fences[-1].closed:
        return "a fence never closes"
    if text.startswith(('{"', "[{", '["')):
        return "JSON never closes" if _open_brackets(text) else ""
    prose = outside_code(text)
    if "<think>" in prose and "</think>" not in prose:
        return "thinking never ends"
    if prose.count("$$") % 2 or prose.count("\\begin{") > prose.count("\\end{"):
        return "a formula never closes"
    if "<" in prose and len(OPEN_TAG.findall(prose)) > len(CLOSED_TAG.findall(prose)):
        return "a tag never closes"
    return _cut_line(prose) if prose.strip() and prose == prose.rstrip() else ""


def _cut_line(text: str) -> str:
    """The sign that a text's last line was cut, or ""."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last, before = lines[-1], lines[:-1]
    if re.fullmatch(r"\d+[.)]|[-*+\u2022]|#{1,6}", last) and any(_alike(last, line) for line in before):
        return "an empty item at the end"
    rows = [line for line in before if re.fullmatch(r"\|.*\|", line)]
    if last.startswith("|") and rows and (last[-1] != "|" or last.count("|") < rows[0].count("|")):
        return "a table's row never ends"
    if re.search(r"(?:^|\s)\*\*\S[^*]*$", last) and last.count("**") % 2:
        return "bold never closes"
    if CHINESE.search(last) and len(last) >= LONG:
        return "ends inside a sentence"
    return _cut_sentence(text, last) if "|" not in last and count_words(text) >= LONG else ""


def _cut_sentence(text: str, last: str) -> str:
    """The sign that the last sentence was cut, or ""."""
    stops = STOP.search(text) is not None
    long = stops or count_words(last) >= LONG
    if long and re.search(r"(?:^|\s)\([^()\[\]]{3,}$", last):
        return "a bracket never closes"
    if long and re.search(r"(?:^|\s)\"[A-Za-z][^\".!?]*[a-z]$", last) and last.count('"') % 2:
        return "a quotation never closes"
    if long and DANGLING.search(last):
        return "ends inside a sentence"
    if count_words(last) >= LONG and re.search(r",$|\s[-\u2013\u2014]$|[^:]:$", last):
        return "ends inside a sentence"
    return "ends inside a sentence" if stops and count_words(last) >= LONG and LOOSE.search(last) else ""


def _alike(last: str, line: str) -> bool:
    """Whether a line begins with a mark of the same kind as the last one, and says something."""
    kind = r"\d+[.)]\s+\S" if last[0].isdigit() else r"#{1,6}\s+\S" if last[0] == "#" else r"[-*+\u2022]\s+\S"
    return bool(re.match(kind, line))


def _open_brackets(text: str) -> bool:
    """Whether JSON has more brackets opened than closed outside of its texts."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*+(?:"|\Z)', "", text, flags=re.DOTALL)
    return bare.count("{") + bare.count("[") > bare.count("}") + bare.count("]")


class Length(Filter):
    """Rejects answers by their number of words or tokens.

    Words are runs without white space; of Chinese and Japanese each character is one, of Thai each four.
    """

    min_words: int = Field(default=1, ge=0)
    max_words: int = Field(default=2000, gt=0)
    min_tokens: int | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    """Both limits are inside; without special tokens."""
    tokenizer: str | None = None
    """Whose tokens: `smollm2-135m-instruct`, a model folder, or a Hub name. Name the student's."""

    @model_validator(mode="after")
    def _both(self) -> "Length":
        if (self.min_tokens or self.max_tokens) and not self.tokenizer:
            raise ValueError("counts tokens: name the tokenizer, a model folder or a Hub name")
        if self.tokenizer and not (self.min_tokens or self.max_tokens):
            raise ValueError("has a tokenizer and counts no tokens; give min_tokens or max_tokens")
        return self

    def missing(self, fields: frozenset[str]) -> str:
        """The tokenizer that can't be loaded."""
        return lacking(self.tokenizer) if self.tokenizer else ""

    def check(self, record: Record) -> Verdict:
        """Score: words, or tokens where they are counted."""
        words = count_words(record.answer)
        if words < self.min_words:
            return Verdict(self.name, False, words, f"fewer than {self.min_words} words")
        if words > self.max_words:
            return Verdict(self.name, False, words, f"more than {self.max_words} words")
        if self.tokenizer is None:
            return Verdict(self.name, True, words)
        tokens = counter(self.tokenizer)(record.answer)
        if self.min_tokens is not None and tokens < self.min_tokens:
            return Verdict(self.name, False, tokens, f"fewer than {self.min_tokens} tokens")
        if self.max_tokens is not None and tokens > self.max_tokens:
            return Verdict(self.name, False, tokens, f"more than {self.max_tokens} tokens")
        return Verdict(self.name, True, tokens)
