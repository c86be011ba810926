import json
from dataclasses import replace
from typing import Any

import pytest

from synth.errors import Unusable
from synth.formats import known, parse, render
from synth.types import Record

ASKED = {"role": "user", "content": "Why?"}
SAID = {"role": "assistant", "content": "Because."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "book", "arguments": {"days": 3}}}
LINES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "messages": ({"messages": [SYSTEM, ASKED, SAID], "source": "here"}, [SYSTEM, ASKED, SAID]),
    "messages as text": ({"messages": [json.dumps(ASKED), json.dumps(SAID)]}, [ASKED, SAID]),
    "content in parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}, SAID]},
        [ASKED, SAID],
    ),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
        [ASKED, SAID],
    ),
    "ShareGPT with system": (
        {
            "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}],
            "system": "Be brief.",
        },
        [SYSTEM, ASKED, SAID],
    ),
    "Alpaca": ({"instruction": "Why?", "input": "", "output": "Because."}, [ASKED, SAID]),
    "Alpaca with input": (
        {"instruction": "Translate.", "input": "Warum?", "output": "Why?"},
        [{"role": "user", "content": "Translate.\n\nWarum?"}, {"role": "assistant", "content": "Why?"}],
    ),
    "Dolly": ({"instruction": "Why?", "context": "", "response": "Because."}, [ASKED, SAID]),
    "prompt and completion": ({"prompt": "Why?", "completion": "Because."}, [ASKED, SAID]),
    "TRL's conversations": ({"prompt": [ASKED], "completion": [SAID]}, [ASKED, SAID]),
    "question and answer": ({"question": "Why?", "answer": "Because."}, [ASKED, SAID]),
    "preference": ({"prompt": "Why?", "chosen": "Because.", "rejected": "No."}, [ASKED, SAID]),
    "preference as turns": (
        {"chosen": [ASKED, SAID], "rejected": [ASKED, {"role": "assistant", "content": "No."}]},
        [ASKED, SAID],
    ),
}
each = pytest.mark.parametrize("name", LINES)


@each
def test_a_line_of_each_format_is_read_as_turns(name: str) -> None:
    line, turns = LINES[name]
    assert known(line)
    assert list(parse(line).messages) == turns
    assert parse(line).rest == ({"source": "here"} if name == "messages" else {})


@each
def test_a_line_that_no_step_changed_comes_back_as_it_was(name: str) -> None:
    line, _ = LINES[name]
    parsed = parse(line)
    record = Record(messages=parsed.messages, seed_id="s", fields={"rejected": list(parsed.rejected)})  # type: ignore[arg-type]
    assert render(line, record) == line


@each
def test_a_changed_answer_stands_in_the_lines_own_format_and_nothing_of_the_old_is_left(name: str) -> None:
    line, turns = LINES[name]
    parsed = parse(line)
    record = Record(messages=parsed.messages, seed_id="s", fields={"rejected": list(parsed.rejected)})  # type: ignore[arg-type]
    changed = replace(record, messages=[*record.messages[:-1], {"role": "assistant", "content": "[NAME]"}])
    made = render(line, changed)
    assert list(made) == list(line)
    assert list(parse(made).messages) == [*turns[:-1], {"role": "assistant", "content": "[NAME]"}]
    assert turns[-1]["content"] not in json.dumps(made)


def test_a_rejected_answer_is_kept_apart_and_a_shared_prompt_taken_off() -> None:
    for name in ("preference", "preference as turns"):
        assert list(parse(LINES[name][0]).rejected) == [{"role": "assistant", "content": "No."}]


def test_calls_and_tools_are_read_from_objects_and_from_text() -> None:
    calling = {"from": "function_call", "value": json.dumps({"name": "book", "arguments": {"days": 3}})}
    back = {"from": "observation", "value": "{}"}
    human, gpt = {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}
    parsed = parse({"conversations": [human, calling, back, gpt], "tools": json.dumps([CALL])})
    assert [turn["role"] for turn in parsed.messages] == ["user", "assistant", "tool", "assistant"]
    assert parsed.messages[1]["tool_calls"][0]["function"] == CALL["function"]
    assert parsed.tools == [CALL]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"text": "Why?"}, "is in no format that is known"),
        ({"messages": []}, "has no turns"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "a turn has no role that is known"),
        ({"messages": [{"role": "user", "content": None}]}, "a turn has no text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "a turn holds more than text"),
        ({"messages": [7]}, "a turn is no object"),
        ({"conversations": [{"from": "function_call", "value": "book(3)"}]}, "a call is no JSON"),
        ({"messages": [ASKED, SAID], "tools": "book"}, "tools are no JSON"),
    ],
)
def test_what_is_no_row_says_why(line: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        parse(line)
