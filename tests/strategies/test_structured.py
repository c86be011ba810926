import asyncio
import datetime
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from synth.errors import RecipeError, Unusable
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.recipe import load_recipe
from synth.seeds import make_seed
from synth.steps import Row, build
from synth.strategies.draws import Draw, drawn
from synth.strategies.structured import Structured, parsed, pinned
from synth.types import JSON, Prompt, Record, Reply, Sampling
from synth.units import Steps, Unit, run_unit

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["a", "b"]},
        "level": {"$ref": "#/$defs/level"},
        "day": {"type": "string", "format": "date"},
        "text": {"type": "string", "minLength": 2},
        "items": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    },
    "required": ["text"],
    "additionalProperties": False,
    "$defs": {"level": {"type": "integer", "minimum": 1, "maximum": 5}},
}
DRAWS: list[dict[str, Any]] = [
    {"field": "kind", "values": {"a": 3, "b": 1}},
    {"field": "level", "integer": [4, 5], "when": {"kind": "b"}},
    {"field": "level", "integer": [1, 2], "when": {"topic": ["x", "y"]}},
    {"field": "day", "date": ["2026-01-30", "2026-02-02"]},
]
SEED = make_seed({"topic": "x"})


def step(**more: JSON) -> Structured:
    made = build("generate", {"use": "structured", "schema": SCHEMA, "prompt": "ask", **more})
    assert isinstance(made, Structured)
    return made


@pytest.fixture
def prompts(tmp_path: Path) -> Prompts:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.jinja").write_text("{{ topic }} {{ drawn.kind }} {{ schema }}")
    (tmp_path / "prompts" / "see.jinja").write_text("An object about {{ topic }}.")
    return Prompts(tmp_path)


def obedient(prompt: Prompt, sampling: Sampling) -> str:
    """A teacher that is held to the schema: what is pinned, and a text."""
    schema: Mapping[str, Any] = sampling["json_schema"]
    values = {name: rule["const"] for name, rule in schema["properties"].items() if "const" in rule}
    return json.dumps({**values, "text": "caf\u00e9"})


def made(
    folder: Path, prompts: Prompts, strategy: Structured, teacher: ScriptedTeacher | None = None
) -> list[Row]:
    ask = (teacher or ScriptedTeacher(obedient)).asker(Journal(folder / "journal"))
    return asyncio.run(strategy.generate(SEED, ask, prompts))


def test_a_row_is_an_object_whose_drawn_fields_are_as_drawn(tmp_path: Path, prompts: Prompts) -> None:
    strategy = step(draw=DRAWS, student_prompt="see")
    [row] = made(tmp_path, prompts, strategy)
    assert isinstance(row, Record)
    values = drawn(strategy.draw, SEED.id, 0, SEED.fields)
    assert row.fields == {"topic": "x", "drawn": values, "object": {**values, "text": "caf\u00e9"}}
    assert row.fields.keys() == SEED.fields.keys() | strategy.adds
    assert row.answer == json.dumps(row.fields["object"], ensure_ascii=False)
    assert row.question == "An object about x." and row.prompt.startswith("ask@")
    assert strategy.needs == {"json_schema"} and strategy.prompt_names() == ["ask", "see"]


def test_the_teacher_is_told_what_is_drawn_and_held_to_it(tmp_path: Path, prompts: Prompts) -> None:
    sent: list[tuple[str, Sampling]] = []

    def script(prompt: Prompt, sampling: Sampling) -> str:
        sent.append((text_of(prompt), sampling))
        return obedient(prompt, sampling)

    made(tmp_path, prompts, step(draw=DRAWS), ScriptedTeacher(script))
    [(text, sampling)] = sent
    values = drawn(step(draw=DRAWS).draw, SEED.id, 0, SEED.fields)
    assert text.startswith(f"x {values['kind']} {{") and '"const"' in text
    schema: Mapping[str, Any] = sampling["json_schema"]
    assert schema["properties"]["kind"] == {"const": values["kind"]}
    assert schema["properties"]["text"] == SCHEMA["properties"]["text"]
    assert schema["required"] == ["text", *values]
    assert "const" not in json.dumps(SCHEMA)


def test_draws_hang_on_the_seed_and_the_row_alone_and_keep_to_weights_ranges_and_whens() -> None:
    draws = step(draw=DRAWS).draw
    rows = [drawn(draws, f"{n:016x}", n % 3, {"topic": "x"}) for n in range(4000)]
    assert rows == [drawn(draws, f"{n:016x}", n % 3, {"topic": "x"}) for n in range(4000)]
    kinds = Counter(row["kind"] for row in rows)
    assert 0.72 < kinds["a"] / 4000 < 0.78
    assert {row["level"] for row in rows if row["kind"] == "b"} == {4, 5}
    assert {row["level"] for row in rows if row["kind"] == "a"} == {1, 2}
    assert {row["day"] for row in rows} == {"2026-01-30", "2026-01-31", "2026-02-01", "2026-02-02"}


def test_a_field_whose_whens_are_not_met_is_left_to_the_teacher() -> None:
    draws = step(draw=DRAWS).draw
    found = [drawn(draws, str(n), 0, {"topic": "z"}) for n in range(50)]
    assert all(("level" in values) is (values["kind"] == "b") for values in found)


