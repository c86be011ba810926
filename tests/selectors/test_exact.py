from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pytest
from rows import Held, calling

from synth.selectors.exact import Exact
from synth.steps import Selection
from synth.store import to_table
from synth.texts import fold
from synth.types import Message, Record, ToolCall, Verdict


def select(selector: Exact, rows: Sequence[tuple[str, str, str]], batch: int = 2) -> list[Selection]:
    """Rows are id, question, answer."""
    table = pa.Table.from_pylist(
        [
            {"id": i, "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for i, q, a in rows
        ]
    )
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

    table = to_table([row("a", 3), row("b", 4), row("c", 3)]).select(["id", "messages"])
    found = list(Exact().select(Held(table, Exact.columns)))
    assert [selection.duplicate_of for selection in found] == [None, None, "a"]
