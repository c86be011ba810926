"""The usual formats of instruction data, read as chat turns and written back as they were.

messages (OpenAI, TRL) · ShareGPT · Alpaca and its kin · prompt and completion · preference pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from synth.errors import Unusable
from synth.store import message
from synth.types import JSON, Message, Record, said

Line: TypeAlias = Mapping[str, Any]
FROM = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "model", "bing", "bard"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function_response", "ipython"), "tool"),
    "system": "system",
    "developer": "system",
    "function_call": "function_call",
}
"""What datasets call who speaks."""
TURNS = ("messages", "conversations", "conversation")
ASKED = {"instruction": ("input", "context"), "prompt": (), "question": ("context", "input"), "query": ()}
"""The columns of a question, and those of what it speaks of."""
ANSWERED = ("output", "completion", "response", "answer")
KNOWN = (
    "messages or conversations (a list of turns), instruction and output, prompt and completion, question "
    "and answer, or prompt with chosen and rejected"
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A line as turns. `columns` are those that the turns stand in; `rest` is everything else."""

    messages: Sequence[Message]
    columns: Sequence[str]
    rest: Mapping[str, JSON]
    tools: Sequence[Mapping[str, JSON]] = ()
    rejected: Sequence[Message] = field(default=())
    """The rejected answer of a preference pair, as turns."""


def known(line: Line) -> bool:
    """Whether a line has the columns of one of the formats."""
    if any(isinstance(line.get(name), list) for name in TURNS):
        return True
    if "chosen" in line and "rejected" in line:
        return True
    return any(name in line for name in ASKED) and any(name in line for name in ANSWERED)


def parse(line: Line) -> Parsed:
    """The turns of a line.

    Raises:
        Unusable: it is in none of the formats, or a turn is none; the text is the reason.
    """
    if (name := next((name for name in TURNS if isinstance(line.get(name), list)), None)) is not None:
        turns, columns = _turns(line[name]), [name]
        if isinstance(line.get("system"), str):
            turns, columns = [*_system(line), *turns], [name, "system"]
        tools = _tools(line.get("tools"))
        return _parsed(line, turns, [*columns, "tools"], tools=tools)
    if "chosen" in line and "rejected" in line:
        return _preference(line)
    asked = next((name for name in ASKED if isinstance(line.get(name), str | list)), None)
    answered = next((name for name in ANSWERED if isinstance(line.get(name), str | list)), None)
    if asked is None or answered is None:
        raise Unusable("is in no format that is known")
    about = next((name for name in ASKED[asked] if line.get(name)), None)
    question = _turns_or_text(line[asked], "user")
    if about is not None and isinstance(line[about], str):
        question = [{"role": "user", "content": f"{line[asked]}\n\n{line[about]}"}]
    turns = [*_system(line), *question, *_turns_or_text(line[answered], "assistant")]
    return _parsed(line, turns, [asked, *ASKED[asked], answered, "system"])


def render(line: Line, record: Record) -> dict[str, Any]:
    """The line with the turns of its record, where a step changed them, in the line's own format."""
    whole = dict(line)
    old, new = parse(line), record
    rejected = record.fields.get("rejected")
    if list(map(dict, old.messages)) == list(map(dict, new.messages)) and (
        not old.rejected or rejected == list(map(dict, old.rejected))
    ):
        return whole
    turns = [dict(turn) for turn in new.messages]
    name = old.columns[0]
    if "system" in old.columns and turns[0]["role"] == "system":
        whole["system"] = turns.pop(0)["content"]
    if name in TURNS:
        value_key = "value" if line[name] and "value" in line[name][0] else None
        whole[name] = (
            [{**was, value_key: said(now)} for was, now in zip(line[name], turns, strict=True)]  # type: ignore[arg-type]
            if value_key
            else turns
        )
        return whole
    if "chosen" in old.columns:
        return _rendered_pair(whole, turns, rejected)
    answered = next(column for column in old.columns if column in ANSWERED)
    _put(whole, answered, turns[-1:])
    _put(whole, name, turns[:-1])
    for about in ASKED[name]:
        if whole.get(about):
            whole[about] = ""  # what it held stands in the question now
    return whole


