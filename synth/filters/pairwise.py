"""`pairwise`: is the answer better than another one, asked in both orders? (Zheng et al. 2023, 2306.05685).

Judges prefer a place: in that paper GPT-4 kept its verdict after a swap in 65% of pairs. So a win in one
order alone is a tie.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from synth.errors import DataError
from synth.judging import COMPARED, NEEDS, NO_SCORE, Read, better
from synth.prompts import Prompts
from synth.steps import Judge
from synth.types import Ask, Capability, Message, Record, Verdict, said


class Pairwise(Judge):
    """Rejects an answer that does not beat the other one that its row carries.

    Two requests a row, one in each order; both answers are shown as data (`judging.framed`).
    """

    prompts_used: ClassVar[tuple[str, ...]] = ("prompt",)

    against: str = "rejected"
    """The record's field with the other answer: a text, or turns, as `preference` writes them."""
    keep: Literal["win", "no_loss"] = "win"
    """What a row needs: to win in both orders, or not to lose in both."""
    prompt: str = "pairwise/judge"
    """Gets `question`, `first` and `second` in their frames, `criteria` and `written`; the reply must be 1 or
    2, and with `written` end in `Score: N`."""
    criteria: tuple[str, ...] = Field(default=COMPARED, min_length=1)
    """By what the answers are compared, all together."""
    read: Read = "odds"
    """"odds": the likelier answer of the judge's first token, even odds are a tie. "choice": the one that it
    names. "text": the one at the end of its reasons."""
    max_tokens: int = Field(default=120, gt=0)
    """Of a reply with reasons."""

    @property
    def needs(self) -> frozenset[Capability]:
        """What `read` takes."""
        return NEEDS[self.read]

    def given(self, fields: frozenset[str]) -> dict[str, frozenset[str]]:
        """What `judge` fills in."""
        return {self.prompt: frozenset({"question", "first", "second", "criteria", "written"})}

    def missing(self, fields: frozenset[str]) -> str:
        """The other answer."""
        return "" if self.against in fields else f"needs rows with the field `{self.against}`; or set against"

    async def judge(self, record: Record, ask: Ask, prompts: Prompts) -> Verdict:
        """Score: 1 for a win in both orders, 0 for a loss in both, 0.5 for all else.

        Raises:
            DataError: the record's field holds no answer.
        """
        answer, other = record.answer, self._other(record)

        def turns(shown: Mapping[str, str]) -> list[Message]:
            return prompts.render(
                self.prompt, {**shown, "criteria": self.criteria, "written": self.read == "text"}
            )

        score = await better(ask, turns, (record.question, answer, other), self.read, self.max_tokens)
        return Verdict(self.name, False, None, NO_SCORE) if score is None else self._verdict(score)

    def _other(self, record: Record) -> str:
        value = record.fields.get(self.against)
        if isinstance(value, str) and value.strip():
            return value
        turn = value[-1] if isinstance(value, list | tuple) and value else None
        if isinstance(turn, dict) and isinstance(turn.get("content"), str):
            shown: Message = {"role": "assistant", "content": str(turn["content"])}
            if turn.get("tool_calls"):
                shown["tool_calls"] = turn["tool_calls"]
            if text := said(shown).strip():
                return text
        mend = f'pairwise needs another answer in the field "{self.against}", but it is {value!r}; mend it'
        raise DataError(f"seed {record.seed_id}", mend)

    def _verdict(self, score: float) -> Verdict:
        if score == 0:
            return Verdict(self.name, False, score, "is worse than the other answer in both orders")
        if score < 1 and self.keep == "win":
            return Verdict(self.name, False, score, "is not better than the other answer in both orders")
        return Verdict(self.name, True, score)
