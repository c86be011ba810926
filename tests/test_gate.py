"""The gate: what passes, what is refused, and what stays as it was."""

import json
from pathlib import Path

import pytest
from projects import edit
from students import QUESTIONS, finished, with_student

from synth import gate
from synth.check import check
from synth.errors import GateRefused, RecipeError
from synth.recipe import load_recipe
from synth.students import Students
from synth.tables import Gate

POOR, GOOD = [0.0] * QUESTIONS, [1.0] * 40 + [0.0] * 20
SAME = [1.0] * 20 + [0.0] * 40


def students_of(recipe: Path) -> Students:
    return Students(recipe.parent, "small")


def test_a_student_that_is_better_becomes_the_champion(recipe: Path) -> None:
    run = finished(with_student(recipe), POOR, GOOD)
    decision = gate.hold(run)
    gate.enforce(decision)
    students = students_of(recipe)
    assert decision.passed and students.champion == decision.champion == students.versions[0]
    held = students.folder / "champion"
    assert (held / "scores.json").read_bytes() == (run.folder / "scores.json").read_bytes()
    assert json.loads((held / "gate.json").read_text())["passed"] is True
    said = gate.sentences(decision)
    assert said[0] == f"gate: passed; small {decision.champion} is the champion"
    assert said[1].startswith(
        "  target exact_match: student - base +66.7 points [+55.0, +78.3], must lie above"
    )
    assert said[1].endswith(": holds")
    assert said[2] == (
        "  contamination 0: 0 of 60 asked questions stand word for word in training rows "
        "(rephrased ones were not looked for): holds"
    )


def test_one_that_is_not_shown_to_be_better_is_refused_and_the_champion_stays(recipe: Path) -> None:
    first = gate.hold(finished(with_student(recipe), POOR, GOOD))
    worse = gate.hold(finished(recipe, SAME, SAME[1:] + SAME[:1], weights=b"other", folder="small-other"))
    assert not worse.passed and worse.champion == first.champion == students_of(recipe).champion
    with pytest.raises(
        GateRefused, match=r"small 0001-\w+ stays the champion. target exact_match: "
    ) as caught:
        gate.enforce(worse)
    assert caught.value.exit_code == 4
    assert gate.sentences(worse)[1].endswith("DOES NOT HOLD")
    assert [entry["what"] for entry in students_of(recipe).history] == ["promoted", "refused"]
    assert len(students_of(recipe).versions) == 1


def test_a_margin_is_held_against_the_lower_end(recipe: Path) -> None:
    run = finished(with_student(recipe, "margin = 0.6"), POOR, GOOD)  # +66.7 points, from 55.0 on
    decision = gate.hold(run)
    assert not decision.passed and "must lie above +60.0 points" in decision.findings[0].said
    assert "no champion yet" in gate.sentences(decision)[0]


def test_a_guard_may_lose_what_is_allowed_and_no_more(recipe: Path) -> None:
    with_student(recipe, "targets = []\n[gate.guards]\nexact_match = 0.2")
    lost = [*[0.0] * 3, *[1.0] * 57]
    decision = gate.hold(finished(recipe, [1.0] * QUESTIONS, lost))  # -5.0 points, from -11.7 on
    assert [finding.rule for finding in decision.findings] == ["guard", "contamination"]
    assert decision.passed
    edit(recipe, "exact_match = 0.2", "exact_match = 0.1")
    assert not gate.hold(finished(recipe, [1.0] * QUESTIONS, lost)).passed


def test_of_what_should_be_low_the_rules_are_mirrored() -> None:
    total = {
        "unit": "nats a token",
        "higher_is_better": False,
        "student_minus_base": {"difference": -0.2, "low": -0.3, "high": -0.1, "needed": 9},
    }
    assert gate._target("perplexity", total, 0.05).holds and not gate._target("perplexity", total, 0.1).holds
    assert gate._guard("perplexity", total, 0.0).holds
    risen = {**total, "student_minus_base": {"difference": 0.04, "low": 0.03, "high": 0.05, "needed": 9}}
    assert gate._guard("perplexity", risen, 0.05).holds and not gate._guard("perplexity", risen, 0.04).holds
    said = gate._guard("perplexity", risen, 0.04).said
    assert said == (
        "student - base +0.040 nats a token [+0.030, +0.050], lower is better, "
        "must lie not above +0.040 nats a token"
    )


def test_a_training_row_that_holds_an_asked_question_closes_the_gate(recipe: Path) -> None:
    asked = ["What is bread?", "I was asked: what is 7 times 7? Help me, please."]
    decision = gate.hold(finished(with_student(recipe), POOR, GOOD, asked=asked))
    assert not decision.passed
    assert [f.said for f in decision.findings if not f.holds] == [
        "1 of 60 asked questions stand word for word in training rows (rephrased ones were not looked for)"
    ]


def test_a_student_that_is_shown_to_be_worse_than_the_champion_is_refused(recipe: Path) -> None:
    gate.hold(finished(with_student(recipe), POOR, GOOD))
    weaker = [1.0] * 20 + [0.0] * 40
    decision = gate.hold(finished(recipe, POOR, weaker, weights=b"weaker", folder="small-weaker"))
    refused = [finding for finding in decision.findings if not finding.holds]
    assert [finding.rule for finding in refused] == ["champion"]
    assert "-33.3 points [-45.0, -21.7] on 60 questions" in refused[0].said
    level = gate.hold(finished(recipe, POOR, GOOD[1:] + GOOD[:1], weights=b"level", folder="small-level"))
    assert level.passed and level.champion is not None and level.champion.startswith("0002-")


def test_a_gate_that_was_decided_is_not_decided_again(recipe: Path) -> None:
    run = finished(with_student(recipe), POOR, GOOD)
    first = gate.hold(run)
    students = students_of(recipe)
    (students.folder / "champion").unlink()  # as after a rollback by hand: it stays as the hand left it
    assert gate.hold(run) == first and students.champion is None
    edit(recipe, "[gate]", "[gate]\nmargin = 0.9")
    again = finished(recipe, POOR, GOOD)
    assert not gate.hold(again).passed


def test_a_gate_that_was_killed_before_it_was_noted_goes_on(recipe: Path) -> None:
    run = finished(with_student(recipe), POOR, GOOD)
    students = students_of(recipe)
    version = students.add(run.folder)
    decision = gate.hold(run)
    assert decision.champion == version and students.versions == [version]
    manifest = run.dataset.manifest
    del manifest["stages"]["gate"]
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    assert gate.hold(run) == decision and len(students.history) == 1


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('targets = ["exact_mach"]', r'gate.targets: no evaluation is called "exact_mach"; did you mean'),
        ("[gate.guards]\nschema = 0.1", 'gate.guards: no evaluation is called "schema"'),
    ],
)
def test_the_check_knows_the_evaluations(recipe: Path, table: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        check(load_recipe(with_student(recipe, table)))


def test_a_group_that_no_question_has_is_named(recipe: Path) -> None:
    run = finished(with_student(recipe, 'targets = ["exact_match/held_out"]'), POOR, GOOD)
    with pytest.raises(RecipeError, match='no evaluation is called "exact_match/held_out"'):
        gate.hold(run)


def test_a_gate_without_an_evaluation_is_refused_before_anything_is_made(recipe: Path) -> None:
    edit(recipe, "[run]", "[gate]\n[run]")
    with pytest.raises(RecipeError, match=r"gate: judges a trained student; add \[train\]"):
        check(load_recipe(recipe))


def test_a_guard_may_not_allow_a_negative_loss() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Gate(guards={"exact_match": -0.1})