def _rendered_pair(whole: dict[str, Any], turns: list[dict[str, Any]], rejected: object) -> dict[str, Any]:
    if "prompt" in whole:
        _put(whole, "prompt", turns[:-1])
        _put(whole, "chosen", turns[-1:])
        _put(whole, "rejected", _list(rejected))
    else:
        _put(whole, "chosen", turns)
        _put(whole, "rejected", [*turns[:-1], *_list(rejected)])
    return whole


def _list(turns: object) -> list[dict[str, Any]]:
    return list(turns) if isinstance(turns, list | tuple) else []


def _put(whole: dict[str, Any], name: str, turns: list[dict[str, Any]]) -> None:
    whole[name] = turns if isinstance(whole[name], list) else "\n\n".join(turn["content"] for turn in turns)


def _parsed(
    line: Line, turns: list[Message], columns: Sequence[str], *, tools: Sequence[Mapping[str, JSON]] = ()
) -> Parsed:
    if not turns:
        raise Unusable("has no turns")
    here = [name for name in columns if line.get(name) is not None]
    rest = {name: value for name, value in line.items() if name not in columns and value is not None}
    return Parsed(turns, here, rest, tools)


def _preference(line: Line) -> Parsed:
    chosen, rejected = (_turns_or_text(line[name], "assistant") for name in ("chosen", "rejected"))
    prompt = _turns_or_text(line["prompt"], "user") if line.get("prompt") else []
    if not prompt:  # the prompt is what both have in common
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    elif chosen[: len(prompt)] == prompt:  # some sets repeat it in both
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    turns = [*_system(line), *prompt, *chosen]
    parsed = _parsed(line, turns, ["chosen", "rejected", "prompt", "system"])
    return Parsed(parsed.messages, parsed.columns, parsed.rest, rejected=rejected)


def _system(line: Line) -> list[Message]:
    text = line.get("system")
    return [{"role": "system", "content": text}] if isinstance(text, str) and text else []


def _turns_or_text(value: object, role: str) -> list[Message]:
    return _turns(value) if isinstance(value, list) else [_turn({"role": role, "content": value})]


def _turns(value: Sequence[Any]) -> list[Message]:
    return [_turn(each) for each in value]


def _turn(turn: object) -> Message:
    if isinstance(turn, str):
        turn = message(turn)
    if not isinstance(turn, Mapping):
        raise Unusable("a turn is no object")
    role = FROM.get(str(turn.get("role") or turn.get("from") or "").lower())
    content = turn["content"] if turn.get("content") is not None else turn.get("value")
    if role is None:
        raise Unusable("a turn has no role that is known")
    if isinstance(content, list):
        content = _text(content)
    if role == "function_call":
        return message({"role": "assistant", "content": "", "tool_calls": [_call(content)]})
    if content is None and turn.get("tool_calls"):
        content = ""
    if not isinstance(content, str):
        raise Unusable("a turn has no text")
    more = {key: turn[key] for key in ("tool_calls", "name", "tool_call_id") if turn.get(key)}
    return message({"role": role, "content": content, **more})


def _text(parts: Sequence[Any]) -> str:
    """The text of content in parts."""
    if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in parts):
        raise Unusable("a turn holds more than text")
    return "\n".join(part["text"] for part in parts)


def _call(content: object) -> dict[str, Any]:
    try:
        function = orjson.loads(content) if isinstance(content, str) else content
    except orjson.JSONDecodeError as error:
        raise Unusable("a call is no JSON") from error
    if not isinstance(function, Mapping) or not {"name", "arguments"} <= function.keys():
        raise Unusable("a call has no name and arguments")
    return {"type": "function", "function": {key: function[key] for key in ("name", "arguments")}}


def _tools(value: object) -> Sequence[Mapping[str, JSON]]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value) if value.strip() else ()
        except orjson.JSONDecodeError as error:
            raise Unusable("tools are no JSON") from error
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(tool, Mapping) for tool in value):
        raise Unusable("tools are no list of functions")
    return list(value)
