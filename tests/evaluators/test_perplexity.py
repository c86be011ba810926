import math
from pathlib import Path

import pytest
from projects import jsonl

from synth.errors import DataError
from synth.evaluators.perplexity import Perplexity
from synth.types import Message


def test_the_score_is_the_mean_loss_of_all_that_the_assistant_says_ends_included(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Three?"},
        {"role": "assistant", "content": "é 3"},
    ]
    evaluator = Perplexity(path=str(jsonl(tmp_path / "rows.jsonl", [{"messages": turns}])))
    [question] = evaluator.questions()
    assert evaluator.conversations(question, []) == [question.messages]
    graded = evaluator.weigh(question, [[[-1.0, -0.5], [-2.0, -1.0, -0.5]]])
    assert graded.score == pytest.approx(5.0 / 5) and graded.tokens == 5
    assert graded.details["bits_per_byte"] == pytest.approx(5.0 / math.log(2) / 5)  # one byte and four


def test_lower_is_better_and_the_unit_is_named() -> None:
    assert (Perplexity.unit, Perplexity.higher_is_better, Perplexity.prompted) == (
        "nats a token",
        False,
        False,
    )


def test_without_a_path_it_takes_the_runs_own_rows_as_many_as_asked() -> None:
    turns: list[Message] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [(f"row-{n}", turns, ()) for n in range(3)]
    evaluator = Perplexity(rows=2)
    assert not evaluator.known and list(evaluator.questions()) == []
    assert [question.id for question in evaluator.of_rows(rows)] == ["row-0", "row-1"]


def test_rows_of_no_known_format_or_without_an_answer_are_named(tmp_path: Path) -> None:
    other = jsonl(tmp_path / "other.jsonl", [{"prompt": "a", "completion": "b"}, {"title": "c"}])
    with pytest.raises(DataError, match=r"other\.jsonl:2: is in no format that is known; rows have messages"):
        list(Perplexity(path=str(other)).questions())
    silent = jsonl(tmp_path / "silent.jsonl", [{"messages": [{"role": "user", "content": "Hi"}]}])
    with pytest.raises(DataError, match=r"silent\.jsonl:1: .*"):
        list(Perplexity(path=str(silent)).questions())
