"""`refusal`: answers that decline, or that speak of themselves as a model. Patterns of our own words."""

import re

from synth.steps import Filter
from synth.types import Record, Verdict

NOT = r"(?:can['\u2019]?t|cannot|can\snot|unable|not\sable|don['\u2019]?t|do\snot|won['\u2019]?t|will\snot)"
HELP = (
    r"(?:help|assist|answer|provide|fulfill?|comply|create|write|generate|give|discuss|continue|complete"
    r"|share|support|offer|produce|describe|engage|promote|encourage|participate|take\s(?:sides|part)"
    r"|do\s(?:that|this|so))"
)
SORRY = r"(?:i['\u2019]?m|i\sam) \s (?:really\s|very\s|so\s|truly\s)? (?:sorry|afraid)"
DECLINES = re.compile(
    rf"""^\W*(?:
      {SORRY}\b [^.!?\n]{{0,80}}? \b{NOT}\b
    | (?:sorry|apologies|(?:i|my)\sapolog\w+)\b [^.!?\n]{{0,80}}? \b{NOT}\b
    | unfortunately\b,?\s(?:i|we|as\san?)\b [^.!?\n]{{0,60}}? \b{NOT}\b
    | (?:no,\s)? i \s (?:can['\u2019]?t|cannot|won['\u2019]?t|will\snot|am\s(?:un|not\s)able\sto
      |must\s(?:\w+\s)?(?:decline|refuse)) \s (?:\w+\s){{0,3}}? {HELP}
    )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
REFUSES = re.compile(
    rf"""^\W*(?:(?:thank|thanks)\b[^.!?]{{0,60}}[.!?]\s+)?(?:
      (?:{SORRY}\b,? | sorry\b,? | unfortunately,? | i\sapologi[sz]e\b,? | no,)
      \s .{{0,60}}? \b(?:{NOT}|not\s(?:something|able)) \s .{{0,40}}? \b{HELP}\b
    | (?:{SORRY}|sorry|i\sapologi[sz]e),?\sbut\s(?:i\b|your|this|that|it|there|the\s(?:question|request|text))
    | {SORRY},?\s(?:but\s)?i\s{NOT}\sbe\sable\b
    | i\s(?:\w+\s)?(?:{NOT}|am\snot\sgoing\sto)\s(?:\w+\s)?{HELP}\b
    | (?:i['\u2019]?m|i\sam)\s(?:unable|not\sable|not\sgoing)\sto\s(?:\w+\s)?{HELP}\b
    | i['\u2019]d\s(?:rather|prefer)\snot\b
    | i\s(?:must|have\sto|will\shave\sto)\s(?:\w+\s)?(?:decline|refuse)\b
    | i\s(?:decline|refuse)\sto\b
    | (?:i['\u2019]?m|i\sam)\snot\s(?:\w+\s)?comfortable\s(?:\w+ing|with)\b
    | it\s(?:would\snot|wouldn['\u2019]?t|is\snot)\sbe\s(?:\w+\s)?(?:appropriate|ethical|right)\sfor\sme\b
    | i\s(?:can['\u2019]?t|cannot|am\snot\sable\sto|do\snot|don['\u2019]?t)\s(?:see|view|open|access)\s
      (?:images?|pictures?|photos?|files?|links?|attachments?)
    )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
UNABLE = re.compile(
    r"""\bi(?:\s(?:am|was)|['\u2019]m)?\s(?:\w+\s)?
      (?:can['\u2019]?t|cannot|can\snot|unable|not\sable|won['\u2019]?t|will\snot|refuse|not\swilling|not\sgoing
        |do(?:n['\u2019]t|\snot)\s(?:have|know))\b
      (?!\s(?:recommend|stress|wait|help\sbut|believe|imagine|thank|overstate|emphasi[sz]e|complain
        |remember|forget))
    | \bpossible\sfor\sme\sto\b | (?:n['\u2019]t|\snot)\ssomething\s(?:that\s)?i\b
    | \bto\spass\son\sthis\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""Of 2,996 answers that people wrote (Dolly) three say so of themselves in their first FIRST characters."""
AGAINST = re.compile(
    r"""\bagainst\smy\s(?:\w+\s)?(?:guidelines|programming|principles|policy|policies)\b
    | \bi\s(?:would\s)?prefer\snot\sto\s(?:discuss|answer|say|comment|talk)\b""",
    re.IGNORECASE | re.VERBOSE,
)
ELSEWHERE = re.compile(
    r"""^\W*(?:
      es\stut\smir\s(?:sehr\s)?leid,?\s(?:aber\s)?.{0,40}?kann\sich\b.{0,40}?nicht
    | lo\ssiento,?\s(?:pero\s)?no\spuedo
    | je\ssuis\sd\u00e9sol\u00e9e?,?\s(?:mais\s)?je\sne\speux
    | \u043a\s\u0441\u043e\u0436\u0430\u043b\u0435\u043d\u0438\u044e
      ,?\s\u044f\s\u043d\u0435\s\u043c\u043e\u0433\u0443
    | (?:\u5f88?\u62b1\u6b49|\u5bf9\u4e0d\u8d77)[\uff0c,]?\s?\u4f46?\u6211(?:\u65e0\u6cd5|\u4e0d\u80fd)
    | \u7533\u3057\u8a33(?:\u3042\u308a|\u3054\u3056\u3044)\u307e\u305b\u3093.{0,40}?
      \u3067\u304d(?:\u307e\u305b\u3093|\u304b\u306d\u307e\u3059)
    )
    | \bals\s(?:ki|k\u00fcnstliche\sintelligenz)\b.{0,20}?\b(?:kann|habe|bin)\sich
    | \ben\stant\squ['\u2019](?:ia|intelligence\sartificielle)\b
    | \bcomo\s(?:una?\s)?(?:ia|inteligencia\sartificial|modelo\sde\slenguaje)\b
    | \u4f5c\u4e3a(?:\u4e00\u4e2a)?(?:ai|\u4eba\u5de5\u667a\u80fd|\u8bed\u8a00\u6a21\u578b)""",
    re.IGNORECASE | re.VERBOSE,
)
"""The same in German, Spanish, French, Russian, Chinese and Japanese: the commonest forms alone."""
MODEL = r"(?:ai|a\.i\.|artificial\sintelligence|(?:large\s)?language\smodel)"
MAKERS = (
    "openai|anthropic|google|deepmind|meta|mistral|alibaba|deepseek|microsoft|nvidia|cohere|xai|tencent|baidu"
    "|bytedance|moonshot|zhipu|01\\.ai|hugging\\s?face|ibm|amazon|apple|databricks|ai2|stability"
)
NAMES = (
    "chatgpt|gpt-?\\d\\w*|claude|gemini|bard|llama|mistral|mixtral|qwen|deepseek|copilot|grok|phi-?\\d|gemma"
    "|smollm\\d?|bing|vicuna|alpaca|kimi|ernie|chatglm|command\\s?r|tulu|olmo"
)
KIND = r"(?:(?!(?:of|in|for|on|with|about|to)\b)[\w-]+\s){0,3}"
"""Words that may stand before "AI": "a helpful text-based AI", but no "fan of AI"."""
IDENTITY = re.compile(
    rf"""\b(?:as|being)\san?\s{KIND}{MODEL}(?:\s(?:language\s)?(?:model|assistant|system|chatbot))?(?:\s\(\w+\))?
        (?:\s(?:trained|created|developed|made)\sby\s\w+)?,?\s(?:i\b|i['\u2019]|my\b|it\sis\snot\spossible)
    | \bi(?:['\u2019]|\sa)?m\s(?:just\s|only\s|merely\s)?an?\s{KIND}(?:{MODEL}|virtual\sassistant|chatbot)\b
        (?!\s(?:researcher|engineer|developer|scientist|specialist|expert|consultant|student|teacher
            |enthusiast))
    | \bi(?:['\u2019]|\sa)?m\s(?:{NAMES})\b(?=[,.!;]|\sand\b|\smade\b|\sa[n]?\b|\sby\b|$)
    | \bas\san?\s(?:[\w-]+\s)?(?:assistant|chatbot),\si\b
    | \bmy\sname\sis\s(?:chatgpt|gpt-?\d|claude|gemini|qwen|llama|deepseek|copilot)\b
    | \bi(?:\s(?:was|am|have\sbeen)|['\u2019]m\s[^.\n]{{0,40}}?)\s(?:created|trained|developed|made
        |built)\sby\s
        (?:the\s(?:company|team)\s(?:at\s)?)?(?:{MAKERS}|a\s(?:company|team\sof|provider|group\sof\sresearchers)
            |researchers|engineers)\b
    | \bmy\s(?:creators|developers)\b(?=\s(?:at|have|did|do|are|made|trained|,)|,)
    | \bi\s(?:don['\u2019]?t|do\snot)\s(?:actually\s|really\s)?have\s(?:any\s)?(?:personal\s|human\s|real\s)*
        (?:feelings|emotions|opinions|preferences|experiences|beliefs|consciousness
            |a\s(?:physical\s)?body)\b""",
    re.IGNORECASE | re.VERBOSE,
)
CUTOFF = re.compile(
    r"""\b(?:my|of\smy\slast|since\smy)\s(?:last\s)?(?:knowledge|training)(?:\s(?:data|cut-?\s?off|update)\b)
    | \bmy\slast\s(?:update|training)\b | \bi\swas\slast\s(?:trained|updated)\b
    | \bmy\s(?:knowledge|information|training)\s(?:only\s)?(?:ends|stops|goes|extends|is\slimited)\b
    | \bi\s(?:only\s)?have\s(?:information|knowledge|data)\s(?:only\s)?(?:up\sto|until)\b
    | \bi\s(?:\w+\s)?(?:don['\u2019]?t|do\snot|cannot|can['\u2019]?t)\s
        (?:\w+\s)?(?:have\s(?:any\s)?access\sto\s|have\s|access\s|browse\s)
        (?:the\s)?(?:real-?\s?time|live|current|up-to-date|internet|web)\b""",
    re.IGNORECASE | re.VERBOSE,
)
QUOTED = re.compile('["\u201c][^"\u201c\u201d\n]{1,300}["\u201d]|\u00ab[^\u00bb\n]{1,300}\u00bb')
FOR_OTHERS = re.compile(
    r"""\b(?:write|draft|compose|reply|respond|decline|translate|rewrite|rephrase|paraphrase|continue
        |complete|message
    |e-?mail|letter|note|card|dialogue|story|diary|poem|speech|say|tell\sabout|apolog\w+|first\sperson|role|pretend|imagine|answer\sas|schreibe|\u00fcbersetze)\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""A question that asks for words of somebody else: "I can't come" may be what was wanted."""


PERSON = re.compile(r"\b(?:I|i|[Mm]y)\b")
"""Without one of these no answer speaks of itself in English."""
FIRST = 400
"""Characters in which a refusal begins."""


class Refusal(Filter):
    """Rejects refusals, self-descriptions of a model, and its knowledge cut-off.

    What stands in quotation marks inside a text is somebody else's; where the question asks for a message or
    a story, only what declines to help counts. An honest limit is rejected too: there use `honesty`.
    """

    def check(self, record: Record) -> Verdict:
        """The first rule that the answer meets; no score."""
        answer = record.answer
        bare = (
            QUOTED.sub(" ", answer) if '"' in answer or "\u201c" in answer or "\u00ab" in answer else answer
        )
        if not bare.strip(" .,\n"):
            bare = answer
        first = bare[:FIRST]
        if REFUSES.match(first) or ELSEWHERE.search(first):
            return Verdict(self.name, False, None, "declines to answer")
        if DECLINES.match(first) and not FOR_OTHERS.search(record.question):
            return Verdict(self.name, False, None, "declines to answer")
        if UNABLE.search(first) and not FOR_OTHERS.search(record.question):
            return Verdict(self.name, False, None, "declines to answer")
        if not PERSON.search(bare):
            return Verdict(self.name, True)
        if AGAINST.search(bare):
            return Verdict(self.name, False, None, "declines to answer")
        if IDENTITY.search(bare):
            return Verdict(self.name, False, None, "speaks of itself as a model")
        if CUTOFF.search(bare):
            return Verdict(self.name, False, None, "speaks of its training or access")
        return Verdict(self.name, True)
