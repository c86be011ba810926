from dataclasses import replace

import pytest
from rows import record

from synth.errors import DataError
from synth.filters.grounded_values import GroundedValues
from synth.types import JSON, Verdict

TEXT = (
    "Good morning! Mrs Whitfield from Bergen wants 6 wool-lined coats on 3 May, at 14:30. "
    "They are 1,250.50 euros. 2 million sold!"
)


def judged(answer: str, text: JSON = TEXT, **keys: JSON) -> Verdict:
    return GroundedValues.model_validate(keys).check(replace(record(answer), fields={"text": text}))


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "Mrs Whitfield", "city": "Bergen"}',
        '{"name": "mrs  whitfield.", "time": "14:30"}',
        '{"item": "wool lined coats", "day": "3 May"}',
        '{"pieces": 6, "price": 1250.5}',
        '{"pieces": "6", "price": "1,250.50"}',
        '{"who": {"name": "Whitfield"}, "when": ["3 May", "14:30"], "paid": false, "phone": null}',
        '{"sold": 2, "more": 2000000, "again": "2 million"}',
        '["Bergen"]',
        '```json\n{"city": "Bergen"}\n```',
        '{"city": "Bergen", "from": "Bergen"}',
    ],
)
def test_an_object_is_kept_where_the_text_has_each_of_its_values(answer: str) -> None:
    assert judged(answer) == Verdict("grounded_values", True)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"city": "Oslo"}', "the text has no such value as $.city"),
        ('{"city": "Berg"}', "the text has no such value as $.city"),
        ('{"name": "Whitfield Mrs"}', "the text has no such value as $.name"),
        ('{"name": "Mrs Bergen"}', "the text has no such value as $.name"),
        ('{"city": "Bergen", "who": {"name": "Tom"}}', "the text has no such value as $.who.name"),
        ('{"when": ["3 May", "4 May"]}', "the text has no such value as $.when[]"),
        ('{"pieces": 5}', "the text has no such value as $.pieces"),
        ('{"pieces": 31}', "the text has no such value as $.pieces"),
        ('{"pieces": 14}', "the text has no such value as $.pieces"),
        ('{"price": 1250}', "the text has no such value as $.price"),
        ('{"city": ""}', "the text has no such value as $.city"),
        ('{"city": " "}', "the text has no such value as $.city"),
        ("{}", "the object has no value"),
        ('{"paid": true, "phone": null}', "the object has no value"),
        ("Bergen", "the answer is no JSON"),
        ('{"city": "Bergen"', "the answer is no JSON"),
    ],
)
def test_an_object_that_says_what_the_text_does_not_is_rejected_with_the_place(
    answer: str, reason: str
) -> None:
    assert judged(answer) == Verdict("grounded_values", False, None, reason)


@pytest.mark.parametrize(
    "answer",
    ['{"city": "Bergen", "from": "bergen."}', '{"pieces": 6, "size": "6"}', '["3 May", "3 May"]'],
)
def test_with_distinct_an_object_that_says_one_value_twice_is_rejected(answer: str) -> None:
    assert judged(answer).keep
    assert judged(answer, distinct=True) == Verdict("grounded_values", False, None, "one value stands twice")
    assert judged('{"city": "Bergen", "day": "3 May"}', distinct=True).keep


def test_words_of_languages_without_spaces_are_found() -> None:
    text = "\u7530\u4e2d\u3055\u3093\u306f\u6771\u4eac\u306b\u4f4f\u3093\u3067\u3044\u307e\u3059\u3002"
    assert judged('{"city": "\u6771\u4eac"}', text).keep
    assert not judged('{"city": "\u5927\u962a"}', text).keep


@pytest.mark.parametrize("text", [None, 7, " "])
def test_a_row_without_the_text_is_an_error_that_names_it(text: JSON) -> None:
    with pytest.raises(DataError, match='seed seed: grounded_values needs a text in the field "text"'):
        judged('{"city": "Bergen"}', text)


def test_the_texts_field_has_a_name_and_is_missed_before_anything_is_asked() -> None:
    row = replace(record('{"city": "Bergen"}'), fields={"mail": TEXT})
    step = GroundedValues(field="mail")
    assert step.check(row).keep
    assert step.missing(frozenset({"mail"})) == ""
    assert 'needs the field "mail"' in step.missing(frozenset({"text"}))
