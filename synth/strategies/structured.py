"""`structured`: rows that follow a user's JSON schema by guided decoding, some of their fields drawn.

A model that writes whole rows writes the same ones again; drawing what should vary, and having the rest
written around it, is AttrPrompt's way to diversity (Yu et al. 2023, arXiv 2306.15895).
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from synth import schemas
from synth.errors import RequestFailed, Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered, near
from synth.strategies.draws import Draw, Scalar, drawn, unknown_to
from synth.types import JSON, Ask, Capability, Reply, Seed

Schema = dict[str, Any]


def of_objects(schema: Schema) -> Schema:
    """A schema whose values are objects with named properties; ValueError for another."""
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        raise ValueError('must describe an object: "type": "object" with "properties"')
    return schema


class Structured(Strategy):
    """Draws some fields of an object, has the teacher write the others, and holds the whole to the schema.

    Needs an endpoint that can follow a JSON schema. Yields `per_seed` rows a sample: the prompt's turns and
    the object as JSON in one line; their fields are the seed's, `drawn` and the parsed `object`. Equal draws
    of one seed are asked once; further replies to the same draws are what `samples` is for.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt", "student_prompt")

    json_schema: Annotated[schemas.Schema, AfterValidator(of_objects)] = Field(alias="schema")
    """The path of a JSON file, or the schema itself as a table. The root is an object."""
    prompt: str
    """Gets the seed's fields, `drawn` (values by field) and `schema` (as text, with the drawn pinned)."""
    student_prompt: str | None = None
    """The prompt file whose turns are stored in the row; the teacher's by default. Gets the same."""
    per_seed: int = Field(default=1, gt=0)
    """Objects of one seed, each with values of its own."""
    draw: tuple[Draw, ...] = ()
    """The fields that are drawn, in order; the teacher writes the others."""

    @field_validator("draw")
    @classmethod
    def _fits(cls, draws: tuple[Draw, ...], given: ValidationInfo) -> tuple[Draw, ...]:
        schema: Schema = given.data.get("json_schema", {})
        for draw in draws if schema else ():
            if draw.field not in schema["properties"]:
                raise ValueError(
                    f'the schema has no property "{draw.field}"{near(draw.field, schema["properties"])}'
                )
            for value in draw.extremes():
                if any(
                    error.path and error.path[0] == draw.field
                    for error in schemas.errors(schema, {draw.field: value})
                ):
                    raise ValueError(f"the schema allows no {value!r} as {draw.field}")
        return draws

    @property
    def rows_per_seed(self) -> int:
        """`per_seed`."""
        return self.per_seed

    @property
    def needs(self) -> frozenset[Capability]:
        """Guided decoding by a schema."""
        return frozenset({"json_schema"})

    @property
    def adds(self) -> frozenset[str]:
        """What was drawn, and the whole object."""
        return frozenset({"drawn", "object"})

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The seed's fields, `drawn` and `schema`."""
        return dict.fromkeys(self.prompt_names(), fields | {"drawn", "schema"})

    def missing(self, fields: frozenset[str]) -> str:
        """What a `when` asks for must be there."""
        name = unknown_to(self.draw, fields)
        return f"asks for `{name}` in a `when`; draw it before, or give it to every seed" if name else ""

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """A row for each set of drawn values."""
        draws = [drawn(self.draw, seed.id, number, seed.fields) for number in range(self.per_seed)]
        rows = [
            self._row(values, seed, ask, prompts, repeated=values in draws[:number])
            for number, values in enumerate(draws)
        ]
        return list(await asyncio.gather(*rows))

    async def _row(
        self, values: dict[str, Scalar], seed: Seed, ask: Ask, prompts: Prompts, *, repeated: bool
    ) -> Row:
        if repeated:
            return Unusable("the values drawn are those of another row of the seed")
        schema = pinned(self.json_schema, values)
        fields: dict[str, JSON] = {**seed.fields, "drawn": values}
        told = {**fields, "schema": orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()}
        try:
            reply = await ask(prompts.render(self.prompt, told), json_schema=schema)
            made = parsed(reply, schema)
            turns = prompts.render(self.student_prompt or self.prompt, told)
        except (RequestFailed, Unusable) as failed:
            return failed
        text = replace(reply, text=json.dumps(made, ensure_ascii=False))
        record = answered(turns, text, prompt=prompts.file(self.prompt).version, seed=seed)
        return replace(record, fields={**fields, "object": made})


def pinned(schema: Schema, values: Mapping[str, Scalar]) -> Schema:
    """The schema with each of these values as the only one of its property, which must be there."""
    properties = {**schema["properties"], **{name: {"const": value} for name, value in values.items()}}
    required = list(dict.fromkeys([*schema.get("required", []), *values]))
    return {**schema, "properties": properties, **({"required": required} if required else {})}


def parsed(reply: Reply, schema: Schema) -> dict[str, JSON]:
    """The object that a reply holds.

    Raises:
        Unusable: it is no JSON, or breaks the schema; names the place of the first violation and its rule.
    """
    try:
        made: dict[str, JSON] = orjson.loads(reply.text)
    except orjson.JSONDecodeError as error:
        raise Unusable("the JSON was cut" if reply.cut else "the reply is no JSON") from error
    if violation := schemas.violation(schema, made):
        raise Unusable(violation)
    return made
