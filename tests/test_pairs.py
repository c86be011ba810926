"""The kept rows as files that trainers read as they are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from projects import make_project

from synth.export import write_train
from synth.recipe import Recipe, load_recipe
from synth.store import Dataset, to_table, write_parquet
from synth.types import Message, Record

WORSE: list[Message] = [{"role": "assistant", "content": "No."}]


def row(number: int, **fields: object) -> Record:
    """A kept row of a seed of its own."""
    turns: list[Message] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": f"Why {number}?"},
        {"role": "assistant", "content": "Yes."},
    ]
    return Record(turns, f"seed {number}", "ask@1", id=f"{number:03}", fields=fields)  # type: ignore[arg-type]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A quarter of whose rows go to validation."""
    return load_recipe(make_project(tmp_path / "project", "http://127.0.0.1:9/v1"))


def exported(folder: Path, recipe: Recipe, records: Sequence[Record]) -> list[str]:
    """The files that a run of these records has."""
    write_parquet(folder / "curated" / "part-00000.parquet", to_table(records))
    return [str(file.relative_to(folder)) for file in write_train(Dataset(folder), recipe)]


def test_pairs_lie_beside_the_conversations_as_turns_of_prompt_chosen_and_rejected(
    tmp_path: Path, recipe: Recipe
) -> None:
    records = [row(n, rejected=WORSE) if n % 2 else row(n) for n in range(40)]
    files = exported(tmp_path, recipe, [*records, replace(row(99, rejected=WORSE), status="rejected")])
    assert files == [
        "train/train-00000.parquet",
        "preference/train-00000.parquet",
        "train/validation-00000.parquet",
        "preference/validation-00000.parquet",
        "README.md",
    ]
    tables = {name: pq.read_table(tmp_path / name) for name in files[:4]}
    pairs = [pair for name in (files[1], files[3]) for pair in tables[name].to_pylist()]
    assert sorted(pair["id"] for pair in pairs) == [f"{n:03}" for n in range(40) if n % 2]
    assert pairs[0]["prompt"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": f"Why {int(pairs[0]['id'])}?"},
    ]
    assert pairs[0]["chosen"] == [{"role": "assistant", "content": "Yes."}] and pairs[0]["rejected"] == WORSE
    for split in ("train", "validation"):
        ids = set(tables[f"train/{split}-00000.parquet"]["id"].to_pylist())
        assert set(tables[f"preference/{split}-00000.parquet"]["id"].to_pylist()) <= ids


def test_no_column_of_a_conversation_is_taken_for_something_else_by_trainers(
    tmp_path: Path, recipe: Recipe
) -> None:
    files = exported(tmp_path, recipe, [row(n) for n in range(9)])
    assert not any(name.startswith("preference") for name in files)
    columns = pq.read_schema(tmp_path / files[0]).names
    assert columns[:2] == ["id", "messages"] and "prompt_file" in columns
    assert not {"prompt", "completion", "text", "chosen", "rejected"} & set(columns)


def test_both_are_subsets_that_the_card_names(tmp_path: Path, recipe: Recipe) -> None:
    from datasets import load_dataset

    exported(tmp_path / "run", recipe, [row(n, rejected=WORSE) for n in range(20)])
    cache = str(tmp_path / "cache")
    whole = load_dataset(str(tmp_path / "run"), cache_dir=cache)
    assert (
        whole["train"].num_rows + whole["validation"].num_rows == 20
        and "messages" in whole["train"].column_names
    )
    pairs = load_dataset(str(tmp_path / "run"), "preference", cache_dir=cache)
    assert pairs["train"].column_names == ["id", "prompt", "chosen", "rejected"]
    alone = load_dataset(str(tmp_path / "run" / "preference"), cache_dir=cache)
    assert alone["train"][0] == pairs["train"][0]
