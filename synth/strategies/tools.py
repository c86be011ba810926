"""The tools of `tool_use`: read and checked, drawn for a row, made into schemas, held against a text."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import orjson

from synth.schemas import checked, references
from synth.strategies.draws import Draw, drawn
from synth.strategies.grounding import NUMBERS
from synth.strategies.structured import Schema, of_objects
from synth.types import JSON, Called

Tool = dict[str, Any]
"""`{"type": "function", "function": {"name", "description", "parameters"}}`, and maybe `return`."""
Kind = Literal["call", "parallel", "no_tool", "missing"]
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
WORD = re.compile(r"[^\W_]+")
NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
RETURN: Schema = {
    "type": "object",
    "properties": {"result": {"type": "string", "minLength": 2, "maxLength": 160}},
    "required": ["result"],
    "additionalProperties": False,
}
"""What comes back of a tool that doesn't say what it returns."""


def read_tools(tools: object) -> tuple[Tool, ...]:
    """The tools of a JSON file, or those that stand in the recipe itself.

    Raises:
        ValueError: names the file, the tool and the mend.
    """
    where = ""
    if isinstance(tools, str):
        where = f"{tools}: "
        try:
            tools = orjson.loads(Path(tools).read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise ValueError(f"{where}can't be read as a JSON file ({error})") from error
    if not isinstance(tools, list | tuple) or not tools:
        raise ValueError(f'{where}must be a list of {{"type": "function", "function": {{...}}}}')
    names: set[str] = set()
    for number, tool in enumerate(tools):
        try:
            _check(tool, names)
        except ValueError as error:
            raise ValueError(f"{where}tool {number}: {error}") from error
        names.add(tool["function"]["name"])
    return tuple(tools)


def _check(tool: object, names: set[str]) -> None:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict):
        raise ValueError('must be {"type": "function", "function": {...}}')
    name = function.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError("name: must be up to 64 letters, digits, _ and -")
    if name in names:
        raise ValueError(f'"{name}" is there twice; rename one')
    if not isinstance(function.get("description"), str) or not function["description"].strip():
        raise ValueError(f'"{name}": description: missing; say what it does')
    for key in ("parameters", "return"):
        if key in function:
            schema = function[key]
            try:
                if not isinstance(schema, dict):
                    raise ValueError("must be a JSON schema")
                of_objects(checked(schema))
            except ValueError as error:
                raise ValueError(f'"{name}": {key}: {error}') from error


def arguments_of(tool: Tool) -> Schema:
    """The schema of a tool's arguments; other ones are refused, if it does not say otherwise."""
    given: Schema = tool["function"].get("parameters", {"type": "object", "properties": {}})
    return {"additionalProperties": False, **given}


def required(tool: Tool) -> list[str]:
    """The parameters that a call must have."""
    return [
        name for name in arguments_of(tool).get("required", []) if name in arguments_of(tool)["properties"]
    ]


def function_of(tool: Tool) -> dict[str, Any]:
    """A tool's function as prompt files get it: with `parameters`, always."""
    return {**tool["function"], "parameters": arguments_of(tool)}


def returns(tool: Tool) -> Schema:
    """The schema of what comes back."""
    return cast(Schema, tool["function"].get("return", RETURN))


def calls_schema(tools: Sequence[Tool], count: int) -> Schema:
    """`{"calls": [{"name", "arguments"}, ...]}` with so many calls to these tools."""
    each: list[Schema] = []
    shared: dict[str, Schema] = {}
    for tool in tools:
        name, schema = tool["function"]["name"], arguments_of(tool)
        if any(references(schema)):
            shared[name] = _moved(schema, f"#/$defs/{name}")
            schema = {"$ref": f"#/$defs/{name}"}
        each.append(_closed({"name": {"const": name}, "arguments": schema}))
    calls = {"type": "array", "items": {"anyOf": each}, "minItems": count, "maxItems": count}
    return {**_closed({"calls": calls}), **({"$defs": shared} if shared else {})}


