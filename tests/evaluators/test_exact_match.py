"""`exact_match`: what counts as the final answer."""

from pathlib import Path

import pytest

from synth.errors import DataError
from synth.evaluators.exact_match import ExactMatch
from synth.steps import Question


def graded(reference: str, answer: str) -> float:
    question = Question("1", [{"role": "user", "content": "How many?"}], fields={"answer": reference})
    return ExactMatch(path="unused.jsonl").grade(question, answer)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("48 / 2 = 24\n#### 72", "So 48 + 24.\n#### 72"),
        ("72", "First 48, then 24. In total 72."),
        ("#### 1,234", "It costs $1234.00."),
        ("1234.5", "That is $1,234.50"),
        ("-3", "The result is -3."),
        ("-3", "It went down by -$3"),
        ("5", "#### 5\nI checked it 2 times."),
        ("0.5", "It is .5"),
        ("Paris", "the  Paris."),
        ("The Nile", "Let me think.\n#### nile"),
        ("10", "10%"),
        ("8", "(8)"),
        ("8", "**8**"),
    ],
)
def test_the_right_answer_scores_one(reference: str, answer: str) -> None:
    assert graded(reference, answer) == 1.0


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("72", "72 apples, then 71."),
        ("72", "#### 71 (not 72)\n#### 17"),
        ("72", "I don't know."),
        ("72", ""),
        ("3", "The result is -3."),
        ("3", "3.5"),
        ("Paris", "Paris or London"),
        ("Paris", ""),
        ("nan", "7"),
    ],
)
def test_a_wrong_answer_scores_zero(reference: str, answer: str) -> None:
    assert graded(reference, answer) == 0.0


def test_questions_come_in_file_order_with_ids_of_their_content(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text(
        '{"question": "1+1?", "answer": "2", "kind": "sum"}\n\n{"question": "2*3?", "answer": "6"}\n'
    )
    first, second = ExactMatch(path=str(file)).questions()
    assert (first.messages, first.kind) == ([{"role": "user", "content": "1+1?"}], "sum")
    assert second.kind == ""
    file.write_text('{"question": "2*3?", "answer": "6"}\n')
    assert next(iter(ExactMatch(path=str(file)).questions())).id == second.id != first.id


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no questions"),
        ("{", ":1: is no JSON"),
        ("[]", ":1: must be a JSON object"),
        ('{"question": "1+1?"}', ':1: needs the text field "answer"'),
        ('{"question": " ", "answer": "2"}', ':1: needs the text field "question"'),
        ('{"question": "q", "answer": "2", "kind": 3}', ':1: "kind" must be a text'),
        ('{"question": "q", "answer": "2"}\n{"answer": "2", "question": "q"}', ":2: repeats line 1"),
    ],
)
def test_a_bad_file_is_named_with_line_and_mend(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    with pytest.raises(DataError, match=says):
        list(ExactMatch(path=str(file)).questions())


def test_a_missing_file_and_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(ExactMatch(path=str(tmp_path / "none.jsonl")).questions())
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "caf\xe9"}')
    with pytest.raises(DataError, match="no UTF-8"):
        list(ExactMatch(path=str(tmp_path / "latin.jsonl")).questions())


@pytest.mark.parametrize(
    ("answer", "strict", "flexible"),
    [
        ("So 3 + 4.\n#### 1,234", 1.0, 1.0),
        ("#### 1234\nThat is 5 more.", 1.0, 0.0),
        ("It comes to $1,234.", 0.0, 1.0),
        ("#### $1234", 0.0, 1.0),
        ("#### 5\n#### 1234", 0.0, 1.0),
        ("Nothing.", 0.0, 0.0),
    ],
)
def test_gsm8ks_two_figures_stand_beside_the_score(answer: str, strict: float, flexible: float) -> None:
    evaluator = ExactMatch(path="unused.jsonl")
    question = Question("1", [], fields={"answer": "617 twice.\n#### 1,234"})
    assert evaluator.details(question, answer) == {"strict": strict, "flexible": flexible}


def test_a_reference_that_is_no_number_has_no_such_figures() -> None:
    question = Question("1", [], fields={"answer": "Paris"})
    assert ExactMatch(path="unused.jsonl").details(question, "Paris") == {}
