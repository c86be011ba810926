"""The commands about students, as processes of their own."""

from pathlib import Path

import pytest
from projects import synth_each
from students import QUESTIONS, finished, with_student

from synth import gate
from synth.students import Students

POOR, GOOD = [0.0] * QUESTIONS, [1.0] * 40 + [0.0] * 20


@pytest.fixture
def project(recipe: Path) -> Path:
    """A project with two champions, one after the other."""
    gate.hold(finished(with_student(recipe), POOR, GOOD))
    gate.hold(finished(recipe, POOR, [1.0] * 50 + [0.0] * 10, weights=b"better", folder="small-better"))
    return recipe.parent


def test_students_are_listed_promoted_and_rolled_back(project: Path) -> None:
    first, second = Students(project, "small").versions
    commands = [
        ["students"],
        ["rollback", "small"],
        ["promote", "small", second],
        ["students", "small"],
        ["promote", "small", "0003"],
        ["students", "smal"],
    ]
    listed, back, by_hand, one, unknown, nobody = synth_each([(project, command) for command in commands])
    assert [result.returncode for result in (listed, back, by_hand, one)] == [0] * 4
    assert first in listed.stdout and second in listed.stdout
    said = " ".join(listed.stdout.replace("│", " ").split())
    assert "exact_match: 83.3%" in said and "champion" in said
    assert back.stdout == f"small: {first} is the champion again, in place of {second}\n"
    assert by_hand.stdout == f"small: {second} is the champion\n"
    assert [line.split(" by ")[0].split(" ", 1)[1] for line in one.stdout.splitlines()[-4:]] == [
        f"promoted {first}",
        f"promoted {second}",
        f"rolled back {first}",
        f"promoted {second}",
    ]
    assert (unknown.returncode, nobody.returncode) == (2, 2)
    assert unknown.stderr.endswith(f'has no version "0003"; known: {first}, {second}\n')
    assert 'has no student "smal"; did you mean "small"?' in nobody.stderr
    assert Students(project, "small").champion == second


def test_a_project_without_students_says_how_to_make_one(tmp_path: Path) -> None:
    (listed,) = synth_each([(tmp_path, ["students"])])
    assert listed.returncode == 0 and "no students yet" in listed.stdout


def test_a_refused_student_is_said_in_show_and_in_the_report(project: Path) -> None:
    run = finished(project / "recipe.toml", GOOD, GOOD, weights=b"same", folder="small-same")
    assert not gate.hold(run).passed
    (run.folder / "recipe.toml").write_bytes((project / "recipe.toml").read_bytes())
    (shown,) = synth_each([(project, ["show", str(run.folder)])])
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("gate: refused the student; small 0002-"))
    assert lines[at + 1].endswith("must lie above +0.0 points: DOES NOT HOLD")
