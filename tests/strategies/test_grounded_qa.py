import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import scripted, turns_of

from synth.engine import Steps, Unit, run_unit
from synth.errors import RequestFailed, Unusable
from synth.llm.scripted import ScriptedTeacher
from synth.prompts import Prompts
from synth.seeds import make_seed, read_seeds
from synth.steps import Row
from synth.strategies.grounded_qa import GroundedQA, numbered, quoted
from synth.types import Record, Reply, Seed

TEXT = "The shop opens at nine. Helmets are lent for nothing.\nA lock   costs two euros."
SEED = make_seed({"text": TEXT, "file": "shop.md", "start": 100, "end": 100 + len(TEXT)})
ANSWER = "Helmets are lent for nothing; at nine the shop opens."
QUESTIONS = "1. When does the shop open?\n2. **What does a lock cost?**\n3) Are helmets lent?"


def said(prompt: str, quote: str = "A lock costs two euros.") -> str:
    """A teacher that answers by what it is asked for."""
    if "numbered from 1" in prompt:
        return QUESTIONS
    if "Write one question" in prompt:
        return f"What of this? {prompt.splitlines()[0].strip(chr(34))}"
    return f'"{quote}"' if "Copy the sentence" in prompt else ANSWER


def made(
    folder: Path, script: Callable[[str], str] = said, *, context: bool = False, seed: Seed = SEED
) -> tuple[list[Row], ScriptedTeacher]:
    ask, teacher = scripted(folder, script)
    strategy = GroundedQA(per_chunk=3, context=context)
    return asyncio.run(strategy.generate(seed, ask, Prompts(folder))), teacher


def test_a_row_is_a_question_with_its_answer_and_the_place_of_its_evidence(tmp_path: Path) -> None:
    rows, teacher = made(tmp_path)
    assert len(rows) == 3 and len(teacher.asked) == 7
    for row, question in zip(
        rows, ["When does the shop open?", "What does a lock cost?", "Are helmets lent?"], strict=True
    ):
        assert isinstance(row, Record)
        assert [turn["content"] for turn in row.messages] == [question, ANSWER]
        assert row.seed_id == SEED.id and row.prompt.startswith("grounded_qa/ask@") and len(row.replies) == 3
        assert {key: row.fields[key] for key in ("file", "start", "end")} == {
            "file": "shop.md",
            "start": 100,
            "end": 100 + len(TEXT),
        }
        start = TEXT.index("A lock")
        assert row.fields["evidence"] == {
            "start": 100 + start,
            "end": 100 + len(TEXT),
            "text": TEXT[start:],
        }


def test_the_student_sees_the_text_only_where_context_is_asked_for(tmp_path: Path) -> None:
    for context in (False, True):
        rows, _ = made(tmp_path, context=context)
        assert isinstance(rows[0], Record)
        assert (TEXT in rows[0].question) is context
        assert rows[0].question.endswith("When does the shop open?")


def test_a_text_that_is_no_chunk_is_its_own_document(tmp_path: Path) -> None:
    rows, _ = made(tmp_path, seed=make_seed({"text": TEXT}))
    assert isinstance(rows[0], Record)
    assert (rows[0].fields["start"], rows[0].fields["end"]) == (0, len(TEXT))
    evidence = rows[0].fields["evidence"]
    assert isinstance(evidence, dict) and evidence["start"] == TEXT.index("A lock")


@pytest.mark.parametrize(
    ("quote", "reason"),
    [
        ("A lock costs three euros.", "the quote is not in the text"),
        ("", "no evidence quoted"),
        ("NONE", "no evidence quoted"),
        ("at nine", "no evidence quoted"),
    ],
)
def test_an_answer_without_evidence_is_rejected(tmp_path: Path, quote: str, reason: str) -> None:
    rows, _ = made(tmp_path, lambda prompt: said(prompt, quote))
    assert [str(row) for row in rows] == [reason] * 3


def test_questions_that_repeat_fail_or_are_not_answered_cost_their_own_row_alone(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        if "numbered from 1" in prompt:
            return "1. Does it open?\n2. does it open\n3. Why is it so?\n4. Who asks four?"
        if "Copy the sentence" in prompt:
            return "The shop opens at nine."
        if "Why" in prompt:
            return "NOT IN THE TEXT."
        raise RequestFailed("HTTP 400")

    rows, _ = made(tmp_path, script)
    assert [type(row) for row in rows] == [RequestFailed, Unusable, Unusable]
    assert [str(row) for row in rows[1:]] == [
        "question repeats another",
        "the text does not answer the question",
    ]


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("The shop opens at nine.", "The shop opens at nine."),
        ("- \u201cHelmets are lent for nothing.\u201d", "Helmets are lent for nothing."),
        ('The sentence is: "A lock costs two euros." It says so.', "A lock   costs two euros."),
        ("Here it is:\nThe shop opens at nine.\nHope it helps!", "The shop opens at nine."),
        ("shop opens at nine. Helmets are", "shop opens at nine. Helmets are"),
    ],
)
def test_a_quote_is_found_in_what_stands_around_it(reply: str, found: str) -> None:
    start, end = quoted(reply, TEXT)
    assert TEXT[start:end] == found


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("The shop opens at 10.", "the answer has a number that the text has not"),
        ("Bakers rise before dawn.", "the answer has words that the text has not"),
        ("The shop opens.", "the answer only repeats the question"),
    ],
)
def test_an_answer_that_is_not_the_texts_is_rejected_before_a_quote_is_asked(
    tmp_path: Path, answer: str, reason: str
) -> None:
    def script(prompt: str) -> str:
        return "1. When does the shop open?" if "numbered from 1" in prompt else answer

    rows, teacher = made(tmp_path, script)
    assert [str(row) for row in rows] == [reason] and len(teacher.asked) == 2


