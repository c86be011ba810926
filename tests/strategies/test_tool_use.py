import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from synth.errors import RecipeError, RequestFailed
from synth.filters.honesty import Honesty
from synth.filters.repetition import Repetition
from synth.filters.text import Length, Truncated
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.recipe import load_recipe
from synth.seeds import make_seed
from synth.steps import build
from synth.strategies.tool_use import ToolUse
from synth.strategies.tools import request_form
from synth.types import JSON, Prompt, Record, Reply, Sampling
from synth.units import Steps, Unit, run_unit

SEED = make_seed({"scenario": "a baker"})


def tool(
    name: str, properties: Mapping[str, Any], *, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    parameters = {"type": "object", "properties": dict(properties), "required": list(properties)}
    function = {"name": name, "description": f"Do the {name}.", "parameters": parameters, **(more or {})}
    return {"type": "function", "function": function}


TOOLS = [
    tool("booking", {"bike": {"enum": ["city", "cargo"]}, "days": {"type": "integer", "maximum": 9}}),
    tool("hours", {"shop": {"type": "string", "description": "Which shop"}}),
    tool(
        "count",
        {"bikes": {"$ref": "#/properties/least"}, "least": {"type": "integer"}},
        more={"return": {"type": "object", "properties": {"n": {"const": 42}}, "required": ["n"]}},
    ),
]
VALUES: dict[str, JSON] = {"bike": "cargo", "days": 3, "shop": "harbour", "bikes": 7, "least": 5}


def step(**more: Any) -> ToolUse:  # noqa: ANN401
    made = build("generate", {"use": "tool_use", "tools": TOOLS, **more})
    assert isinstance(made, ToolUse)
    return made


def said(prompt: Prompt, sampling: Sampling) -> str:
    """A teacher that does what each prompt asks for; every call is the one that its request names."""
    text = text_of(prompt)
    schema: Mapping[str, Any] = sampling.get("json_schema", {})
    properties = schema.get("properties", {})
    if "calls" in properties:
        request = text.rpartition("Request: ")[2]
        calls = [
            {"name": t["function"]["name"], "arguments": arguments(t)}
            for t in TOOLS
            if f"the {t['function']['name']}" in request
        ]
        return json.dumps({"calls": calls})
    if properties and set(properties) <= VALUES.keys():
        return json.dumps({name: VALUES[name] for name in properties})
    if properties:
        return json.dumps({"n": 42} if "n" in properties else {"result": "Gate 6 is open."})
    if "The person is" in text:
        return "Please " + text.partition("wants:")[2].strip()
    if "Your list:" in text:
        return "I'm sorry, I can't do that."
    if "Missing:" in text:
        return "Gladly! Which one?"
    return "Here it is: 42." if "42" in text else "The gate is open."


def arguments(tool: Mapping[str, Any]) -> dict[str, JSON]:
    return {name: VALUES[name] for name in tool["function"]["parameters"]["properties"]}


Script = Callable[[Prompt, Sampling], "str | Reply"]


def made(folder: Path, strategy: ToolUse, script: Script = said) -> tuple[list[Record], ScriptedTeacher]:
    """The rows of one seed as the engine finishes them, through the recipe's filters."""
    teacher = ScriptedTeacher(script)
    ask = teacher.asker(Journal(folder / "journal"))
    filters = [Truncated(), Length(min_words=3), Repetition(), Honesty()]
    steps = Steps(filters, [], Prompts(folder), ask, ask)
    return asyncio.run(run_unit(Unit(strategy, 0, SEED, 0), steps)), teacher


def reason(folder: Path, kind: str, script: Script) -> str:
    ([row], _) = made(folder, step(kinds={kind: 1}), script)
    return "" if row.rejection is None else row.rejection.reason


def names(row: Record) -> set[str]:
    return {tool["function"]["name"] for tool in cast("list[Any]", row.tools)}


def asked_for(row: Record) -> dict[str, Any]:
    """The one call that a request was to be about."""
    [call] = cast("list[Any]", row.fields["calls"])
    return cast("dict[str, Any]", call)


def test_a_call_its_reply_and_the_answer_stand_in_the_row_in_the_standard_form(tmp_path: Path) -> None:
    ([row], teacher) = made(tmp_path, step(kinds={"call": 1}, tools=TOOLS[:1], offered=[1, 1]))
    assert row.status == "kept" and len(teacher.asked) == len(row.replies) == 5
    user, call, back, answer = row.messages
    assert user == {"role": "user", "content": "Please Do the booking. (bike: cargo, days: 3)"}
    assert call["content"] == "" and call["role"] == "assistant"
    [wanted] = call["tool_calls"]
    assert wanted["function"] == {"name": "booking", "arguments": {"bike": "cargo", "days": 3}}
    assert wanted["type"] == "function" and len(wanted["id"]) == 9 and wanted["id"].startswith("sim")
    assert back == {
        "role": "tool",
        "content": '{"result": "Gate 6 is open."}',
        "name": "booking",
        "tool_call_id": wanted["id"],
    }
    assert answer == {"role": "assistant", "content": "The gate is open."}
    assert row.tools == (TOOLS[0],)
    assert row.fields == {
        "scenario": "a baker",
        "request": user["content"],
        "kind": "call",
        "calls": [wanted["function"]],
        "simulated": True,
    }
    assert row.answer == "The gate is open."
    assert '{"name": "booking", "arguments": {"bike": "cargo", "days": 3}}' in row.question
    assert row.prompt.startswith("tool_use/request@") and row.completion_tokens > 10


def test_two_calls_of_one_turn_have_a_reply_each(tmp_path: Path) -> None:
    ([row], _) = made(tmp_path, step(kinds={"parallel": 1}))
    assert row.status == "kept"
    _, call, first, second, answer = row.messages
    calls = call["tool_calls"]
    assert len(calls) == 2 and len({c["id"] for c in calls}) == 2
    assert [(t["name"], t["tool_call_id"]) for t in (first, second)] == [
        (c["function"]["name"], c["id"]) for c in calls
    ]
    assert {c["function"]["name"] for c in calls} <= names(row)
    assert answer["role"] == "assistant" and "tool_calls" not in answer


def test_a_request_that_no_given_tool_serves_is_answered_without_a_call(tmp_path: Path) -> None:
    ([row], teacher) = made(tmp_path, step(kinds={"no_tool": 1}))
    assert row.status == "kept" and len(teacher.asked) == 3
    assert [turn["role"] for turn in row.messages] == ["user", "assistant"]
    call = asked_for(row)
    assert call["name"] not in names(row) and row.tools
    assert "simulated" not in row.fields and row.answer == "I'm sorry, I can't do that."


def test_an_answer_that_claims_what_no_tool_can_do_is_rejected_by_honesty(tmp_path: Path) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str:
        return "Of course, I have booked it." if "Your list:" in text_of(prompt) else said(prompt, sampling)

    assert reason(tmp_path, "no_tool", script) == "claims to do what it can't"


def test_who_writes_a_request_is_not_told_the_argument_that_it_is_to_lack(tmp_path: Path) -> None:
    ([row], teacher) = made(tmp_path, step(kinds={"missing": 1}))
    withheld = str(row.fields["withheld"])
    assert row.status == "kept" and len(teacher.asked) == 3
    assert f"{withheld}:" not in text_of(teacher.asked[1]) and f"Missing: {withheld} (" in text_of(
        teacher.asked[2]
    )
    assert [turn["role"] for turn in row.messages] == ["user", "assistant"] and row.answer.endswith("?")
    call = asked_for(row)
    assert call["name"] in names(row) and withheld not in call["arguments"]


def test_kinds_come_by_their_weights_and_rows_of_a_seed_are_about_other_tools(tmp_path: Path) -> None:
    rows, _ = made(tmp_path, step(per_seed=3, kinds={"call": 1}))
    assert len({row.messages[1]["tool_calls"][0]["function"]["name"] for row in rows}) == 3
    many, _ = made(tmp_path, step(per_seed=60))
    assert len(many) == 60
    counts = Counter(str(row.fields.get("kind")) for row in many if row.status == "kept")
    assert (
        set(counts) == {"call", "parallel", "no_tool", "missing"}
        and max(counts, key=lambda k: counts[k]) == "call"
    )
    repeated = [row for row in many if row.rejection]
    assert {row.rejection.reason for row in repeated if row.rejection} == {
        "the tools drawn are those of another row of the seed"
    }


def test_the_call_is_held_to_the_schemas_of_the_tools_that_are_given(tmp_path: Path) -> None:
    sent: list[Sampling] = []

    def script(prompt: Prompt, sampling: Sampling) -> str:
        sent.append(sampling)
        return said(prompt, sampling)

    made(tmp_path, step(kinds={"call": 1}, offered=[3, 3]), script)
    schema: Mapping[str, Any] = sent[2]["json_schema"]
    calls = schema["properties"]["calls"]
    each = {item["properties"]["name"]["const"]: item for item in calls["items"]["anyOf"]}
    assert set(each) == {"booking", "hours", "count"} and calls["minItems"] == calls["maxItems"] == 1
    assert each["booking"]["properties"]["arguments"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bike": "city"}, "the call has other arguments than were asked for"),
        ({"days": 4}, "the call has other arguments than were asked for"),
        ({"days": 3.0}, ""),
        ({"bike": "truck"}, "breaks the schema at $.calls[0] (anyOf)"),
        ({"days": 10}, "breaks the schema at $.calls[0] (anyOf)"),
        ({"days": "3"}, "breaks the schema at $.calls[0] (anyOf)"),
        ({"colour": "red"}, "breaks the schema at $.calls[0] (anyOf)"),
        ({"days": None}, "breaks the schema at $.calls[0] (anyOf)"),
    ],
)
def test_a_call_that_breaks_its_schema_or_is_another_is_rejected(
    tmp_path: Path, change: dict[str, JSON], why: str
) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str:
        text = said(prompt, sampling)
        if text.startswith('{"calls"'):
            body = json.loads(text)
            body["calls"][0]["arguments"] |= change
            return json.dumps(body)
        return text

    ([row], _) = made(tmp_path, step(kinds={"call": 1}, tools=TOOLS[:1]), script)
    assert ("" if row.rejection is None else row.rejection.reason) == why


