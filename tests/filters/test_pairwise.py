import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rows import record, turns_of

from synth.errors import DataError
from synth.filters.pairwise import Pairwise
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher
from synth.prompts import Prompts
from synth.types import JSON, Prompt, Record, Reply, Sampling, Verdict

MINE, OTHER = "Paris, on the Seine.", "I think it is Lyon."


def row(other: JSON = OTHER) -> Record:
    return replace(record(MINE, question="What is the capital?"), fields={"rejected": other})


def prefers(odds: Callable[[bool], float]) -> Callable[[Prompt, Sampling], Reply]:
    """A judge that gives the first answer these odds, told whether that is the row's own."""

    def say(prompt: Prompt, sampling: Sampling) -> Reply:
        text = turns_of(prompt)[-1]["content"]
        share = odds(text.index(MINE) < text.index(OTHER))
        tops = {"1": math.log(share), "2": math.log(1 - share)}
        return Reply("1" if share > 0.5 else "2", "stop", 9, 1, "m", logprobs=(tops,))

    return say


def judged(
    folder: Path, pairwise: Pairwise, script: Callable[[Prompt, Sampling], str | Reply], of: Record
) -> tuple[Verdict, list[Prompt]]:
    teacher = ScriptedTeacher(script)
    ask = teacher.asker(Journal(folder / "journal"))
    return asyncio.run(pairwise.judge(of, ask, Prompts(folder))), teacher.asked


WORSE = "is worse than the other answer in both orders"
NOT_BETTER = "is not better than the other answer in both orders"


@pytest.mark.parametrize("read", ["odds", "choice"])
@pytest.mark.parametrize(
    ("odds", "score", "reason"),
    [
        (lambda mine: 0.9 if mine else 0.2, 1.0, ""),
        (lambda mine: 0.2 if mine else 0.9, 0.0, WORSE),
        (lambda mine: 0.9, 0.5, NOT_BETTER),
        (lambda mine: 0.1, 0.5, NOT_BETTER),
    ],
)
def test_a_win_is_a_win_in_both_orders_and_all_else_but_two_losses_a_tie(
    tmp_path: Path, read: str, odds: Callable[[bool], float], score: float, reason: str
) -> None:
    pairwise = Pairwise.model_validate({"read": read})
    found, asked = judged(tmp_path, pairwise, prefers(odds), row())
    assert found == Verdict("pairwise", not reason, score, reason)
    assert len(asked) == 2


def test_even_odds_are_a_tie_and_a_tie_may_be_enough(tmp_path: Path) -> None:
    found, _ = judged(tmp_path, Pairwise(keep="no_loss"), prefers(lambda mine: 0.5 if mine else 0.1), row())
    assert found == Verdict("pairwise", True, 0.5)
    lost, _ = judged(
        tmp_path / "b", Pairwise(keep="no_loss"), prefers(lambda mine: 0.1 if mine else 0.9), row()
    )
    assert lost == Verdict("pairwise", False, 0.0, WORSE)


def test_the_same_answer_is_a_tie_and_costs_nothing(tmp_path: Path) -> None:
    found, asked = judged(tmp_path, Pairwise(), lambda prompt, sampling: "1", row(f" {MINE}\n"))
    assert (found.score, asked) == (0.5, [])


def test_reasons_may_come_first_and_a_reply_without_a_verdict_rejects(tmp_path: Path) -> None:
    pairwise = Pairwise(read="text")
    found, asked = judged(tmp_path / "a", pairwise, lambda prompt, sampling: "The first. Score: 1", row())
    assert (found.score, len(asked)) == (0.5, 2)
    found, _ = judged(tmp_path / "b", pairwise, lambda prompt, sampling: "Both are fine.", row())
    assert found == Verdict("pairwise", False, None, "no score in the judge's reply")


def test_the_other_answer_may_be_turns_as_preference_rows_have_them(tmp_path: Path) -> None:
    turns: JSON = [{"role": "assistant", "content": OTHER}]
    found, _ = judged(tmp_path, Pairwise(), prefers(lambda mine: 0.9 if mine else 0.2), row(turns))
    assert found.score == 1


@pytest.mark.parametrize("other", [None, "", [], 3, [{"role": "assistant", "content": ""}]])
def test_a_row_without_another_answer_stops_the_run_and_names_the_field(tmp_path: Path, other: JSON) -> None:
    with pytest.raises(DataError, match='seed seed: pairwise needs another answer in the field "rejected"'):
        judged(tmp_path, Pairwise(), lambda prompt, sampling: "1", row(other))


def test_the_check_says_what_rows_lack() -> None:
    assert (
        Pairwise().missing(frozenset({"question"})) == "needs rows with the field `rejected`; or set against"
    )
    assert Pairwise(against="reference").missing(frozenset({"reference"})) == ""
