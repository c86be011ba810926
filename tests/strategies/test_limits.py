import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import scripted

from synth.errors import RequestFailed, Unusable
from synth.filters.honesty import Honesty
from synth.llm.scripted import ScriptedTeacher
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.steps import Row
from synth.strategies.limits import Limits
from synth.types import Record
from synth.units import Steps, Unit, run_unit

TEXT = "The shop opens at nine. A lock costs two euros: a fact, and something else or another thing."
SEED = make_seed({"text": TEXT + " We live by deeds.", "file": "shop.md"})


def said(prompt: str) -> str:
    """A teacher that does what each prompt asks for."""
    if "numbered from 1" in prompt:
        kind = "live" if "this very moment" in prompt else "deed" if "in the world" in prompt else "fact"
        return f"1. What of the first {kind}?\n2. What of the second {kind}?"
    if "Write the near miss" in prompt:
        return "What of something else?" if "first fact" in prompt else "What of another thing?"
    if "Begin with" in prompt:
        return "I can't do that, but the desk can." if "can't do this" in prompt else "I don't know that."
    return "NOT IN THE TEXT" if "else?" in prompt or "thing?" in prompt else "It opens at nine."


def made(
    folder: Path, step: Limits, script: Callable[[str], str] = said
) -> tuple[list[Row], ScriptedTeacher]:
    ask, teacher = scripted(folder, script)
    return asyncio.run(step.generate(SEED, ask, Prompts(folder))), teacher


def test_each_kind_gives_its_rows_and_pairs_stand_together(tmp_path: Path) -> None:
    rows, _ = made(tmp_path, Limits(pairs=2, live=1, actions=2))
    found = [(row.fields["kind"], row.question, row.answer) for row in rows if isinstance(row, Record)]
    assert found == [
        ("answerable", "What of the first fact?", "It opens at nine."),
        ("unanswerable", "What of something else?", "I don't know that."),
        ("answerable", "What of the second fact?", "It opens at nine."),
        ("unanswerable", "What of another thing?", "I don't know that."),
        ("live", "What of the first live?", "I don't know that."),
        ("action", "What of the first deed?", "I can't do that, but the desk can."),
        ("action", "What of the second deed?", "I can't do that, but the desk can."),
    ]
    for row in rows:
        assert isinstance(row, Record)
        assert row.fields["file"] == "shop.md" and row.prompt.startswith("limits/propose@")
        assert row.fields["question"] == row.question
        assert row.fields.keys() - {"twin"} == SEED.fields.keys() | Limits().adds
    assert isinstance(rows[1], Record) and rows[1].fields["twin"] == "What of the first fact?"


def test_the_student_sees_the_text_only_where_context_is_asked_for(tmp_path: Path) -> None:
    for context in (False, True):
        rows, _ = made(tmp_path, Limits(pairs=1, context=context))
        assert all(isinstance(row, Record) and ("two euros" in row.question) is context for row in rows)


@pytest.mark.parametrize(
    ("twin", "reason"),
    [
        ("WHAT of the first, fact?", "the near miss is the same question"),
        (" \n", "no near miss in the reply"),
        ("It opens at nine.", "no near miss in the reply"),
        ("What of the lock?", "the text may answer the near miss"),
        ("Who pays for the books of the town library?", "the reply copies a worked example"),
    ],
)
def test_a_near_miss_that_is_none_is_rejected(tmp_path: Path, twin: str, reason: str) -> None:
    def script(prompt: str) -> str:
        return twin if "Write the near miss" in prompt else said(prompt)

    rows, _ = made(tmp_path, Limits(pairs=1, live=0, actions=0), script)
    assert isinstance(rows[0], Record) and isinstance(rows[1], Unusable) and str(rows[1]) == reason


def test_a_near_miss_is_asked_of_the_text_only_where_it_is_to_be_verified(tmp_path: Path) -> None:
    asked = []
    for verify in (True, False):
        _, teacher = made(tmp_path / str(verify), Limits(pairs=1, live=0, actions=0, verify=verify))
        asked.append(len(teacher.asked))
    assert asked == [5, 4]


def test_a_kind_that_fails_costs_its_own_rows_and_planned_rows_reconcile(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        if "numbered from 1" in prompt and "this very moment" in prompt:
            raise RequestFailed("HTTP 400")
        if "numbered from 1" in prompt and "in the world" in prompt:
            return "Of course!"
        return said(prompt)

    step = Limits(pairs=3, live=2, actions=1)
    ask, _ = scripted(tmp_path, script)
    steps = Steps([Honesty()], [], Prompts(tmp_path), ask, ask)
    records = asyncio.run(run_unit(Unit(step, 0, SEED, 0), steps))
    assert len(records) == step.rows_per_seed == 9
    assert [record.status for record in records] == (
        ["kept"] * 4 + ["rejected"] * 2 + ["failed"] * 2 + ["rejected"]
    )
    reasons = [record.rejection.reason for record in records if record.rejection]
    assert reasons == ["the teacher gave fewer questions than asked"] * 2 + ["HTTP 400"] * 2 + [
        "no numbered question in the reply"
    ]


def test_seeds_must_have_a_text(tmp_path: Path) -> None:
    assert "needs seeds with `text`" in Limits().missing(frozenset({"question"}))
    ask, _ = scripted(tmp_path, said)
    with pytest.raises(Unusable, match="the seed has no text"):
        asyncio.run(Limits().generate(make_seed({"text": 1}), ask, Prompts(tmp_path)))


def test_a_question_that_has_no_word_of_the_text_makes_no_row(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        return "1. Who sells boats in Spain?" if "numbered from 1" in prompt else "I can't see that."

    rows, _ = made(tmp_path, Limits(pairs=1, live=1, actions=1, verify=False), script)
    assert [str(row) for row in rows[2:]] == ["the question has no word of the text"] * 2


def test_an_answer_with_numbers_that_the_text_has_not_makes_no_row(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        return "It opens at 10." if prompt.endswith("first fact?") else said(prompt)

    rows, _ = made(tmp_path, Limits(pairs=1, live=0, actions=0), script)
    assert str(rows[0]) == "the answer has a number that the text has not"
