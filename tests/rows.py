"""Records and teachers that tests make by hand."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack

import pyarrow as pa

from synth.errors import RequestFailed
from synth.llm.asker import Asker
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.steps import Question, Selection, Selector
from synth.store import to_table
from synth.types import JSON, Message, Prompt, Record, Reply, Sampling, ToolCall


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


@dataclass
class Held:
    """The `Rows` of a selector, of records or of a table that a test holds."""

    table: pa.Table
    columns: Sequence[str]
    folder: Path = Path("no-folder-was-named")
    answer: Callable[[str], str] | None = None
    """What the judge says to the last turn of what it is asked."""
    batch: int = 2
    asked: list[Prompt] = field(default_factory=list)
    digest: str = "held"
    prompts: Prompts = field(default_factory=lambda: Prompts(Path()))
    questions: Sequence[Question] = ()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield from self.table.select(list(self.columns)).to_batches(max_chunksize=self.batch)

    def ask(self, asked: Sequence[Prompt], **sampling: Unpack[Sampling]) -> list[Reply | RequestFailed]:
        assert self.answer is not None, "nobody may be asked"
        self.asked += asked
        return [Reply(self.answer(text_of(prompt)), "stop", 1, 1, "judge") for prompt in asked]


def selected(
    selector: Selector, records: Sequence[Record], folder: Path = Path("no-folder-was-named")
) -> list[Selection]:
    """What a selector says of records, in their order; ids are given where they have none."""
    named = [record if record.id else replace(record, id=f"{n:04d}") for n, record in enumerate(records)]
    return list(selector.select(Held(to_table(named), selector.columns, folder)))