@pytest.mark.parametrize(
    ("draw", "low", "high"),
    [
        ({"values": [True, "x", 3]}, True, 3),
        ({"values": {"x": 1, "y": 9}}, "x", "y"),
        ({"integer": [-2, 2]}, -2, 2),
        ({"number": [0.5, 1.25]}, 0.5, 1.25),
        ({"number": [1, 2], "decimals": 0}, 1.0, 2.0),
        ({"date": [datetime.date(2026, 1, 1), "2026-12-31"]}, "2026-01-01", "2026-12-31"),
    ],
)
def test_the_ends_of_a_range_are_part_of_it(draw: dict[str, Any], low: object, high: object) -> None:
    made = Draw(field="f", **draw)
    assert (made.value(0.0), made.value(1 - 2**-53)) == (low, high)


def test_equal_draws_of_a_seed_are_asked_once_and_planned_rows_reconcile(
    tmp_path: Path, prompts: Prompts
) -> None:
    strategy = step(per_seed=8, draw=DRAWS[:1])
    teacher = ScriptedTeacher(obedient)
    ask = teacher.asker(Journal(tmp_path / "journal"))
    records = asyncio.run(run_unit(Unit(strategy, 0, SEED, 0), Steps([], [], prompts, ask, ask)))
    assert len(records) == strategy.rows_per_seed == 8
    reasons = Counter(record.rejection.reason if record.rejection else "kept" for record in records)
    assert reasons["kept"] == len(teacher.asked) <= 2
    assert reasons["the values drawn are those of another row of the seed"] == 8 - reasons["kept"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"text": "ok", "kind": "a"}', ""),
        ('{"text": "ok"}', "breaks the schema at $ (required)"),
        ('{"text": "ok", "kind": "b"}', "breaks the schema at $.kind (const)"),
        ('{"text": "o", "kind": "a"}', "breaks the schema at $.text (minLength)"),
        (
            '{"text": "ok", "kind": "a", "items": [{"n": 1}, {"n": "x"}]}',
            "breaks the schema at $.items[1].n (type)",
        ),
        ('{"text": "ok", "kind": "a", "day": "yesterday"}', "breaks the schema at $.day (format)"),
        ('{"text": "ok", "kind": "a", "more": 1}', "breaks the schema at $ (additionalProperties)"),
        ('["text"]', "breaks the schema at $ (type)"),
        ("Here you are: {}", "the reply is no JSON"),
        ("", "the reply is no JSON"),
    ],
)
def test_a_reply_that_breaks_the_schema_is_rejected_with_the_place(text: str, reason: str) -> None:
    schema = pinned(SCHEMA, {"kind": "a"})
    if not reason:
        assert parsed(Reply(text, "stop", 1, 1, "m"), schema) == json.loads(text)
        return
    with pytest.raises(Unusable) as caught:
        parsed(Reply(text, "stop", 1, 1, "m"), schema)
    assert str(caught.value) == reason


def test_json_that_was_cut_is_said_to_be() -> None:
    with pytest.raises(Unusable, match="the JSON was cut"):
        parsed(Reply('{"text": "o', "length", 1, 1, "m"), SCHEMA)


@pytest.mark.parametrize(
    ("keys", "mend"),
    [
        ({"schema": "none.json"}, "schema: .*can't be read as a JSON file"),
        ({"schema": {"type": "array"}}, "schema: .*must describe an object"),
        ({"schema": {"type": "nothing"}}, r"schema: .*is no JSON schema at \$\.type"),
        (
            {"schema": {"type": "object", "properties": {"a": {"$ref": "https://example.org/x.json"}}}},
            "schema: .*is not in the schema; put it there",
        ),
        (
            {"schema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}},
            "schema: .*is not in the schema; put it there",
        ),
        ({"draw": [{"field": "knid", "values": ["a"]}]}, 'no property "knid"; did you mean "kind"'),
        ({"draw": [{"field": "kind", "values": ["a", "c"]}]}, "the schema allows no 'c' as kind"),
        ({"draw": [{"field": "level", "integer": [1, 9]}]}, "the schema allows no 9 as level"),
        ({"draw": [{"field": "level"}]}, "needs one of values, integer, number and date"),
        ({"draw": [{"field": "level", "integer": [2, 1]}]}, "the lowest comes first"),
        ({"draw": [{"field": "kind", "values": {"a": 0}}]}, "draw.*greater than 0"),
        ({"draw": [{"field": "kind", "values": []}]}, "draw.*at least 1"),
        ({"draw": [{"field": "kind", "value": ["a"]}]}, r"draw\.0\.value: unknown key"),
        ({"json_schema": {}}, "json_schema: unknown key"),
    ],
)
def test_a_wrong_schema_or_draw_is_named_before_anything_is_asked(keys: dict[str, Any], mend: str) -> None:
    with pytest.raises(ValueError, match=mend):
        step(**keys)


def test_a_when_must_name_what_is_known() -> None:
    strategy = step(draw=[DRAWS[1], DRAWS[0]])
    assert strategy.missing(frozenset({"topic"})).startswith("asks for `kind` in a `when`")
    assert step(draw=DRAWS).missing(frozenset({"topic"})) == ""


def test_a_schema_file_is_found_from_the_project_and_decides_the_runs_key(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    recipe = tmp_path / "deep" / "r.toml"
    recipe.parent.mkdir()
    recipe.write_text(
        'name = "r"\n[seeds]\npath = "s.jsonl"\n[teacher]\nmodel = "m"\n'
        '[[generate]]\nuse = "structured"\nschema = "schema.json"\nprompt = "ask"\n'
    )
    keys = []
    for least in (1, 2):
        schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": least}}}
        (tmp_path / "schema.json").write_text(json.dumps(schema))
        keys.append(load_recipe(recipe).key({}))
    assert keys[0] != keys[1]
    (tmp_path / "schema.json").unlink()
    with pytest.raises(RecipeError, match=r"generate\[0\]: schema: .*can't be read as a JSON file"):
        load_recipe(recipe)
