import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from rows import turns_of

from synth.errors import Unusable
from synth.llm.asker import StepAsk
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.strategies.preference import Preference
from synth.types import JSON, Prompt, Record, Reply, Sampling
from synth.units import Steps, Unit, run_unit

RULES: list[JSON] = [{"kind": "lowercase"}, {"kind": "end_phrase", "phrase": "good luck!"}]
SEED = make_seed({"question": "How do I swim?", "constraints": RULES})
KEYS = {"prompt": "preference/answer", "student_prompt": "preference/student"}
VERIFY = [{"use": "constraint"}]
GOOD, BAD = "kick your legs. good luck!", "Kick your legs."


class Several:
    """Teachers by name: each notes its temperatures, and answers by `script(name, number, prompt)`."""

    def __init__(self, folder: Path, script: Callable[[str, int, str], str | Reply], *names: str) -> None:
        self.temperatures: dict[str, list[float | None]] = {name: [] for name in names}
        self.prompts: dict[str, list[Prompt]] = {name: [] for name in names}
        journal = Journal(folder / "journal")

        def teacher(name: str) -> ScriptedTeacher:
            def said(prompt: Prompt, sampling: Sampling) -> str | Reply:
                self.temperatures[name].append(sampling.get("temperature"))
                self.prompts[name].append(prompt)
                return script(name, len(self.prompts[name]) - 1, text_of(prompt))

            return ScriptedTeacher(said)

        askers = {name: teacher(name).asker(journal) for name in names}
        for name, asker in askers.items():
            asker.identity = name
        self.ask = StepAsk(askers, "teacher", "preference")


def made(folder: Path, several: Several, **keys: object) -> Record:
    strategy = Preference.model_validate({**KEYS, **keys})
    [row] = asyncio.run(strategy.generate(SEED, several.ask, Prompts(folder)))
    assert isinstance(row, Record)
    return row


def in_turn(*answers: str | Reply) -> Callable[[str, int, str], str | Reply]:
    return lambda name, number, prompt: answers[number]


def judged(**scores: str) -> Callable[[str, int, str], str]:
    """Answers by number; the judge gives the score of the answer that it is shown."""

    def script(name: str, number: int, prompt: str) -> str:
        if name != "judge":
            return list(scores)[number % len(scores)]
        [shown] = re.findall(r"\[ANSWER \w+ BEGINS\]\n> (.*)\n\[ANSWER", prompt)
        return scores[shown]

    return script


def test_with_a_verifier_the_chosen_answer_passes_and_the_rejected_one_does_not(tmp_path: Path) -> None:
    several = Several(tmp_path, in_turn(BAD, GOOD, "KICK.", "kick more. good luck!"), "teacher")
    row = made(tmp_path, several, verify=VERIFY)
    assert row.answer == GOOD and row.status == "kept"
    assert row.fields == {
        **SEED.fields,
        "rejected": [{"role": "assistant", "content": BAD}],
        "rejected_model": "scripted",
    }
    assert len(row.replies) == 4 and row.completion_tokens == 3 + 5 + 1 + 4
    assert [turn["role"] for turn in row.messages] == ["user", "assistant"]
    assert row.question.startswith("How do I swim?\nWrite in small letters only")
    assert turns_of(several.prompts["teacher"][0])[0]["role"] == "system"


def test_teachers_and_temperatures_take_turns(tmp_path: Path) -> None:
    several = Several(tmp_path, in_turn(BAD, GOOD, BAD), "teacher", "strong")
    keys = {"teachers": ["teacher", "strong"], "temperatures": [0.2, 1.0], "n": 6, "verify": VERIFY}
    made(tmp_path, several, **keys)
    assert {name: sorted(map(str, each)) for name, each in several.temperatures.items()} == {
        "teacher": ["0.2", "0.2", "1.0"],
        "strong": ["0.2", "0.2", "1.0"],
    }
    assert Preference.model_validate({**KEYS, **keys}).askers == ("teacher", "strong")


def test_the_judges_mean_score_decides_and_equal_answers_cost_it_one_look(tmp_path: Path) -> None:
    several = Several(tmp_path, judged(fair="Score: 3", best="Score: 5", poor="Score: 1"), "teacher", "judge")
    row = made(tmp_path, several, judge=True, n=6, criteria=["It is right.", "It is clear."])
    assert row.answer == "best" and row.fields["rejected"] == [{"role": "assistant", "content": "poor"}]
    assert (row.fields["score"], row.fields["rejected_score"]) == (5.0, 1.0)
    assert len(row.replies) == 6 + 6 * 2 and len(several.prompts["judge"]) == 3 * 2
    assert several.temperatures["judge"] == [0.0] * 6

    again = Several(
        tmp_path / "2", lambda name, number, _: "5" if name == "judge" else GOOD, "teacher", "judge"
    )
    with pytest.raises(Unusable, match=r"^fewer than two different answers$"):
        made(tmp_path, again, judge=True)
    assert again.prompts["judge"] == []


