"""The totals of scores, from answers that are given."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from synth.evaluators.exact_match import ExactMatch
from synth.evaluators.perplexity import Perplexity
from synth.scoring import read, sentences, write
from synth.steps import Evaluation
from synth.systems import Plan


def answer(name: str, number: int, system: str, score: float | None, **other: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "evaluator": name,
        "question_id": f"q{number}",
        "group": "",
        "cluster": "",
        "kind": "",
        "system": system,
        "question": "?",
        "answer": "!",
        "finish_reason": "stop",
        "score": score,
        "details": {},
        "prompt_tokens": 10,
        "completion_tokens": 2 * number,
        "seconds": 0.1 * number,
        **other,
    }


def scored(folder: Path, name: str, evaluation: Evaluation, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """The one total of these answers."""
    plan = Plan({name: evaluation}, (), {name: 3}, {name: 0}, "digest")
    write(folder, plan, answers, {"served_by": "nobody"})
    [total] = read(folder)["evaluations"]
    return dict(total)


def test_a_system_is_shown_with_its_tokens_and_latency_over_its_requests(tmp_path: Path) -> None:
    answers = [
        answer("exact_match", n, system, float(n % 2)) for system in ("base", "student") for n in range(1, 5)
    ]
    total = scored(tmp_path, "exact_match", ExactMatch(path="x"), answers)
    base = total["systems"]["base"]
    assert (base["mean"], base["mean_tokens"], base["mean_prompt_tokens"]) == (0.5, 5, 10)
    assert base["seconds"]["requests"] == 4 and base["seconds"]["mean"] == pytest.approx(0.25)
    assert base["seconds"]["p50"] == pytest.approx(0.25)
    assert total["student_minus_base"]["test"] == "exact McNemar" and total["left_out_as_trained_on"] == 3
    assert json.loads((tmp_path / "scores.json").read_bytes())["served_by"] == "nobody"


def test_a_question_without_a_score_is_left_out_for_all_systems_and_counted_by_reason(tmp_path: Path) -> None:
    answers = [answer("exact_match", n, "base", 1.0) for n in range(4)]
    answers += [answer("exact_match", n, "student", 1.0) for n in range(3)]
    answers.append(answer("exact_match", 3, "student", None, finish_reason="failed: HTTP 400"))
    total = scored(tmp_path, "exact_match", ExactMatch(path="x"), answers)
    assert total["questions"] == total["student_minus_base"]["n"] == 3
    assert total["not_scored"] == {"failed: HTTP 400": 1}
    assert "  1 more not scored: failed: HTTP 400" in sentences(read(tmp_path))
    assert pq.read_table(tmp_path / "scores.parquet")["score"].null_count == 1


def test_where_lower_is_better_the_difference_keeps_its_sign_and_wins_are_falls(tmp_path: Path) -> None:
    answers = [answer("perplexity", n, "base", 2.0 + n, details={"bits_per_byte": 3.0}) for n in range(5)]
    answers += [answer("perplexity", n, "student", 1.5 + 0.9 * n) for n in range(5)]
    total = scored(tmp_path, "perplexity", Perplexity(), answers)
    gain = total["student_minus_base"]
    assert gain["difference"] == pytest.approx(-0.7) and gain["high"] < 0
    assert (gain["wins"], gain["losses"]) == (5, 0)
    assert total["systems"]["base"]["high"] > 1  # no share: not cut
    lines = sentences(read(tmp_path))
    assert "-0.700 nats a token [" in lines[1] and "lower is better, 5 better, 0 worse, sign test" in lines[1]
    assert lines[2] == "  bits_per_byte (mean over 5 questions): base 3.000 [3.000, 3.000]"


def test_details_are_means_over_the_questions_that_have_them(tmp_path: Path) -> None:
    answers = [
        answer("exact_match", n, "student", 1.0, details={"strict": float(n)} if n < 2 else {})
        for n in range(4)
    ]
    answers += [answer("exact_match", n, "base", 0.5) for n in range(4)]
    total = scored(tmp_path, "exact_match", ExactMatch(path="x"), answers)
    strict = total["systems"]["student"]["details"]["strict"]
    assert (strict["mean"], strict["questions"]) == (0.5, 2) and 0 < strict["low"] < strict["high"] < 1
    assert total["systems"]["base"]["details"] == {} and total["student_minus_base"]["test"] == "sign test"


def test_one_score_alone_in_a_unit_has_no_interval(tmp_path: Path) -> None:
    answers = [answer("perplexity", 1, system, 2.0) for system in ("base", "student")]
    total = scored(tmp_path, "perplexity", Perplexity(), answers)
    assert total["systems"]["base"]["low"] is None and "student_minus_base" not in total
    assert "base 2.000 (one alone has no interval) nats a token" in sentences(read(tmp_path))[0]