def test_a_call_to_another_tool_is_rejected(tmp_path: Path) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str:
        text = said(prompt, sampling)
        if text.startswith('{"calls"'):
            other = next(t for t in TOOLS if t["function"]["name"] not in text)
            return json.dumps({"calls": [{"name": other["function"]["name"], "arguments": arguments(other)}]})
        return text

    ([row], _) = made(tmp_path, step(kinds={"call": 1}, offered=[3, 3]), script)
    assert row.rejection and row.rejection.reason == "the call is to another tool than was asked for"


@pytest.mark.parametrize(
    ("kind", "mark", "reply", "why"),
    [
        ("call", "The person is", "Please.", "the request leaves out an argument that it was to have"),
        ("call", "The person is", " ", "the request is empty"),
        ("call", "The person is", Reply("Please", "length", 1, 1, "m"), "the request was cut"),
        ("call", "gives back:", '{"n": 42}', "the answer is JSON"),
        ("call", "gives back:", "It costs 17 euros.", "the answer has a number that the tool did not give"),
        ("call", "gives back:", "", "the answer is empty"),
        ("parallel", "gives back:", Reply("It is", "length", 1, 1, "m"), "the answer was cut"),
        ("no_tool", "Your list:", "", "the answer is empty"),
        ("missing", "Missing:", "Gladly, it is booked.", "the answer does not ask for what is missing"),
    ],
)  # fmt: skip
def test_what_is_cut_empty_or_invented_is_rejected(
    tmp_path: Path, kind: str, mark: str, reply: str | Reply, why: str
) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        return reply if mark in text_of(prompt) else said(prompt, sampling)

    assert reason(tmp_path, kind, script) == why


