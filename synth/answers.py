"""What an answer says in the end: number, label, code, JSON. Shared by filters and evaluators."""

import re
from collections.abc import Sequence
from fractions import Fraction

import orjson

MARKED = re.compile(
    r"####[ \t]*+((?!\d+[.)]\s+\S)[-+(*]*(?:[$\u20ac\u00a3]|\\\$)?\s?[-+]?\.?\d[^\n]*|\S[^\n]*(?=\s*\Z))"
)
"""A number, or the last line: `#### Step 3` further up is a heading."""
SAYS = re.compile(
    r"\banswer\b[*_]*+\s*+(?:[:=]|[^.:=\n]{0,60}?\b(?:is|equals)\b\s*[*_]*[:=]?)\s*(?!not\b)(?=(\S[^\n]{0,300}))",
    re.I,
)
BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
NUMBER = re.compile(
    rf"""(?<![\w.^])(?P<sign>[-+]?\$?[-+]?)
        (?:(?P<whole>\d+)\s+)?(?P<over>\d+)\s*/\s*(?P<under>\d+)(?!\d|/|\.\d)
      | (?<![\w.^])(?P<minus>[-+]?\$?[-+]?)(?P<plain>{DIGITS})(?:e(?P<power>[-+]?\d+))?(?!\d)(?!\s*\^)
        (?P<scale>\s*(?:thousand|million|billion|trillion)\b|(?-i:k)\b)?""",
    re.VERBOSE | re.IGNORECASE,
)
LONGEST = 1000
"""Characters of a number at most: a text that repeats one digit for ever comes to none."""
SCALES = {"": 1, "k": 10**3, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
FENCE = re.compile(
    r"^[ \t]*(`{3,}+|~{3,}+)[ \t]*+([\w+.-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.M | re.S
)
EDGE = r"(?:\s*$|[.):]+(?:\s|$)|\s*[,;\u2013\u2014]\s|\s+-+\s|\s+(?:because|since)\b|[^\S\n]*\n)"
"""What may stand after a label that opens an answer."""


def said(answer: str) -> str | None:
    """What an answer marks as its result: after `####`, in `\\boxed{}`, or after "answer is" or "Answer:".

    The last mark of the first kind that there is, of the third kind its first sentence; None without any.
    """
    for mark in (MARKED, BOXED):
        if found := mark.findall(answer):
            return str(found[-1]).strip()
    found = SAYS.findall(answer)
    return re.split(r"[.;](?:\s|$)", found[-1])[0].strip() if found else None


def numbers(text: str) -> list[Fraction]:
    """The numbers of a text, in order: 1,234.50, -3, 1/2, 1 1/2, 2e3, 2.5 million. Units are left out."""
    return [_value(match) for match in NUMBER.finditer(_plain(text)) if len(match[0]) < LONGEST]


def number(text: str) -> Fraction | None:
    """A text that is one number with or without a unit sign, as "$1,234.50" or "18." are, else None."""
    plain = _plain(text).strip(" \t\n.$%()")
    found = NUMBER.fullmatch(re.sub(r"^([-+]?)\s*\$\s*", r"\1", plain))
    return _value(found) if found and len(plain) < LONGEST else None


def last_number(answer: str) -> Fraction | None:
    """The number that an answer comes to: in what it marks (see `said`), else the last one; None without any.

    Of a marked calculation it is the number after the last "=", of other marked text the first one.
    """
    mark = said(answer)
    found = numbers(answer if mark is None else mark.rpartition("=")[2])
    return found[-1 if mark is None else 0] if found else None


def shown(value: Fraction) -> str:
    """A number as people write it: whole, or with at most twelve digits."""
    return str(value) if value.denominator == 1 else f"{float(value):.12g}"


def same_answer(answer: str, reference: str) -> bool:
    """Whether an answer comes to a reference, which may itself be a solution that ends in `#### 42`.

    Where the reference is a number, the answer's must be equal to it, exactly. Other references must equal
    the whole answer, or what it marks, up to case, white space, articles and the marks around it.
    """
    wanted = reference_of(reference)
    if (value := number(wanted)) is not None:
        return last_number(answer) == value
    mark = said(answer)
    return normalised(answer if mark is None else mark) == normalised(wanted) != ""


def reference_of(text: str) -> str:
    """A reference answer, without the solution before it."""
    mark = said(text)
    return text.strip() if mark is None else mark


def normalised(text: str) -> str:
    """Lower case, single spaces, without articles and the marks around it."""
    words = re.sub(r"\b(?:a|an|the)\b", " ", text.lower().strip(" .,;:!?\"'*`()[]\n")).split()
    return " ".join(words)


def choice(answer: str, labels: Sequence[str]) -> str | None:
    """The label that an answer chooses, as the filter `choice` says; None where it chooses none."""
    mark = said(answer)
    if mark is not None:
        return _opening(mark, labels)
    last = answer.strip().rpartition("\n")[2]
    alone = next((label for label in labels if folded_label(last) == folded_label(label)), None)
    return alone or _opening(answer, labels)


def folded_label(label: str) -> str:
    """A label without case and the marks around it; one of marks alone as it is."""
    return re.sub(r"\s+", " ", label).strip(" .,;:!?\"'*_`()[]{}\n").casefold() or label.strip()


def fences(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a text as language (lower case, maybe "") and content; one that was cut counts."""
    return [(language.lower(), content) for _, language, content in FENCE.findall(text)]


def unfenced(text: str) -> str:
    """The content of the one fence that a text is, or holds; else the text."""
    blocks = fences(text)
    return blocks[0][1].strip() if len(blocks) == 1 else text.strip()


def json_of(answer: str) -> object:
    """The JSON that an answer is, alone or in the one fenced block of a text.

    Raises:
        ValueError: it is none.
    """
    value: object = orjson.loads(unfenced(answer))
    return value


def python_of(answer: str) -> str:
    """The Python of an answer: its blocks of that name, else its unnamed blocks, else all of it."""
    blocks = fences(answer)
    for wanted in (("python", "py", "python3"), ("",)):
        if found := [content for language, content in blocks if language in wanted]:
            return "\n".join(found)
    return answer


def _plain(text: str) -> str:
    """A text without what stands around digits: LaTeX, bold, currencies, other minus signs."""
    text = text.replace("\u2212", "-").replace("\\$", "$").replace("\\%", "%").replace("{,}", ",")
    text = re.sub(r"\\(?:left|right|[,!;: ()\[\]])", " ", text.replace("*", " "))
    text = re.sub(r"(?<=\d)\s*(?=\\[dt]?frac)", " ", text)
    text = re.sub(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}", r"\1/\2", text)
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r" \1", text)
    return re.sub(r"[\u20ac\u00a3\u00a5\u20b9]|\b(?:USD|EUR|GBP|Rs\.?|US)\s?(?=[\d$])", "", text)


def _value(match: re.Match[str]) -> Fraction:
    negative = -1 if "-" in (match["sign"] or match["minus"] or "") else 1
    if match["over"]:
        under = int(match["under"])
        if not under:
            return Fraction(negative * int(match["over"]))
        return negative * (int(match["whole"] or 0) + Fraction(int(match["over"]), under))
    value = Fraction(match["plain"].replace(",", ""))
    power = max(-30, min(30, int(match["power"] or 0)))
    return negative * value * Fraction(10) ** power * SCALES[(match["scale"] or "").strip().lower()]


def _opening(text: str, labels: Sequence[str]) -> str | None:
    """The label that a text opens with, the longest; None where a second one follows."""
    text = text.replace("*", "").replace("`", "").lstrip(" \t\n([{\"'_")
    for label in sorted(labels, key=len, reverse=True):
        if found := re.match(rf"{re.escape(folded_label(label))}[\"'}}\]]*{EDGE}", text, re.IGNORECASE):
            letters = ["(?-i:[A-Z])"] if len(label) == 1 else []
            others = "|".join([*map(re.escape, map(folded_label, labels)), *letters])
            second = rf"\W*(?:(?:or|and)\s+)?\W*(?:{others})(?:{EDGE}|\s+(?:or|and)\b)"
            return None if re.match(second, text[found.end() :], re.IGNORECASE) else label
    return None
