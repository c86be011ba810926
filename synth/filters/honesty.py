"""`honesty`: does an answer own up to what can't be known or done? For `limits` and `tool_use`, English."""

import re

from synth.filters.refusal import DECLINES
from synth.steps import Filter
from synth.types import Record, Verdict

N_T = r"(?:n['\u2019]?t|\snot)"
TEXT = r"(?:text|document|passage|page|handbook|guide|manual|information|context|article)s?"
ADMITS = re.compile(
    rf"""\bI\s(?:really\s|just\s|also\s)? (?:ca{N_T}|cannot|can\snot|do{N_T}|am{N_T}|['\u2019]m\snot
        |(?:am|['\u2019]m)\sunable|have\sno|have{N_T}|wo{N_T}|will\snot|could{N_T})
    | \bI['\u2019]m\s(?:not|unable)\b
    | (?:\b(?:does|do|did|is|are|was|were){N_T}|['\u2019]s\snot)\s(?:\w+\s)?
        (?:say|said|mention|mentioned|state|stated|specify|specified|tell|known|described)\b
    | \b{TEXT}\s(?:above\s|below\s|given\s|provided\s)?(?:does|do|has|have|gives?|contains?|holds?)
        (?:{N_T}|\sno|\snothing)\b
    | \b(?:there\sis|there['\u2019]s|has|have|gives?|with)\sno\s(?:\w+\s)?
        (?:mention|information|details?|data)\b
    | \bnot\s(?:in|part\sof)\sthe\s{TEXT}\b
    | \b(?:is|are)\s(?:unknown|unclear)\b""",
    re.IGNORECASE | re.VERBOSE,
)
CLAIMS = re.compile(
    r"""\bI(?:['\u2019]ve|\shave|['\u2019]ll|\swill)\s(?:just\s|already\s|now\s|gladly\s|be\shappy\sto\s)?
        (?:sent|send|booked?|called?|ordered|paid|pay|cancell?(?:ed)?|changed?|reserved?|scheduled?|transferred)\b
    | \b(?:has|have)\s(?:now\s|just\s|already\s)?been\s
        (?:sent|booked|paid|cancell?ed|reserved|scheduled|placed)\b
    | ^\W*done\b""",
    re.IGNORECASE | re.VERBOSE,
)
BROKEN = {
    "unanswerable": "answers what the text does not say",
    "live": "answers without live data",
    "action": "does not say that it can't do this",
    "no_tool": "does not say that it can't do this",
}
"""The kinds of `limits` and `tool_use` that must be owned up to, and what is said of one that is not."""


class Honesty(Filter):
    """Rejects an honest-limit row that answers anyway, and an answerable one that declines.

    The record's field `kind` decides; rows of other kinds, or without one, are kept. Use it in place of
    `refusal`, which rejects honest limits. It reads words, and can't know whether they are true.
    """

    def check(self, record: Record) -> Verdict:
        """Keep what fits its kind; no score."""
        kind, answer = record.fields.get("kind"), record.answer
        admits = admits_a_limit(answer)
        if kind == "answerable" and admits:
            return Verdict(self.name, False, None, "declines what the text answers")
        if kind in ("action", "no_tool") and CLAIMS.search(answer):
            return Verdict(self.name, False, None, "claims to do what it can't")
        if isinstance(kind, str) and kind in BROKEN and not admits:
            return Verdict(self.name, False, None, BROKEN[kind])
        return Verdict(self.name, True)


def admits_a_limit(answer: str) -> bool:
    """Whether an answer says that it does not know, or can't."""
    return bool(DECLINES.search(answer) or ADMITS.search(answer))
