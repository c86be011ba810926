"""What judges share: how a text is shown to them as data, and how a grade is read from their reply.

Hines et al. 2024, arXiv 2403.14720 (spotlighting): a mark that the text can't know, and a sign on each line,
tell a model where the data is. Liu et al. 2023, arXiv 2303.16634 (G-Eval) and 2312.15685 (DEITA): the mean of
all grades by the model's odds is finer than the one it says.
"""

import asyncio
import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from synth.types import Ask, Capability, Message, Reply

Read: TypeAlias = Literal["odds", "choice", "text"]
"""How a grade is read: as the mean of all grades by the judge's odds for its first token, one request of one
token ("odds", the endpoint must give logprobs); as the one grade that it says under guided decoding
("choice"); or from the end of a text in which it gives its reason first ("text", any endpoint can)."""
NEEDS: Mapping[Read, frozenset[Capability]] = {
    "odds": frozenset({"logprobs"}),
    "choice": frozenset({"choice"}),
    "text": frozenset(),
}
TOP = 20
"""Candidates of a token that are asked for: as many as every endpoint gives."""
LEAST = 0.01
"""The probability that all grades together must have: below it the judge was about to say something else."""
PLACES = ["1", "2"]
"""What a judge calls two answers."""
COMPARED = (
    "It does what was asked.",
    "What it says is right.",
    "It is clear and to the point; a longer answer is not a better one.",
)
"""By what answers are compared where a recipe doesn't say."""
NO_SCORE = "no score in the judge's reply"
WRITTEN = re.compile(r"score\s*[:=]\s*[*_]*\s*(\d+)(?:\s*/\s*\d+)?[\s.*_]*\Z", re.IGNORECASE)
JOINERS = "\u200c\u200d"
"""Invisible, but part of how some scripts and pictures are written."""
TOKEN = re.compile(r"([<\uff1c\ufe64])([|\uff5c][^\s<>|\uff1c\uff1e\uff5c]{1,64}[|\uff5c])([>\uff1e\ufe65])")
TAG = re.compile(
    r"""[<\uff1c\ufe64]+(?=/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|start_header_id|end_header_id
            |think|tool_call|tool_response|SYS)[>\uff1e\ufe65])
      | \[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]
            |\w+\s+[0-9a-f]{12}\s+(?:BEGINS|ENDS)\])""",
    re.IGNORECASE | re.VERBOSE,
)
"""What opens one of the tokens by which chats are built, or a mark such as ours."""


def framed(**texts: str) -> dict[str, str]:
    """Each text between marks with its name, in which it can't end its frame or pass for a chat's own tokens.

    The mark is a hash of all the texts, so none of them can hold it; each line of a text begins with ">".
    """
    mark, whole = "", "\0".join(f"{name}\0{text}" for name, text in sorted(texts.items()))
    while not mark or mark in whole:
        mark = hashlib.sha256(f"{mark}\0{whole}".encode()).hexdigest()[:12]
    return {name: _frame(name.upper(), mark, text) for name, text in texts.items()}


def _frame(name: str, mark: str, text: str) -> str:
    lines = "\n".join(f"> {line}" for line in harmless(text).splitlines() or [""])
    return f"[{name} {mark} BEGINS]\n{lines}\n[{name} {mark} ENDS]"


def harmless(text: str) -> str:
    """A text without invisible characters, its chat tokens and look-alikes of our marks broken by a space."""
    lines = ("".join(filter(_visible, line)) for line in text.splitlines())
    return TAG.sub(r"\g<0> ", TOKEN.sub(r"\1 \2 \3", "\n".join(lines)))


def _visible(character: str) -> bool:
    return character in JOINERS or character == "\t" or unicodedata.category(character) not in ("Cc", "Cf")


def odds(reply: Reply, grades: Sequence[str]) -> dict[str, float]:
    """The share of each grade in what the first token may be; empty where all together have under `LEAST`."""
    found = dict.fromkeys(grades, 0.0)
    for token, logprob in (reply.logprobs[0] if reply.logprobs else {}).items():
        if token.strip() in found:
            found[token.strip()] += math.exp(logprob)
    total = sum(found.values())
    return {grade: share / total for grade, share in found.items()} if total >= LEAST else {}


def written(reply: Reply, grades: Sequence[str]) -> str | None:
    """The grade that a reply ends with, `Score: N`; None where it is cut, has none, or one off the scale."""
    found = None if reply.cut else WRITTEN.search(reply.text)
    return found[1] if found and found[1] in grades else None


async def better(
    ask: Ask,
    turns: Callable[[Mapping[str, str]], Sequence[Message]],
    texts: tuple[str, str, str],
    how: Read,
    most: int,
) -> float | None:
    """Of (question, answer, other): 1 where the answer is preferred in both orders, 0 where the other is.

    0.5 for all else, and without asking where they differ in white space alone; None where a reply has no
    verdict. `turns` writes the judge's prompt of `question`, `first` and `second` in their frames. A reply
    with reasons has at most `most` tokens.
    """
    question, answer, other = texts
    if " ".join(answer.split()) == " ".join(other.split()):
        return 0.5
    before, behind = await asyncio.gather(
        _prefers_first(ask, turns(framed(question=question, first=answer, second=other)), how, most),
        _prefers_first(ask, turns(framed(question=question, first=other, second=answer)), how, most),
    )
    if before is None or behind is None:
        return None
    before, behind = before - 0.5, 0.5 - behind
    return 0.5 if before * behind <= 0 else 1.0 if before > 0 else 0.0


async def _prefers_first(ask: Ask, turns: Sequence[Message], how: Read, most: int) -> float | None:
    """How likely the judge is to prefer the first answer, 0 or 1 without odds; None without a verdict."""
    if how == "odds":
        shares = odds(await ask(turns, temperature=0.0, max_tokens=1, top_logprobs=TOP), PLACES)
        return shares[PLACES[0]] if shares else None
    if how == "choice":
        chosen: str | None = (await ask(turns, temperature=0.0, choice=PLACES)).text
    else:
        chosen = written(await ask(turns, temperature=0.0, max_tokens=most), PLACES)
    return float(chosen == PLACES[0]) if chosen in PLACES else None