def test_where_the_evidence_comes_first_a_row_is_made_of_one_sentence(tmp_path: Path) -> None:
    ask, teacher = scripted(tmp_path, of_a_sentence)
    strategy = GroundedQA(per_chunk=2, evidence_first=True)
    rows = asyncio.run(strategy.generate(SEED, ask, Prompts(tmp_path)))
    drawn = []
    for row in rows:
        assert isinstance(row, Record) and len(row.replies) == 2
        evidence = row.fields["evidence"]
        assert isinstance(evidence, dict) and isinstance(sentence := evidence["text"], str)
        assert row.answer == sentence and row.fields["grounded"] == 1.0 and row.fields["text"] == TEXT
        assert TEXT[evidence["start"] - 100 : evidence["end"] - 100] == sentence
        assert row.prompt.startswith("grounded_qa/ask_sentence@")
        drawn.append(evidence["start"])
    assert drawn == sorted(set(drawn)) and len(teacher.asked) == 4


def of_a_sentence(prompt: str) -> str:
    """A question about a sentence; as an answer the text that it is asked of."""
    return (
        f"What of {' '.join(prompt[1:].split()[:3])}?"
        if "Write one question" in prompt
        else prompt.rsplit('"\n', 1)[0].removeprefix('"')
    )


def test_a_question_about_something_else_is_not_answered(tmp_path: Path) -> None:
    ask, teacher = scripted(tmp_path, lambda prompt: "Who was the first king of France?")
    strategy = GroundedQA(per_chunk=4, evidence_first=True)
    rows = asyncio.run(strategy.generate(SEED, ask, Prompts(tmp_path)))
    assert [str(row) for row in rows] == ["the question has words that the text has not"] * 3 + [
        "the text has fewer sentences than questions are asked"
    ]
    assert len(teacher.asked) == 3
    with pytest.raises(Unusable, match="no whole sentence"):
        asyncio.run(strategy.generate(make_seed({"text": "# A heading"}), ask, Prompts(tmp_path)))


def test_a_list_that_was_cut_loses_its_last_question() -> None:
    def reply(text: str, reason: str = "length") -> Reply:
        return Reply(text, reason, 1, 1, "m")

    assert numbered(reply("1. One?\n2. Tw"), 5) == ["One?"]
    assert numbered(reply("1. One?\n2. Two?", "stop"), 1) == ["One?"]
    for text in ("1. On", "No list at all.", ""):
        with pytest.raises(Unusable, match="no numbered question"):
            numbered(reply(text), 5)


def test_seeds_must_have_a_text_and_planned_rows_always_reconcile(tmp_path: Path) -> None:
    strategy = GroundedQA(per_chunk=4)
    assert "set chunk = 300" in strategy.missing(frozenset({"question"}))
    assert strategy.missing(frozenset({"text", "file"})) == ""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(TEXT)
    (tmp_path / "docs" / "b.md").write_text(
        "Another text on nine helmets, lent for nothing by a shop that opens."
    )
    ask, _ = scripted(tmp_path, said)
    steps = Steps([], [], Prompts(tmp_path), ask, ask)
    seeds = [*read_seeds(str(tmp_path / "docs"), chunk=20), make_seed({"text": " "})]
    records = [
        record for seed in seeds for record in asyncio.run(run_unit(Unit(strategy, 0, seed, 0), steps))
    ]
    assert len(records) == 3 * strategy.rows_per_seed
    reasons = [record.rejection.reason if record.rejection else "kept" for record in records]
    assert reasons == (
        ["kept"] * 3
        + ["the teacher gave fewer rows than asked"]
        + ["the quote is not in the text"] * 3
        + ["the teacher gave fewer rows than asked"]
        + ["the seed has no text"] * 4
    )


def test_the_shipped_prompts_say_what_they_are_told(tmp_path: Path) -> None:
    _, teacher = made(tmp_path)
    asked = [turns_of(prompt)[-1]["content"] for prompt in teacher.asked]
    assert all(TEXT in text for text in asked)
    assert "Write 3 different questions" in asked[0]
    assert sum("Question: When does the shop open?" in text for text in asked) == 2
