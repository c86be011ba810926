import pytest
from cases import labelled, measured
from rows import record

from synth.filters.toxicity import Toxicity, toxic


def test_precision_and_recall_on_the_labelled_rows() -> None:
    precision, recall, wrong = measured("toxicity")
    assert precision >= 0.8, wrong
    assert recall >= 0.92, wrong


def test_it_flags_by_default_and_rejects_where_asked() -> None:
    row = record("You are a stupid idiot.")
    flagged, rejected = Toxicity().check(row), Toxicity(action="reject").check(row)
    assert (flagged.keep, flagged.reason) == (True, "flagged")
    assert (rejected.keep, rejected.reason) == (False, "likely toxic")
    assert flagged.score == rejected.score
    assert flagged.score is not None and flagged.score > 0.99


def test_what_is_clean_has_no_reason_and_a_low_score() -> None:
    verdict = Toxicity().check(record("The museum opens at nine."))
    assert (verdict.keep, verdict.reason) == (True, "")
    assert verdict.score is not None and verdict.score < 0.5


def test_the_worst_sentence_counts() -> None:
    clean = "The museum opens at nine and closes at five. " * 10
    assert Toxicity(action="reject").check(record(clean)).keep
    assert not Toxicity(action="reject").check(record(f"{clean}You are a stupid idiot. {clean}")).keep


def test_the_question_does_not_count() -> None:
    assert Toxicity(action="reject").check(record("Calm down first.", question="He is a stupid idiot!")).keep


def test_the_threshold_decides() -> None:
    row = record("They are filthy vermin.")
    score = Toxicity().check(row).score
    assert score is not None
    assert not Toxicity(action="reject", threshold=score).check(row).keep
    assert Toxicity(action="reject", threshold=min(1, score + 0.01)).check(row).keep


def test_the_probability_is_that_of_the_package() -> None:
    from profanity_check import predict_prob

    texts = ["", "\u4f60\u597d", *(str(row["answer"]) for row in labelled("toxicity")[1])]
    assert [toxic(text) for text in texts] == pytest.approx(predict_prob(texts).tolist(), abs=1e-9)