def least(schema: Mapping[str, Any]) -> JSON:
    """A value that a simple schema allows."""
    if "enum" in schema:
        return cast(JSON, schema["enum"][0])
    if schema["type"] == "object":
        return {name: least(part) for name, part in schema["properties"].items()}
    values: dict[str, JSON] = {"integer": schema.get("minimum", 0), "boolean": True, "string": "2026-05-14"}
    return values[schema["type"]]


def test_the_shipped_recipe_keeps_rows_of_every_kind_from_a_teacher_that_does_as_it_is_told(
    tmp_path: Path,
) -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "flows" / "recipes" / "tool_use.toml")
    [strategy] = recipe.generate
    assert isinstance(strategy, ToolUse)
    described = {tool["function"]["description"]: tool["function"] for tool in strategy.tools}

    def script(prompt: Prompt, sampling: Sampling) -> str:
        text, schema = text_of(prompt), cast("dict[str, Any]", sampling.get("json_schema", {}))
        if "calls" in schema.get("properties", {}):
            request = text.rpartition("Request: ")[2]
            wanted = sorted((d for d in described if d in request), key=request.index)
            calls = [
                {"name": described[d]["name"], "arguments": least(described[d]["parameters"])} for d in wanted
            ]
            return json.dumps({"calls": calls})
        return json.dumps(least(schema)) if schema else said(prompt, sampling)

    ask = ScriptedTeacher(script).asker(Journal(tmp_path / "journal"))
    steps = Steps(recipe.filters, [], Prompts(tmp_path), ask, ask)
    seeds = [make_seed({"scenario": f"person {letter}"}) for letter in "abcdef"]
    rows = [row for seed in seeds for row in asyncio.run(run_unit(Unit(strategy, 0, seed, 0), steps))]
    kept = Counter(str(row.fields["kind"]) for row in rows if row.status == "kept")
    assert len(rows) == 24 and set(kept) == {"call", "parallel", "no_tool", "missing"}
    assert [row.rejection for row in rows if row.status != "kept"] == []


