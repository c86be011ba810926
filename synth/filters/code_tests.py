"""`code_tests`: does an answer's code pass its tests? As HumanEval checks (Chen et al. 2021, 2107.03374)."""

import ast
import re
import textwrap
from typing import ClassVar

from pydantic import Field

from synth import sandbox
from synth.answers import python_of
from synth.errors import DataError, SynthError
from synth.steps import Filter
from synth.types import Record, Verdict

DEFINES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom),
    *(ast.Assign, ast.AnnAssign, ast.Pass),
)
HEAD = re.compile(r"^(?:async )?def +(\w+)", re.MULTILINE)


class CodeTests(Filter):
    """Rejects an answer whose Python fails the tests, in a sandbox; see `synth.sandbox` for what it stops.

    The code is that of the answer's Python blocks, else of its unnamed ones, else the answer. It has Python's
    own library. Tests are statements that run after it (asserts, calls); where they only define HumanEval's
    `check(candidate)`, it is called with the function named by the record's field `entry_point`.
    """

    blocking: ClassVar[bool] = True

    field: str = "tests"
    """The record's field with the tests: a text, or a list of them as MBPP has."""
    prefix: str | None = None
    """A field with code that the answer goes on from, or writes anew: a function's head, as in HumanEval."""
    seconds: int = Field(default=5, gt=0)
    """Of the processor, for code and tests together; by the clock three times as much."""
    memory: int = Field(default=512, ge=64)
    """MiB."""

    def missing(self, fields: frozenset[str]) -> str:
        """What this machine lacks to run code safely."""
        try:
            sandbox.proven()
        except SynthError as error:
            return f"can't run code: {error}"
        return ""

    def check(self, record: Record) -> Verdict:
        """Keep where code and tests run to their end; no score.

        Raises:
            DataError: the record lacks its tests or its prefix.
            SynthError: this machine can't run code safely.
        """
        tests = _called(_text(record, self.field), record.fields.get("entry_point"))
        if tests is None:
            return Verdict(self.name, False, None, "the tests test nothing")
        code = python_of(record.answer)
        if not code.strip():
            return Verdict(self.name, False, None, "no code")
        if self.prefix is not None:
            code = _continued(_text(record, self.prefix), code)
        limits = sandbox.Limits(cpu=self.seconds, wall=3.0 * self.seconds, memory=self.memory << 20)
        outcome = sandbox.run(code, limits, tests)
        return Verdict(self.name, outcome.passed, None, outcome.reason)


def _text(record: Record, field: str) -> str:
    value = record.fields.get(field)
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines) or not lines:
        mend = f'code_tests needs a text in the field "{field}", but it is {value!r}; mend it'
        raise DataError(f"seed {record.seed_id}", mend)
    return "\n".join(map(str, lines))


def _called(tests: str, entry_point: object) -> str | None:
    """Tests that test something: with HumanEval's `check` called, or None where they would call nothing."""
    try:
        parts = ast.parse(tests).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if any(map(_does_something, parts)):
        return tests
    checks = any(isinstance(part, ast.FunctionDef) and part.name == "check" for part in parts)
    return f"{tests}\ncheck({entry_point})" if checks and isinstance(entry_point, str) else None


def _does_something(part: ast.stmt) -> bool:
    """Whether a statement runs a test: no definition, no constant, nothing for a program that is started."""
    if isinstance(part, ast.If):
        return not any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(part.test))
    if isinstance(part, ast.Expr):
        return not isinstance(part.value, ast.Constant)
    return not isinstance(part, DEFINES)


def _continued(prefix: str, code: str) -> str:
    """The prefix and what goes on from it: a whole function, or a body, whose indentation is mended."""
    heads = HEAD.findall(prefix)
    if not heads or heads[-1] in HEAD.findall(code):
        return f"{prefix}\n\n{code}"
    first, _, rest = code.lstrip("\n").rstrip().partition("\n")
    lines = [line for line in rest.split("\n") if line.strip()]
    body = first if first[:1].isspace() else f"    {first}"
    if not first[:1].isspace() and any(not line[0].isspace() for line in lines):
        rest = textwrap.indent(rest, "    ")  # the body stands at the margin
    elif first.rstrip().endswith(":") and lines and _indent(lines[0]) <= _indent(body):
        rest = textwrap.indent(rest, "    ")
    return f"{prefix.rstrip()}\n{body}\n{rest}"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
