"""Checks of an answer by code: the constraint kinds of IFEval (Zhou et al. 2023, arXiv 2311.07911), strictly.

A constraint is a flat mapping, `{"kind": "bullet_count", "count": 3}`. Every checker is a pure function of
the answer and the constraint's arguments. It looks at the form alone, but an answer without words between
its marks (`<<>>`, `""`, a list of empty bullets) satisfies nothing.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from synth.steps import near
from synth.types import JSON

Arguments = Mapping[str, Any]
Checker = Callable[[str, Arguments], bool]
RELATIONS = {"at least": int.__ge__, "at most": int.__le__, "exactly": int.__eq__}
"""What `relation` may say of a count: actual, then asked."""
SEPARATOR = "******"
"""What stands between two responses."""


def words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits; "don't" and "well-known" are one each."""
    return re.findall(r"[^\W_]+(?:['\u2019-][^\W_]+)*", text)


def sentences(text: str) -> list[str]:
    """The sentences of a text: split after . ! or ? and closing quotes; parts without a word are dropped."""
    return [part for part in re.split(r"(?<=[.!?])[\"'\u201d\u2019)]*\s+", text) if words(part)]


def _fold(text: str) -> str:
    return " ".join(text.lower().split())


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(_fold(word))}(?!\w)", _fold(text)) is not None


def _bullets(text: str) -> list[str]:
    return [item for item in re.findall(r"^\s*[*•-][ \t]+(.+)$", text, re.MULTILINE) if words(item)]


def _lowercase(text: str, _: Arguments) -> bool:
    return text.lower() == text and any(letter.islower() for letter in text)


def _uppercase(text: str, _: Arguments) -> bool:
    return text.upper() == text and any(letter.isupper() for letter in text)


def _quotation(text: str, _: Arguments) -> bool:
    inner = text[1:-1]
    return len(text) > 1 and text[0] == text[-1] == '"' and '"' not in inner and bool(words(inner))


def _no_comma(text: str, _: Arguments) -> bool:
    return "," not in text


def _end_phrase(text: str, args: Arguments) -> bool:
    phrase = args["phrase"].strip()
    rest = text.removesuffix(phrase)
    cut = phrase[0].isalnum() and rest[-1:].isalnum()
    return text.endswith(phrase) and bool(words(rest)) and not cut


def _start_phrase(text: str, args: Arguments) -> bool:
    phrase = args["phrase"].strip()
    rest = text.removeprefix(phrase)
    return (
        text.startswith(phrase) and bool(words(rest)) and not (phrase[-1:].isalnum() and rest[:1].isalnum())
    )


def _title(text: str, _: Arguments) -> bool:
    """One title in double angle brackets first, and text after it."""
    found = re.fullmatch(r"<<([^<>\n]+)>>(.+)", text, re.DOTALL)
    return found is not None and bool(words(found[1])) and bool(words(found[2])) and "<<" not in found[2]


def _bullet_count(text: str, args: Arguments) -> bool:
    items = _bullets(text)
    return len(items) == args["count"] and len({_fold(item) for item in items}) == len(items)


def _numbered_list(text: str, args: Arguments) -> bool:
    found = re.findall(r"^\s*(\d+)[.)][ \t]+(.+)$", text, re.MULTILINE)
    numbers = [int(number) for number, item in found if words(item)]
    return numbers == list(range(1, args["count"] + 1))


def _keywords(text: str, args: Arguments) -> bool:
    return all(_has_word(text, word) for word in args["keywords"])


def _forbidden_words(text: str, args: Arguments) -> bool:
    return not any(_has_word(text, word) for word in args["words"])


def _mentions(text: str, args: Arguments) -> bool:
    """At least one of the words, or its plural in -s or -es: a cheap check that the topic is met."""
    return any(_has_word(text, word + plural) for word in args["words"] for plural in ("", "s", "es"))


def _word_count(text: str, args: Arguments) -> bool:
    return bool(RELATIONS[args["relation"]](len(words(text)), args["count"]))


def _sentence_count(text: str, args: Arguments) -> bool:
    return bool(RELATIONS[args["relation"]](len(sentences(text)), args["count"]))


def _paragraph_count(text: str, args: Arguments) -> bool:
    return len([part for part in re.split(r"\n\s*\n", text) if words(part)]) == int(args["count"])


def _placeholder_count(text: str, args: Arguments) -> bool:
    """At least `count` different ones in square brackets, and words outside; a Markdown link is none."""
    found = re.findall(r"\[([^\[\]\n]+)\](?!\()", text)
    names = {_fold(name) for name in found if words(name)}
    return len(names) >= args["count"] and bool(words(re.sub(r"\[[^\[\]\n]*\]", " ", text)))


def _postscript(text: str, args: Arguments) -> bool:
    before, marker, after = text.rpartition(args["marker"])
    return bool(marker and words(before) and words(after)) and before.endswith((" ", "\n"))


