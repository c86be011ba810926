"""`multi_turn`: a simulated user talks with an assistant until the user's goal is met.

Two roles, after UltraChat (Ding et al. 2023, arXiv 2305.14233): the user has a persona and a goal, the
assistant has the dialogue alone. Neither sees what the other is told.
"""

import re
from typing import ClassVar

from pydantic import Field

from synth.errors import Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered, must_be_new
from synth.types import Ask, Capability, Message, Reply, Role, Seed

QUESTION = r"[A-Z][^\s?\[\]]*( [^\s?\[\]]+){2,35}\?"
"""A message of the user where it is guided: one line that asks one thing. Words are counted, not letters, of
which a bound takes seconds to prepare."""


class MultiTurn(Strategy):
    """Lets a user simulator and an assistant take turns until the user is done, or `turns` are answered.

    Needs seeds with every variable of its prompt files: as shipped, `persona` and `goal`. Yields one row a
    sample, the dialogue as the assistant saw it. A user's turn with the mark `done` is not part of it.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("user_prompt", "assistant_prompt")

    turns: int = Field(default=3, gt=0)
    """Turns of the user at most, each with its answer."""
    done: str = Field(default="[DONE]", min_length=1)
    """What the user says when there is nothing left to ask."""
    guided: bool = False
    """Let each message of the user be one line that ends in a question mark, or `done`, by guided decoding:
    for a small teacher, which falls into the assistant's part otherwise. In Latin letters alone."""
    user_prompt: str = "multi_turn/user"
    """Asks the simulator for its next message. Gets the seed's fields, `turns`, `done`, and `dialogue`: the
    turns so far, each with `role` and `content`, none at first."""
    assistant_prompt: str | None = None
    """The assistant's turns before the dialogue, if any: a system turn. Gets the seed's fields."""
    keep_system: bool = True
    """Whether the turns of `assistant_prompt` are stored in the row."""

    @property
    def needs(self) -> frozenset[Capability]:
        """Guided decoding, where it is asked for."""
        return frozenset({"regex"} if self.guided else ())

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The simulator is told the mark, the number of turns, and the dialogue too."""
        return {**super().given(fields), self.user_prompt: fields | {"turns", "done", "dialogue"}}

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row; an answer that was cut is its last.

        Raises:
            Unusable: the user is done before the first answer; a turn is empty or repeats an earlier one; or
                one of the user's is cut.
        """
        known = {**seed.fields, "turns": self.turns, "done": self.done}
        assistant = prompts.render(self.assistant_prompt, seed.fields) if self.assistant_prompt else []
        dialogue: list[Message] = []
        replies: list[Reply] = []
        answer: Reply | None = None
        for _ in range(self.turns):
            user = prompts.render(self.user_prompt, {**known, "dialogue": dialogue})
            said = await self._said(user, ask, first=not dialogue)
            replies.append(said)
            if self.done in said.text:
                break
            text = _text(said, "user", dialogue)
            if not dialogue:
                must_be_new(ask, text)
            dialogue = [*dialogue, {"role": "user", "content": text}]
            answer = await ask([*assistant, *dialogue])
            dialogue = [*dialogue, {"role": "assistant", "content": _text(answer, "assistant", dialogue)}]
            replies.append(answer)
            if answer.cut:
                break
        if answer is None:
            raise Unusable("the user was done before the first answer")
        stored = [*assistant, *dialogue] if self.keep_system else dialogue
        version = prompts.file(self.user_prompt).version
        return [answered(stored[:-1], answer, prompt=version, seed=seed, replies=replies)]

    async def _said(self, turns: list[Message], ask: Ask, *, first: bool) -> Reply:
        """The user's next message; where it is guided, the first can't be `done`.

        A repetition penalty counts the words of the prompt too, and would drive a question off its goal.
        """
        if not self.guided:
            return await ask(turns)
        form = QUESTION if first else f"{QUESTION}|{re.escape(self.done)}"
        return await ask(turns, regex=form, repetition_penalty=1.0)


def _text(reply: Reply, role: Role, before: list[Message]) -> str:
    if role == "user" and reply.cut:
        raise Unusable("a turn of the user was cut")
    if not (text := reply.text.strip()):
        raise Unusable(f"a turn of the {role} is empty")
    if any(_plain(text) == _plain(turn["content"]) for turn in before):
        raise Unusable(f"a turn of the {role} repeats an earlier one")
    return text


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
