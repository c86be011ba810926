import asyncio
import math
from pathlib import Path

import pytest
from pydantic import ValidationError
from rows import scripted

from synth.errors import RequestFailed, Unusable
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.strategies.backtranslate import Backtranslate, expected
from synth.types import Prompt, Record, Reply, Sampling
from synth.units import Steps, Unit, run_unit

TEXT = "The Rhine rises in the Alps.\n\nIt flows to the North Sea."
SEED = make_seed({"text": TEXT, "file": "rhine.md"})


def teacher(*grades: str, instruction: str | Reply = " Describe the Rhine. ") -> ScriptedTeacher:
    """Writes `instruction`, then gives the grades in turn."""
    left = list(grades)

    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        return left.pop(0) if "<<<ANSWER" in text_of(prompt) else instruction

    return ScriptedTeacher(script)


def made(folder: Path, asked: ScriptedTeacher, strategy: Backtranslate) -> Record:
    ask = asked.asker(Journal(folder / "journal"))
    [row] = asyncio.run(strategy.generate(SEED, ask, Prompts(folder)))
    assert isinstance(row, Record)
    return row


def test_a_row_is_the_instruction_and_the_text_word_for_word(tmp_path: Path) -> None:
    asked = teacher("It fits. Score: 5")
    row = made(tmp_path, asked, Backtranslate())
    assert list(row.messages) == [
        {"role": "user", "content": "Describe the Rhine."},
        {"role": "assistant", "content": TEXT},
    ]
    assert row.fields == {**SEED.fields, "score": 5.0} and row.finish_reason == "stop"
    assert row.fields.keys() == SEED.fields.keys() | Backtranslate().adds
    assert row.prompt.startswith("backtranslate/instruct@") and row.seed_id == SEED.id
    assert len(row.replies) == len(set(row.replies)) == len(asked.asked) == 2
    assert TEXT in text_of(asked.asked[0])
    assert TEXT in text_of(asked.asked[1]) and "Describe the Rhine." in text_of(asked.asked[1])


@pytest.mark.parametrize(
    ("grades", "mean"),
    [
        (["Score: 5", "Score: 4"], 4.5),
        (["Score: 5", "Score = **4.8**", "Score: 4"], 4.6),
        (["I can't say.", "Score: 5"], 5.0),
        (["1 reason speaks for it.", " 5\n"], 5.0),
        (["Score: 10", "Score: 0", "Score: 5"], 5.0),
        (["I'd say score: 2 at first, but then\nScore: 5"], 5.0),
    ],
)
def test_the_mean_of_the_grades_that_can_be_read_decides(
    tmp_path: Path, grades: list[str], mean: float
) -> None:
    asked = teacher(*grades)
    row = made(tmp_path, asked, Backtranslate(scores=len(grades)))
    assert row.fields["score"] == pytest.approx(mean)
    assert len(asked.asked) == len(row.replies) == 1 + len(grades)


def test_a_guided_grade_is_the_mean_by_the_teachers_odds(tmp_path: Path) -> None:
    asked: list[Sampling] = []

    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        asked.append(sampling)
        odds = ({"4": math.log(0.3), " 4": math.log(0.3), "1": math.log(0.2), "The": math.log(0.2)},)
        return Reply("4", "stop", 1, 1, "m", logprobs=odds) if "choice" in sampling else "Describe the Rhine."

    strategy = Backtranslate(guided=True, min_score=3)
    row = made(tmp_path, ScriptedTeacher(script), strategy)
    assert row.fields["score"] == pytest.approx((4 * 0.6 + 1 * 0.2) / 0.8)
    assert len(asked) == 2 and asked[1]["choice"] == ["1", "2", "3", "4", "5"]
    assert strategy.needs == {"choice", "logprobs"} and Backtranslate().needs == set()
    with pytest.raises(ValidationError, match="guided grades are the same each time"):
        Backtranslate(guided=True, scores=2)
    with pytest.raises(Unusable, match="no score"):
        expected(Reply("4", "stop", 1, 1, "m"))


@pytest.mark.parametrize(
    ("asked", "strategy", "reason"),
    [
        (teacher("Score: 4"), Backtranslate(), "score below 4.5"),
        (teacher("Score: 5", "Score: 3"), Backtranslate(scores=2), "score below 4.5"),
        (teacher("Score: 3"), Backtranslate(min_score=4), "score below 4"),
        (teacher("Excellent!"), Backtranslate(), "no score in any grade"),
        (teacher("Score: 9", "Score: 0"), Backtranslate(scores=2), "no score in any grade"),
        (teacher(instruction=" \n"), Backtranslate(), "no instruction in the reply"),
        (
            teacher(instruction="Tell me in a few steps how to wash a jumper by hand."),
            Backtranslate(),
            "instruction copies a worked example",
        ),
        (teacher(instruction=Reply("Describe", "length", 1, 1, "m")), Backtranslate(), "instruction was cut"),
    ],
)
def test_what_is_no_good_pair_is_rejected_with_the_reason(
    tmp_path: Path, asked: ScriptedTeacher, strategy: Backtranslate, reason: str
) -> None:
    with pytest.raises(Unusable, match=f"^{reason}$"):
        made(tmp_path, asked, strategy)
    asked_again = scripted(tmp_path / "2", lambda prompt: "Excellent!")[0]
    steps = Steps([], [], Prompts(tmp_path), asked_again, asked_again)
    [record] = asyncio.run(run_unit(Unit(strategy, 0, SEED, 0), steps))
    assert record.status == "rejected" and record.rejection is not None


def test_a_grade_that_fails_fails_the_row(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        if "<<<ANSWER" in prompt:
            raise RequestFailed("HTTP 400")
        return "Describe the Rhine."

    ask, _ = scripted(tmp_path, script)
    steps = Steps([], [], Prompts(tmp_path), ask, ask)
    [record] = asyncio.run(run_unit(Unit(Backtranslate(), 0, SEED, 0), steps))
    assert record.status == "failed" and record.rejection is not None
    assert record.rejection.reason == "HTTP 400"


def test_seeds_must_have_the_text_and_grades_are_on_the_scale(tmp_path: Path) -> None:
    strategy = Backtranslate(field="body")
    assert strategy.missing(frozenset({"body"})) == ""
    assert "needs seeds with `body`" in strategy.missing(frozenset({"text"}))
    ask, asked = scripted(tmp_path, str)
    with pytest.raises(Unusable, match="no text in `body`"):
        asyncio.run(strategy.generate(SEED, ask, Prompts(tmp_path)))
    assert asked.asked == []
    with pytest.raises(ValidationError, match="min_score"):
        Backtranslate(min_score=6)
    given = strategy.given(frozenset())
    assert set(given) == set(strategy.prompt_names())
    assert all(Prompts(tmp_path).file(name).variables == variables for name, variables in given.items())
