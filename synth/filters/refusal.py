"""`refusal`: answers that decline, or speak of being a language model."""

import re

from synth.steps import Filter
from synth.types import Record, Verdict

NOT = r"(?:can['\u2019]?t|cannot|unable|not able|don['\u2019]?t)"
DECLINES = re.compile(
    rf"""^\W*(?:
      i['\u2019]?m \s (?:really\s|very\s|so\s)? (?:sorry|afraid)\b .{{0,80}}? \b{NOT}\b
    | (?:sorry|unfortunately|apologies)\b .{{0,80}}? \b{NOT}\b
    | i \s (?:can['\u2019]?t|cannot|won['\u2019]?t|am\s(?:un|not\s)able\sto|must\sdecline\sto)
      \s (?:\w+\s){{0,3}}?
      (?:help|assist|answer|provide|fulfill?|comply|create|write|generate|give|discuss|continue|complete)
    )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
MODEL = r"(?:ai|artificial\sintelligence|(?:large\s)?language\smodel)"
IDENTITY = re.compile(
    rf"""\bas\san?\s(?:\w+\s)?{MODEL}\b
    | \bi(?:['\u2019]|\sa)?m\s(?:just\s|only\s)?an?\s(?:{MODEL}|virtual\sassistant|chatbot)\b
    | \bi\s(?:was|am|have\sbeen)\s(?:created|trained|developed|made|built)\sby\b""",
    re.IGNORECASE | re.VERBOSE,
)


class Refusal(Filter):
    """Rejects refusals and self-descriptions; a story in which somebody says sorry is kept."""

    def check(self, record: Record) -> Verdict:
        """The first rule that the answer meets."""
        if DECLINES.search(record.answer):
            return Verdict(self.name, False, None, "declines to answer")
        if IDENTITY.search(record.answer):
            return Verdict(self.name, False, None, "speaks of itself as a model")
        return Verdict(self.name, True)