def test_a_request_that_fails_costs_its_own_row_alone(tmp_path: Path) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str:
        if "Do the hours" in text_of(prompt):
            raise RequestFailed("HTTP 400")
        return said(prompt, sampling)

    rows, _ = made(tmp_path, step(per_seed=3, kinds={"call": 1}, offered=[1, 1]), script)
    assert Counter(row.status for row in rows) == {"kept": 2, "failed": 1}


@pytest.mark.parametrize(
    ("keys", "mend"),
    [
        ({"tools": "none.json"}, r"tools: .*none\.json: can't be read as a JSON file"),
        ({"tools": []}, r'tools: .*must be a list of \{"type": "function"'),
        ({"tools": [{"name": "x"}]}, 'tool 0: must be {"type": "function"'),
        ({"tools": [tool("a b", {})]}, "tool 0: name: must be up to 64 letters"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, 'tool 1: "booking" is there twice; rename one'),
        ({"tools": [tool("a", {}, more={"description": ""})]}, '"a": description: missing; say what it does'),
        ({"tools": [tool("a", {"x": {"type": "nothing"}})]}, '"a": parameters: is no JSON schema at'),
        (
            {"tools": [tool("a", {}, more={"return": {"type": "string"}})]},
            '"a": return: must describe an object',
        ),
        ({"tools": [tool("a", {}, more={"parameters": 3})]}, '"a": parameters: must be a JSON schema'),
        ({"tools": TOOLS[:1]}, "kinds: .*no_tool and parallel needs? two tools in the file; add one"),
        (
            {"tools": [tool("a", {}), tool("b", {})]},
            "kinds: .*missing needs a tool with a required parameter; add one, or leave the kind out",
        ),
        ({"kinds": {}}, "kinds: .*at least 1"),
        ({"kinds": {"chat": 1}}, "kinds.chat"),
        ({"kinds": {"call": 0}}, "kinds.call: .*greater than 0"),
        ({"offered": [3, 2]}, "offered: .*the fewest come first"),
    ],
)
def test_wrong_tools_or_kinds_are_named_before_anything_is_asked(keys: dict[str, Any], mend: str) -> None:
    with pytest.raises(ValueError, match=mend):
        step(**keys)


def test_a_tool_file_is_found_from_the_project_and_its_content_decides_the_runs_key(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    recipe = tmp_path / "deep" / "r.toml"
    recipe.parent.mkdir()
    recipe.write_text(
        'name = "r"\n[seeds]\npath = "s.jsonl"\n[teacher]\nmodel = "m"\n'
        '[[generate]]\nuse = "tool_use"\ntools = "tools.json"\n'
    )
    keys = []
    for tools in (TOOLS, TOOLS[::-1]):
        (tmp_path / "tools.json").write_text(json.dumps(tools))
        keys.append(load_recipe(recipe).key({}))
    assert keys[0] != keys[1]
    (tmp_path / "tools.json").write_text("[")
    with pytest.raises(
        RecipeError, match=r"generate\[0\]: tools: .*tools\.json: can't be read as a JSON file"
    ):
        load_recipe(recipe)


def test_a_guided_request_has_its_arguments_by_its_form() -> None:
    form = re.compile(request_form(["city bike", 3, "2026-08-22", "a.b"]))
    said = "Hello, I would like a city bike for my sister and 3 friends on 2026-08-22 to a.b please."
    assert form.fullmatch(said)
    assert not form.fullmatch(said.replace("a.b", "axb"))
    assert not form.fullmatch(said.replace("my sister", "my 2 sisters"))
    assert "regex" in step(guided=True).needs and "regex" not in step().needs
