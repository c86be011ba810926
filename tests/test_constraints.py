"""Each kind of constraint: what meets it and what does not."""

from collections.abc import Mapping
from typing import Any

import pytest

from synth.constraints import KINDS, check, constraints_of, satisfied, sentences, split, words
from synth.types import JSON

BULLETS = "* Fold it\n* Roll it\n* Hang it"

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("lowercase", {}, "fold the shirt in 2 steps.", "Fold the shirt."),
    ("lowercase", {}, "straße", "STRASSE"),
    ("lowercase", {}, "été à la mer", "Été à la mer"),
    ("uppercase", {}, "FOLD THE SHIRT, THEN ROLL IT.", "FOLD THE SHIRt."),
    ("quotation", {}, '"Fold it."', 'He said "fold it".'),
    ("quotation", {}, '  "Fold it."\n', '"Fold it." or "Roll it."'),
    ("quotation", {}, '"It\'s fine."', "'It is fine.'"),
    ("quotation", {}, '"a"', '""'),
    ("no_comma", {}, "Fold it; roll it.", "Fold it, roll it."),
    ("end_phrase", {"phrase": "Good luck!"}, "Fold it. Good luck!", "Fold it. Good luck"),
    ("end_phrase", {"phrase": "Good luck!"}, "Fold it.\n\nGood luck!\n", "Good luck! Fold it."),
    ("end_phrase", {"phrase": "Good luck!"}, "Fold it. Good luck!", "Good luck!"),
    ("end_phrase", {"phrase": "luck"}, "Good luck", "Good pluck"),
    ("start_phrase", {"phrase": "In short:"}, "In short: fold it.", "Well, in short: fold it."),
    ("start_phrase", {"phrase": "In short:"}, "In short: fold it.", "In short:"),
    ("start_phrase", {"phrase": "Well"}, "Well, fold it.", "Wellness helps."),
    ("title", {}, "<<Fold It>>\nLay it flat.", "<Fold It>\nLay it flat."),
    ("title", {}, "<<Fold It>> Lay it flat.", "<<Fold It>>"),
    ("title", {}, "<<Fold It>>\nLay it flat.", "Lay it flat. <<Fold It>>"),
    ("title", {}, "<<Fold It>>\nLay it flat.", "<<...>>\nLay it flat."),
    ("bullet_count", {"count": 3}, BULLETS, "* Fold it\n* Roll it"),
    ("bullet_count", {"count": 3}, BULLETS.replace("*", "-"), "* Fold it\n* Fold it\n* Roll it"),
    ("bullet_count", {"count": 3}, BULLETS, "*Fold it*\n*Roll it*\n*Hang it*"),
    ("bullet_count", {"count": 2}, "* **Fold** it\n* Roll it", "* Fold it\n* \n"),
    ("numbered_list", {"count": 2}, "1. Fold it\n2. Roll it", "1. Fold it\n3. Roll it"),
    ("numbered_list", {"count": 2}, "1) Fold it\n2) Roll it", "1. Fold it\n2. Roll it\n3. Hang it"),
    ("keywords", {"keywords": ["fold", "shirt"]}, "Fold the shirt.", "Fold the shirts."),
    ("keywords", {"keywords": ["new york"]}, "To New\nYork!", "To New Haven and York."),
    ("forbidden_words", {"words": ["shirt"]}, "Fold the shirts.", "A Shirt folds."),
    ("mentions", {"words": ["shirt", "coat"]}, "Coats last.", "Fold it."),
    ("mentions", {"words": ["cat"]}, "Two cats.", "Catch it."),
    ("word_count", {"relation": "at most", "count": 3}, "Don't fold it.", "Do not fold it."),
    ("word_count", {"relation": "at least", "count": 4}, "Do not fold it.", "Don't fold it."),
    ("word_count", {"relation": "exactly", "count": 2}, "well-known shirts", "well known shirts"),
    ("sentence_count", {"relation": "exactly", "count": 2}, "Fold it. Roll it!", "Fold it, roll it!"),
    ("sentence_count", {"relation": "at most", "count": 1}, "It costs 3.50 euros.", "Fold it. Roll it."),
    ("sentence_count", {"relation": "exactly", "count": 2}, '"Fold it." Roll it.', "..."),
    ("paragraph_count", {"count": 2}, "Fold it.\n\nRoll it.", "Fold it.\nRoll it."),
    ("paragraph_count", {"count": 2}, "Fold it.\n \n\nRoll it.", "Fold it.\n\n***"),
    ("placeholder_count", {"count": 2}, "Dear [name], fold it by [time].", "Dear [name], meet [name]."),
    ("placeholder_count", {"count": 1}, "Dear [name], fold it.", "See [this](https://example.org)."),
    ("placeholder_count", {"count": 1}, "Dear [name], fold it.", "[name]"),
    ("postscript", {"marker": "P.S."}, "Fold it.\n\nP.S. Iron it first.", "Fold it.\n\nP.S."),
    ("postscript", {"marker": "P.S."}, "Fold it. P.S. Iron it first.", "P.S. Iron it first."),
    ("json_format", {}, '{"answer": "Fold it."}', '{"answer": "Fold it."'),
    ("json_format", {}, '```json\n{"answer": 3}\n```', 'Here: {"answer": 3}'),
    ("json_format", {}, '{"answer": [1]}', '["answer"]'),
    ("json_format", {"keys": ["a", "b"]}, '{"b": 1, "a": "x"}', '{"a": 1, "b": ""}'),
    ("json_format", {"keys": ["a"]}, '{"a": false}', '{"a": 1, "b": 2}'),
    ("highlight_count", {"count": 2}, "*Fold* and **roll** it.", "*Fold* and roll it."),
    ("highlight_count", {"count": 1}, "Fold *it now*.", "* Fold it\n* Roll it"),
    ("highlight_count", {"count": 1}, "Fold *it*.", "2 * 3 * 4"),
    ("two_responses", {}, "Fold it.\n******\nRoll it.", "Fold it.\n***\nRoll it."),
    ("two_responses", {}, "Fold it.******Roll it.", "Fold it.\n******\nfold  it."),
    ("two_responses", {}, "Fold it.\n******\nRoll it.", "A.\n******\nB.\n******\nC."),
    ("two_responses", {}, "Fold it.\n******\nRoll it.", "Fold it.\n*******\nRoll it."),
    ("two_responses", {}, "Fold it.\n******\nRoll it.", "Fold it.\n******"),
]


