"""The filter `constraint` on records."""

from collections.abc import Mapping

import pytest

from synth.errors import DataError
from synth.filters.constraint import Constraint
from synth.types import JSON, Record


def record(answer: str, fields: Mapping[str, JSON]) -> Record:
    return Record(
        messages=[{"role": "user", "content": "Why?"}, {"role": "assistant", "content": answer}],
        seed_id="5eed",
        fields=fields,
    )


LOWER_AND_TOPIC: dict[str, JSON] = {
    "constraints": [{"kind": "lowercase"}, {"kind": "mentions", "words": ["cat"]}]
}


def test_an_answer_that_meets_all_constraints_is_kept() -> None:
    verdict = Constraint().check(record("cats purr when they are calm.", LOWER_AND_TOPIC))
    assert (verdict.by, verdict.keep, verdict.reason) == ("constraint", True, "")


def test_a_rejection_names_the_first_constraint_that_is_not_met() -> None:
    verdict = Constraint().check(record("they purr when they are calm.", LOWER_AND_TOPIC))
    assert (verdict.keep, verdict.reason) == (False, "unmet: mentions")


def test_an_empty_answer_is_rejected() -> None:
    assert Constraint().check(record("", LOWER_AND_TOPIC)).reason == "empty answer"


@pytest.mark.parametrize(
    ("fields", "says"),
    [({}, 'the field "constraints"'), ({"constraints": [{"kind": "upercase"}]}, 'did you mean "uppercase"')],
)
def test_a_seed_with_wrong_constraints_is_an_error_that_names_it(fields: dict[str, JSON], says: str) -> None:
    with pytest.raises(DataError, match=f"seed 5eed: .*{says}"):
        Constraint().check(record("fold it.", fields))


def test_seeds_without_constraints_are_found_before_the_run() -> None:
    assert Constraint().missing(frozenset({"constraints", "question"})) == ""
    assert "constraints" in Constraint().missing(frozenset({"question"}))