def _closed(properties: Mapping[str, Schema]) -> Schema:
    """The schema of an object with just these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _moved(part: Schema, to: str) -> Schema:
    """A schema with its references put behind `to`, where it now stands."""

    def moved(value: object) -> object:
        if isinstance(value, dict):
            return _moved(value, to)
        return [moved(item) for item in value] if isinstance(value, list) else value

    return {
        key: f"{to}{value[1:]}" if key == "$ref" and isinstance(value, str) else moved(value)
        for key, value in part.items()
    }


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn for a row: the tools that it is about, those that the assistant is given, and a parameter
    that the request leaves out, where that is its kind.
    """

    kind: Kind
    about: tuple[Tool, ...]
    offered: tuple[Tool, ...]
    withheld: str = ""


def plan(
    tools: Sequence[Tool], kinds: Mapping[Kind, float], offered: tuple[int, int], seed: str, number: int
) -> Plan:
    """The plan of row `number` of the seed with this id: hashes, never chance. The rows of one seed go round
    the tools.
    """
    draws = (Draw(field="kind", values=dict(kinds)), Draw(field="count", integer=offered))
    values = drawn(draws, seed, number, {})
    kind, count = cast(Kind, values["kind"]), int(values["count"])
    fit = _shuffled([tool for tool in tools if kind != "missing" or required(tool)], seed)
    about = tuple(fit[(number + n) % len(fit)] for n in range(2 if kind == "parallel" else 1))
    others = _shuffled([tool for tool in tools if tool not in about], f"{seed}:{number}")
    if kind == "no_tool":
        return Plan(kind, about, tuple(others[:count]))
    with_others = [*about, *others[: max(0, count - len(about))]]
    shown = tuple(_shuffled(with_others, f"{number}:{seed}"))
    if kind != "missing":
        return Plan(kind, about, shown)
    withheld = min(required(about[0]), key=lambda name: _hash(f"{seed}:{number}:{name}"))
    return Plan(kind, about, shown, withheld)


def _shuffled(tools: Sequence[Tool], salt: str) -> list[Tool]:
    return sorted(tools, key=lambda tool: _hash(f"{salt}:{tool['function']['name']}"))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def values_of(value: JSON) -> Iterator[str | int | float]:
    """Every text and number in the arguments of a call."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from values_of(part)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            yield from values_of(part)


def mentions(text: str, value: str | float) -> bool:
    """Whether a text has every word of a value, or the number in digits or, up to twelve, as a word."""
    words = {word.casefold() for word in WORD.findall(text)}
    if isinstance(value, str):
        parts = [part.casefold() for part in WORD.findall(value)]
        return all(any(w.startswith(part) if len(part) > 2 else w == part for w in words) for part in parts)
    named = float(value).is_integer() and 0 <= value < len(NUMBERS) and NUMBERS[int(value)] in words
    return named or float(value) in numbers(text)


def request_form(values: Sequence[str | int | float]) -> str:
    """The regex of a request that has these values in their order, and no other number."""
    plain = [re.sub(r"([\\.^$*+?()[\]{}|])", r"\\\1", str(value)) for value in values]
    return r"[A-Z][a-zA-Z ,'.!]{8,70} " + r" [a-zA-Z ,']{2,40} ".join(plain) + r"( [a-zA-Z ,']{2,40})?[.?!]"


def numbers(text: str) -> set[float]:
    """The numbers that a text has in digits; those on either side of a point or comma too."""
    found = NUMBER.findall(text)
    return {float(number.replace(",", ".")) for number in found} | {
        float(part) for number in found for part in re.split("[.,]", number)
    }


def same_calls(asked: Sequence[Called], made: Sequence[Called]) -> bool:
    """Whether the calls are to the same tools with the same arguments, whatever order, case and spaces."""
    return sorted(map(_folded, asked)) == sorted(map(_folded, made))


def _folded(call: Called) -> str:
    folded = {"name": call["name"], "arguments": _fold(call["arguments"])}
    return orjson.dumps(folded, option=orjson.OPT_SORT_KEYS).decode()


def _fold(value: JSON) -> JSON:
    if isinstance(value, str):
        return " ".join(WORD.findall(value.casefold()))
    if isinstance(value, Mapping):
        return {key: _fold(part) for key, part in value.items()}
    if isinstance(value, Sequence):
        return [_fold(part) for part in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