def test_a_random_rejected_answer_is_one_of_the_worse_and_always_the_same(tmp_path: Path) -> None:
    scores = {"best": "5", "a": "1", "b": "2", "c": "3", "d": "4.5", "e": "4"}
    rejected = set()
    for folder in ("1", "2"):
        several = Several(tmp_path / folder, judged(**scores), "teacher", "judge")
        row = made(tmp_path, several, judge=True, n=6, rejected="random", margin=2, criteria=["It is right."])
        assert row.answer == "best"
        rejected.add(str(row.fields["rejected"]))
    assert len(rejected) == 1
    assert row.fields["rejected_score"] in (1.0, 2.0, 3.0)


def test_an_answer_that_the_judge_did_not_score_readably_is_neither(tmp_path: Path) -> None:
    several = Several(tmp_path, judged(a="Score: 10", b="Score: 3", c="Good."), "teacher", "judge")
    with pytest.raises(Unusable, match=r"^no answer is worse by the margin$"):
        made(tmp_path, several, judge=True, n=3, criteria=["It is right."])


@pytest.mark.parametrize(
    ("answers", "keys", "reason"),
    [
        ([GOOD, GOOD], {"verify": VERIFY}, "no answer fails the verifiers"),
        ([GOOD, Reply(BAD, "length", 1, 1, "m")], {"verify": VERIFY}, "no answer fails the verifiers"),
    ],
)
def test_what_makes_no_pair_is_rejected_with_the_reason(
    tmp_path: Path, answers: list[str | Reply], keys: dict[str, object], reason: str
) -> None:
    several = Several(tmp_path, in_turn(*answers), "teacher")
    with pytest.raises(Unusable, match=f"^{reason}$"):
        made(tmp_path, several, n=2, **keys)
    assert len(several.prompts["teacher"]) == 2


def test_a_relaxed_pair_is_rejected_for_the_constraint_that_its_prompt_did_not_have(tmp_path: Path) -> None:
    def script(name: str, number: int, prompt: str) -> str:
        if "small letters" not in prompt:
            return "Kick your legs. good luck!"
        return "kick your legs." if "good luck!" not in prompt else GOOD

    several = Several(tmp_path, script, "teacher")
    row = made(tmp_path, several, pairs="relaxed", verify=VERIFY, n=2)
    asked = [text_of(prompt) for prompt in several.prompts["teacher"]]
    assert ["good luck!" in text for text in asked].count(False) == 1
    assert ["small letters" in text for text in asked].count(False) == 1 and len(asked) == 4
    assert row.answer == GOOD and row.fields["dropped"] in RULES
    wrong = {"lowercase": "Kick your legs. good luck!", "end_phrase": "kick your legs."}
    dropped = row.fields["dropped"]
    assert isinstance(dropped, dict)
    assert row.fields["rejected"] == [{"role": "assistant", "content": wrong[str(dropped["kind"])]}]
    assert "small letters" in row.question and "good luck!" in row.question


def test_a_relaxed_pair_needs_constraints_that_the_prompt_puts_in_words(tmp_path: Path) -> None:
    several = Several(tmp_path, in_turn(), "teacher")
    with pytest.raises(Unusable, match="says nothing of the seed's constraints"):
        made(tmp_path, several, prompt="best_of_n/solve", pairs="relaxed", verify=VERIFY)
    with pytest.raises(ValidationError, match="needs a verifier that sees the difference"):
        Preference(prompt="x", pairs="relaxed", judge=True)
    with pytest.raises(ValidationError, match="nothing tells which answer is better"):
        Preference(prompt="x")
    relaxed = Preference.model_validate({**KEYS, "pairs": "relaxed", "verify": VERIFY})
    assert "needs seeds with `constraints`" in relaxed.missing(frozenset({"question"}))
    assert relaxed.missing(frozenset({"constraints"})) == ""


@pytest.mark.parametrize(
    ("answers", "by"),
    [([BAD, BAD], "constraint"), ([Reply(BAD, "length", 1, 2, "m"), ""], "truncated")],
)
def test_where_no_answer_passes_the_row_shows_the_first_and_what_they_failed(
    tmp_path: Path, answers: list[str | Reply], by: str
) -> None:
    row = made(tmp_path, Several(tmp_path, in_turn(*answers), "teacher"), n=2, verify=VERIFY)
    assert row.status == "rejected" and row.rejection is not None and row.answer == BAD
    assert row.rejection.reason == f"none of the n answers passed: {by}" and len(row.replies) == 2


def test_an_answer_that_fails_costs_the_pair(tmp_path: Path) -> None:
    asker = ScriptedTeacher(lambda prompt, sampling: BAD).asker(Journal(tmp_path / "journal"))
    steps = Steps([], [], Prompts(tmp_path), asker, asker)
    strategy = Preference.model_validate({**KEYS, "verify": VERIFY})
    [record] = asyncio.run(run_unit(Unit(strategy, 0, SEED, 0), steps))
    assert record.status == "rejected" and record.rejection is not None
    assert record.rejection.reason == "none of the n answers passed: constraint"
