import asyncio
from pathlib import Path

import pytest
from rows import record, scripted, turns_of

from synth.filters.rubric import Rubric
from synth.prompts import Prompts
from synth.types import Verdict


def judged(folder: Path, said: str, rubric: Rubric) -> Verdict:
    ask, _ = scripted(folder, lambda prompt: said)
    return asyncio.run(rubric.judge(record("Because."), ask, Prompts(folder)))


@pytest.mark.parametrize(
    ("said", "score", "reason"),
    [
        ("It is clear. Score: 5", 5.0, ""),
        ("**Score:** 4", 4.0, ""),
        ("score = 4.5", 4.5, ""),
        ("Score: 2, no, rather\nScore: 5", 5.0, ""),
        ("Score: 3", 3.0, "score below 4"),
        ("Score: 4/5", 4.0, ""),
        ("I give it a five.", None, "no score in the judge's reply"),
        ("Score: good", None, "no score in the judge's reply"),
        ("", None, "no score in the judge's reply"),
        ("Score: 10", None, "score off the scale 1-5"),
        ("Score: 0", None, "score off the scale 1-5"),
    ],
)
def test_a_score_is_read_and_held_against_the_threshold_and_never_made_up(
    tmp_path: Path, said: str, score: float | None, reason: str
) -> None:
    assert judged(tmp_path, said, Rubric()) == Verdict("rubric", not reason, score, reason)


def test_scale_and_threshold_are_the_recipes(tmp_path: Path) -> None:
    rubric = Rubric(lowest=0, highest=10, threshold=7.5)
    assert judged(tmp_path / "a", "Score: 8", rubric).keep
    assert judged(tmp_path / "b", "Score: 7", rubric).reason == "score below 7.5"


def test_the_judge_sees_question_answer_and_criteria_and_is_greedy(tmp_path: Path) -> None:
    ask, teacher = scripted(tmp_path, lambda prompt: "Score: 5")
    rubric = Rubric(criteria=("It rhymes.",))
    asyncio.run(rubric.judge(record("Roses are red", question="A poem?"), ask, Prompts(tmp_path)))
    [asked] = teacher.asked
    text = "\n".join(turn["content"] for turn in turns_of(asked))
    assert all(part in text for part in ("A poem?", "Roses are red", "It rhymes.", "1", "5"))
