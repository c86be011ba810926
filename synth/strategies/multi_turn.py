"""`multi_turn`: a simulated user talks with an assistant until the user's goal is met.

Two roles, after UltraChat (Ding et al. 2023, arXiv 2305.14233): each sees the dialogue from its own side, and
neither the other's system prompt. The user has a persona and a goal, which the assistant is not told.
"""

from typing import ClassVar

from pydantic import Field

from synth.errors import Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered, must_be_new
from synth.types import Ask, Message, Reply, Role, Seed

OTHER: dict[str, Role] = {"system": "system", "user": "assistant", "assistant": "user"}


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
    user_prompt: str = "multi_turn/user"
    """The simulator's turns before the dialogue: who it is, and a user turn that asks for its first message.
    Gets the seed's fields, `turns` and `done`."""
    assistant_prompt: str | None = None
    """The assistant's turns before the dialogue, if any: a system turn. Gets the seed's fields."""
    keep_system: bool = True
    """Whether the turns of `assistant_prompt` are stored in the row."""

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """The simulator is told the mark and the number of turns too."""
        return {**super().given(fields), self.user_prompt: fields | {"turns", "done"}}

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row; an answer that was cut is its last.

        Raises:
            Unusable: the user is done before the first answer; a turn is empty; or one of the user's is cut.
        """
        known = {"turns": self.turns, "done": self.done}
        user = prompts.render(self.user_prompt, {**seed.fields, **known})
        assistant = prompts.render(self.assistant_prompt, seed.fields) if self.assistant_prompt else []
        dialogue: list[Message] = []
        replies: list[Reply] = []
        answer: Reply | None = None
        for _ in range(self.turns):
            said = await ask([*user, *swapped(dialogue)])
            replies.append(said)
            if self.done in said.text:
                break
            text = _text(said, "user")
            if not dialogue:
                must_be_new(ask, text)
            dialogue = [*dialogue, {"role": "user", "content": text}]
            answer = await ask([*assistant, *dialogue])
            dialogue = [*dialogue, {"role": "assistant", "content": _text(answer, "assistant")}]
            replies.append(answer)
            if answer.cut:
                break
        if answer is None:
            raise Unusable("the user was done before the first answer")
        stored = [*assistant, *dialogue] if self.keep_system else dialogue
        version = prompts.file(self.user_prompt).version
        return [answered(stored[:-1], answer, prompt=version, seed=seed, replies=replies)]


def swapped(dialogue: list[Message]) -> list[Message]:
    """The dialogue from the other side: what the user said is the simulator's own, an assistant's."""
    return [{"role": OTHER[turn["role"]], "content": turn["content"]} for turn in dialogue]


def _text(reply: Reply, role: str) -> str:
    if role == "user" and reply.cut:
        raise Unusable("a turn of the user was cut")
    if not (text := reply.text.strip()):
        raise Unusable(f"a turn of the {role} is empty")
    return text
