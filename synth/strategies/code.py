"""`code`: a small programming task, tests for it, and a solution that passes them.

Wei et al. 2023, arXiv 2312.02120 (OSS-Instruct): a piece of code is what a task is thought up from. Ahmad et
al. 2025, arXiv 2504.04030 (OpenCodeInstruct): asserts that a model writes are run. Chen et al. 2022, arXiv
2207.10397 (CodeT): of several solutions and tests those are right that agree with most others. Here tests are
written from the task alone: who writes them has not seen the solution.
"""

import ast
import asyncio
import builtins
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from synth.errors import Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, Verifiers, answered, first_rejection
from synth.strategies.candidates import lacking
from synth.types import JSON, Ask, Capability, Record, Reply, Seed, Verdict

FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
HEAD = re.compile(r"def\s+([A-Za-z_]\w*)\s*\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)(?:\s*->\s*[^\n:`]+)?")
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `ast.parse` raises of a text that is no Python."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task in words, the function that it asks for, and its asserts."""

    text: str
    function: str
    tests: tuple[str, ...]

    def fields(self, seed: Seed, **more: JSON) -> dict[str, JSON]:
        """The fields of its row; `tests` and `entry_point` as the filter `code_tests` reads them."""
        tests = "\n".join(self.tests)
        return {**seed.fields, "task": self.text, "tests": tests, "entry_point": self.function, **more}


class Code(Strategy):
    """Thinks up a task from the seed, writes tests from the task alone, and keeps a solution that passes.

    Needs seeds with what `prompt` reads (a `topic`; a `snippet` for `code/from_snippet`); or with `task`, and
    `tests` where there are some (a text of asserts, or a list). Requests: one for the task, one for the
    tests, and `n`. Yields one row a sample: the task and the solution; its fields are the seed's, `task`,
    `tests`, `entry_point`, and `passed` and `of` (solutions that pass, of how many).
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt", "tests_prompt", "solution_prompt", "student_prompt")

    verify: Verifiers = Field(min_length=1)
    """What a solution must pass: `verify = [{ use = "code_tests" }]`."""
    n: int = Field(default=1, gt=0)
    """Solutions asked; the first that passes is kept."""
    tests: int = Field(default=5, gt=0)
    """Tests asked of the teacher."""
    min_tests: int = Field(default=2, gt=0)
    """Tests that a task must have; what calls no function of the task is none."""
    guided: bool = False
    """Let the tests be lines of `assert name(...) == ...` alone, by guided decoding: for small teachers."""
    agreement: bool = False
    """Run each solution on each test, and keep the one whose tests, times the solutions that pass the same
    ones, are the most (CodeT), two at least; tests that it fails are taken for wrong and left out."""
    prompt: str = "code/task"
    """Gets the seed's fields; its reply is a task that names the function's head, `def name(...)`."""
    tests_prompt: str = "code/tests"
    """Gets `task`, `function` (its name) and `count`; its reply holds asserts."""
    solution_prompt: str = "code/solution"
    """Gets `task`; its reply is the answer."""
    student_prompt: str = "code/student"
    """Its turns are stored in the row. Gets the seed's fields and `task`."""

    @field_validator("agreement")
    @classmethod
    def _several(cls, agreement: object, given: ValidationInfo) -> object:
        if agreement and given.data.get("n") == 1:
            raise ValueError("one solution agrees with itself; write n = 4")
        return agreement

    @property
    def several(self) -> bool:
        """Solutions are asked at once."""
        return self.n > 1 or self.samples > 1

    @property
    def needs(self) -> frozenset[Capability]:
        """Guided decoding, where it is asked for."""
        return frozenset({"regex"} if self.guided else ())

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The seed's fields, and what each prompt file is told beside them."""
        own = {
            self.tests_prompt: frozenset({"task", "function", "count"}),
            self.solution_prompt: frozenset({"task"}),
            self.student_prompt: fields | {"task"},
        }
        return own if "task" in fields else {self.prompt: fields, **own}

    def missing(self, fields: frozenset[str]) -> str:
        """What a verifier lacks."""
        return lacking(self.verify, fields | {"task", "tests", "entry_point"})

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row.

        Raises:
            Unusable: there is no task, or too few tests of it.
        """
        made: list[Reply] = []
        text, function = await self._task(seed, ask, prompts, made)
        if made and (again := ask.repeats([text])[0]):
            return [again]
        task = await self._tested(text, function, seed, ask, prompts, made)
        turns = prompts.render(self.solution_prompt, {"task": task.text})
        replies = await asyncio.gather(*(ask(turns, sample=number) for number in range(self.n)))
        stored = prompts.render(self.student_prompt, {**seed.fields, "task": task.text})
        version = prompts.file(self.solution_prompt if not made else self.prompt).version
        every = [*made, *replies]
        rows = [
            replace(
                answered(stored, reply, prompt=version, seed=seed, replies=every), fields=task.fields(seed)
            )
            for reply in replies
        ]
        if self.agreement:
            agreed = await self._agreed(rows, task, seed)
            if len(agreed) < min(self.min_tests, len(task.tests)):
                return [self._refused(rows[0], "solutions and tests do not agree")]
            task = replace(task, tests=agreed)
            rows = [replace(row, fields=task.fields(seed)) for row in rows]
        verdicts = await asyncio.gather(*map(self._checked, rows))
        passed = [row for row, verdict in zip(rows, verdicts, strict=True) if verdict is None]
        told = task.fields(seed, passed=len(passed), of=self.n)
        if passed:
            return [replace(passed[0], fields=told)]
        by = Counter(verdict.by for verdict in verdicts if verdict).most_common(1)[0][0]
        return [self._refused(replace(rows[0], fields=told), f"no solution passed: {by}")]

    def _refused(self, row: Record, reason: str) -> Record:
        return replace(row, status="rejected", verdicts=(Verdict(self.name, False, None, reason),))

    async def _task(self, seed: Seed, ask: Ask, prompts: Prompts, made: list[Reply]) -> tuple[str, str]:
        """The task in words, and its function's name ("" where a seed's own does not say)."""
        given = seed.fields.get("task")
        if isinstance(given, str) and given.strip():
            head = HEAD.search(given)
            return given.strip(), head[1] if head else ""
        made.append(await ask(prompts.render(self.prompt, seed.fields)))
        if made[-1].cut:
            raise Unusable("the task was cut")
        return task_of(made[-1].text)

    async def _tested(
        self, text: str, function: str, seed: Seed, ask: Ask, prompts: Prompts, made: list[Reply]
    ) -> Task:
        """The task with its tests, the seed's own or asked for."""
        given = seed.fields.get("tests")
        if given:
            lines = [given] if isinstance(given, str) else given
            own = "\n".join(map(str, lines)) if isinstance(lines, list | tuple) else ""
            name = function or str(seed.fields.get("entry_point") or called(own))
            if name and not re.search(rf"\b{name}\b", text):
                text = f"{text}\n\nCall the function `{name}`."
            return Task(text, name, (own.strip(),))
        if not function:
            raise Unusable("the task names no function")
        turns = prompts.render(self.tests_prompt, {"task": text, "function": function, "count": self.tests})
        line = rf"assert {function}\([^\n]{{0,60}}\) == [^\n]{{1,60}}\n"
        form = rf"```python\n({line}){{{self.tests}}}```"
        made.append(await (ask(turns, regex=form) if self.guided else ask(turns)))
        written = "\n".join(FENCE.findall(made[-1].text)) or made[-1].text
        return Task(text, function, useful(written, function, self.min_tests)[: self.tests])

    async def _checked(self, row: Record) -> Verdict | None:
        """Why a solution is not kept."""
        if row.finish_reason == "length":
            return Verdict("truncated", False, None, "the answer was cut")
        return await first_rejection(row, self.verify)

    async def _agreed(self, rows: list[Record], task: Task, seed: Seed) -> tuple[str, ...]:
        """The tests that the solutions in the largest agreement pass; none where no two solutions agree."""

        async def passes(row: Record, test: str) -> bool:
            one = replace(task, tests=(test,))
            return await self._checked(replace(row, fields=one.fields(seed))) is None

        async def passed(row: Record) -> tuple[str, ...]:
            right = await asyncio.gather(*(passes(row, test) for test in task.tests))
            return tuple(test for test, fine in zip(task.tests, right, strict=True) if fine)

        sets = await asyncio.gather(*map(passed, rows))
        votes = Counter(sets)
        shared = [tests for tests in sets if votes[tests] > 1]
        return max(shared, key=lambda tests: votes[tests] * len(tests), default=())


