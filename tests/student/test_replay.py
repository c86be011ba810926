"""What is drawn of another dataset, and that it trains with the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from synth.errors import DataError
from synth.store import sha256
from synth.student.job import Job
from synth.student.replay import draw
from synth.student.train import train
from synth.tables import Replay, Train

LINES: list[dict[str, Any]] = [
    *({"instruction": f"Say {number}.", "output": f"It is {number}."} for number in range(20)),
    {"instruction": "Say 3.", "output": "It is 3."},
    {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "Hello."}]},
    {"messages": [{"role": "user", "content": "unanswered"}]},
    {"text": "no turns at all"},
]


def jsonl(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path


def said(file: Path) -> list[str]:
    return [orjson.loads(turns[-1])["content"] for turns in pq.read_table(file)["messages"].to_pylist()]


def test_rows_are_drawn_by_weight_none_twice_and_counted(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "more.jsonl", LINES)
    drawn = draw(Replay(path=str(source), weight=0.5), 20, 0, tmp_path / "replay-00.parquet")
    assert (drawn.asked, drawn.rows, drawn.unusable) == (10, 10, 2)
    assert drawn.files == {"more.jsonl": sha256(source)}
    assert len(set(said(tmp_path / "replay-00.parquet"))) == 10
    every = draw(Replay(path=str(source), weight=9.0), 20, 0, tmp_path / "all.parquet")
    assert (every.asked, every.rows) == (180, 21)
    assert sorted(said(tmp_path / "all.parquet")) == sorted([*(f"It is {n}." for n in range(20)), "Hello."])


def test_the_rows_drawn_depend_on_what_they_say_and_on_the_seed_alone(tmp_path: Path) -> None:
    one, turned = jsonl(tmp_path / "a.jsonl", LINES), jsonl(tmp_path / "b.jsonl", LINES[::-1])

    def drawn(source: Path, seed: int) -> set[str]:
        draw(Replay(path=str(source), weight=0.4), 20, seed, tmp_path / "out.parquet")
        return set(said(tmp_path / "out.parquet"))

    assert drawn(one, 0) == drawn(turned, 0) != drawn(one, 1)


def test_a_dataset_that_is_not_there_or_has_no_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such dataset for \[train.replay\]"):
        draw(Replay(path=str(tmp_path / "none.jsonl"), weight=1), 4, 0, tmp_path / "out.parquet")
    mute = jsonl(tmp_path / "mute.jsonl", LINES[-2:])
    with pytest.raises(DataError, match=r"no row with an answer \(2 without\)"):
        draw(Replay(path=str(mute), weight=1), 4, 0, tmp_path / "out.parquet")


def test_a_training_with_replay_says_so_in_the_manifest(
    model_folder: Path, rows: list[dict[str, Any]], write: Callable[..., Path], tmp_path: Path
) -> None:
    source = jsonl(tmp_path / "more.jsonl", LINES)
    config = Train(
        epochs=0.2, learning_rate=5e-3, max_length=64, replay=(Replay(path=str(source), weight=0.25),)
    )
    out = tmp_path / "student"
    done = train(Job(config, model_folder, write(rows), out), on_step=lambda _: None)
    assert done.rows + done.left_out_rows == 50
    written = orjson.loads((out / "manifest.json").read_bytes())
    assert written["replay"] == [
        {"path": str(source), "asked": 10, "rows": 10, "unusable": 2, "files": {"more.jsonl": sha256(source)}}
    ]
    jsonl(source, LINES[:5])
    steps: list[object] = []
    train(Job(config, model_folder, tmp_path / "data", out), on_step=steps.append)
    assert steps
