"""The rows that travel through synth: a seed goes in, replies are asked for, records come out with verdicts.

All of them are frozen: a step returns new rows and changes none that it was given.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NotRequired, Protocol, TypeAlias, TypedDict, Unpack

if TYPE_CHECKING:
    from synth.errors import Repeated

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
Role = Literal["system", "user", "assistant"]
Status = Literal["kept", "rejected", "failed"]


class Called(TypedDict):
    """The function that a call names, and its arguments as an object, as chat templates take them."""

    name: str
    arguments: Mapping[str, JSON]


class ToolCall(TypedDict):
    """One call in an assistant's turn."""

    id: NotRequired[str]
    type: Literal["function"]
    function: Called


class Message(TypedDict):
    """One chat turn, in the form that OpenAI, chat templates and `datasets` share.

    An assistant's turn may have `tool_calls`; its content is then often "". A turn of the role "tool" is what
    came back of one call, with the tool's `name` and the call's id.
    """

    role: Role | Literal["tool"]
    content: str
    tool_calls: NotRequired[Sequence[ToolCall]]
    name: NotRequired[str]
    tool_call_id: NotRequired[str]


def said(turn: Message) -> str:
    """A turn as text: its content, then each of its calls as a line of JSON with name and arguments."""
    calls = (json.dumps(call["function"], ensure_ascii=False) for call in turn.get("tool_calls", ()))
    return "\n".join(part for part in (turn["content"], *calls) if part)


Prompt: TypeAlias = "Sequence[Message] | str"
"""What a model is asked: chat turns, or a string that it goes on with (a raw completion)."""
Capability = Literal["n", "logprobs", "completions", "json_schema", "regex", "choice", "seed"]
"""What an endpoint may or may not be able to do; a step that depends on one names it in `needs`."""


class Sampling(TypedDict, total=False):
    """What decides a reply besides the prompt. `sample` numbers the draws of a prompt; it is not sent.

    `top_token_ids` asks as `top_logprobs` does, and for tokens by their ids in place of their text (vLLM).

    At most one of `json_schema`, `regex` and `choice` constrains the reply's form (guided decoding).
    """

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_tokens: int
    stop: list[str]
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    top_logprobs: int
    top_token_ids: int
    json_schema: Mapping[str, JSON]
    regex: str
    choice: list[str]
    seed: int
    sample: int
    scored: list[int]
    """Token ids that the model scores instead of answering; the prompt is then ""."""


@dataclass(frozen=True, slots=True)
class Seed:
    """One line of a seed file, a document or a row of a dataset. `id` is a hash of the fields."""

    id: str
    fields: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint answered to one request.

    `finish_reason` is the endpoint's own word: "stop" where the model ended by itself, "length" where
    `max_tokens` cut it. `logprobs` holds, for each generated token, the candidates with their
    log-probabilities (nats), where `top_logprobs` was asked; where `scored` was, it holds for each of those
    tokens but the first its own, by its id. `key` is the request's key in the journal. Where `top_token_ids`
    was asked, candidates are ids in decimal, and `tokens` has the ids of what was said, the token that ended
    the reply among them.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    key: str = ""
    logprobs: tuple[Mapping[str, float], ...] = ()
    tokens: tuple[int, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    """From the sending of its request to its arrival."""

    @property
    def cut(self) -> bool:
        """Whether `max_tokens` cut the reply."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one step thinks of one record: keep it or not, why, and by what score (unit: the step's own)."""

    by: str
    keep: bool
    score: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a dataset: a conversation, where it came from, and what every step said of it.

    A strategy fills the upper part; the engine the lower. `fields` carries what later steps need to
    check the answer (the constraints asked, a reference answer). `prompt` is `name@version` of the
    prompt file; `replies` are the journal keys of the requests that made the row.
    """

    messages: Sequence[Message]
    seed_id: str
    prompt: str = ""
    sample: int = 0
    finish_reason: str = "stop"
    fields: Mapping[str, JSON] = field(default_factory=dict)
    id: str = ""
    strategy: str = ""
    model: str = ""
    status: Status = "kept"
    replies: Sequence[str] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    verdicts: Sequence[Verdict] = ()
    parents: Sequence[str] = ()
    """Ids of the records that it was made of; a strategy writes "#2" for its own row number 2 of a seed."""
    duplicate_of: str | None = None
    tools: Sequence[Mapping[str, JSON]] = ()
    """The functions that the assistant may call, each `{"type": "function", "function": {...}}`."""

    @property
    def answer(self) -> str:
        """The last assistant turn, calls as lines of JSON, or "" where there is none."""
        last = self.messages[-1] if self.messages else None
        return said(last) if last and last["role"] == "assistant" else ""

    @property
    def question(self) -> str:
        """All turns before the last answer, joined by blank lines; those of tools too."""
        turns = self.messages[:-1] if self.answer or len(self.messages) > 1 else self.messages
        return "\n\n".join(said(turn) for turn in turns)

    @property
    def rejection(self) -> Verdict | None:
        """The verdict that rejected or failed the record, or None where it is kept."""
        return next((v for v in self.verdicts if not v.keep), None)


class Ask(Protocol):
    """What a step asks: models, and what the run has made before.

    Raises `errors.RequestFailed` where this request can't be answered, `errors.TeacherError` where no
    request can.
    """

    async def __call__(self, prompt: Prompt, /, *, by: str = "", **sampling: Unpack[Sampling]) -> Reply:
        """One reply, from the journal if this was asked before.

        `by` names who answers: "teacher", "judge" or a table [teachers.NAME]; by default the step's own.
        """

    def repeats(self, texts: Sequence[str], known: Sequence[str] = ()) -> "list[Repeated | None]":
        """For each question, what it repeats of an earlier one, or None: it is new, and taken note of.

        Ask before a question is answered. `known` are others that it may not repeat, the examples that it was
        made from. All are new where the recipe has no [novelty].
        """

    def earlier(self, most: int) -> list[str]:
        """At most so many questions of this run that were new, drawn at random; none without [novelty]."""