def task_of(reply: str) -> tuple[str, str]:
    """The task of a reply, its words and then the function's head; and the function's name.

    Raises:
        Unusable: it has no words, or no head that Python can read.
    """
    head = HEAD.search(reply)
    if head is None or parsed(f"{head[0]}: pass") is None:
        raise Unusable("the task names no function")
    words = re.split(r"```|`?def\s", reply, maxsplit=1)[0].strip()
    words = re.sub(r"^\W*task\W+", "", words, flags=re.IGNORECASE).rstrip("`*# \n")
    if len(words.split()) < 4:
        raise Unusable("the task has no words")
    return f"{words}\n\n`{head[0].strip()}`", head[1]


def parsed(code: str) -> ast.Module | None:
    """Python as a tree; None where it is none."""
    try:
        return ast.parse(code)
    except UNREADABLE:
        return None


def useful(code: str, function: str, least: int) -> tuple[str, ...]:
    """The asserts of a text that call `function`, each once; lines that are no Python are left out.

    Raises:
        Unusable: they are fewer than `least`.
    """
    whole = parsed(code)
    parts = [code] if whole else [line.strip() for line in code.splitlines() if "assert" in line]
    found: dict[str, str] = {}
    for part in parts:
        tree = parsed(part)
        for node in tree.body if tree else ():
            if isinstance(node, ast.Assert) and _tells(node.test, function):
                found.setdefault(ast.dump(node.test), ast.get_source_segment(part, node) or "")
    if len(found) < least:
        raise Unusable("too few tests that call the function" if found else "no test that calls the function")
    return tuple(found.values())


def _tells(test: ast.expr, function: str) -> bool:
    """Whether an assert calls the function, and does not compare a thing with itself."""
    calls = [node.func for node in ast.walk(test) if isinstance(node, ast.Call)]
    named = [call.id for call in calls if isinstance(call, ast.Name)]
    if function not in named:
        return False
    sides = [test.left, *test.comparators] if isinstance(test, ast.Compare) else []
    dumped = [ast.dump(side) for side in sides]
    return len(set(dumped)) == len(dumped)


def called(tests: str) -> str:
    """The function that most asserts call, "" where they call none but Python's own."""
    tree = parsed(tests)
    asserts = [node for node in tree.body if isinstance(node, ast.Assert)] if tree else []
    calls = [node.func for each in asserts for node in ast.walk(each) if isinstance(node, ast.Call)]
    names = Counter(call.id for call in calls if isinstance(call, ast.Name) and call.id not in dir(builtins))
    return names.most_common(1)[0][0] if names else ""
