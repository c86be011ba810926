"""Other tools on the same rows, each in a process of its own and by an interpreter that has them.

    PYTHON benchmarks/peers.py TOOL ROWS.parquet OUT.json

ROWS has the columns `id` and `text`. OUT gets the ids removed, and the CPU seconds from reading the rows to
the last verdict, without imports. Near-duplicates: 5 words, Jaccard 0.8. It imports nothing of synth.
"""

import importlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

WORD = re.compile(r"\w+")
THRESHOLD, HASHES = 0.8, 128


def _read(path: str) -> tuple[list[str], list[str]]:
    table = pq.read_table(path, columns=["id", "text"])
    return table["id"].to_pylist(), table["text"].to_pylist()


def _shingles(text: str) -> list[str]:
    words = WORD.findall(text.lower())
    return [" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))]


def rensa(path: str) -> list[str]:
    """R-MinHash and its deduplicator, which holds each row against those kept before it."""
    tool = importlib.import_module("rensa")
    ids, said = _read(path)
    kept = tool.RMinHashDeduplicator(THRESHOLD, HASHES, True, 32, 42)
    new: list[bool] = []
    for at in range(0, len(ids), 4096):
        sets = [_shingles(text) for text in said[at : at + 4096]]
        sketches = tool.RMinHash.from_token_sets(sets, HASHES, 42)
        new += kept.add_pairs(list(zip(ids[at : at + 4096], sketches, strict=True)))
    return [row for row, fresh in zip(ids, new, strict=True) if not fresh]


def gaoya(path: str) -> list[str]:
    """Its own index of strings; a row goes where an earlier one is found."""
    tool = importlib.import_module("gaoya.minhash")
    ids, said = _read(path)
    index = tool.MinHashStringIndex(
        hash_size=32,
        jaccard_threshold=THRESHOLD,
        num_bands=24,
        band_size=6,
        num_hashes=144,
        analyzer="word",
        lowercase=True,
        ngram_range=(5, 5),
        id_container="vec",
    )
    index.par_bulk_insert_docs(list(range(len(ids))), said)
    gone: set[int] = set()
    for row, found in enumerate(index.par_bulk_query(said)):
        if any(other < row and other not in gone for other in found):
            gone.add(row)
    return [ids[row] for row in sorted(gone)]


def datasketch(path: str) -> list[str]:
    """MinHashLSH: a row goes where one kept before it shares a band."""
    tool = importlib.import_module("datasketch")
    ids, said = _read(path)
    index = tool.MinHashLSH(threshold=THRESHOLD, num_perm=HASHES)
    gone = []
    for row, text in zip(ids, said, strict=True):
        sketch = tool.MinHash(num_perm=HASHES)
        sketch.update_batch([each.encode() for each in _shingles(text)])
        if index.query(sketch):
            gone.append(row)
        else:
            index.insert(row, sketch, check_duplication=False)
    return gone


def _without(ids: list[str], kept: Iterator[str]) -> list[str]:
    stays = set(kept)
    return [row for row in ids if row not in stays]


def polars(path: str) -> list[str]:
    """The first id of each text, streaming over hashes of folded texts."""
    tool = importlib.import_module("polars")
    rows = tool.scan_parquet(path).select("id", "text")
    folded = tool.col("text").str.to_lowercase().str.replace_all(r"\W+", " ").str.strip_chars()
    kept = rows.group_by(folded.hash()).agg(tool.col("id").min()).select("id").collect(engine="streaming")
    ids = tool.scan_parquet(path).select("id").collect()["id"].to_list()
    return _without(ids, iter(kept["id"].to_list()))


def polars_bytes(path: str) -> list[str]:
    """The same without folding: only rows of the same bytes are found."""
    tool = importlib.import_module("polars")
    rows = tool.scan_parquet(path).select("id", "text")
    by = tool.col("text").hash()
    kept = rows.group_by(by).agg(tool.col("id").min()).select("id").collect(engine="streaming")
    ids = tool.scan_parquet(path).select("id").collect()["id"].to_list()
    return _without(ids, iter(kept["id"].to_list()))


def duckdb(path: str) -> list[str]:
    """The first id of each folded text."""
    tool = importlib.import_module("duckdb")
    folded = r"trim(regexp_replace(lower(text), '\W+', ' ', 'g'))"
    kept = tool.sql(f"select min(id) from '{path}' group by hash({folded})").fetchall()
    ids = [row for [row] in tool.sql(f"select id from '{path}'").fetchall()]
    return _without(ids, iter(row for [row] in kept))


def pandas(path: str) -> list[str]:
    """`duplicated` of the folded texts."""
    tool = importlib.import_module("pandas")
    rows = tool.read_parquet(path, columns=["id", "text"])
    folded = rows["text"].str.lower().str.replace(r"\W+", " ", regex=True).str.strip()
    gone: list[str] = rows["id"][folded.duplicated()].tolist()
    return gone


NEAR: dict[str, Callable[[str], list[str]]] = {"rensa": rensa, "gaoya": gaoya, "datasketch": datasketch}
EXACT: dict[str, Callable[[str], list[str]]] = {
    "polars": polars,
    "polars_bytes": polars_bytes,
    "duckdb": duckdb,
    "pandas": pandas,
}


def peak() -> float:
    """The most memory that this process held, in MB."""
    [line] = [each for each in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in each]
    return int(line.split()[1]) / 1000


def main(tool: str, rows: str, out: str) -> None:
    """Run one tool and write what it removed, and its CPU and wall seconds."""
    importlib.import_module({"gaoya": "gaoya.minhash"}.get(tool, tool.removesuffix("_bytes")))
    wall, cpu = time.perf_counter(), time.process_time()
    gone = {**NEAR, **EXACT}[tool](rows)
    seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    Path(out).write_text(json.dumps({"removed": gone, "peak": peak(), **seconds}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