def _json_format(text: str, args: Arguments) -> bool:
    """A JSON object, bare or in one ```json fence, without empty values; with `keys`, exactly these."""
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*)\n\s*```", text, re.DOTALL)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except ValueError:
        return False
    if not (isinstance(value, dict) and value):
        return False
    return all(item not in ("", None, [], {}) for item in value.values()) and (
        "keys" not in args or set(value) == set(args["keys"])
    )


def _highlight_count(text: str, args: Arguments) -> bool:
    """At least `count` parts in *single* or **double** asterisks on one line; bullets are none."""
    found = re.findall(r"(?<!\*)(\*{1,2})(?![\s*])([^*\n]+)(?<!\s)\1(?!\*)", text)
    return len([part for _, part in found if words(part)]) >= int(args["count"])


def _two_responses(text: str, _: Arguments) -> bool:
    """Two different responses with six asterisks between them."""
    parts = [_fold(part) for part in text.split(SEPARATOR)]
    return (
        len(parts) == 2 and all(map(words, parts)) and parts[0] != parts[1] and not parts[1].startswith("*")
    )


def needs_count(value: object) -> str:
    """What an argument must be that counts something; "" where it is."""
    return "" if type(value) is int and value > 0 else "a whole number above 0"


def needs_text(value: object) -> str:
    """What an argument must be that is one text; "" where it is."""
    return "" if isinstance(value, str) and value.strip() else "a text"


def needs_texts(value: object) -> str:
    """What an argument must be that is a list of texts; "" where it is."""
    right = isinstance(value, list | tuple) and value and not any(map(needs_text, value))
    return "" if right else "a list of texts"


def _relation(value: object) -> str:
    return "" if value in RELATIONS else f"one of: {', '.join(RELATIONS)}"


Argument = Callable[[object], str]
"""What an argument must be where the value isn't that; "" where it is."""

Kinds = Mapping[str, tuple[Checker, Mapping[str, Argument]]]

KINDS: Kinds = {
    "lowercase": (_lowercase, {}),
    "uppercase": (_uppercase, {}),
    "quotation": (_quotation, {}),
    "no_comma": (_no_comma, {}),
    "end_phrase": (_end_phrase, {"phrase": needs_text}),
    "start_phrase": (_start_phrase, {"phrase": needs_text}),
    "title": (_title, {}),
    "bullet_count": (_bullet_count, {"count": needs_count}),
    "numbered_list": (_numbered_list, {"count": needs_count}),
    "keywords": (_keywords, {"keywords": needs_texts}),
    "forbidden_words": (_forbidden_words, {"words": needs_texts}),
    "mentions": (_mentions, {"words": needs_texts}),
    "word_count": (_word_count, {"relation": _relation, "count": needs_count}),
    "sentence_count": (_sentence_count, {"relation": _relation, "count": needs_count}),
    "paragraph_count": (_paragraph_count, {"count": needs_count}),
    "placeholder_count": (_placeholder_count, {"count": needs_count}),
    "postscript": (_postscript, {"marker": needs_text}),
    "json_format": (_json_format, {"keys": needs_texts}),
    "highlight_count": (_highlight_count, {"count": needs_count}),
    "two_responses": (_two_responses, {}),
}
"""Every kind: its checker, and its arguments with what each must be."""

OPTIONAL = {("json_format", "keys")}


def validate(kind: str, args: Arguments, kinds: Kinds = KINDS) -> None:
    """Raises ValueError, with the mend, where a kind is unknown or an argument missing, unknown or wrong."""
    if kind not in kinds:
        raise ValueError(f'no constraint kind is called "{kind}"{near(kind, kinds)}')
    known = kinds[kind][1]
    for key in args:
        if key not in known:
            hint = near(key, known) if known else "; it takes none"
            raise ValueError(f'constraint "{kind}" has no argument "{key}"{hint}')
    for key, wrong in known.items():
        if key not in args:
            if (kind, key) in OPTIONAL:
                continue
            raise ValueError(f'constraint "{kind}" lacks its argument "{key}"; give {wrong(None)}')
        if mend := wrong(args[key]):
            raise ValueError(f'constraint "{kind}": argument "{key}" must be {mend}, but it is {args[key]!r}')


def satisfied(answer: str, kind: str, args: Arguments) -> bool:
    """Whether an answer meets one constraint; white space around the answer doesn't count.

    Raises:
        ValueError: the kind is unknown, or an argument is missing, unknown or of the wrong type.
    """
    validate(kind, args)
    text = answer.strip()
    return bool(words(text)) and KINDS[kind][0](text, args)


def check(answer: str, constraints: Sequence[Mapping[str, JSON]]) -> tuple[bool, str]:
    """Whether an answer meets all constraints, and `unmet: <kind>` for the first that it doesn't.

    The reason leaves the arguments out, so that rejections count by it; they are in the row's fields.

    Raises:
        ValueError: a constraint has no `kind`, or is none that this module knows.
    """
    if not words(answer):
        return False, "empty answer"
    for constraint in constraints:
        kind, args = split(constraint)
        if not satisfied(answer, kind, args):
            return False, f"unmet: {kind}"
    return True, ""


def constraints_of(fields: Mapping[str, JSON]) -> list[Mapping[str, JSON]]:
    """The constraints of a question or seed.

    Raises:
        ValueError: there is no list of at least one object under "constraints".
    """
    found = fields.get("constraints")
    constraints = [c for c in found if isinstance(c, Mapping)] if isinstance(found, list | tuple) else []
    if not isinstance(found, list | tuple) or not constraints or len(constraints) != len(found):
        raise ValueError('needs the field "constraints", a list of {"kind": ...}; add it')
    return constraints


def split(constraint: Mapping[str, JSON]) -> tuple[str, dict[str, JSON]]:
    """A flat constraint as its kind and its arguments; null arguments, as Parquet fills in, are dropped."""
    kind = constraint.get("kind")
    if not isinstance(kind, str):
        raise ValueError(f'a constraint must have the key "kind", but it is {dict(constraint)!r}')
    return kind, {key: value for key, value in constraint.items() if key != "kind" and value is not None}
