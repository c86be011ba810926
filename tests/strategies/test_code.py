import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from rows import scripted

from synth.errors import Repeated, RequestFailed, Unusable
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.steps import Filter, Row
from synth.strategies.code import Code, called, task_of, useful
from synth.types import JSON, Prompt, Record, Reply, Sampling, Verdict
from synth.units import Steps, Unit, run_unit

SEED = make_seed({"topic": "doubling"})
TASK = "Write a function that doubles a number.\n\n`def twice(n: int) -> int`"
TESTS = "```python\nassert twice(2) == 4\nassert twice(0) == 0\nassert twice(-1) == -2\n```"
RIGHT = "```python\ndef twice(n):\n    return 2 * n\n```"
WRONG = "```python\ndef twice(n):\n    return n * n\n```"


class Runs(Filter):
    """Runs code of these tests' own making; a filter for strangers' code needs a sandbox."""

    def check(self, record: Record) -> Verdict:
        space: dict[str, object] = {}
        try:
            code = record.answer.removeprefix("```python\n").removesuffix("```")
            exec(f"{code}\n{record.fields['tests']}", space)
        except (AssertionError, NameError):
            return Verdict(self.name, False, None, "a test fails")
        return Verdict(self.name, True)


VERIFY = {"verify": (Runs(),)}


def teacher(*solutions: str | Reply, task: str = TASK, tests: str = TESTS) -> Callable[[str], str | Reply]:
    left = list(solutions)

    def said(prompt: str) -> str | Reply:
        if prompt.startswith("Topic: "):
            return task
        return tests if "asserts that call" in prompt else left.pop(0)

    return said


def made(
    folder: Path, script: Callable[[str], str | Reply], fields: dict[str, JSON] | None = None, **keys: object
) -> tuple[Row, ScriptedTeacher]:
    ask, asked = scripted(folder, script)  # type: ignore[arg-type]
    strategy = Code.model_validate({**VERIFY, **keys})
    seed = make_seed(fields) if fields else SEED
    [row] = asyncio.run(strategy.generate(seed, ask, Prompts(folder)))
    return row, asked


def test_a_row_is_a_task_with_tests_and_a_solution_that_passes_them(tmp_path: Path) -> None:
    row, asked = made(tmp_path, teacher(RIGHT))
    assert isinstance(row, Record) and row.status == "kept"
    assert list(row.messages) == [
        {"role": "user", "content": TASK},
        {"role": "assistant", "content": RIGHT},
    ]
    assert row.fields == {
        "topic": "doubling",
        "task": TASK,
        "tests": "assert twice(2) == 4\nassert twice(0) == 0\nassert twice(-1) == -2",
        "entry_point": "twice",
        "passed": 1,
        "of": 1,
    }
    assert len(asked.asked) == len(row.replies) == 3 and row.prompt.startswith("code/task@")


def test_the_form_of_tests_may_be_held_by_guided_decoding(tmp_path: Path) -> None:
    forms: list[str | None] = []

    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        forms.append(sampling.get("regex"))
        return teacher(RIGHT)(text_of(prompt))

    strategy = Code.model_validate({**VERIFY, "guided": True, "tests": 3})
    asker = ScriptedTeacher(script).asker(Journal(tmp_path / "journal"))
    [row] = asyncio.run(strategy.generate(SEED, asker, Prompts(tmp_path)))
    assert isinstance(row, Record) and row.status == "kept"
    assert forms[0] is forms[2] is None and forms[1] is not None
    assert re.fullmatch(forms[1], TESTS) and not re.fullmatch(forms[1], RIGHT)
    assert not re.fullmatch(forms[1], "```python\nassert twice(2) == 4\n```")
    assert strategy.needs_of("teacher") == {"regex"} and not Code.model_validate(VERIFY).needs


def test_tests_are_written_by_one_who_has_not_seen_a_solution(tmp_path: Path) -> None:
    _, asked = made(tmp_path, teacher(RIGHT))
    assert TASK in str(asked.asked[1][-1]["content"]) and "2 * n" not in str(asked.asked[1])  # type: ignore[index]
    assert "assert twice" not in str(asked.asked[2])


def test_the_first_of_several_solutions_that_passes_is_kept(tmp_path: Path) -> None:
    row, _ = made(tmp_path, teacher(WRONG, RIGHT, RIGHT.replace("2 * n", "n + n")), n=3)
    assert isinstance(row, Record) and row.answer == RIGHT
    assert (row.fields["passed"], row.fields["of"]) == (2, 3) and len(row.replies) == 5


def test_where_no_solution_passes_the_row_says_what_they_failed(tmp_path: Path) -> None:
    row, _ = made(tmp_path, teacher(WRONG, Reply(RIGHT, "length", 1, 1, "m"), WRONG), n=3)
    assert isinstance(row, Record) and row.status == "rejected" and row.rejection is not None
    assert row.rejection.reason == "no solution passed: Runs" and row.answer == WRONG


