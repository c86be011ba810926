import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from rows import calling

from synth.errors import BusyError, DataError
from synth.store import (
    SCHEMA,
    TOOL_SCHEMA,
    Counts,
    Dataset,
    read_parquet,
    sha256,
    to_record,
    to_table,
    write_parquet,
    write_whole,
)
from synth.types import Record, Verdict


def record(row_id: str) -> Record:
    return Record(
        messages=[{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because, ü."}],
        seed_id="seed",
        prompt="ask@12345678",
        sample=2,
        fields={"topic": "x", "list": [1, {"deep": None}], "share": 0.5},
        id=row_id,
        strategy="template",
        model="local",
        status="rejected",
        replies=["abc", "def"],
        parents=["other"],
        prompt_tokens=7,
        completion_tokens=9,
        verdicts=(Verdict("length", True, 2.0), Verdict("rubric", False, None, "no score")),
        duplicate_of="other",
    )


def test_a_record_comes_back_from_parquet_as_it_went_in(tmp_path: Path) -> None:
    records = [record("b"), record("a")]
    write_parquet(tmp_path / "x.parquet", to_table(records))
    table = read_parquet(tmp_path / "x.parquet")
    assert table.schema == SCHEMA
    assert [to_record(row) for row in table.to_pylist()] == [record("a"), record("b")]
    assert table["rejected_by"].to_pylist() == ["rubric", "rubric"]
    assert table["reason"].to_pylist() == ["no score", "no score"]


def test_a_record_with_tools_comes_back_as_it_went_in_beside_one_without(tmp_path: Path) -> None:
    tooled = replace(record("a"), messages=calling().messages, tools=calling().tools)
    write_parquet(tmp_path / "x.parquet", to_table([record("b"), tooled]))
    table = read_parquet(tmp_path / "x.parquet")
    assert table.schema == TOOL_SCHEMA
    rows = table.to_pylist()
    assert [to_record(row) for row in rows] == [tooled, record("b")]
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert rows[0]["messages"][1]["tool_calls"].startswith('[{"id":"sim000001"') and rows[1]["tools"] is None


def test_the_same_records_give_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    records = [record(f"{n:03}") for n in range(50)]
    write_parquet(tmp_path / "one.parquet", to_table(records))
    write_parquet(tmp_path / "two.parquet", to_table(reversed(records)))
    assert sha256(tmp_path / "one.parquet") == sha256(tmp_path / "two.parquet")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file"
    write_whole(file, b"old")
    with pytest.raises(TypeError):
        write_whole(file, "no bytes")  # type: ignore[arg-type]
    assert file.read_bytes() == b"old"
    assert list(file.parent.iterdir()) == [file]
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "gone"])
def test_a_corrupt_parquet_file_is_named_with_its_mend(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "x.parquet"
    write_parquet(file, to_table([record("a")]))
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[:-20], "text": b"no Parquet", "empty": b"", "gone": b""}[damage])
    if damage == "gone":
        file.unlink()
    with pytest.raises(DataError, match=r"x\.parquet: is no readable Parquet .*; remove it and run again"):
        read_parquet(file)


HOLDER = """
import sys
from synth.store import Dataset
with Dataset(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def test_a_lock_names_the_process_that_holds_it_and_dies_with_it(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "run")
    with held(tmp_path / "run") as holder:
        message = rf"run: process {holder.pid} works here; wait for it"
        for _ in range(2):
            with pytest.raises(BusyError, match=message), dataset.lock():
                pass
    with dataset.lock():
        assert (tmp_path / "run" / ".lock").read_text() == str(os.getpid())
    with dataset.lock():
        pass


def stage(tmp_path: Path) -> tuple[Dataset, Path]:
    dataset = Dataset(tmp_path)
    file = tmp_path / "raw" / "part-00000.parquet"
    write_parquet(file, to_table([record("a")]))
    dataset.record("generate", {"inputs": "key", "rows": 3}, [file])
    return dataset, file


def test_a_stage_is_done_while_inputs_and_files_are_what_they_were(tmp_path: Path) -> None:
    dataset, file = stage(tmp_path)
    entry = dataset.done("generate", "key")
    assert entry is not None and entry["rows"] == 3
    described = entry["files"]["raw/part-00000.parquet"]
    assert described == {"sha256": sha256(file), "bytes": file.stat().st_size, "rows": 1}
    assert dataset.done("generate", "another key") is None
    assert dataset.done("curate", "key") is None


def test_a_stage_whose_file_changed_or_went_is_not_done(tmp_path: Path) -> None:
    dataset, file = stage(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    assert dataset.done("generate", "key") is None
    file.write_bytes(whole)
    assert dataset.done("generate", "key") is not None
    file.unlink()
    assert dataset.done("generate", "key") is None


def test_a_file_of_a_stage_that_was_written_anew_leaves_it_done(tmp_path: Path) -> None:
    dataset, file = Dataset(tmp_path), tmp_path / "card.md"
    file.write_text("no scores yet")
    dataset.rewritten("train", file)
    assert dataset.manifest == {}
    dataset.record("train", {"inputs": "a"}, [file])
    file.write_text("scores")
    assert dataset.done("train", "a") is None
    dataset.rewritten("train", file)
    assert dataset.done("train", "a") is not None


def test_stages_are_recorded_beside_one_another_and_a_corrupt_manifest_is_named(tmp_path: Path) -> None:
    dataset, file = stage(tmp_path)
    dataset.record("curate", {"inputs": "other"}, [file])
    assert dataset.done("generate", "key") and dataset.done("curate", "other")
    (tmp_path / "manifest.json").write_bytes(b'{"stages"')
    with pytest.raises(DataError, match=r"manifest\.json: is no JSON"):
        dataset.done("generate", "key")


def test_a_dataset_scans_counts_and_becomes_pandas_in_shard_order(tmp_path: Path) -> None:
    for number in range(3):
        rows = [record(f"{number}{n}") for n in range(2)]
        write_parquet(tmp_path / "curated" / f"part-{number:05d}.parquet", to_table(rows))
    dataset = Dataset(tmp_path)
    ids = ["00", "01", "10", "11", "20", "21"]
    assert [row.id for row in dataset.scan()] == ids
    assert list(dataset.to_pandas()["id"]) == ids
    assert str(dataset.counts()) == "6 planned = 0 kept + 6 rejected (rubric 6) + 0 failed"


def test_counts_reconcile_in_one_line() -> None:
    counts = Counts(
        {
            ("kept", "", ""): 280,
            ("rejected", "refusal", "declines"): 400,
            ("rejected", "length", "fewer than 3 words"): 450,
            ("rejected", "length", "more than 9 words"): 50,
            ("failed", "template", "HTTP 500"): 20,
        }
    )
    assert str(counts) == (
        "1,200 planned = 280 kept + 900 rejected (length 500, refusal 400) + 20 failed (template 20)"
    )
    data = counts.to_json()
    assert data["planned"] == data["kept"] + data["rejected"] + data["failed"] == 1200
    assert sum(row["rows"] for row in data["by_reason"]) == 1200


def test_a_table_of_no_records_has_the_schema() -> None:
    assert to_table([]).schema == SCHEMA
    assert isinstance(to_table([]), pa.Table)
