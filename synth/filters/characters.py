"""`characters`: tokens of a chat template, control and invisible characters, broken Unicode, mojibake."""

import re

from synth.filters.prose import outside_code
from synth.steps import Filter
from synth.types import Record, Verdict

SPECIAL = re.compile(
    r"""<\|[a-z][a-z0-9_]*\|> | ^<s> | </s> | \[/?INST\] | <</?SYS>> | <(?:start|end)_of_turn>
    | <(?:pad|unk|bos|eos|mask)> | \[PAD\] | </think> | <0x[0-9A-F]{2}>
    | (?:^|(?<=\w))[\u2581\u0120](?=\w) | <\uff5c[^\uff5c>\n]{2,40}\uff5c>""",
    re.VERBOSE,
)
"""The last are the signs for a space of two kinds of tokenizer, and DeepSeek's tokens."""
SIGNS = "<[\u2581\u0120"
"""One of these is in each of them."""
STRUCK = re.compile(r"<s>([^<\n]*)</s>")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
BROKEN = re.compile("[\ud800-\udfff\ufffd\ufffe\uffff]")
PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")
LATER = "\x80-\xbf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122"
"""What the second byte of a UTF-8 pair becomes in Latin-1 or Windows-1252."""
MOJIBAKE = re.compile(
    f"\u00c3[{LATER}]|\u00c2[\xa0-\xbf]|\u00e2\u20ac[{LATER}]|(?:[\u00d0\u00d1][{LATER}]){{3}}"
    "|\u00ef\u00bb\u00bf|\u00f0\u0178"
)
HIDDEN = re.compile(
    "[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
JOINS = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u0fff\u1000-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefe]"
)
"""Scripts in which a joiner changes the letters around it: Arabic, Syriac, those of India, Mongolian."""
SPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u4e00-\u9fff]")
"""Scripts without spaces, which mark the end of a word by a space of no width."""
EMOJI = re.compile("[\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff\U000e0020-\U000e007f]")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


class Characters(Filter):
    """Rejects answers with tokens of a chat template, control or private characters, broken Unicode,
    mojibake, or invisible characters where no script or emoji needs them.

    Template tokens and mojibake may stand in code, and where the question has the same.
    """

    def check(self, record: Record) -> Verdict:
        """The first rule that the answer meets; no score."""
        reason = _found(record.answer, record)
        return Verdict(self.name, not reason, None, reason)


def _found(answer: str, record: Record) -> str:
    if CONTROL.search(answer):
        return "a control character"
    prose = outside_code(answer)
    if any(sign in prose for sign in SIGNS):
        special = SPECIAL.search(STRUCK.sub(r"\1", prose))
        if special and special[0] not in record.question:
            return "a token of a chat template"
    if answer.isascii():
        return ""
    if BROKEN.search(answer):
        return "broken Unicode"
    if PRIVATE.search(answer):
        return "a private character"
    garbled = MOJIBAKE.search(prose)
    if garbled and garbled[0] not in record.question:
        return "mojibake"
    if any(not _needed(answer, found.start()) for found in HIDDEN.finditer(answer)):
        return "an invisible character"
    return ""


def _needed(text: str, at: int) -> bool:
    """Whether the invisible character at a place has its use there."""
    sign = text[at]
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if sign in "\u200c\u200d":
        joins = JOINS.match(before) is not None
        return joins or (sign == "\u200d" and bool(EMOJI.match(before) and EMOJI.match(after)))
    if sign in "\u200b\u2060":
        return bool(SPACED.match(before) or SPACED.match(after))
    if sign in "\u202d\u202e":
        return False
    if sign in "\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2068\u2069":
        return RIGHT_TO_LEFT.search(text) is not None
    if "\U000e0020" <= sign <= "\U000e007f":
        return before == "\U0001f3f4" or "\U000e0020" <= before <= "\U000e007e"
    return sign >= "\U000e0100" and before >= "\u3400"  # a variant of a Chinese character
