"""The registry: versions that are whole, a pointer that always points, a history that says how it came."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synth.errors import BusyError, DataError
from synth.students import Students, fingerprint, named, names
from synth.weights import identify


def run_of(folder: Path, weights: bytes) -> Path:
    """A run folder with a student of these weights."""
    (folder / "student" / "adapter").mkdir(parents=True)
    (folder / "student" / "checkpoints").mkdir()
    (folder / "student" / "checkpoints" / "run.json").write_text("{}")
    (folder / "student" / "config.json").write_text("{}")
    (folder / "student" / "README.md").write_text("# Card\n")
    (folder / "student" / "model.safetensors").write_bytes(weights)
    (folder / "student" / "adapter" / "adapter_model.safetensors").write_bytes(b"adapter")
    (folder / "scores.json").write_text('{"evaluations": []}')
    return folder


def promoted(students: Students, folder: Path, weights: bytes) -> str:
    version = students.add(run_of(folder, weights))
    students.promote(version, who="gate", why="better")
    return version


def test_a_version_outlives_its_run_and_is_a_model_folder(tmp_path: Path) -> None:
    students = Students(tmp_path, "small")
    run = run_of(tmp_path / "run", b"one")
    version = students.add(run)
    assert version == f"0001-{fingerprint(run / 'student')}" and students.versions == [version]
    (run / "student" / "README.md").write_text("# Another card\n")
    subprocess.run(["rm", "-r", run], check=True)
    held = students.folder / version
    assert (held / "model.safetensors").read_bytes() == b"one"
    assert (held / "README.md").read_text() == "# Card\n"
    assert sorted(students.about(version)["files"]) == [
        "README.md",
        "adapter/adapter_model.safetensors",
        "config.json",
        "model.safetensors",
        "scores.json",
    ]


def test_the_same_student_is_the_same_version(tmp_path: Path) -> None:
    students = Students(tmp_path, "small")
    first = promoted(students, tmp_path / "a", b"one")
    second = promoted(students, tmp_path / "b", b"two")
    assert students.add(run_of(tmp_path / "c", b"one")) == first != second
    assert students.versions == [first, second] and students.champion == second
    assert (students.folder / "champion" / "model.safetensors").read_bytes() == b"two"


def test_rollback_goes_back_champion_by_champion(tmp_path: Path) -> None:
    students = Students(tmp_path, "small")
    one, two, three = (promoted(students, tmp_path / name, name.encode()) for name in ("a", "b", "c"))
    assert students.rollback(who="me") == two and students.champion == two
    assert students.rollback(who="me") == one and students.champion == one
    with pytest.raises(DataError, match="no earlier champion"):
        students.rollback(who="me")
    students.promote(three, who="me", why="by hand")
    assert students.champions() == [one, three]
    assert [(entry["what"], entry["version"]) for entry in students.history] == [
        ("promoted", one),
        ("promoted", two),
        ("promoted", three),
        ("rolled back", two),
        ("rolled back", one),
        ("promoted", three),
    ]
    assert all(entry["time"].endswith("+00:00") for entry in students.history)


def test_what_is_the_champion_is_not_promoted_again(tmp_path: Path) -> None:
    students = Students(tmp_path, "small")
    version = promoted(students, tmp_path / "a", b"one")
    students.promote(version, who="gate", why="better")
    assert len(students.history) == 1


def test_a_version_that_lost_bytes_is_not_promoted(tmp_path: Path) -> None:
    students = Students(tmp_path, "small")
    one, two = promoted(students, tmp_path / "a", b"one"), promoted(students, tmp_path / "b", b"two")
    (students.folder / one / "config.json").write_text('{"changed": 1}')
    with pytest.raises(DataError, match="is not what passed the gate"):
        students.promote(one, who="me", why="")
    assert students.champion == two


def test_unknown_names_and_versions_name_what_is_there(tmp_path: Path) -> None:
    students = Students(tmp_path, "small")
    version = promoted(students, tmp_path / "a", b"one")
    with pytest.raises(DataError, match='no student "smal"; did you mean "small"'):
        named(tmp_path, "smal")
    with pytest.raises(DataError, match=f'no version "0002"; known: {version}'):
        students.promote("0002", who="me", why="")
    assert names(tmp_path) == ["small"] and named(tmp_path, "small").champion == version
    with pytest.raises(DataError, match=r"no weights \(\*.safetensors\)"):
        fingerprint(tmp_path)


def test_a_name_is_held_by_one_process(tmp_path: Path) -> None:
    with Students(tmp_path, "small").lock(), pytest.raises(BusyError, match="works here"):  # noqa: SIM117
        with Students(tmp_path, "small").lock():
            pass


def test_another_champion_is_another_model_although_its_files_have_the_same_sizes(tmp_path: Path) -> None:
    students = Students(tmp_path, "small")
    pointer = str(students.folder / "champion")
    promoted(students, tmp_path / "a", b"one")
    before = identify(pointer)
    promoted(students, tmp_path / "b", b"two")
    assert identify(pointer) != before


PROMOTE = """
import sys
from pathlib import Path
from synth.students import Students
students = Students(Path(sys.argv[1]), "small")
print("ready", flush=True)
for folder in sys.argv[2:]:
    students.promote(students.add(Path(folder)), who="gate", why="better")
"""


def test_a_kill_at_any_moment_leaves_a_whole_champion(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / f"run-{n}", os.urandom(300_000)) for n in range(30)]
    for n in range(6):
        root = tmp_path / f"project-{n}"
        process = subprocess.Popen(
            [sys.executable, "-c", PROMOTE, str(root), *map(str, runs)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.004 * n * n)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        students = Students(root, "small")
        if students.champion is not None:
            assert students.champion in students.versions
            assert students.champions()[-1:] == [students.champion]
        for version in students.versions:
            students.about(version)  # its files have the bytes that they had in the run
        for line in (students.folder / "history.jsonl").read_text().splitlines() if students.history else ():
            json.loads(line)
        done = [sys.executable, "-c", PROMOTE, str(root), *map(str, runs)]
        subprocess.run(done, check=True, stdout=subprocess.DEVNULL)
        assert len(students.versions) == 30 and students.champion == students.versions[-1]
        assert not list(students.folder.glob(".part-*"))
