import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from rows import scripted

from synth.errors import RequestFailed, Unusable
from synth.llm.scripted import ScriptedTeacher
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.steps import Row
from synth.strategies.rephrase import Rephrase, question_pairs
from synth.types import Record, Reply
from synth.units import Steps, Unit, run_unit

TEXT = "The Rhine rises in the Alps. It flows to the North Sea."
SEED = make_seed({"text": f"  {TEXT}\n", "file": "rhine.md"})
STYLES = ("easy", "medium", "hard", "qa", "wikipedia", "diverse_qa", "distill", "extract", "list")
PAIRS = """Question: Where does it rise?
Answer: In the Alps.

Question: Where does it end?
Answer: In the sea."""


def made(folder: Path, script: Callable[[str], str], strategy: Rephrase) -> tuple[list[Row], ScriptedTeacher]:
    ask, teacher = scripted(folder, script)
    return asyncio.run(strategy.generate(SEED, ask, Prompts(folder))), teacher


def reply(text: str, finish_reason: str = "stop") -> Reply:
    return Reply(text, finish_reason, 1, 1, "m")


def test_prose_is_an_instruction_with_the_text_and_its_rewriting(tmp_path: Path) -> None:
    rows, teacher = made(tmp_path, lambda prompt: "A river runs. ", Rephrase(styles=("easy", "hard")))
    assert len(teacher.asked) == 2
    for row, style, asked in zip(rows, ("easy", "hard"), teacher.asked, strict=True):
        assert isinstance(row, Record)
        assert list(row.messages[:-1]) == asked and TEXT in row.question and row.answer == "A river runs."
        assert row.prompt.startswith(f"rephrase/{style}@") and row.fields == SEED.fields


@pytest.mark.parametrize("style", ["qa", "diverse_qa"])
def test_questions_and_answers_are_a_conversation_that_begins_with_the_text(
    tmp_path: Path, style: str
) -> None:
    [row], _ = made(tmp_path, lambda prompt: PAIRS, Rephrase(styles=(style,)))
    assert isinstance(row, Record)
    assert list(row.messages) == [
        {"role": "user", "content": f"{TEXT}\n\nWhere does it rise?"},
        {"role": "assistant", "content": "In the Alps."},
        {"role": "user", "content": "Where does it end?"},
        {"role": "assistant", "content": "In the sea."},
    ]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (PAIRS, 2),
        ("Here they are:\n**Question 1:** Who?\n**Answer:** The\nRhine.", 1),
        ("- Q: Who?\n  A: The Rhine.\n- Q: Where?", 1),
        ("1. Question: Who?\nQuestion: Where?\nAnswer: In the Alps.", 1),
        ("Answer: The Rhine.\nQuestion: Who?", 0),
        ("Q: Who?\nA: The Rhine.\nQ: who?\nA: A river.", 1),
        ("Question:\nAnswer: Nobody asked.", 0),
        ("A river is a quick answer: water.", 0),
    ],
)
def test_only_questions_with_their_answer_are_taken(text: str, pairs: int) -> None:
    assert len(question_pairs(reply(text))) == pairs


def test_the_texts_of_pairs_are_bare() -> None:
    said = "Here they are:\n**Question 1:** Who?\n**Answer:** The\nRhine.\n"
    assert question_pairs(reply(said)) == [("Who?", "The\nRhine.")]


def test_a_conversation_that_was_cut_loses_its_last_pair_and_prose_is_left_to_the_filters(
    tmp_path: Path,
) -> None:
    assert question_pairs(reply(PAIRS, "length")) == [("Where does it rise?", "In the Alps.")]
    teacher = ScriptedTeacher(lambda prompt, sampling: reply(PAIRS, "length"))
    ask = teacher.asker(scripted(tmp_path, str)[0].journal)
    rows = asyncio.run(Rephrase(styles=("qa", "easy")).generate(SEED, ask, Prompts(tmp_path)))
    assert [row.finish_reason for row in rows if isinstance(row, Record)] == ["stop", "length"]


def test_short_replies_are_dropped_in_the_four_styles_of_the_paper_alone(tmp_path: Path) -> None:
    rows, _ = made(tmp_path, lambda prompt: PAIRS, Rephrase(styles=STYLES))
    short = {style for style, row in zip(STYLES, rows, strict=True) if isinstance(row, Unusable)}
    assert short == {"wikipedia", "distill", "extract", "list"}
    assert "fewer than 50 tokens in style wikipedia" in [str(row) for row in rows]
    words = len(PAIRS.split())
    rows, _ = made(tmp_path / "2", lambda prompt: PAIRS, Rephrase(styles=STYLES, min_tokens=words))
    assert all(isinstance(row, Record) for row in rows)


def test_what_comes_to_nothing_is_rejected_with_the_reason_and_costs_no_other_row(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        if "learned readers" in prompt:
            raise RequestFailed("HTTP 400")
        return f" {TEXT} "

    rows, _ = made(tmp_path, script, Rephrase(styles=("easy", "hard", "qa"), min_tokens=0))
    assert [type(row) for row in rows] == [Unusable, RequestFailed, Unusable]
    assert str(rows[0]) == "text unchanged in style easy"
    rows, _ = made(tmp_path / "2", lambda prompt: "No pairs.", Rephrase(styles=("qa", "easy")))
    assert str(rows[0]) == "no pair of question and answer in the reply" and isinstance(rows[1], Record)


@pytest.mark.parametrize("said", [PAIRS, "", TEXT])
def test_planned_rows_reconcile(tmp_path: Path, said: str) -> None:
    asker, _ = scripted(tmp_path, lambda prompt: said)
    steps = Steps([], [], Prompts(tmp_path), asker, asker)
    strategy = Rephrase(styles=STYLES)
    records = asyncio.run(run_unit(Unit(strategy, 0, SEED, 0), steps))
    assert len(records) == strategy.rows_per_seed == len(STYLES)
    assert all(record.status == "kept" or record.verdicts for record in records)


def test_a_style_is_a_prompt_file_and_ones_own_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "prompts" / "rephrase").mkdir(parents=True)
    (tmp_path / "prompts" / "rephrase" / "pirate.jinja").write_text("Like a pirate: {{ text }} ({{ file }})")
    strategy = Rephrase(styles=("pirate",))
    assert strategy.prompt_names() == ["rephrase/pirate"]
    [row], _ = made(tmp_path, lambda prompt: "Arr.", strategy)
    assert isinstance(row, Record) and row.question.endswith("(rhine.md)")


def test_seeds_must_have_a_text_and_recipes_a_style(tmp_path: Path) -> None:
    strategy = Rephrase(styles=("easy",))
    assert strategy.missing(frozenset({"text"})) == ""
    assert "needs seeds with `text`" in strategy.missing(frozenset({"instruction"}))
    ask, _ = scripted(tmp_path, str)
    with pytest.raises(Unusable, match="no text"):
        asyncio.run(strategy.generate(make_seed({"text": " "}), ask, Prompts(tmp_path)))
    with pytest.raises(ValidationError, match="styles"):
        Rephrase(styles=())
    given = Rephrase(styles=STYLES).given(frozenset({"text"}))
    assert all(Prompts(tmp_path).file(name).variables == {"text"} for name in given)
