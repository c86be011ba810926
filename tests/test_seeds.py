import datetime
import decimal
import hashlib
import json
import random
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth.errors import DataError
from synth.seeds import make_seed, read_seeds
from synth.types import JSON


def jsonl(file: Path, *rows: JSON) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def fields_of(path: str, chunk: int | None = None) -> list[dict[str, JSON]]:
    return [dict(seed.fields) for seed in read_seeds(path, chunk=chunk)]


def test_the_same_rows_are_the_same_seeds_in_every_kind_of_file(tmp_path: Path) -> None:
    rows: list[dict[str, JSON]] = [{"a": "one", "b": "ä, b"}, {"a": "two", "b": 'a "quoted"\nline'}]
    paths = [jsonl(tmp_path / "s.jsonl", *rows), str(tmp_path / "s.csv"), str(tmp_path / "s.parquet")]
    text = '\ufeffa,b\none,"ä, b"\ntwo,"a ""quoted""\nline"\n'
    (tmp_path / "s.csv").write_text(text, encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    assert [fields_of(path) for path in paths] == [rows] * 3
    assert len({read_seeds(path).digest for path in paths}) == 1


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


def test_documents_are_cut_into_chunks_that_name_their_place(tmp_path: Path) -> None:
    texts = {"a.md": "# One\n\na b c d.\n\n# Two\n\ne f g h.", "b.txt": "i j. k."}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    seeds = read_seeds(str(tmp_path), chunk=6)
    assert [seed.fields["text"] for seed in seeds] == ["# One\n\na b c d.", "# Two\n\ne f g h.", "i j. k."]
    for fields in (seed.fields for seed in seeds):
        start, end = fields["start"], fields["end"]
        assert isinstance(start, int) and isinstance(end, int)
        assert texts[str(fields["file"])][start:end] == fields["text"]
    assert seeds.every == {"text", "file", "start", "end"}
    assert len(read_seeds(str(tmp_path), chunk=6, rows=2)) == 2
    digests = [
        read_seeds(str(tmp_path), chunk=size, overlap=lap).digest for size, lap in ((6, 0), (2, 0), (2, 1))
    ]
    assert len({*digests, read_seeds(str(tmp_path)).digest, seeds.digest}) == 4
    path = jsonl(tmp_path / "s.jsonl", {"text": "a b c", "title": "T"})
    assert fields_of(path, chunk=2)[1] == {"text": "c", "title": "T", "start": 4, "end": 5}
    with pytest.raises(DataError, match=r"row 2 has no text in `text` to cut"):
        read_seeds(jsonl(tmp_path / "s.jsonl", {"text": "a"}, {"question": "b"}), chunk=2)


def test_equal_lines_are_one_seed_whatever_the_order_of_their_keys(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 2})
    assert len(read_seeds(path)) == 2
    assert make_seed({"a": 1, "b": 2}).id == make_seed({"b": 2, "a": 1}).id


def test_what_json_has_no_word_for_becomes_text(tmp_path: Path) -> None:
    row = {"day": datetime.date(2026, 1, 2), "price": decimal.Decimal("1.50"), "raw": b"x", "n": 3}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "s.parquet")
    [fields] = fields_of(str(tmp_path / "s.parquet"))
    assert fields == {"day": "2026-01-02", "price": "1.50", "raw": "b'x'", "n": 3}
    assert json.dumps(fields)


