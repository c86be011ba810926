"""What `pii` and `secrets` share: places of a text that reject a row, or are masked in all its turns."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from synth.steps import Filter
from synth.types import JSON, Message, Record, ToolCall, Verdict

REJECTED = "rejected"
"""The field of a preference pair with the turns of the other answer; it is exported."""


@dataclass(frozen=True, slots=True)
class Place:
    """The characters `start` to `end` of a text, and the word for what they are, such as "e-mail"."""

    start: int
    end: int
    kind: str
    mask: str
    """What stands there when it is masked."""


class Masking(Filter):
    """Finds places in every turn, the arguments of calls and a pair's rejected answer; rejects the row, or
    masks them. Its other fields stay as they are: verifiers compare with them, and they are not exported.
    """

    action: Literal["reject", "mask"] = "reject"
    """Masked places are replaced, such as "[EMAIL]", and the row is kept."""

    @abstractmethod
    def places(self, text: str) -> Sequence[Place]:
        """What is found in a text, in order, without overlap."""

    def check(self, record: Record) -> Verdict:
        """Score: places found; the reason names their kinds."""
        kinds = Counter(place.kind for text in _texts(record) for place in self.places(text))
        if not kinds:
            return Verdict(self.name, True, 0)
        word = "masked" if self.action == "mask" else "holds"
        reason = f"{word} {', '.join(sorted(kinds))}"
        return Verdict(self.name, self.action == "mask", kinds.total(), reason)

    def revised(self, record: Record) -> Record:
        """The record with its places masked; the record itself where there are none, or rows are rejected."""
        if self.action == "reject" or not any(map(self.places, _texts(record))):
            return record
        turns, fields = tuple(map(self._masked_turn, record.messages)), record.fields
        if REJECTED in fields:
            fields = {**fields, REJECTED: self._masked(fields[REJECTED])}
        return replace(record, messages=turns, fields=fields)

    def masked(self, text: str) -> str:
        """A text with its places masked."""
        done, parts = 0, []
        for place in self.places(text):
            parts += [text[done : place.start], place.mask]
            done = place.end
        return "".join((*parts, text[done:]))

    def _masked_turn(self, turn: Message) -> Message:
        masked = turn.copy()
        masked["content"] = self.masked(turn["content"])
        if "tool_calls" in turn:
            masked["tool_calls"] = tuple(map(self._masked_call, turn["tool_calls"]))
        return masked

    def _masked_call(self, call: ToolCall) -> ToolCall:
        masked, function = call.copy(), call["function"]
        arguments = {
            str(self._masked(key)): self._masked(value) for key, value in function["arguments"].items()
        }
        masked["function"] = {"name": function["name"], "arguments": arguments}
        return masked

    def _masked(self, value: JSON) -> JSON:
        """A value of a call with its texts masked, and its numbers that are places."""
        if isinstance(value, str):
            return self.masked(value)
        if isinstance(value, dict):
            return {self.masked(key): self._masked(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(each) for each in value]
        if isinstance(value, int) and not isinstance(value, bool) and self.places(str(value)):
            return self.masked(str(value))
        return value


def _texts(record: Record) -> Iterator[str]:
    """Every text of a record that is searched, one by one."""
    for turn in record.messages:
        yield turn["content"]
        for call in turn.get("tool_calls", ()):
            yield from _leaves(call["function"]["arguments"])
    yield from _leaves(record.fields.get(REJECTED))


def _leaves(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _leaves(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
