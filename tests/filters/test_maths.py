from dataclasses import replace

import pytest
from rows import record

from synth.errors import DataError
from synth.filters.maths import Maths
from synth.types import JSON, Verdict


def judged(answer: str, reference: JSON, field: str = "answer") -> Verdict:
    return Maths(field=field).check(replace(record(answer), fields={field: reference}))


@pytest.mark.parametrize(
    "reference", ["18", "She sells 9 eggs at $2.\n#### 18", 18, 18.0, "$18.00", "18 dollars"]
)
def test_the_right_number_is_kept_however_the_reference_is_written(reference: JSON) -> None:
    assert judged("9 * 2 = 18 dollars a day.", reference) == Verdict("maths", True)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("#### 17", "comes to another number"),
        ("18, no: 17", "comes to another number"),
        ("The answer is 17, not 18.", "comes to another number"),
        ("It is -18", "comes to another number"),
        ("It is 18 thousand", "comes to another number"),
        ("It is 18.5", "comes to another number"),
        ("It is 1,800", "comes to another number"),
        ("I don't know", "comes to no number"),
        ("", "comes to no number"),
    ],
)
def test_another_number_is_rejected_without_naming_it(answer: str, reason: str) -> None:
    assert judged(answer, "#### 18") == Verdict("maths", False, None, reason)


@pytest.mark.parametrize("reference", [None, "", "no solution", ["18"], {"n": 18}])
def test_a_reference_without_a_number_is_an_error_that_names_seed_and_field(reference: JSON) -> None:
    with pytest.raises(DataError, match='seed seed: maths needs a number in the field "gold"'):
        judged("18", reference, field="gold")
