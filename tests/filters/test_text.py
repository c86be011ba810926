from dataclasses import replace

import pytest
from rows import calling, record

from synth.filters.refusal import Refusal
from synth.filters.repetition import Repetition
from synth.filters.text import Length, Truncated
from synth.types import Verdict


@pytest.mark.parametrize(
    ("answer", "finish_reason", "reason"),
    [
        ("Done.", "stop", ""),
        ("Cut in the mid", "length", "finish_reason length"),
        ("Refused", "content_filter", "finish_reason content_filter"),
        (" \n", "stop", "empty answer"),
    ],
)
def test_truncated_keeps_only_what_ended_by_itself(answer: str, finish_reason: str, reason: str) -> None:
    verdict = Truncated().check(record(answer, finish_reason=finish_reason))
    assert verdict == Verdict("truncated", not reason, None, reason)


@pytest.mark.parametrize(
    ("words", "reason"), [(1, "fewer than 2 words"), (2, ""), (4, ""), (5, "more than 4 words")]
)
def test_length_counts_words_and_its_limits_are_inside(words: int, reason: str) -> None:
    verdict = Length(min_words=2, max_words=4).check(record("word " * words))
    assert verdict == Verdict("length", not reason, words, reason)


PROSE = (
    "The harbour lay quiet before dawn, and only two gulls were awake. A boy carried ropes down to the "
    "boats while his mother counted crates of ice. When light came over the hill, everybody left at once, "
    "and by noon nobody remembered how still it had been."
)


def test_prose_is_kept_with_a_score_below_one() -> None:
    verdict = Repetition().check(record(PROSE))
    assert verdict.keep and verdict.score is not None and verdict.score < 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("It is what it is. " * 30, "gram"),
        (f"{PROSE}\n" * 3, "repeated"),
        ("\n".join(["yes indeed"] * 9 + ["no"] * 9), ""),
        ("the end " * 12 + PROSE, "gram"),
    ],
)
def test_text_that_repeats_itself_is_rejected_with_what_repeats(answer: str, reason: str) -> None:
    verdict = Repetition().check(record(answer))
    assert not verdict.keep and verdict.score is not None and verdict.score > 1
    assert verdict.reason.startswith("too much of the text is ") and reason in verdict.reason


def test_duplicate_lines_alone_are_seen() -> None:
    lines = [f"unique{n} line{n} number{n}" for n in range(6)] + ["Same again"] * 5
    verdict = Repetition().check(record("\n".join(lines)))
    assert not verdict.keep


def test_short_texts_and_fenced_code_are_left_alone() -> None:
    assert Repetition().check(record("no no no no no no")) == Verdict("repetition", True)
    code = "```python\n" + "x = x + 1\n" * 50 + "```"
    assert Repetition().check(record(f"{PROSE}\n{code}")).keep
    assert Repetition().check(record(f"{PROSE}\n```\n" + "x = x + 1\n" * 50)).keep  # never closed


def test_tolerance_multiplies_the_thresholds() -> None:
    text = f"{PROSE} {PROSE}"
    strict = Repetition().check(record(text))
    assert not strict.keep and strict.score is not None
    mild = Repetition(tolerance=strict.score + 0.01).check(record(text))
    assert mild.keep and mild.score is not None and mild.score <= 1


def test_a_turn_that_calls_a_tool_is_no_empty_answer_and_answers_after_it_are_measured_alone() -> None:
    whole, cut = calling(), replace(calling(), messages=calling().messages[:2])
    assert (
        cut.answer
        == '{"name": "book", "arguments": {"days": 3, "bike": "caf\u00e9 racer", "extras": [null, true]}}'
    )
    assert cut.question == "Book a bike for 3 days."
    assert Truncated().check(cut).keep and Repetition().check(cut).keep and Refusal().check(cut).keep
    assert Length().check(whole).score == 6
    assert whole.question == f'Book a bike for 3 days.\n\n{cut.answer}\n\n{{"number": 7}}'
