"""A scripted teacher: a function in place of a model, for users' own tests and for dry runs.

    teacher = ScriptedTeacher(lambda prompt, sampling: "Paris")
    row = await my_strategy.generate(seed, teacher.asker(Journal(tmp_path)), prompts)

`synth preview RECIPE --scripted my_package.my_module:script` runs a whole recipe on one, and leaves no trace.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from synth.llm.asker import Asker, Backend
from synth.llm.journal import Journal
from synth.types import Prompt, Reply, Sampling

Script = Callable[[Prompt, Sampling], "str | Reply"]


def text_of(prompt: Prompt) -> str:
    """The last turn of a conversation, or the text of a raw completion."""
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def echo(prompt: Prompt, sampling: Sampling) -> str:
    """The script of a dry run: says what it was asked, in the form that was asked."""
    if "choice" in sampling:
        return sampling["choice"][0]
    return f"A scripted reply to: {' '.join(text_of(prompt).split())[:80]}"


@dataclass(slots=True)
class ScriptedTeacher:
    """Answers by calling `script(prompt, sampling)`; `asked` lists what it was asked.

    A script that returns text makes a reply that ended by itself; it may return a whole `Reply`, or raise
    `RequestFailed` or `TeacherError` as an endpoint would. Tokens are counted as words.
    """

    script: Script = echo
    asked: list[Prompt] = field(default_factory=list)

    async def ask(self, prompt: Prompt, sampling: Sampling, keys: Sequence[str]) -> list[Reply]:
        """What the script says for each of `keys`."""
        return [self._reply(prompt, sampling, key) for key in keys]

    def _reply(self, prompt: Prompt, sampling: Sampling, key: str) -> Reply:
        self.asked.append(prompt)
        said = self.script(prompt, sampling)
        if isinstance(said, Reply):
            return replace(said, key=key)
        turns = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in prompt]
        words = sum(len(turn.split()) for turn in turns)
        return Reply(said, "stop", words, len(said.split()), "scripted", key)

    def asker(self, journal: Journal, defaults: Sampling | None = None) -> Asker:
        """This teacher as the `Ask` that steps are given."""

        async def connect() -> tuple[Backend, int]:
            return self, 1

        return Asker("scripted", defaults or {}, journal, connect)
