"""A scripted teacher: a function in place of a model, for unit tests and dry runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from synth.llm.asker import Asker
from synth.llm.journal import Journal
from synth.types import Message, Reply, Sampling

Script = Callable[[Sequence[Message], Sampling], "str | Reply"]


@dataclass(slots=True)
class ScriptedTeacher:
    """Answers by calling `script(messages, sampling)`; `asked` lists what it was asked.

    A script that returns text makes a reply that ended by itself; it may return a whole `Reply`, or raise
    `RequestFailed` or `TeacherError` as an endpoint would. Tokens are counted as words.
    """

    script: Script
    asked: list[list[Message]] = field(default_factory=list)

    async def chat(self, messages: Sequence[Message], sampling: Sampling, key: str) -> Reply:
        """What the script says, as a reply to the request `key`."""
        self.asked.append(list(messages))
        said = self.script(messages, sampling)
        if isinstance(said, Reply):
            return said
        words = sum(len(turn["content"].split()) for turn in messages)
        return Reply(said, "stop", words, len(said.split()), "scripted", key)

    def asker(self, journal: Journal, defaults: Sampling | None = None) -> Asker:
        """This teacher as the `Ask` that steps are given."""

        async def connect() -> "ScriptedTeacher":
            return self

        return Asker("scripted", defaults or {}, journal, connect)
