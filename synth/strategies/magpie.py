"""`magpie`: the teacher writes the user's turn as well, out of nothing, and then answers it.

Xu et al. 2024, arXiv 2406.08464: a chat model that is given its own format up to the place where the user
speaks goes on with a user's words. They are the instruction, drawn at temperature 1; its answer is greedy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from synth.errors import Unusable
from synth.prompts import Prompts
from synth.steps import Row, Strategy, answered, must_be_new
from synth.types import Ask, Capability, Message, Reply, Seed


@dataclass(frozen=True, slots=True)
class Format:
    """A chat format: what stands before and after the text of each role, and its special tokens.

    The token that begins a text is left out: endpoints put it before raw completions themselves.
    """

    around: Mapping[str, tuple[str, str]]
    stop: tuple[str, ...]
    system_in_user: bool = False
    """Whether the system's text is the beginning of the first user turn."""


FORMATS: Mapping[str, Format] = {
    "chatml": Format(
        {
            "system": ("<|im_start|>system\n", "<|im_end|>\n"),
            "user": ("<|im_start|>user\n", "<|im_end|>\n"),
            "assistant": ("<|im_start|>assistant\n", "<|im_end|>\n"),
        },
        stop=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    ),
    "llama3": Format(
        {
            "system": ("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
            "user": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
            "assistant": ("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
        },
        stop=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"),
    ),
    "gemma": Format(
        {
            "system": ("<start_of_turn>user\n", "\n\n"),
            "user": ("<start_of_turn>user\n", "<end_of_turn>\n"),
            "assistant": ("<start_of_turn>model\n", "<end_of_turn>\n"),
        },
        stop=("<start_of_turn>", "<end_of_turn>", "<eos>"),
        system_in_user=True,
    ),
    "mistral": Format(
        {"system": ("[INST] ", "\n\n"), "user": ("[INST] ", "[/INST]"), "assistant": (" ", "</s>")},
        stop=("[INST]", "[/INST]", "</s>"),
        system_in_user=True,
    ),
}
"""ChatML is that of SmolLM2 and Qwen; Mistral's is that of its third tokenizer."""


class Magpie(Strategy):
    """Draws an instruction from the teacher itself and has it answered; no example or question is needed.

    Needs an endpoint that goes on with raw text, a teacher that speaks `template`, and a seed a row: without
    `system` its fields don't matter (set `samples` for many rows of one seed). Yields one row a sample, the
    dialogue without the system's text.
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("system",)

    template: Literal["chatml", "llama3", "gemma", "mistral"] = "chatml"
    """The teacher's chat format."""
    system: str | None = None
    """A prompt file whose turns stand before the user's: it steers what is asked, not how it is answered."""
    turns: int = Field(default=1, gt=0)
    """Instructions of a row, each drawn after the answer to the one before."""
    min_words: int = Field(default=3, gt=0)
    """Of an instruction."""
    temperature: float = Field(default=1.0, ge=0)
    """Of an instruction."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Of an instruction."""
    answer_temperature: float = Field(default=0.0, ge=0)
    """Of an answer."""

    @property
    def needs(self) -> frozenset[Capability]:
        """Raw completions."""
        return frozenset({"completions"})

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        """One row; an answer that was cut is its last.

        Raises:
            Unusable: an instruction is empty, short, cut or ends in a colon; or an answer is empty.
        """
        form = FORMATS[self.template]
        before = prompts.render(self.system, seed.fields) if self.system else []
        dialogue: list[Message] = []
        replies: list[Reply] = []
        while len(replies) < 2 * self.turns and not (replies and replies[-1].cut):
            drawn = await ask(
                pre_query(form, [*before, *dialogue]),
                temperature=self.temperature,
                top_p=self.top_p,
                stop=[*form.stop, "\n"],
            )
            if reason := unsuited(drawn, self.min_words):
                raise Unusable(reason)
            if not dialogue:
                must_be_new(ask, drawn.text.strip())
            dialogue = [*dialogue, {"role": "user", "content": drawn.text.strip()}]
            answer = await ask(dialogue, temperature=self.answer_temperature)
            if not answer.text.strip():
                raise Unusable("the answer is empty")
            dialogue = [*dialogue, {"role": "assistant", "content": answer.text.strip()}]
            replies += (drawn, answer)
        version = prompts.file(self.system).version if self.system else ""
        return [answered(dialogue[:-1], replies[-1], prompt=version, seed=seed, replies=replies)]


def pre_query(form: Format, turns: Sequence[Message]) -> str:
    """The turns in a chat format, and after them what stands before a user's next text."""
    text, inside = "", False
    for turn in turns:
        before, after = form.around[turn["role"]]
        text += ("" if inside else before) + turn["content"] + after
        inside = turn["role"] == "system" and form.system_in_user
    text += "" if inside else form.around["user"][0]
    return text.rstrip(" ")  # a space at the end would be a token of its own, which no user begins with


def unsuited(drawn: Reply, min_words: int) -> str:
    """Why a drawn instruction is not taken; "" where it is."""
    text = drawn.text.strip()
    if drawn.cut:
        return "the instruction was cut"
    if not text:
        return "the instruction is empty"
    if text.endswith(":"):
        return "the instruction ends in a colon"
    return f"the instruction has fewer than {min_words} words" if len(text.split()) < min_words else ""
