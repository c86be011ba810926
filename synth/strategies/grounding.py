"""How much of an answer stands in the text that it was made of: counts of words.

Lexical, after the K-precision of Adlakha et al. 2023 (arXiv 2307.16877): of an answer's words the share that
the text has. It finds what was made up beside the text, not what was put together wrongly from its words.
"""

import re
from collections.abc import Sequence

from synth.chunks import CJK
from synth.errors import Unusable
from synth.types import Message

WORD = re.compile(rf"\d+(?:[.,:]\d+)*|[{CJK}]|[^\W\d_{CJK}]+(?:['\u2019][^\W\d_{CJK}]+)*")
"""A number, a word, or a Chinese or Japanese character."""
STEM = 4
"""Letters by which words are compared, so that `opens` is found in `opening`."""
COPY = 8
"""Words of a run that make a reply a copy of an example."""
NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
FUNCTION_WORDS = frozenset(
    WORD.findall("""
    a about after all also an and any are as at be because been before both but by can could did do does
    each every for from had has have he her his how i if in into is it its long many may might more most
    much must my of on or our out over own she should so some such than that the their them then there
    these they this those through to until up was we were what when where which while who whom whose why
    will with within without would yes you your
    """)
)
"""English words that any text has; of other languages all words count."""


def grounded(answer: str, text: str) -> float:
    """Of the content words and numbers of an answer, the share that the text has; 1.0 where it has none."""
    words = _content(answer)
    return len(words & _content(text)) / len(words) if words else 1.0


def require_grounded(answer: str, question: str, text: str, least: float) -> float:
    """The share, where an answer says something and says it from the text.

    Raises:
        Unusable: it has a number that the text has not, fewer than `least` of its words are the text's, or
            it only says the question again.
    """
    said, known = _content(answer), _content(text)
    if any(word[0].isdigit() for word in said - known):
        raise Unusable("the answer has a number that the text has not")
    if (share := grounded(answer, text)) < least:
        raise Unusable("the answer has words that the text has not")
    if said <= _content(question) and not re.match(r"\W*(?:yes|no)\b", answer, re.IGNORECASE):
        raise Unusable("the answer only repeats the question")
    return share


def runs(text: str, words: int) -> set[tuple[str, ...]]:
    """Every run of so many words of a text: where two texts share one, they share more than a phrase."""
    found = WORD.findall(text.lower())
    return {tuple(found[start : start + words]) for start in range(len(found) - words + 1)}


def copied(reply: str, turns: Sequence[Message]) -> bool:
    """Whether a reply has a run of words from a worked example of its prompt that the last turn has not."""
    shown = [runs(turn["content"], COPY) for turn in turns[:-1] if turn["role"] != "system"]
    return bool(runs(reply, COPY) & set[tuple[str, ...]]().union(*shown) - runs(turns[-1]["content"], COPY))


def _content(text: str) -> set[str]:
    """The stems of a text's content words, and its numbers; small numbers in figures."""
    words = set(WORD.findall(text.lower().replace("\u2019", "'"))) - FUNCTION_WORDS
    return {str(NUMBERS.index(word)) if word in NUMBERS else _stem(word) for word in words}


def _stem(word: str) -> str:
    if word[0].isdigit():
        return word
    return (word[:-1] if len(word) > 3 and word.endswith("s") else word)[:STEM]
