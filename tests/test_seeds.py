import datetime
import decimal
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth.errors import DataError
from synth.seeds import digest_seeds, load_seeds, make_seed
from synth.types import JSON


def jsonl(file: Path, *rows: JSON) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def fields_of(path: str) -> list[dict[str, JSON]]:
    return [dict(seed.fields) for seed in load_seeds(path)]


def test_the_same_rows_are_the_same_seeds_in_every_kind_of_file(tmp_path: Path) -> None:
    rows: list[dict[str, JSON]] = [{"a": "one", "b": "ä, b"}, {"a": "two", "b": 'a "quoted"\nline'}]
    paths = [jsonl(tmp_path / "s.jsonl", *rows), str(tmp_path / "s.csv"), str(tmp_path / "s.parquet")]
    text = '\ufeffa,b\none,"ä, b"\ntwo,"a ""quoted""\nline"\n'
    (tmp_path / "s.csv").write_text(text, encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    assert [fields_of(path) for path in paths] == [rows] * 3
    assert len({digest_seeds(load_seeds(path)) for path in paths}) == 1


def test_a_folder_is_a_seed_a_document(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.md").write_text("Second")
    (tmp_path / "deep" / "a.txt").write_text("Third")
    (tmp_path / "a.txt").write_text("First")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "code.py").write_text("x = 1")
    assert fields_of(str(tmp_path)) == [
        {"text": "First", "file": "a.txt"},
        {"text": "Second", "file": "b.md"},
        {"text": "Third", "file": "deep/a.txt"},
    ]


def test_equal_lines_are_one_seed_whatever_the_order_of_their_keys(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 2})
    assert len(load_seeds(path)) == 2
    assert make_seed({"a": 1, "b": 2}).id == make_seed({"b": 2, "a": 1}).id


def test_what_json_has_no_word_for_becomes_text(tmp_path: Path) -> None:
    row = {"day": datetime.date(2026, 1, 2), "price": decimal.Decimal("1.50"), "raw": b"x", "n": 3}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "s.parquet")
    [fields] = fields_of(str(tmp_path / "s.parquet"))
    assert fields == {"day": "2026-01-02", "price": "1.50", "raw": "b'x'", "n": 3}
    assert json.dumps(fields)


def test_rows_takes_the_first_and_never_fewer_than_asked(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", *({"n": n} for n in range(5)))
    assert [seed.fields["n"] for seed in load_seeds(path, rows=3)] == [0, 1, 2]
    with pytest.raises(DataError, match=r"has 5 different seeds, fewer than the 6 rows asked; lower"):
        load_seeds(path, rows=6)


def test_samples_are_drawn_without_replacement_and_the_same_each_time(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", *({"n": n} for n in range(20)))
    seeds = load_seeds(path, rows=50, sample=8)
    assert seeds == load_seeds(path, rows=50, sample=8)
    assert seeds[:10] == load_seeds(path, rows=10, sample=8)
    assert len({seed.id for seed in seeds}) == 50
    for number, seed in enumerate(seeds):
        examples = seed.fields["examples"]
        assert isinstance(examples, list)
        assert len({example["n"] for example in examples}) == 8
        assert seed.fields["number"] == number
    assert len(load_seeds(path, sample=2)) == 20
    with pytest.raises(DataError, match=r"fewer than \[seeds\] sample = 21; lower it"):
        load_seeds(path, sample=21)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.jsonl", b"", r"s\.jsonl: has no seeds; put at least one line in"),
        ("s.jsonl", b'{"a": 1}\n\n{"a": \n', r"s\.jsonl:3: is no JSON"),
        ("s.jsonl", b'{"a": 1}\n[1]\n', r"s\.jsonl:2: must be a JSON object"),
        ("s.jsonl", b'{"a": "\xff"}\n', r"s\.jsonl:1: is no JSON"),
        ("s.csv", b"a,b\n1\n", r"s\.csv:2: has more or fewer cells than the header"),
        ("s.csv", b"a,b\n1,2\n1,2,3\n", r"s\.csv:3: has more or fewer cells than the header"),
        ("s.csv", b'a,b\n"1,2\n', r"s\.csv: is no valid CSV"),
        ("s.csv", b"a,b\n\xff,2\n", r"s\.csv: is no valid CSV"),
        ("s.parquet", b"PAR1 this is none PAR1", r"s\.parquet: is no readable Parquet"),
        ("s.parquet", b"", r"s\.parquet: is no readable Parquet"),
        ("s.xlsx", b"x", r"s\.xlsx: seeds are \.jsonl, \.csv"),
    ],
)
def test_a_wrong_seed_file_is_named_with_its_line_and_mend(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_seeds(str(tmp_path / name))


def test_a_folder_without_documents_or_one_that_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no seeds"):
        load_seeds(str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"a\.txt: is no UTF-8 text"):
        load_seeds(str(tmp_path))
    with pytest.raises(DataError, match="no such seed file"):
        load_seeds(str(tmp_path / "none.jsonl"))
