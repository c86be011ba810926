"""`valid_json` and `valid_code`: do the fenced blocks of an answer parse, or the answer where it is one?"""

import ast
import re
import textwrap
import warnings

import orjson

from synth.filters.prose import blocks, fenced
from synth.steps import Filter
from synth.types import Record, Verdict

LINES = ("jsonl", "ndjson", "jsonlines")
PYTHON = ("python", "py", "python3", "pycon")
PROMPT = re.compile(r"^(?:>>>|\.\.\.)(?: |$)(.*)$", re.MULTILINE)
MAGIC = re.compile(r"^[ \t]*[!%].*$", re.MULTILINE)
OPENS = re.compile(
    r"(?:async )?def \w+\(|class \w+(?:\([^\n]*\))?(?::|\n +\w)"
    r"|import \w+(?:\.\w+)*(?: as \w+)?[ \t]*(?:\n|\Z)|from [\w.]+ import \w|@\w+"
)


class ValidJSON(Filter):
    """Rejects an answer whose blocks named json or jsonl do not parse, or which is JSON itself and doesn't.

    An answer without JSON is kept; where JSON is wanted, `schema` asks for it.
    """

    def check(self, record: Record) -> Verdict:
        """Keep what parses; no score."""
        answer = record.answer.strip()
        if fenced(answer):
            fine = all(_parses(block.tag, block.body) for block in blocks(answer))
            return Verdict(self.name, fine, None, "" if fine else "a block is no JSON")
        fine = not _claims(answer, record.question) or _is_json(answer)
        return Verdict(self.name, fine, None, "" if fine else "the answer is no JSON")


def _parses(tag: str, body: str) -> bool:
    if tag in LINES:
        return all(_is_json(line) for line in body.splitlines() if line.strip())
    return tag != "json" or _is_json(body)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _claims(answer: str, question: str) -> bool:
    """Whether an answer without a fence is meant as JSON: it opens as such, or JSON is asked for."""
    if re.match(r'\{\s*"[^"\n]*"\s*:|\[\s*\{\s*"', answer):
        return True
    return bool(
        re.search(r"\bjson\b", question, re.IGNORECASE)
        and re.match(r"[\[{]\s*[\[{\"'\d]|\{\s*\w+\s*:", answer)
    )


class ValidCode(Filter):
    """Rejects an answer whose blocks named python do not parse, or which is Python itself and doesn't.

    Lines of a session (`>>>`), of a notebook (`!pip`, `%time`) and a whole that is indented are allowed for.
    Blocks without a name or in other languages are not looked at; nothing is run: `code_tests` does that.
    """

    def check(self, record: Record) -> Verdict:
        """Keep what parses; no score."""
        answer = record.answer.strip()
        if fenced(answer):
            fine = all(_is_python(block.body) for block in blocks(answer) if block.tag in PYTHON)
            return Verdict(self.name, fine, None, "" if fine else "a block is no Python")
        fine = not OPENS.match(answer) or _is_python(answer)
        return Verdict(self.name, fine, None, "" if fine else "the answer is no Python")


def _is_python(code: str) -> bool:
    if session := PROMPT.findall(code):
        code = "\n".join(session)
    code = textwrap.dedent(code)
    return _is_parsed(code) or _is_parsed(MAGIC.sub("", code))


def _is_parsed(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
