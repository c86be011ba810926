"""Records and teachers that tests make by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

from synth.llm.asker import Asker
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.types import JSON, Message, Prompt, Record, ToolCall


def record(answer: str, *, question: str = "Why?", finish_reason: str = "stop") -> Record:
    """A question and its answer."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Record(messages=turns, seed_id="seed", finish_reason=finish_reason)  # type: ignore[arg-type]


def calling() -> Record:
    """A request, a call, what comes back, and the answer."""
    call: ToolCall = {
        "id": "sim000001",
        "type": "function",
        "function": {
            "name": "book",
            "arguments": {"days": 3, "bike": "caf\u00e9 racer", "extras": [None, True]},
        },
    }
    schema: JSON = {"type": "object", "properties": {"days": {"type": "integer"}, "bike": {"type": "string"}}}
    turns: list[Message] = [
        {"role": "user", "content": "Book a bike for 3 days."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": '{"number": 7}', "name": "book", "tool_call_id": "sim000001"},
        {"role": "assistant", "content": "It is booked under number 7."},
    ]
    tool: dict[str, JSON] = {
        "type": "function",
        "function": {"name": "book", "description": "Book a bike.", "parameters": schema},
    }
    return Record(messages=turns, seed_id="seed", tools=[tool])


def scripted(folder: Path, script: Callable[[str], str]) -> tuple[Asker, ScriptedTeacher]:
    """A teacher that answers the last turn by `script`."""
    teacher = ScriptedTeacher(lambda prompt, sampling: script(text_of(prompt)))
    return teacher.asker(Journal(folder / "journal")), teacher


def turns_of(prompt: Prompt) -> Sequence[Message]:
    """The turns of what was asked, which is no raw completion."""
    assert not isinstance(prompt, str)
    return prompt
