import json
from dataclasses import replace
from pathlib import Path

import pytest
from rows import record

from synth.errors import DataError
from synth.filters.schema import JSONSchema
from synth.steps import build
from synth.types import JSON, Verdict

SCHEMA: dict[str, JSON] = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/n"}, "day": {"type": "string", "format": "date"}},
    "required": ["n"],
    "additionalProperties": False,
    "$defs": {"n": {"type": "integer"}},
}


def judged(answer: str, **keys: JSON) -> Verdict:
    step = build("filter", {"use": "schema", **(keys or {"schema": SCHEMA})})
    assert isinstance(step, JSONSchema)
    return step.check(record(answer))


@pytest.mark.parametrize(
    "answer", ['{"n": 1}', '```json\n{"n": 1}\n```', 'Here:\n\n```\n{"n": 1}\n```\nBye.', ' {"n": 1.0}\n']
)
def test_valid_json_is_kept_fenced_or_not(answer: str) -> None:
    assert judged(answer) == Verdict("schema", True)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('Here: {"n": 1}', "the answer is no JSON"),
        ('{"n": 1', "the answer is no JSON"),
        ('{"n": NaN}', "the answer is no JSON"),
        ('```json\n{"n": 1}\n```\n```json\n{"n": 2}\n```', "the answer is no JSON"),
        ("", "the answer is no JSON"),
        ("[" * 100_000, "the answer is no JSON"),
        ('{"n": "1"}', "breaks the schema at $.n (type)"),
        ('{"n": true}', "breaks the schema at $.n (type)"),
        ('{"n": 1, "m": 1}', "breaks the schema at $ (additionalProperties)"),
        ('{"n": 1, "day": "soon"}', "breaks the schema at $.day (format)"),
        ("[]", "breaks the schema at $ (type)"),
    ],
)
def test_what_is_no_json_or_breaks_the_schema_is_rejected_with_the_place(answer: str, reason: str) -> None:
    assert judged(answer) == Verdict("schema", False, None, reason)


def test_the_schema_may_be_a_file_or_the_records_own_and_of_any_type(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_text('{"type": "array"}')
    assert judged("[]", schema=str(file)).keep and not judged("{}", schema=str(file)).keep
    for own in ({"type": "array"}, '{"type": "array"}'):
        step = JSONSchema(field="wanted")
        assert step.check(replace(record("[1]"), fields={"wanted": own})).keep
        assert not step.check(replace(record("1"), fields={"wanted": own})).keep


@pytest.mark.parametrize(
    ("keys", "mend"),
    [
        ({"schema": "none.json"}, "schema: .*can't be read as a JSON file"),
        ({"schema": {"type": "nothing"}}, "schema: .*is no JSON schema"),
        ({"schema": {"$ref": "https://example.org/x.json"}}, "schema: .*is not in the schema; put it there"),
        ({"schema": {}, "field": "x"}, "needs either schema or field"),
        ({"field": None}, "needs either schema or field"),
    ],
)
def test_a_wrong_recipe_is_told_before_the_run(keys: dict[str, JSON], mend: str) -> None:
    with pytest.raises(ValueError, match=mend):
        judged("{}", **keys)


@pytest.mark.parametrize("own", [None, "{", "1", {"type": "nothing"}, {"$ref": "https://example.org/x.json"}])
def test_a_record_without_a_schema_of_its_own_is_an_error_that_names_it(own: JSON) -> None:
    with pytest.raises(DataError, match='seed seed: schema needs a JSON schema in the field "wanted"'):
        JSONSchema(field="wanted").check(replace(record(json.dumps({})), fields={"wanted": own}))
