import asyncio
import threading
from dataclasses import replace
from typing import ClassVar

import pytest
from rows import record

from synth.errors import DataError
from synth.filters.code_tests import CodeTests
from synth.llm.scripted import ScriptedTeacher
from synth.steps import Filter
from synth.types import JSON, Record, Verdict
from synth.units import Steps, filtered

HEAD = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """The sum."""\n'
CHECK = "def check(candidate):\n    assert candidate([1, 2]) == 3\n"


def verdict(answer: str, tests: JSON = "assert total([1, 2]) == 3", **fields: JSON) -> Verdict:
    prefix = "head" if "head" in fields else None
    return CodeTests(prefix=prefix).check(replace(record(answer), fields={"tests": tests, **fields}))


@pytest.mark.parametrize(
    "answer",
    [
        "def total(xs):\n    return sum(xs)",
        "Sure:\n\n```python\ndef total(xs):\n    return sum(xs)\n```\n\nRun it:\n```bash\npython x.py\n```",
        "```py\ndef total(xs):\n    return add(xs)\n```\nand\n```py\ndef add(xs):\n    return sum(xs)\n```",
        "```\ndef total(xs):\n    return sum(xs)\n```",
        "```python\ndef total(xs):\n    return sum(xs)",
        "import math\ntotal = math.fsum\nif __name__ == '__main__':\n    1 / 0",
    ],
)
def test_code_that_passes_its_tests_is_kept_however_it_is_wrapped(answer: str) -> None:
    assert verdict(answer) == Verdict("code_tests", True)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("def total(xs):\n    return 4", "tests fail"),
        ("def sums(xs):\n    return 3", "raises an error"),
        ("I would add them up.", "syntax error"),
        ("def total(xs):\n    while True: pass", "time over"),
        ("import sys\nsys.exit(0)", "ends before its tests do"),
        ("import os\nos._exit(0)", "ends before its tests do"),
        ("```python\n```", "no code"),
        ("", "no code"),
    ],
)
def test_other_code_is_rejected_with_a_reason_in_fixed_words(answer: str, reason: str) -> None:
    filter_ = CodeTests(seconds=1)
    row = replace(record(answer), fields={"tests": "assert total([1, 2]) == 3"})
    assert filter_.check(row) == Verdict("code_tests", False, None, reason)


@pytest.mark.parametrize(
    "answer",
    [
        "return sum(xs)",
        "    return sum(xs)",
        "result = 0\n    for x in xs:\n        result += x\n    return result",
        "result = 0\nfor x in xs:\n    result += x\nreturn result",
        "for x in [sum(xs)]:\n        return x",
        "for x in [sum(xs)]:\n    return x",
        "def inner(x):\n        return x\n    return inner(sum(xs))",
        "import math\n    return math.fsum(xs)",
        "```python\n    return sum(xs)\n```",
        "def total(xs: List[int]) -> int:\n    return sum(xs)",
        f"```python\n{HEAD}    return sum(xs)\n```",
    ],
)
def test_a_function_is_gone_on_with_from_its_head_or_written_anew(answer: str) -> None:
    assert verdict(answer, CHECK, head=HEAD, entry_point="total") == Verdict("code_tests", True)


def test_tests_may_be_a_list_or_humanevals_check_which_is_called() -> None:
    right, wrong = "def total(xs): return sum(xs)", "def total(xs): return 0"
    for tests in (["assert total([1]) == 1", "assert total([2]) == 2"], CHECK):
        assert verdict(right, tests, entry_point="total").keep
        assert verdict(wrong, tests, entry_point="total").reason == "tests fail"


@pytest.mark.parametrize(
    "tests",
    [
        *(
            "",
            "# later",
            '"""Later."""',
            "def test_it():\n    assert False",
            CHECK,
            "import unittest",
            "assert (",
        ),
        "class T:\n    pass\nif __name__ == '__main__':\n    assert False",
    ],
)
def test_tests_that_test_nothing_pass_nobody(tests: str) -> None:
    assert verdict("def total(xs): return 0", tests).reason == "the tests test nothing"


@pytest.mark.parametrize("fields", [{}, {"tests": 3}, {"tests": []}, {"tests": "assert 1", "head": 1}])
def test_a_record_without_its_tests_or_head_is_an_error_that_names_it(fields: dict[str, JSON]) -> None:
    with pytest.raises(DataError, match=r'seed seed: code_tests needs a text in the field "(tests|head)"'):
        CodeTests(prefix="head").check(replace(record("x"), fields=fields))


def test_this_machine_can_run_code() -> None:
    assert CodeTests().missing(frozenset()) == ""


class _Waits(Filter):
    """Ends when both of two checks are under way."""

    blocking: ClassVar[bool] = True
    met: ClassVar[threading.Barrier] = threading.Barrier(2, timeout=20)

    def check(self, record: Record) -> Verdict:
        self.met.wait()
        return Verdict(self.name, threading.current_thread() is not threading.main_thread())


def test_a_filter_that_blocks_leaves_the_event_loop_free(tmp_path: object) -> None:
    from synth.prompts import Prompts

    teacher = ScriptedTeacher(lambda prompt, _: "")
    steps = Steps([_Waits()], [], Prompts.__new__(Prompts), teacher, teacher)  # type: ignore[arg-type]

    async def both() -> list[Record]:
        return list(await asyncio.gather(*(filtered(record("x"), steps) for _ in range(2))))

    assert [row.status for row in asyncio.run(both())] == ["kept", "kept"]
