"""What an endpoint is asked and what it answers. Every fact about vLLM's API and its versions is here.

Versions disagree in silence: 0.32 ignores the older `guided_json` and answers 200 with free text. So each
ability is proven once by a small request before the run depends on it (`PROBES`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from synth.types import JSON, Capability, Prompt, Reply, Sampling

LOCAL = {"sample", "json_schema", "regex", "choice", "top_token_ids"}
"""Keys of `Sampling` that are not sent under their own name."""
TOKEN_ID = "token_id:"
"""What vLLM writes before the id of a token where ids are asked in place of text."""
WORDS: Mapping[str, Sequence[str]] = {
    "json_schema": ("structured_outputs", "response_format", "guided"),
    "regex": ("structured_outputs", "guided"),
    "choice": ("structured_outputs", "guided"),
}
"""How a constraint is asked for, newest first: vLLM since 0.11, OpenAI's own, vLLM before 0.12."""


class Malformed(Exception):
    """A reply that is no reply, or not of the form that was asked; asking again may mend it."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What an endpoint was seen to do. `how` holds the word by which each constraint is asked for."""

    version: str = ""
    context: int | None = None
    """Tokens of prompt and reply together; None where the endpoint doesn't say."""
    can: frozenset[Capability] = frozenset()
    how: Mapping[str, str] = field(default_factory=dict)
    token_ids: bool = False
    """Whether each choice of several tells its own tokens."""

    def __str__(self) -> str:
        """`vLLM 0.32.0, 2,048 tokens of context, can choice, n; can't logprobs, regex`."""
        context = f"{self.context:,} tokens of context" if self.context else "its context length is not told"
        can = ", ".join(sorted(self.can)) or "no more than a plain chat"
        lacks = ", ".join(sorted({probe.ability for probe in PROBES} - self.can))
        text = f"{f'vLLM {self.version}' if self.version else 'no vLLM'}, {context}, can {can}"
        return f"{text}; can't {lacks}" if lacks else text

    def to_json(self) -> dict[str, Any]:
        """For the run folder."""
        return {
            "version": self.version,
            "context": self.context,
            "can": sorted(self.can),
            "how": dict(self.how),
            "token_ids": self.token_ids,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Contract":
        """What `to_json` gave."""
        return cls(**{**data, "can": frozenset(data["can"])})


def common(contracts: Sequence[Contract]) -> Contract:
    """What every one of several endpoints can do, in the same words."""
    first = contracts[0]
    how = {kind: word for kind, word in first.how.items() if all(c.how.get(kind) == word for c in contracts)}
    can = frozenset.intersection(*(c.can for c in contracts))
    contexts = [c.context for c in contracts if c.context is not None]
    return replace(
        first,
        context=min(contexts, default=None),
        can=frozenset(ability for ability in can if ability not in WORDS or ability in how),
        how=how,
        token_ids=all(c.token_ids for c in contracts),
    )


def request(
    model: str, prompt: Prompt, sampling: Sampling, n: int, contract: Contract
) -> tuple[str, dict[str, Any]]:
    """Path below /v1 and body of one request for `n` samples."""
    given: dict[str, Any] = dict(sampling)
    if "scored" in sampling:
        one = {"max_tokens": 1, "temperature": 0.0}  # a server writes at least one token
        return "/completions", {"model": model, "prompt": sampling["scored"], "prompt_logprobs": 0, **one}
    body = {name: value for name, value in given.items() if name not in LOCAL}
    body["model"] = model
    if n > 1:
        body["n"] = n
        if contract.token_ids:
            body["return_token_ids"] = True
    for kind, key in (("json_schema", "json"), ("regex", "regex"), ("choice", "choice")):
        if kind in sampling:
            body |= _constraint(contract.how.get(kind, WORDS[kind][0]), key, given[kind])
    top = body.pop("top_logprobs", None)
    if top is None and (top := given.get("top_token_ids")) is not None:
        body |= {"return_tokens_as_token_ids": True, "return_token_ids": True}
    if isinstance(prompt, str):
        body["prompt"] = prompt
        if top is not None:
            body["logprobs"] = top
        return "/completions", body
    body["messages"] = prompt
    if top is not None:
        body |= {"logprobs": True, "top_logprobs": top}
    return "/chat/completions", body


def scoring(model: str, prompt: Sequence[int], answer: Sequence[int], top: int) -> tuple[str, dict[str, Any]]:
    """Path and body of a request that asks what a model thinks of an answer that is there already."""
    ids = [*prompt, *answer]
    return "/completions", {"model": model, "prompt": ids, "max_tokens": 1, "prompt_logprobs": top}


def scores(data: bytes, answer: Sequence[int]) -> list[dict[int, float]]:
    """What came back of `scoring`, for each token of the answer: log-probabilities by token id.

    Raises:
        Malformed: it has none, or they are of other tokens.
    """
    try:
        steps = orjson.loads(data)["choices"][0]["prompt_logprobs"][-len(answer) :]
        found = [{int(token): float(one["logprob"]) for token, one in step.items()} for step in steps]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise Malformed("no prompt_logprobs") from error
    if len(found) != len(answer) or any(own not in step for own, step in zip(answer, found, strict=True)):
        raise Malformed("prompt_logprobs of other tokens")
    return found


def _constraint(word: str, key: str, value: object) -> dict[str, Any]:
    if word == "structured_outputs":
        return {"structured_outputs": {key: value}}
    if word == "response_format":
        schema = {"name": "reply", "schema": value, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {f"guided_{key}": value}


def replies(
    data: bytes,
    prompt: Prompt,
    sampling: Sampling,
    model: str,
    keys: Sequence[str],
    seconds: float = 0.0,
) -> tuple[list[Reply], int]:
    """The replies that an answer's body holds, one for each of `keys`, in order; and their tokens together.

    A reply's own tokens are known where it is alone or the endpoint sends token ids; `share_out` mends the
    others. The prompt's tokens count for the first.

    Raises:
        Malformed: it is no such answer, or a reply that ended by itself has not the form that was asked.
    """
    try:
        body: dict[str, Any] = orjson.loads(data)
        choices = body["choices"]
        if len(choices) < len(keys):
            raise Malformed(f"{len(choices)} of {len(keys)} samples")
        usage = body.get("usage") or {}
        total = usage.get("completion_tokens") or 0
        chat = not isinstance(prompt, str)
        found = [
            Reply(
                text=(choice["message"].get("content") or "") if chat else choice["text"],
                finish_reason=choice.get("finish_reason") or "unknown",
                prompt_tokens=0 if number else usage.get("prompt_tokens") or 0,
                completion_tokens=total if len(keys) == 1 else len(choice.get("token_ids") or ()),
                model=model,
                key=key,
                logprobs=_logprobs(choice.get("logprobs"), chat=chat)
                if "scored" not in sampling
                else _scores(choice.get("prompt_logprobs"), sampling["scored"]),
                tokens=tuple(choice.get("token_ids") or ()) if choice.get("logprobs") else (),
                seconds=seconds,
            )
            for number, (choice, key) in enumerate(zip(choices, keys, strict=False))
        ]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Malformed("malformed reply") from error
    for reply in found:
        if not isinstance(reply.text, str):
            raise Malformed("malformed reply")
        if not fits(reply, sampling):
            raise Malformed("reply without the form asked")
    return found, total


def share_out(found: list[Reply], total: int) -> list[Reply]:
    """Share the tokens of several replies out by length of text, where some don't know their own."""
    if all(reply.completion_tokens for reply in found):
        return found
    length = sum(len(reply.text) for reply in found)
    ends, seen = [0], 0
    for reply in found:
        seen += len(reply.text)
        ends.append(round(total * seen / length) if length else 0)
    ends[-1] = total
    return [replace(reply, completion_tokens=ends[n + 1] - ends[n]) for n, reply in enumerate(found)]


def _logprobs(data: Mapping[str, Any] | None, *, chat: bool) -> tuple[Mapping[str, float], ...]:
    if not data:
        return ()
    if chat:
        steps = data.get("content") or ()
        return tuple(
            _rounded({top["token"]: top["logprob"] for top in step["top_logprobs"]}) for step in steps
        )
    return tuple(_rounded(step or {}) for step in data.get("top_logprobs") or ())


def _rounded(step: Mapping[str, float]) -> Mapping[str, float]:
    """A token's candidates; those by id without vLLM's mark and to four places, as they are many."""
    return {
        token.removeprefix(TOKEN_ID): round(value, 4) if token.startswith(TOKEN_ID) else value
        for token, value in step.items()
    }


def _scores(
    data: Sequence[Mapping[str, Any] | None] | None, ids: Sequence[int]
) -> tuple[Mapping[str, float], ...]:
    """The log-probability of each token but the first, by its id."""
    if data is None or len(data) != len(ids):
        raise Malformed("no log-probabilities of the prompt's tokens")
    found = zip(data[1:], ids[1:], strict=True)
    return tuple({str(token): float((step or {})[str(token)]["logprob"])} for step, token in found)


def fits(reply: Reply, sampling: Sampling) -> bool:
    """Whether a reply has the form that was asked; one that `max_tokens` cut is not held to it."""
    if reply.cut:
        return True
    if "choice" in sampling:
        return reply.text in sampling["choice"]
    if "regex" in sampling:
        return re.fullmatch(sampling["regex"], reply.text) is not None
    if "json_schema" in sampling:
        try:
            orjson.loads(reply.text)
        except orjson.JSONDecodeError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Engine:
    """vLLM's own counters, those of several engines added up."""

    running: float
    waiting: float
    prompt_tokens: float = 0.0
    cached_tokens: float = 0.0
    """Prompt tokens that the prefix cache had."""


METRICS = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:prefix_cache_queries_total": "prompt_tokens",
    "vllm:prefix_cache_hits_total": "cached_tokens",
}


def engine(text: str) -> Engine | None:
    """What a /metrics page says of the engine, or None where it is not vLLM's."""
    seen: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("vllm:"):
            name, _, value = line.partition("{")
            name, value = (name, value.rpartition(" ")[2]) if value else line.split(" ", 1)
            if name in METRICS:
                seen[METRICS[name]] = seen.get(METRICS[name], 0.0) + float(value)
    return Engine(**seen) if {"running", "waiting"} <= seen.keys() else None


@dataclass(frozen=True, slots=True)
class Probe:
    """One small request; `proves` says what its replies show, given how many samples were asked."""

    ability: Capability
    prompt: Prompt
    sampling: Sampling
    proves: Callable[[Sequence[Reply]], bool]
    n: int = 1


_ASK: Prompt = [{"role": "user", "content": "Name a colour."}]
_OBJECT: Mapping[str, JSON] = {
    "type": "object",
    "properties": {"kvx": {"type": "string", "enum": ["qzj"]}},
    "required": ["kvx"],
    "additionalProperties": False,
}
PROBES = (
    Probe("n", _ASK, {"max_tokens": 4, "temperature": 1.0}, lambda got: len(got) == 2, n=2),
    Probe("logprobs", _ASK, {"max_tokens": 2, "top_logprobs": 2}, lambda got: len(got[0].logprobs) > 0),
    Probe("completions", "The sky is", {"max_tokens": 2}, lambda got: got[0].completion_tokens > 0),
    Probe("choice", _ASK, {"max_tokens": 16, "choice": ["kvxq"]}, lambda got: got[0].text == "kvxq"),
    Probe(
        "regex",
        _ASK,
        {"max_tokens": 16, "regex": "[0-9]{3}-[XZ]{2}"},
        lambda got: re.fullmatch("[0-9]{3}-[XZ]{2}", got[0].text) is not None,
    ),
    Probe("json_schema", _ASK, {"max_tokens": 48, "json_schema": _OBJECT}, lambda got: "qzj" in got[0].text),
)  # fmt: skip
"""What nobody would answer by chance. A seed is tried only where a recipe asks for one: vLLM's CPU build
ends its engine at a sampled request that carries one ("CPU Generator does not use offset")."""
SEEDED: Sampling = {"max_tokens": 12, "temperature": 1.0, "seed": 7}
"""Asked twice: the same words show that the seed counts."""
