"""The 25 kinds of instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911), by their ids there.

A kind is met here exactly where it is met in the paper's code as lm-evaluation-harness keeps it, its
loopholes too: a full stop alone uses no forbidden word, and an answer of digits is in every language.
Stricter kinds, for data that is trained on, are in `synth.constraints`.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import regex

from synth.constraints import Arguments, Kinds, needs_count, needs_text, needs_texts
from synth.evaluators.ifeval_texts import language, languages, sentences, words

RELATIONS = {"less than": int.__lt__, "at least": int.__ge__}
"""What a relation says of a count: actual, then asked."""
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""One of them is in an answer that meets `detectable_format:constrained_response`."""
FENCES = ("```json", "```Json", "```JSON", "```")
POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
"""How the two usual markers may be written, in lower case."""


def readings(answer: str) -> list[str]:
    """The answer in the eight ways in which the loose score reads it: as it is, without its first line, its
    last line or both, and each of these without asterisks. Empty ones are left out: they meet nothing.
    """
    lines = answer.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return [text for plain in (answer, *cut) for text in (plain, plain.replace("*", "")) if text.strip()]


def met(answer: str, kind: str, args: Arguments) -> bool:
    """Whether an answer, read as it is, meets an instruction whose arguments are valid."""
    return bool(answer.strip()) and KINDS[kind][0](answer, args)


def _compared(actual: int, args: Arguments, count: str, relation: str = "relation") -> bool:
    return bool(RELATIONS[args[relation]](actual, args[count]))


def _found(pattern: str, text: str) -> int:
    return len(re.findall(pattern, text, re.IGNORECASE))


def _existence(text: str, args: Arguments) -> bool:
    return all(_found(word, text) for word in args["keywords"])


def _frequency(text: str, args: Arguments) -> bool:
    return _compared(_found(args["keyword"].strip(), text), args, "frequency")


def _forbidden_words(text: str, args: Arguments) -> bool:
    return not any(_found(rf"\b{word}\b", text) for word in args["forbidden_words"])


def _letter_frequency(text: str, args: Arguments) -> bool:
    actual = text.lower().count(args["letter"].lower())
    return _compared(actual, args, "let_frequency", "let_relation")


def _response_language(text: str, args: Arguments) -> bool:
    return language(text) in (args["language"], None)


def _number_sentences(text: str, args: Arguments) -> bool:
    return _compared(len(sentences(text)), args, "num_sentences")


def _filled(parts: Sequence[str]) -> list[str] | None:
    """The parts without a blank first or last one; None where one between them is blank."""
    if not all(part.strip() for part in parts[1:-1]):
        return None
    return [part for part in parts if part.strip()]


def _number_paragraphs(text: str, args: Arguments) -> bool:
    """Paragraphs stand between `***`."""
    parts = _filled(re.split(r"\s?\*\*\*\s?", text))
    return parts is not None and len(parts) == args["num_paragraphs"]


def _number_words(text: str, args: Arguments) -> bool:
    """`regex`, as NLTK, leaves a vowel sign in its word, where `re` cuts: words of Hindi are whole."""
    return _compared(len(regex.findall(r"\w+", text)), args, "num_words")


def _nth_paragraph_first_word(text: str, args: Arguments) -> bool:
    """Paragraphs stand between empty lines; blank ones aren't counted, but have a number."""
    paragraphs = text.split("\n\n")
    count = sum(bool(part.strip()) for part in paragraphs)
    if count != args["num_paragraphs"] or args["nth_paragraph"] > count:
        return False
    first = paragraphs[args["nth_paragraph"] - 1].split()[:1]
    word = re.split(r"[.,?!'\"]", first[0].lstrip("'").lstrip('"'))[0] if first else ""
    return bool(first) and "".join(letter.lower() for letter in word) == args["first_word"].lower()


def _number_placeholders(text: str, args: Arguments) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= int(args["num_placeholders"])


def _postscript(text: str, args: Arguments) -> bool:
    marker = args["postscript_marker"].strip()
    return re.search(POSTSCRIPTS.get(marker, marker.lower()), text.lower()) is not None


def _number_bullet_lists(text: str, args: Arguments) -> bool:
    """Lines that begin with one asterisk or with a hyphen; a rule of hyphens is one, too."""
    stars = re.findall(r"^\s*\*[^*].*$", text, re.MULTILINE)
    hyphens = re.findall(r"^\s*-", text, re.MULTILINE)
    return len(stars) + len(hyphens) == int(args["num_bullets"])


def _constrained_response(text: str, _: Arguments) -> bool:
    return any(option in text for option in OPTIONS)


def _number_highlighted_sections(text: str, args: Arguments) -> bool:
    """Parts of a line between single asterisks, and those between double ones."""
    single, double = re.findall(r"\*[^\n*]*\*", text), re.findall(r"\*\*([^\n*]*)\*\*", text)
    count = sum(bool(part.strip("*").strip()) for part in single) + sum(bool(part.strip()) for part in double)
    return count >= int(args["num_highlights"])


