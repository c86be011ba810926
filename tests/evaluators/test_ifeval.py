"""IFEval's kinds beside the reference, lm-evaluation-harness's own checker, which runs as it is installed."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synth.constraints import validate
from synth.evaluators.ifeval import KINDS, met, readings
from synth.evaluators.ifeval_texts import SEED, language, sentences, words, write_punkt

Judge = Callable[[str, dict[str, Any], str], tuple[bool, bool]]
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "keywords:existence": ({"keywords": ["Sky", "blu."]}, "the blue sky", "the red sky"),
    "keywords:frequency": (
        {"keyword": "so", "frequency": 2, "relation": "at least"},
        "So it is, also here",
        "So it is",
    ),
    "keywords:forbidden_words": ({"forbidden_words": ["rain", "sun"]}, "rainy days", "Rain, then."),
    "keywords:letter_frequency": (
        {"letter": "Q", "let_frequency": 2, "let_relation": "less than"},
        "one q",
        "q and Q",
    ),
    "language:response_language": (
        {"language": "de"},
        "Das ist ein Satz in deutscher Sprache.",
        "This is a sentence in the English language.",
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, "relation": "less than"},
        "Mr. Smith went to the U.S. yesterday. He said so.",
        "One is here. Two is there. Three is gone.",
    ),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "***\none ***\ntwo", "one\n\ntwo"),
    "length_constraints:number_words": (
        {"num_words": 4, "relation": "at least"},
        "it's well-known",
        "a_b c d",
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Peace"},
        "War.\n\n'\"peace, they said",
        "War.\n\nPeaceful times",
    ),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[a] and []", "[a\n] [b]"),
    "detectable_content:postscript": ({"postscript_marker": "P.P.S"}, "Bye. p. p.s", "Bye. P.S. more"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* one\n - two", "** one **\n- two"),
    "detectable_format:constrained_response": ({}, "Well: My answer is no.", "my answer is no."),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, "*one* **two**", "*one* ** **"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1 a SECTION2 b",
        "Section 1 a SECTION 2",
    ),
    "detectable_format:json_format": ({}, "```Json\n[NaN]\n```", "Here: {}"),
    "detectable_format:title": ({}, "a <<b>> <<>>", "<< >>"),
    "combination:two_responses": ({}, "******\na ****** b", "a ****** a"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Say A."}, " say a. Done", "Sure: say a."),
    "startend:end_checker": ({"end_phrase": "The End."}, 'So. "the end."  ', "The end. Bye"),
    "startend:quotation": ({}, ' "a" or "b" ', '"a'),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 3, "capital_relation": "at least"},
        "I can't go by X-RAY to NASA's.",
        "X-RAY-machines ISSUED. I",
    ),
    "change_case:english_capital": ({}, "THIS IS THE HOUSE.", "This is the HOUSE."),
    "change_case:english_lowercase": ({}, "this is the house.", "das ist das haus und die strasse."),
    "punctuation:no_comma": ({}, "a; b", "a, b"),
}
"""Arguments, an answer that meets the kind, and one that doesn't, of every kind."""
ODD = (
    *("", " \n", "*", "******", "12, 34.", "[[]]", "<<>>", "A\n\n\n\nB", "* a\n*\n* b\n---", "\u2028a\x0bb"),
    *(
        "Sure!\nthe *blue* sky\nBye",
        "हा हवामान आणि",
        "**SO IT IS**",
        '"My answer is yes."\nso',
        "```json\n{}\n```\nDone",
    ),
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """lm-eval's verdicts, strict and loose, on one instruction, with NLTK's data from a package."""
    with pytest.MonkeyPatch.context() as patch:
        import langdetect
        import nltk

        patch.setattr(nltk.data, "path", [str(write_punkt(tmp_path_factory.mktemp("nltk")))])
        from lm_eval.tasks.ifeval.utils import process_results

        patch.setattr(langdetect.DetectorFactory, "seed", SEED)
        logging.getLogger("lm_eval.tasks.ifeval.instructions").setLevel(logging.CRITICAL)

        def judge(kind: str, args: dict[str, Any], answer: str) -> tuple[bool, bool]:
            row = {"key": 1, "prompt": "?", "instruction_id_list": [kind], "kwargs": [args]}
            found = process_results(row, [answer])
            return found["inst_level_strict_acc"][0], found["inst_level_loose_acc"][0]

        yield judge


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_met_where_the_reference_says_so(kind: str, reference: Judge) -> None:
    args, right, wrong = CASES[kind]
    validate(kind, args, KINDS)
    assert (met(right, kind, args), met(wrong, kind, args)) == (True, False)
    answers = {*(text for case in CASES.values() for text in case[1:]), *ODD}
    answers |= {f"Sure!\n{right}\nBye", f"**{right}**", right.upper(), wrong.lower(), right + "\n" + wrong}
    for answer in sorted(answers):
        loose = any(met(text, kind, args) for text in readings(answer))
        assert (met(answer, kind, args), loose) == reference(kind, args, answer), answer


def test_all_kinds_of_the_reference_are_known() -> None:
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    assert set(INSTRUCTION_DICT) == set(KINDS)
    assert len(KINDS) == 25


def test_json_that_is_nested_too_deep_is_not_json() -> None:
    """The reference dies of it."""
    assert not met("[" * 5000, "detectable_format:json_format", {})


def test_a_mark_can_be_counted_as_a_letter() -> None:
    """Two of IFEval's questions ask for it; the reference counts a letter that it draws instead."""
    args = {"letter": "#", "let_frequency": 2, "let_relation": "at least"}
    validate("keywords:letter_frequency", args, KINDS)
    assert met("# a\n# b", "keywords:letter_frequency", args)
    assert not met("# a", "keywords:letter_frequency", args)


@pytest.mark.parametrize(
    ("kind", "args", "says"),
    [
        ("keywords:exists", {}, 'did you mean "keywords:existence"'),
        ("startend:end_checker", {}, 'lacks its argument "end_phrase"; give a text'),
        ("punctuation:no_comma", {"count": 1}, 'has no argument "count"; it takes none'),
        ("detectable_format:number_bullet_lists", {"num_bullets": 0}, "a whole number above 0, but it is 0"),
        ("keywords:letter_frequency", {"letter": "ab"}, 'lacks|"letter" must be one letter or mark'),
        ("keywords:existence", {"keywords": ["a", "(b"]}, "must be a regular expression"),
        ("language:response_language", {"language": "German"}, "one of: af, ar,"),
        (
            "length_constraints:number_words",
            {"num_words": 3, "relation": "at most"},
            '"relation" must be one of: less than, at least',
        ),
    ],
)
def test_a_wrong_instruction_is_named_with_its_mend(kind: str, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        validate(kind, args, KINDS)


def test_readings_leave_out_lines_and_asterisks() -> None:
    assert readings("a\n*b*\nc") == [
        *("a\n*b*\nc", "a\nb\nc"),
        *("*b*\nc", "b\nc"),
        *("a\n*b*", "a\nb"),
        *("*b*", "b"),
    ]
    assert readings("*") == ["*"]
    assert readings(" ") == []


def test_texts_are_read_alike_each_time() -> None:
    assert language("The house is on the hill.") == language("The house is on the hill.") == "en"
    assert language("1234") is None
    assert sentences("Dr. No went. Why? He left at 5 p.m. on Monday.") == [
        "Dr. No went.",
        "Why?",
        "He left at 5 p.m. on Monday.",
    ]
    assert words("I can't.") == ["I", "ca", "n't", "."]


def test_punkt_is_written_as_nltk_reads_it(tmp_path: Path) -> None:
    place = write_punkt(tmp_path) / "tokenizers" / "punkt_tab" / "english"
    assert {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in place.iterdir()} == {
        "abbrev_types.txt": 156,
        "collocations.tab": 37,
        "ortho_context.tab": 20366,
        "sent_starters.txt": 39,
    }