def test_rows_takes_the_first_and_never_fewer_than_asked(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", *({"n": n} for n in range(5)))
    assert [seed.fields["n"] for seed in read_seeds(path, rows=3)] == [0, 1, 2]
    with pytest.raises(DataError, match=r"has 5 different seeds, fewer than the 6 rows asked; lower"):
        read_seeds(path, rows=6)


def test_samples_are_drawn_without_replacement_and_the_same_each_time(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", *({"n": n} for n in range(20)))
    seeds = list(read_seeds(path, rows=50, sample=8))
    assert seeds == list(read_seeds(path, rows=50, sample=8))
    assert seeds[:10] == list(read_seeds(path, rows=10, sample=8))
    assert len({seed.id for seed in seeds}) == 50
    for number, seed in enumerate(seeds):
        examples = seed.fields["examples"]
        assert isinstance(examples, list)
        assert len({example["n"] for example in examples}) == 8
        assert seed.fields["number"] == number
    assert len(read_seeds(path, sample=2)) == 20
    with pytest.raises(DataError, match=r"fewer than \[seeds\] sample = 21; lower it"):
        read_seeds(path, sample=21)


def test_samples_hang_on_the_lines_and_the_seeds_number_alone(tmp_path: Path) -> None:
    rows: list[Mapping[str, JSON]] = [{"n": n} for n in range(20)]
    drawn = read_seeds(jsonl(tmp_path / "s.jsonl", *rows, *rows), rows=30, sample=3)
    digest = hashlib.sha256("".join(make_seed(row).id for row in rows).encode()).hexdigest()
    for number, seed in enumerate(drawn):
        examples = random.Random(f"{digest}:{number}").sample(rows, 3)
        assert seed == make_seed({"examples": examples, "number": number})
    assert drawn.every == drawn.some == {"examples", "number"}


@pytest.mark.parametrize("sample", [None, 2])
def test_seeds_are_the_same_each_time_and_their_digest_is_of_their_ids(
    tmp_path: Path, sample: int | None
) -> None:
    path = jsonl(tmp_path / "s.jsonl", *({"n": n // 2} for n in range(10_000)))
    for rows in (None, 4_500):
        seeds = read_seeds(path, rows=rows, sample=sample)
        assert len(list(seeds)) == len(seeds) == (rows or 5_000)
        assert [seed.id for seed in seeds] == [seed.id for seed in seeds]
        ids = "".join(seed.id for seed in seeds)
        assert seeds.digest == hashlib.sha256(ids.encode()).hexdigest()[:16]


def test_only_the_seeds_of_the_run_decide_its_digest_and_fields(tmp_path: Path) -> None:
    rows: list[JSON] = [{"a": 1, "b": 1}, {"b": 2, "a": 2, "c": 2}, {"a": 1, "b": 1}, {"a": 3}, {"d": 4}]
    path = jsonl(tmp_path / "s.jsonl", *rows)
    found = {n: read_seeds(path, rows=n) for n in (1, 2, 3, 4)}
    assert [found[n].every for n in found] == [{"a", "b"}, {"a", "b"}, {"a"}, set()]
    assert [found[n].some for n in found] == [set("ab"), set("abc"), set("abc"), set("abcd")]
    assert found[3].digest == read_seeds(jsonl(tmp_path / "t.jsonl", *rows[:4])).digest
    assert len({seeds.digest for seeds in found.values()}) == 4


@pytest.mark.parametrize(
    ("content", "how"),
    [
        ('{"n": 0}\n{"n": 1}\n', "lines are gone"),
        ('{"n": 0}\n{"n": 2}\n{"n": 1}\n', "a line is another"),
        ('{"n": 0}\n{"n": 1}\n{"n":', r"s\.jsonl:3: is no JSON"),
        (None, "No such file"),
    ],
)
def test_a_file_that_changes_while_it_is_read_is_found_out(
    tmp_path: Path, content: str | None, how: str
) -> None:
    file = tmp_path / "s.jsonl"
    seeds = read_seeds(jsonl(file, {"n": 0}, {"n": 1}, {"n": 2}))
    assert len(list(seeds)) == 3
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match=rf"changed while the run was reading it \(.*{how}.*\); run again"):
        list(seeds)


def test_a_repeated_line_that_changes_is_found_out_too(tmp_path: Path) -> None:
    seeds = read_seeds(jsonl(tmp_path / "s.jsonl", {"n": 0}, {"n": 0}, {"n": 1}))
    jsonl(tmp_path / "s.jsonl", {"n": 0}, {"n": 9}, {"n": 1})
    with pytest.raises(DataError, match="changed while"):
        list(seeds)


def test_lines_added_while_the_run_reads_are_of_the_next_run(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", {"n": 0}, {"n": 1})
    seeds = read_seeds(path)
    with Path(path).open("a") as file:
        file.write('{"n": 2}\n')
    assert [seed.fields["n"] for seed in seeds] == [0, 1]
    assert len(read_seeds(path)) == 3


def test_a_hundred_thousand_seeds_take_hardly_more_memory_than_a_thousand(tmp_path: Path) -> None:
    few, many = (jsonl(tmp_path / f"{n}.jsonl", *({"n": n} for n in range(n))) for n in (1_000, 100_000))
    assert peak_of(many) - peak_of(few) < 5_000_000


def test_parquet_is_read_by_batches_that_are_let_go(tmp_path: Path) -> None:
    for rows in (5_000, 20_000):
        pq.write_table(pa.table({"text": [f"{n}" * 50 for n in range(rows)]}), tmp_path / f"{rows}.parquet")
    few, many = (str(tmp_path / f"{rows}.parquet") for rows in (5_000, 20_000))
    assert peak_of(many) - peak_of(few) < 1_000_000


def peak_of(path: str) -> int:
    """The most bytes that are held while all seeds are read."""
    tracemalloc.start()
    try:
        seeds = read_seeds(path)
        assert sum(1 for _ in seeds) == len(seeds)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


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
        read_seeds(str(tmp_path / name))


def test_a_folder_without_documents_or_one_that_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no document; put \.txt, \.md, \.html, .*\.pdf, \.docx"):
        read_seeds(str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b" ")
    with pytest.raises(DataError, match="has no seeds"):
        read_seeds(str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"a\.txt: is no UTF-8 text"):
        read_seeds(str(tmp_path))
    with pytest.raises(DataError, match="no such seed file"):
        read_seeds(str(tmp_path / "none.jsonl"))
