import time
from dataclasses import replace

import pytest
from rows import record

from synth.errors import DataError
from synth.filters.regex import Regex
from synth.steps import build
from synth.types import Verdict

NO = Verdict("regex", False, None, "the pattern does not match")


def test_the_whole_answer_must_match_or_with_search_a_part() -> None:
    date = r"\d{4}-\d\d-\d\d"
    assert Regex(pattern=date).check(record(" 2026-01-31\n")) == Verdict("regex", True)
    assert Regex(pattern=date).check(record("on 2026-01-31")) == NO
    assert Regex(pattern=date, search=True).check(record("on 2026-01-31")).keep
    assert Regex(pattern="a|ab").check(record("ab")).keep


def test_the_pattern_may_be_the_records_own() -> None:
    row = replace(record("Paris"), fields={"wanted": "(?i)paris"})
    assert Regex(field="wanted").check(row).keep
    for fields in ({}, {"wanted": 3}, {"wanted": "("}):
        with pytest.raises(DataError, match='seed seed: the field "wanted" is'):
            Regex(field="wanted").check(replace(row, fields=fields))


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [("(a+)+b", "a" * 60), ("(a|a)*b", "a" * 60), (r"(.*,){20}x", "a,b" * 40)],
)
def test_a_pattern_that_never_ends_is_ended(pattern: str, answer: str) -> None:
    started = time.monotonic()
    verdict = Regex(pattern=pattern).check(record(answer))
    assert not verdict.keep and verdict.reason in ("the pattern takes too long", NO.reason)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("keys", "mend"),
    [
        ({"pattern": "("}, "pattern: .*is no regular expression .*mend it"),
        ({}, "needs either pattern or field"),
        ({"pattern": "a", "field": "b"}, "needs either pattern or field"),
    ],
)
def test_a_wrong_recipe_is_told_before_the_run(keys: dict[str, str], mend: str) -> None:
    with pytest.raises(ValueError, match=mend):
        build("filter", {"use": "regex", **keys})
