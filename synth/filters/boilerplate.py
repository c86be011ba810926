"""`boilerplate`: what chat models say around an answer, and what leaks of a prompt. Patterns of our own."""

import re

from synth.filters.prose import outside_code
from synth.steps import Filter
from synth.types import Record, Verdict

OPENER = re.compile(
    r"""^[\s*_>]*(?:
      (?:sure(?:\sthing)?|certainly|of\scourse|absolutely|definitely|no\sproblem|gladly|ok(?:ay)?|alright
          |yes|great)
        \s?[!,.:]\s*(?:here|i['\u2019]d|i['\u2019]ll|i\s(?:can|will|would|am)|let\s(?:me|us)
            |let['\u2019]s|below|this\sis)\b
    | (?:what\sa\s|that['\u2019]s\sa\s|this\sis\sa\s)?(?:great|good|excellent|interesting
        |fantastic)\squestion[!.]
    | thank(?:s|\syou)\s(?:so\smuch\s|very\smuch\s)?for\s(?:your\s(?:question|message|request)
        |the\squestion|asking|reaching)
    | (?:i['\u2019]d\sbe\s|i\swould\sbe\s|i['\u2019]m\s)?(?:happy|glad|delighted)\sto\s(?:\w+\s)?(?:help
        |assist|answer|tell|give|share|provide|explain)
    | i(?:['\u2019]d|\swould)\slove\sto\b
    | as\s(?:you\s)?requested,
    | in\sthis\s(?:response|answer),?\si\b
    | here(?:['\u2019]s|\sis|\sare)\s[^.:\n]{0,60}?\b(?:you\s(?:asked|requested|wanted|are\slooking)
        |as\srequested)\b
    | here(?:['\u2019]s|\sis)\s(?:the|your|my|an?)\s(?![^\n]*\blist\b)[^\n]{0,100}:[ \t*]*\n\s*
        (?![-*+\u2022|]\s|\d|\|)
    | here(?:['\u2019]s|\sis)\s(?:the|your|my|a)\s
      (?:\w+\s)?(?:rewritten|revised|rephrased|paraphrased|shortened|translated|corrected|edited|improved
          |updated)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
AFFIRMS = re.compile(
    r"^[\s*_>]*(?:sure(?: thing)?|certainly|of course|absolutely|no problem|great|perfect|got it)!\s+\S",
    re.IGNORECASE,
)
ASKED = re.compile(
    r"(?:^|[.!?]\s+)(?:is|are|was|were|may|do|does|did|has|have|will|should"
    r"|can (?!you)\w+|could (?!you)\w+)\b"
    r"[^?]*\?\s*$",
    re.I,
)
"""A question that "Of course!" answers."""
CLOSER = re.compile(
    r"""(?:
      \b(?:i\s)?hope\s(?:this|that|it|these)\s(?:\w+\s)?(?:helps?|answers|clarif\w+|is\shelpful
          |was\shelpful)\b
    | \b(?:please\s)?(?:let\sme\sknow|feel\sfree\sto\s(?:ask|reach|contact|let))\b
      [^.!?\n]{0,20}\b(?:if|whether|should|more|anytime)?\b
    | \bis\sthere\sanything\selse\s(?:i\scan|you)\b
    | \bdo(?:n['\u2019]?t|\snot)\shesitate\sto\s(?:ask|reach|contact)\b
    | \bhappy\sto\shelp\sfurther\b
    | \bif\syou\s(?:need|have|want|would\slike)\s(?:any\s)?(?:further|more|other|additional)\s
      (?:questions?|help|information|details?|clarification|assistance|examples?|support)\b
    )[^\n]{0,100}$""",
    re.IGNORECASE | re.VERBOSE,
)
MESSAGE = re.compile(
    r"""\b(?:e-?mail|mail|letter|message|reply|respond|note|post|announcement|text|memo|invitation
    |customer|script|dialogue)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""A question that asks for words to somebody: the offer to ask more is addressed to them."""
SCAFFOLD = re.compile(
    r"""^[ \t]*(?:
      \#{2,}\s*(?:instructions?|responses?|input|output|human|assistant|user|system)\s*:?[ \t]*$
    | \#{2,}\s*(?:instruction|response|input|human|assistant|user)\s*:
    | [#*\s]*(?:the\s)?(?:given|rewritten|created|new|original)\s(?:prompt|instruction)[#*\s]*:
    | \#+\s?(?:given|rewritten|created|new|original)\s\w+\s?\#
    | \#+\s*(?:given|rewritten|created)\s(?:prompt|instruction)[ \t]*$
    | \[/?INST\] | <\|\w+\|>
    | </?(?:answer|response|output|result|reply|thinking|scratchpad|question|instruction)>
    )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
ROLE = re.compile(
    r"\A\W*(?:(?:assistant|response|output|(?:final )?answer|ai|model|bot|translation)[\]*]*\s*:\s*\S"
    r"|(?<=#)\s*(?:answer|solution|response)\s*\n)",
    re.IGNORECASE,
)
QUESTION = re.compile(r"\A\W*question\**\s*:.*\n\W*answer\**\s*:", re.IGNORECASE)
TURNS = re.compile(
    r"^[ \t]*(?:human|user)\s*:.*\n+[ \t]*(?:assistant|ai|bot)\s*:", re.IGNORECASE | re.MULTILINE
)
FORM = re.compile(
    r"\b(?:answer|output|response|question|chat|conversation|script)\s*:"
    r"|\b(?:quiz|trivia|flash\s?cards?|faq|q\s?&\s?a|interview|dialogue|transcript|play)\b",
    re.IGNORECASE,
)
"""A question that asks for such a form."""
SLOT = re.compile(
    r"""(?<![\w\\^$}\]])\{[a-z]+(?:_[a-z]+)*\}(?![\w}])(?!,) | \{\{\s*\w[\w.|\s]*\}\} | \{%-?\s*\w+
    | \[(?:your|the|insert|enter|add|recipient|company|sender|customer|client|employer|manager|hiring|job
        |landlord|friend)
      (?:['\u2019]s)?(?:\s[\w'\u2019/ ]{1,30})?\](?!\()
    | \[(?:first\s|last\s|full\s)?(?:name|date|number|address|city|topic|phone|e-?mail|time|place|amount
        |title)\](?!\()
    | \[[A-Z][a-z]+['\u2019]s\s[A-Z][a-z]+\](?!\()
    | \((?:Your|Insert|Guest|Company|Recipient)\s[A-Z]\w+\) | \((?:Name|Date|Venue|Address)\) | \bX{4,}\b
    | \[[A-Z][a-z]+\s[A-Z][a-z]+\](?![(:\[])
    | \$\{[A-Za-z_]+\} | <(?:insert|your|enter)\s[^<>\n]{2,40}>""",
    re.VERBOSE,
)
SIGNS = ("{", "[", "<", "(", "XXXX")
LIPSUM = re.compile(r"lorem ipsum", re.IGNORECASE)
TEMPLATE = re.compile(
    r"\b(?:templates?|placeholders?|fill[- ]?in|jinja|handlebars|mustache|format string|f-string|slots?)\b"
    r"|\{\w+\}|\[\w[\w ]*\]",
    re.IGNORECASE,
)


class Boilerplate(Filter):
    """Rejects answers with a chat model's frame ("Sure! Here is", "I hope this helps"), a prompt's
    scaffolding ("### Response:", "Rewritten prompt:", a label, a next turn), or an unfilled slot
        ("[Your Name]").

    Code is left out. What the question asks for is kept: a template, a quiz, a letter that offers help.
    """

    def check(self, record: Record) -> Verdict:
        """The first rule that the answer meets; no score."""
        reason = _said(outside_code(record.answer).strip(), record.question)
        return Verdict(self.name, not reason, None, reason)


def _said(answer: str, question: str) -> str:
    if OPENER.match(answer):
        return "opens like a chat model"
    if AFFIRMS.match(answer) and not ASKED.search(question):
        return "opens like a chat model"
    if CLOSER.search(answer[-300:]) and not MESSAGE.search(question):
        return "closes like a chat model"
    if (found := SCAFFOLD.search(answer)) and found[0].strip().lower() not in question.lower():
        return "leaks a prompt's scaffold"
    if not FORM.search(question):
        if ROLE.search(answer) or QUESTION.search(answer):
            return "begins with a label"
        if TURNS.search(answer):
            return "goes on with a next turn"
    slots = SLOT.search(answer) if any(sign in answer for sign in SIGNS) else LIPSUM.match(answer)
    if slots and not TEMPLATE.search(question) and slots[0].lower() not in question.lower():
        return "leaves a slot open"
    return ""