def _multiple_sections(text: str, args: Arguments) -> bool:
    parts = re.split(rf"\s?{args['section_spliter'].strip()}\s?\d+\s?", text)
    return len(parts) - 1 >= int(args["num_sections"])


def _json_format(text: str, _: Arguments) -> bool:
    """Any JSON, bare or fenced; what is nested too deep to be read is none."""
    text = text.strip()
    for fence in FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, _: Arguments) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, _: Arguments) -> bool:
    parts = _filled(text.split("******"))
    return parts is not None and len(parts) == 2 and parts[0].strip() != parts[1].strip()


def _repeat_prompt(text: str, args: Arguments) -> bool:
    return text.strip().lower().startswith(args["prompt_to_repeat"].strip().lower())


def _end_checker(text: str, args: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(args["end_phrase"].strip().lower())


def _quotation(text: str, _: Arguments) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _capital_word_frequency(text: str, args: Arguments) -> bool:
    actual = sum(word.isupper() for word in words(text))
    return _compared(actual, args, "capital_frequency", "capital_relation")


def _english_capital(text: str, _: Arguments) -> bool:
    return text.isupper() and language(text) in ("en", None)


def _english_lowercase(text: str, _: Arguments) -> bool:
    return text.islower() and language(text) in ("en", None)


def _no_comma(text: str, _: Arguments) -> bool:
    return "," not in text


def _needs_relation(value: object) -> str:
    return "" if value in RELATIONS else f"one of: {', '.join(RELATIONS)}"


def _needs_letter(value: object) -> str:
    return "" if isinstance(value, str) and len(value.strip()) == len(value) == 1 else "one letter or mark"


def _needs_language(value: object) -> str:
    return "" if value in languages() else f"one of: {', '.join(sorted(languages()))}"


def _needs_pattern(value: object) -> str:
    """The reference reads these texts as regular expressions."""
    return needs_text(value) or _uncompiled(value)


def _needs_patterns(value: object) -> str:
    return needs_texts(value) or next(filter(None, map(_uncompiled, value)), "")  # type: ignore[call-overload]


def _uncompiled(pattern: Any) -> str:  # noqa: ANN401 a text by now
    try:
        re.compile(pattern)
    except re.error as error:
        return f"a regular expression (here {error})"
    return ""


KINDS: Kinds = {
    "keywords:existence": (_existence, {"keywords": _needs_patterns}),
    "keywords:frequency": (
        _frequency,
        {"keyword": _needs_pattern, "frequency": needs_count, "relation": _needs_relation},
    ),
    "keywords:forbidden_words": (_forbidden_words, {"forbidden_words": _needs_patterns}),
    "keywords:letter_frequency": (
        _letter_frequency,
        {"letter": _needs_letter, "let_frequency": needs_count, "let_relation": _needs_relation},
    ),
    "language:response_language": (_response_language, {"language": _needs_language}),
    "length_constraints:number_sentences": (
        _number_sentences,
        {"num_sentences": needs_count, "relation": _needs_relation},
    ),
    "length_constraints:number_paragraphs": (_number_paragraphs, {"num_paragraphs": needs_count}),
    "length_constraints:number_words": (
        _number_words,
        {"num_words": needs_count, "relation": _needs_relation},
    ),
    "length_constraints:nth_paragraph_first_word": (
        _nth_paragraph_first_word,
        {"num_paragraphs": needs_count, "nth_paragraph": needs_count, "first_word": needs_text},
    ),
    "detectable_content:number_placeholders": (_number_placeholders, {"num_placeholders": needs_count}),
    "detectable_content:postscript": (_postscript, {"postscript_marker": _needs_pattern}),
    "detectable_format:number_bullet_lists": (_number_bullet_lists, {"num_bullets": needs_count}),
    "detectable_format:constrained_response": (_constrained_response, {}),
    "detectable_format:number_highlighted_sections": (
        _number_highlighted_sections,
        {"num_highlights": needs_count},
    ),
    "detectable_format:multiple_sections": (
        _multiple_sections,
        {"section_spliter": _needs_pattern, "num_sections": needs_count},
    ),
    "detectable_format:json_format": (_json_format, {}),
    "detectable_format:title": (_title, {}),
    "combination:two_responses": (_two_responses, {}),
    "combination:repeat_prompt": (_repeat_prompt, {"prompt_to_repeat": needs_text}),
    "startend:end_checker": (_end_checker, {"end_phrase": needs_text}),
    "startend:quotation": (_quotation, {}),
    "change_case:capital_word_frequency": (
        _capital_word_frequency,
        {"capital_frequency": needs_count, "capital_relation": _needs_relation},
    ),
    "change_case:english_capital": (_english_capital, {}),
    "change_case:english_lowercase": (_english_lowercase, {}),
    "punctuation:no_comma": (_no_comma, {}),
}
"""Every kind: its checker, and its arguments with what each must be."""