def test_solutions_that_agree_put_a_wrong_test_out(tmp_path: Path) -> None:
    wrong = "assert twice(3) == 6\nassert twice(0) == 0\nassert twice(1) == 3"
    row, _ = made(tmp_path, teacher(WRONG, RIGHT, RIGHT, tests=wrong), n=3)
    assert isinstance(row, Record) and row.status == "rejected"
    row, _ = made(tmp_path / "2", teacher(WRONG, RIGHT, RIGHT, tests=wrong), n=3, agreement=True)
    assert isinstance(row, Record) and row.answer == RIGHT
    assert row.fields["tests"] == "assert twice(3) == 6\nassert twice(0) == 0"
    assert (row.fields["passed"], row.fields["of"]) == (2, 3)
    row, _ = made(tmp_path / "4", teacher(WRONG, RIGHT), n=2, agreement=True)
    assert isinstance(row, Record) and row.status == "rejected"
    nothing = "```python\ndef once(n):\n    return n\n```"
    row, _ = made(tmp_path / "3", teacher(*[nothing] * 3), n=3, agreement=True)
    assert isinstance(row, Record) and row.rejection is not None
    assert (row.status, row.rejection.reason) == ("rejected", "solutions and tests do not agree")


def test_seeds_may_hold_the_task_and_its_tests(tmp_path: Path) -> None:
    fields: dict[str, JSON] = {
        "task": "Double a number.",
        "tests": ["assert twice(2) == 4", "assert twice(len('a')) == 2"],
    }
    row, asked = made(tmp_path, teacher(RIGHT), fields)
    assert isinstance(row, Record) and len(asked.asked) == 1
    assert row.question == "Double a number.\n\nCall the function `twice`."
    assert row.fields["tests"] == "assert twice(2) == 4\nassert twice(len('a')) == 2"
    assert row.prompt.startswith("code/solution@")
    row, asked = made(tmp_path / "2", teacher(RIGHT), {"task": TASK})
    assert isinstance(row, Record) and row.question == TASK and len(asked.asked) == 2
    with pytest.raises(Unusable, match=r"^the task names no function$"):
        made(tmp_path / "3", teacher(RIGHT), {"task": "Double a number."})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Write a function that doubles a number.", "the task names no function"),
        ("Write a function that doubles. `def twice(n: int =) -> int`", "the task names no function"),
        ("`def twice(n: int) -> int`", "the task has no words"),
    ],
)
def test_a_task_needs_words_and_a_head_that_python_can_read(reply: str, reason: str) -> None:
    with pytest.raises(Unusable, match=f"^{reason}$"):
        task_of(reply)


@pytest.mark.parametrize(
    "reply",
    [
        TASK,
        "Task: Write a function that doubles a number.\n```\ndef twice(n: int) -> int:\n    return 0\n```",
        "**Task**: Write a function that doubles a number.\n\ndef twice(n: int) -> int:\n    pass",
    ],
)
def test_a_solution_is_cut_off_its_task(reply: str) -> None:
    assert task_of(reply) == (TASK, "twice")


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("assert f(1) == 2\nassert f(1)  == 2\nassert f(2) == 3", ["assert f(1) == 2", "assert f(2) == 3"]),
        ("assert True\nassert g(1) == 2\nassert f(1) == f(1)\nassert f(3)", ["assert f(3)"]),
        ("Here are two:\n1. assert\nassert f(1) == 2, 'one'\nassert f(", ["assert f(1) == 2, 'one'"]),
        ("print(f(1))\nassert sorted(f(2)) == [1]", ["assert sorted(f(2)) == [1]"]),
        ("assert x.f(1) == 2", []),
        ("", []),
    ],
)
def test_only_asserts_that_call_the_function_are_tests(code: str, kept: list[str]) -> None:
    if kept:
        assert useful(code, "f", 1) == tuple(kept)
        with pytest.raises(Unusable, match="too few tests"):
            useful(code, "f", 3)
    else:
        with pytest.raises(Unusable, match=r"^no test that calls the function$"):
            useful(code, "f", 1)


def test_the_function_of_given_tests_is_the_one_that_they_call() -> None:
    assert called("assert len(mean([1])) == 1\nassert mean([]) == 0") == "mean"
    assert called("assert True") == called("no python") == ""


def test_a_task_that_was_asked_before_is_not_solved(tmp_path: Path) -> None:
    ask, asked = scripted(tmp_path, teacher())  # type: ignore[arg-type]

    def repeats(texts: list[str]) -> list[Repeated | None]:
        return [Repeated(text, "an earlier one", 0.9, "run") for text in texts]

    ask.repeats = repeats  # type: ignore[assignment,method-assign]
    [row] = asyncio.run(Code.model_validate(VERIFY).generate(SEED, ask, Prompts(tmp_path)))
    assert isinstance(row, Repeated) and row.text == TASK and len(asked.asked) == 1


def test_a_request_that_fails_fails_the_row(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        raise RequestFailed("HTTP 400")

    ask, _ = scripted(tmp_path, script)
    steps = Steps([], [], Prompts(tmp_path), ask, ask)
    [record] = asyncio.run(run_unit(Unit(Code.model_validate(VERIFY), 0, SEED, 0), steps))
    assert record.status == "failed"


def test_a_verifier_is_asked_for_and_prompts_get_what_they_read(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="verify"):
        Code.model_validate({"verify": []})
    with pytest.raises(ValidationError, match="one solution agrees with itself"):
        Code.model_validate({**VERIFY, "agreement": True})
    nested = Code.model_validate({"verify": [{"use": "constraint"}]})
    assert 'verifies by `constraint`, which needs the field "constraints"' in nested.missing(frozenset())
    for fields in (frozenset({"topic"}), frozenset({"task"})):
        for name, given in nested.given(fields).items():
            assert Prompts(tmp_path).file(name).variables <= given
    assert "code/task" not in nested.given(frozenset({"task"}))
    assert Prompts(tmp_path).file("code/from_snippet").variables == {"snippet"}
