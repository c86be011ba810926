from collections.abc import Sequence
from dataclasses import replace

import pytest
from rows import Held, calling, record, selected

from synth.selectors.exact import Exact
from synth.steps import Selection
from synth.store import to_table
from synth.texts import fold
from synth.types import Message, Record, ToolCall, Verdict


def select(selector: Exact, rows: Sequence[tuple[str, str, str]], batch: int = 2) -> list[Selection]:
    """Rows are id, question, answer."""
    table = to_table(replace(record(answer, question=question), id=name) for name, question, answer in rows)
    return list(selector.select(Held(table, selector.columns, batch=batch)))


ROWS = [
    ("a", "Why is it so?", "Because."),
    ("b", "why  is it SO", "because!"),
    ("c", "Why is it so?", "No reason."),
    ("d", "Why is it so?", "Because."),
]


def test_a_row_that_says_the_same_names_the_first_that_did() -> None:
    found = select(Exact(), ROWS)
    assert [selection.verdict.keep for selection in found] == [True, False, True, False]
    assert [selection.duplicate_of for selection in found] == [None, "a", None, "a"]
    assert found[1].verdict == Verdict("exact", False, 1.0, "repeats another row")


def test_questions_alone_may_be_compared() -> None:
    found = select(Exact(on="question"), ROWS)
    assert [selection.duplicate_of for selection in found] == [None, "a", "a", "a"]


def test_answers_alone_may_be_compared_and_rows_without_one_repeat_none() -> None:
    found = select(Exact(on="answer"), ROWS)
    assert [selection.duplicate_of for selection in found] == [None, "a", None, "a"]
    asked = record("").messages[:1]
    found = selected(Exact(on="answer"), [Record(messages=asked, seed_id="s")] * 2)
    assert all(selection.verdict.keep for selection in found)


def test_a_question_without_an_answer_is_compared_as_a_question() -> None:
    rows = [
        Record(messages=record("", question=asked).messages[:1], seed_id="s") for asked in ("a", "b", "A")
    ]
    found = selected(Exact(on="question"), rows)
    assert [selection.duplicate_of for selection in found] == [None, None, "0000"]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_best_scored_row_stays_and_the_first_of_equals(batch: int) -> None:
    scores = [None, 3.0, 5.0, 5.0]
    rows = [
        replace(record("Same."), id=str(n), verdicts=[Verdict("rubric", True, score)])
        for n, score in enumerate(scores)
    ]
    held = Held(to_table(rows), Exact.columns, batch=batch)
    found = list(Exact(by="rubric").select(held))
    assert [selection.duplicate_of for selection in found] == ["2", "2", None, "2"]


def test_who_says_it_counts() -> None:
    turns: list[Message] = [{"role": "user", "content": "So."}, {"role": "assistant", "content": "So."}]
    rows = [Record(messages=turns, seed_id="s"), Record(messages=turns[::-1], seed_id="s")]
    assert all(selection.verdict.keep for selection in selected(Exact(), rows))


def test_turns_do_not_run_into_one_another() -> None:
    found = select(Exact(), [("a", "one two", "three"), ("b", "one", "two three")])
    assert all(selection.verdict.keep for selection in found)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  Hello,\n WORLD!", "hello world"),
        ("ﬁne Straße", "fine strasse"),
        ("\uff11\uff12", "12"),
        ("?!", "?!"),
        ("", ""),
        ("日本 語", "日本 語"),
    ],
)
def test_text_is_folded_but_never_to_nothing(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_rows_that_differ_in_a_call_alone_are_not_the_same_whatever_its_id() -> None:
    def row(row_id: str, days: int) -> Record:
        call = calling().messages[1]["tool_calls"][0]
        other: ToolCall = {**call, "id": row_id, "function": {"name": "book", "arguments": {"days": days}}}
        turn: Message = {"role": "assistant", "content": "", "tool_calls": [other]}
        return replace(calling(), id=row_id, messages=[calling().messages[0], turn])

    table = to_table([row("a", 3), row("b", 4), row("c", 3)])
    found = list(Exact().select(Held(table, Exact.columns)))
    assert [selection.duplicate_of for selection in found] == [None, None, "a"]
