"""JSON schemas: read, checked before anything is asked, and held against values. Nothing is ever fetched."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import orjson
from jsonschema import FormatChecker, SchemaError
from jsonschema.validators import Draft202012Validator, validator_for
from pydantic import AfterValidator, BeforeValidator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

FORMATS = FormatChecker(("date", "email", "ipv4", "ipv6", "regex", "uuid"))
"""The formats that are checked: those that need no further package."""


def read(schema: object) -> object:
    """A schema from its file; one that stands in the recipe itself as it is.

    Raises:
        ValueError: there is no such file, or it is no JSON.
    """
    if not isinstance(schema, str):
        return schema
    try:
        return orjson.loads(Path(schema).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ValueError(f"can't be read as a JSON file ({error})") from error


def checked(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema by which values can be checked without asking anybody else.

    Raises:
        ValueError: it is no JSON schema, or refers to something outside.
    """
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"is no JSON schema at {error.json_path}: {error.message}") from error
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    for reference in references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            raise ValueError(f'"$ref": "{reference}" is not in the schema; put it there') from error
    return schema


def own(schema: object) -> dict[str, Any]:
    """The schema that stands in a row: an object, or its text.

    Raises:
        ValueError: it is none.
    """
    return _once(schema if isinstance(schema, str) else orjson.dumps(schema).decode())


@lru_cache(maxsize=256)
def _once(text: str) -> dict[str, Any]:
    """The schema that a text is, checked once: rows often share one."""
    schema = orjson.loads(text)
    if not isinstance(schema, dict):
        raise ValueError("is no object")
    return checked(schema)


Schema = Annotated[dict[str, Any], BeforeValidator(read), AfterValidator(checked)]
"""A field of a step: the path of a JSON file, or the schema itself as a table."""


def references(schema: object) -> Iterator[str]:
    """Every `$ref` of a schema."""
    if isinstance(schema, Mapping):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference
        for part in schema.values():
            yield from references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from references(part)


def errors(schema: Mapping[str, Any], value: object) -> Iterator[Any]:
    """jsonschema's errors of a value; an error is a fact of the value, not raised."""
    kind = validator_for(schema, default=Draft202012Validator)
    found: Iterator[Any] = kind(schema, registry=Registry(), format_checker=FORMATS).iter_errors(value)
    return found


def violation(schema: Mapping[str, Any], value: object) -> str:
    """The place of a value's first violation and its rule, or "" where it is valid."""
    for error in errors(schema, value):
        return f"breaks the schema at {error.json_path} ({error.validator})"
    return ""
