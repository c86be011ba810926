"""What `train/` looks like to who loads it: plain rows as ever, rows with tools with their calls."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from datasets import load_dataset
from projects import make_project
from rows import calling, record

from synth.check import check
from synth.export import write_train
from synth.recipe import Recipe, load_recipe
from synth.runs import Run
from synth.store import TOOL_SCHEMA, Dataset, read_parquet, sha256, to_table, write_parquet
from synth.systems import plan
from synth.types import Record, Status


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(make_project(tmp_path / "project", "http://127.0.0.1:9/v1"))


def named(made: Record, row_id: str, *, seed: str = "tools", status: Status = "kept") -> Record:
    return replace(made, id=row_id, seed_id=seed, status=status)


def curated(folder: Path, *shards: list[Record]) -> Dataset:
    for number, shard in enumerate(shards):
        write_parquet(folder / "curated" / f"part-{number:05d}.parquet", to_table(shard))
    return Dataset(folder)


def loaded(dataset: Dataset, tmp_path: Path) -> Any:  # noqa: ANN401
    return load_dataset(str(dataset.folder / "train"), cache_dir=str(tmp_path / "cache"))


def test_rows_with_tools_load_as_the_conversations_they_are(tmp_path: Path, recipe: Recipe) -> None:
    plain = [named(record("Because."), f"p{n}", seed=f"s{n}") for n in range(20)]
    dataset = curated(tmp_path / "run", [named(calling(), "c"), *plain[:10]], plain[10:])
    write_train(dataset, recipe)
    splits = loaded(dataset, tmp_path)
    assert set(splits) == {"train", "validation"}
    rows = {row["id"]: row for split in splits.values() for row in split}
    assert len(rows) == 21
    assert rows["c"]["messages"] == list(calling().messages)
    assert rows["c"]["tools"] == list(calling().tools)
    assert "tools=row" in (dataset.folder / "README.md").read_text()
    assert rows["p3"]["messages"] == list(record("Because.").messages) and rows["p3"]["tools"] is None


def test_a_loaded_row_goes_straight_into_a_chat_template(tmp_path: Path, recipe: Recipe) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    dataset = curated(tmp_path / "run", [named(calling(), "c")])
    write_train(dataset, recipe)
    [row] = [row for split in loaded(dataset, tmp_path).values() for row in split]
    template = (
        "{% for tool in tools %}{{ tool.function.name }};{% endfor %}{% for m in messages %}"
        "{% if 'tool_calls' in m %}{{ m.tool_calls[0].function.arguments.days + 1 }}"
        "{% else %}{{ m.role }}{% endif %} {% endfor %}"
    )
    [text], _ = render_jinja_template([row["messages"]], tools=row["tools"], chat_template=template)
    assert text == "book;user 4 tool assistant "


def test_plain_rows_have_no_trace_of_tools(tmp_path: Path, recipe: Recipe) -> None:
    rows = [named(record("Because."), "a"), named(record("No."), "b")]
    alone = curated(tmp_path / "alone", rows)
    beside = curated(tmp_path / "beside", [*rows, named(calling(), "c", status="rejected")])
    files = [
        [file for file in write_train(dataset, recipe) if file.suffix == ".parquet"]
        for dataset in (alone, beside)
    ]
    assert list(map(sha256, files[0])) == list(map(sha256, files[1]))
    schema = read_parquet(files[0][0]).schema
    assert schema.field("messages").type == pa.list_(
        pa.struct([("role", pa.string()), ("content", pa.string())])
    )
    assert "tools" not in schema.names and "tools" not in (alone.folder / "README.md").read_text()


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, recipe: Recipe) -> None:
    digests = []
    for name in ("one", "two"):
        dataset = curated(tmp_path / name, [named(calling(), "c"), named(record("Because."), "p")])
        digests.append([sha256(file) for file in write_train(dataset, recipe) if file.suffix == ".parquet"])
    assert digests[0] == digests[1]


def test_pandas_reads_rows_with_tools_as_json(tmp_path: Path, recipe: Recipe) -> None:
    dataset = curated(tmp_path / "run", [named(calling(), "c")])
    write_train(dataset, recipe)
    row = pd.read_parquet(dataset.folder / "train").iloc[0]
    assert [json.loads(turn) for turn in row["messages"]] == list(calling().messages)
    assert json.loads(row["tools"]) == list(calling().tools)


def test_shards_with_tools_and_without_become_one_frame(tmp_path: Path) -> None:
    dataset = curated(tmp_path, [named(record("Because."), "p")], [named(calling(), "c")])
    frame = dataset.to_pandas()
    assert list(frame["id"]) == ["p", "c"] and list(frame.columns) == TOOL_SCHEMA.names
    assert frame["tools"].isna().tolist() == [True, False]
    assert [r.messages for r in dataset.scan()] == [record("Because.").messages, calling().messages]


def test_a_question_that_a_row_with_tools_asks_is_known_as_trained_on(tmp_path: Path) -> None:
    file = make_project(tmp_path / "project", "http://127.0.0.1:9/v1")
    questions = tmp_path / "project" / "eval.jsonl"
    questions.write_text(
        '{"question": "Book a bike for 3 days.", "answer": "1"}\n{"question": "Other?", "answer": "1"}\n'
    )
    student = '[student]\nmodel = "local"\nendpoint = "http://127.0.0.1:9/v1"\n'
    evaluate = '[[evaluate]]\nuse = "exact_match"\npath = "eval.jsonl"\n'
    file.write_text(f"{file.read_text()}\n{student}\n{evaluate}")
    recipe = load_recipe(file)
    dataset = curated(tmp_path / "run", [named(calling(), "c")])
    write_train(dataset, recipe)
    assert plan(Run(check(recipe), dataset, print)).seen == {"exact_match": 1}
