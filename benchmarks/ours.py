"""Our selectors over Parquet files, in a process of their own: what `benchmarks/curation.py` times.

    python benchmarks/ours.py exact|minhash|both ROWS.parquet|FOLDER OUT.json

Compiling (at the first call ever on a machine) and loading the compiled code are timed apart.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synth.errors import RequestFailed
from synth.prompts import Prompts
from synth.selectors.exact import Exact
from synth.selectors.minhash import MinHash
from synth.steps import Question, Selector
from synth.store import read_parquet
from synth.types import Prompt, Reply, Sampling


@dataclass
class Files:
    """The `Rows` of these files, one in memory at a time, as in a run; `alive` says which rows are left."""

    paths: list[Path]
    folder: Path
    columns: list[str] = field(default_factory=list)
    alive: list[NDArray[np.bool_]] = field(default_factory=list)
    digest: str = ""
    prompts: Prompts = field(default_factory=lambda: Prompts(Path()))
    questions: Sequence[Question] = ()

    def __len__(self) -> int:
        return sum(int(mask.sum()) for mask in self.alive)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for path, mask in zip(self.paths, self.alive, strict=True):
            table = read_parquet(path, self.columns).filter(pa.array(mask))
            yield from table.select(self.columns).to_batches(max_chunksize=4096)

    def ask(self, asked: Sequence[Prompt], **sampling: Unpack[Sampling]) -> list[Reply | RequestFailed]:
        raise AssertionError("nobody is asked")


def passed(rows: Files, selector: Selector, removed: list[str]) -> None:
    """Take what a selector removes from the rows, and note their ids."""
    rows.columns, rows.digest = list(selector.columns), f"{rows.digest} {selector.name}"
    gone = np.array([not each.verdict.keep for each in selector.select(rows)])
    rows.columns = ["id"]
    at = 0
    for number, (batch, mask) in enumerate(zip(_shards(rows), rows.alive, strict=True)):
        here = gone[at : at + batch.num_rows]
        at += batch.num_rows
        removed += batch["id"].filter(pa.array(here)).to_pylist()
        left = mask.copy()
        left[np.flatnonzero(mask)[here]] = False
        rows.alive[number] = left


def _shards(rows: Files) -> Iterator[pa.Table]:
    for path, mask in zip(rows.paths, rows.alive, strict=True):
        yield read_parquet(path, ["id"]).filter(pa.array(mask))


def peak() -> float:
    """The most memory that this process held, in MB."""
    [line] = [each for each in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in each]
    return int(line.split()[1]) / 1000


def main(what: str, source: str, out: str) -> None:
    """Run the selectors and write what they removed, the pairs found, and seconds."""
    steps: dict[str, Selector] = {"exact": Exact(on="question"), "minhash": MinHash(on="question")}
    chosen = list(steps.values()) if what == "both" else [steps[what]]
    paths = sorted(Path(source).glob("*.parquet")) if Path(source).is_dir() else [Path(source)]
    counts = [pq.read_metadata(path).num_rows for path in paths]
    removed: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        compiling = time.process_time()
        few = Files(paths[:1], Path(name), alive=[np.arange(counts[0]) < 64], digest="few")
        for selector in chosen:
            passed(few, selector, [])
        found: dict[str, object] = {"loading or compiling, CPU s": time.process_time() - compiling}
        rows = Files(paths, Path(name), alive=[np.ones(count, np.bool_) for count in counts])
        wall, cpu = time.perf_counter(), time.process_time()
        for selector in chosen:
            began, used, number = time.perf_counter(), time.process_time(), len(removed)
            alive, digest = list(rows.alive), rows.digest
            passed(rows, selector, removed)
            found[f"{selector.name}, wall s"] = time.perf_counter() - began
            found[f"{selector.name}, CPU s"] = time.process_time() - used
            found[f"{selector.name}, removed"] = len(removed) - number
        total = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        most = peak()
        if what != "exact":
            began, again = time.perf_counter(), Files(paths, Path(name), alive=alive, digest=digest)
            passed(again, MinHash(on="question", threshold=0.9), [])
            found["minhash at 0.9 from what is stored, wall s"] = time.perf_counter() - began
        pairs = [
            [int(one, 16), int(two, 16)]
            for path in Path(name).glob("minhash-*.parquet")
            for one, two, share in zip(*pq.read_table(path).to_pydict().values(), strict=True)
            if share >= 0.8 and what == "minhash"
        ]
    text = json.dumps({"removed": removed, "pairs": pairs, "peak": most, **total, **found})
    Path(out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
