"""Records and teachers that tests make by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

from synth.llm.asker import Asker
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.types import Message, Prompt, Record


def record(answer: str, *, question: str = "Why?", finish_reason: str = "stop") -> Record:
    """A question and its answer."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Record(messages=turns, seed_id="seed", finish_reason=finish_reason)  # type: ignore[arg-type]


def scripted(folder: Path, script: Callable[[str], str]) -> tuple[Asker, ScriptedTeacher]:
    """A teacher that answers the last turn by `script`."""
    teacher = ScriptedTeacher(lambda prompt, sampling: script(text_of(prompt)))
    return teacher.asker(Journal(folder / "journal")), teacher


def turns_of(prompt: Prompt) -> Sequence[Message]:
    """The turns of what was asked, which is no raw completion."""
    assert not isinstance(prompt, str)
    return prompt
