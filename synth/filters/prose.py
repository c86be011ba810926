"""What filters read of an answer: its fenced blocks, the text outside of code, its words in any script."""

import re
from dataclasses import dataclass

from synth.chunks import CJK

FENCE = re.compile(
    r"^[ \t>]*(`{3,}+|~{3,}+)[ \t]*+([\w+#.-]*)[^\n`]*(?:\n|\Z)(.*?)(^[ \t>]*\1[`~]*[ \t]*$|\Z)", re.M | re.S
)
INLINE = re.compile(r"(?<!`)(`{1,2})(?!`)[^`\n]+\1")
HAN = re.compile(f"[{CJK}]")
THAI = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+")
"""Runs of Thai, Lao, Burmese and Khmer, which write no space between words."""
THAI_WORD = 4
"""Characters of a Thai word, about; HAN_WORD those of a Chinese one."""
HAN_WORD = 2
UNITS = re.compile(rf"[{CJK}]|[^\s{CJK}\u3000-\u303f\uff00-\uff0f\uff1a-\uff20]+")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the name after its fence in lower case, its text, and whether it ends."""

    tag: str
    body: str
    closed: bool


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a text, in order; the last one may never end."""
    if not fenced(text):
        return []
    return [Block(found[2].lower(), found[3], bool(found[4])) for found in FENCE.finditer(text)]


def fenced(text: str) -> bool:
    """Whether a text may hold a fence."""
    return "```" in text or "~~~" in text


def unfenced(text: str) -> str:
    """A text without its fenced blocks."""
    return FENCE.sub(" ", text) if fenced(text) else text


def outside_code(text: str) -> str:
    """A text without its fenced blocks and `inline code`."""
    return INLINE.sub(" ", unfenced(text)) if "`" in text or "~~~" in text else text


def count_words(text: str) -> int:
    """Words: runs without white space; of Chinese and Japanese each character, of Thai each four."""
    if text.isascii():
        return len(text.split())
    thai = sum(-(-len(run) // THAI_WORD) for run in THAI.findall(text))
    return thai + len(UNITS.findall(THAI.sub(" ", text) if thai else text))


def unspaced(text: str) -> int:
    """How many characters make a word, where most of a text is in a script without spaces; else 0."""
    if text.isascii():
        return 0
    han, thai = len(HAN.findall(text)), sum(map(len, THAI.findall(text)))
    if 2 * (han + thai) <= len(text) - text.count(" "):
        return 0
    return HAN_WORD if han >= thai else THAI_WORD
