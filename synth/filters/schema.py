"""`schema`: is the answer JSON that a JSON schema allows?"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from synth import schemas
from synth.answers import json_of
from synth.errors import DataError
from synth.steps import Filter
from synth.types import Record, Verdict


class JSONSchema(Filter):
    """Rejects an answer that isn't JSON, alone or in the one fenced block of a text, or breaks a schema.

    The schema is the recipe's, or the record's own. What a schema refers to must be in it.
    """

    json_schema: schemas.Schema | None = Field(default=None, alias="schema")
    """The path of a JSON file, or the schema itself as a table."""
    field: str | None = None
    """The record's field with a schema, an object or its text."""

    @model_validator(mode="after")
    def _one(self) -> "JSONSchema":
        if (self.json_schema is None) == (self.field is None):
            raise ValueError("needs either schema or field; give one")
        return self

    def check(self, record: Record) -> Verdict:
        """Keep what is valid; no score.

        Raises:
            DataError: the record's field holds no schema.
        """
        schema = self.json_schema if self.field is None else _own(record, self.field)
        try:
            value = json_of(record.answer)
        except ValueError:
            return Verdict(self.name, False, None, "the answer is no JSON")
        reason = schemas.violation(schema or {}, value)
        return Verdict(self.name, not reason, None, reason)


def _own(record: Record, field: str) -> Mapping[str, Any]:
    try:
        return schemas.own(record.fields.get(field))
    except ValueError as error:
        mend = f'schema needs a JSON schema in the field "{field}", but it {error}; mend it'
        raise DataError(f"seed {record.seed_id}", mend) from error