@pytest.mark.parametrize(("kind", "args", "right", "wrong"), CASES)
def test_a_kind_accepts_the_right_text_and_refuses_the_wrong_one(
    kind: str, args: dict[str, Any], right: str, wrong: str
) -> None:
    assert satisfied(right, kind, args)
    assert not satisfied(wrong, kind, args)


def test_every_kind_has_a_case() -> None:
    assert {kind for kind, *_ in CASES} == set(KINDS)


@pytest.mark.parametrize(("kind", "args"), [(kind, args) for kind, args, *_ in CASES])
@pytest.mark.parametrize("empty", ["", "  \n", "...", "******", '""', "<<>>", "[ ]"])
def test_an_empty_answer_satisfies_nothing(kind: str, args: dict[str, Any], empty: str) -> None:
    assert not satisfied(empty, kind, args)


@pytest.mark.parametrize(
    ("kind", "args", "says"),
    [
        ("lower_case", {}, 'did you mean "lowercase"'),
        ("end_phrase", {}, 'lacks its argument "phrase"'),
        ("end_phrase", {"phrase": " "}, "must be a text"),
        ("end_phrase", {"phrases": "x"}, 'did you mean "phrase"'),
        ("lowercase", {"count": 1}, "takes none"),
        ("bullet_count", {"count": 0}, "a whole number above 0"),
        ("bullet_count", {"count": True}, "a whole number above 0"),
        ("bullet_count", {"count": "3"}, "a whole number above 0"),
        ("keywords", {"keywords": "fold"}, "a list of texts"),
        ("keywords", {"keywords": []}, "a list of texts"),
        ("word_count", {"relation": "less than", "count": 3}, "at least, at most, exactly"),
    ],
)
def test_a_wrong_constraint_is_an_error_that_names_the_mend(
    kind: str, args: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        satisfied("Fold it.", kind, args)


def test_check_names_the_first_unmet_constraint() -> None:
    constraints: list[Mapping[str, JSON]] = [
        {"kind": "no_comma"},
        {"kind": "bullet_count", "count": 2},
        {"kind": "uppercase"},
    ]
    assert check("Fold it.", constraints) == (False, "unmet: bullet_count")
    assert check("* FOLD\n* ROLL", constraints) == (True, "")
    assert check("Fold, it.", constraints) == (False, "unmet: no_comma")
    assert check(" \n", constraints) == (False, "empty answer")


def test_null_arguments_as_parquet_fills_them_in_are_dropped() -> None:
    assert split({"kind": "lowercase", "count": None, "phrase": None}) == ("lowercase", {})


def test_a_constraint_without_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match='must have the key "kind"'):
        check("Fold it.", [{"count": 2}])


@pytest.mark.parametrize(
    "fields", [{}, {"constraints": []}, {"constraints": "lowercase"}, {"constraints": [3]}]
)
def test_fields_without_a_list_of_constraints_are_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='the field "constraints"'):
        constraints_of(fields)


def test_words_and_sentences_are_counted_as_a_reader_counts_them() -> None:
    assert words("Don't re-use it: 3 times!") == ["Don't", "re-use", "it", "3", "times"]
    assert sentences('He said "Stop!" Then we left. ...') == ['He said "Stop!', "Then we left."]
