"""Exact and near-duplicates: speed, memory, recall and precision beside other tools, in one run.

    python benchmarks/curation.py --data DIR --peers PYTHON        52k and 500k rows, as two tables
    python benchmarks/curation.py --data DIR --million             1M rows through exact + minhash

The rows are made of pieces of real prompts of P3 (below DIR), always the same. A tenth of them are another
row with words exchanged until the Jaccard similarity of their 5-word shingles lies in a drawn twentieth from
0.7 to 1; the similarity that came out is the truth. Each tool runs in a process of its own.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console

from synth.store import VERDICTS

WORD = re.compile(r"[^\W_]+")
HERE = Path(__file__).parent
PLANTED, COPIED = 0.1, 0.02
"""Shares of near and of equal rows."""
out = Console(highlight=False, soft_wrap=True)


@dataclass(slots=True)
class Truth:
    """Rows made, and which of them repeat which: (earlier, later, Jaccard); 1 for copies."""

    texts: list[str] = field(default_factory=list)
    pairs: list[tuple[int, int, float]] = field(default_factory=list)


def shingles(text: str) -> set[str]:
    """The 5-word shingles of a text in lower case, without punctuation."""
    words = WORD.findall(text.lower())
    return {" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))}


def similarity(one: str, other: str) -> float:
    """The Jaccard similarity of two texts."""
    left, right = shingles(one), shingles(other)
    return len(left & right) / len(left | right)


def made(data: Path, rows: int) -> Truth:
    """So many rows of pieces of prompts, with planted repetitions."""
    draw, truth = random.Random(5), Truth()
    prompts = pq.read_table(data / "p3" / "t0_train_50k.parquet", columns=["prompt"])["prompt"].to_pylist()
    pieces: list[str] = []
    for prompt in dict.fromkeys(prompts):
        words = prompt.split()
        at = 0
        while at + 12 <= len(words):
            size = draw.randint(12, 60)
            pieces.append(" ".join(words[at : at + size]))
            at += size
    pieces = list({piece[:60].lower(): piece for piece in pieces}.values())
    vocabulary = sorted({word for piece in pieces[::50] for word in piece.split()})
    while len(truth.texts) < rows:
        kind = draw.random()
        if kind > PLANTED + COPIED or not truth.texts:
            truth.texts.append(draw.choice(pieces) + " " + draw.choice(pieces))
            continue
        earlier = draw.randrange(len(truth.texts))
        text = truth.texts[earlier]
        if kind < COPIED:
            copy, share = text.upper() if draw.random() < 0.5 else text + " !", 1.0
        else:
            copy, share = edited(text, draw, vocabulary)
        if share >= 0.7:
            truth.pairs.append((earlier, len(truth.texts), share))
            truth.texts.append(copy)
    return truth


def edited(text: str, draw: random.Random, vocabulary: list[str]) -> tuple[str, float]:
    """The text with words exchanged until its similarity is at most a drawn one, and what it is then."""
    wanted = draw.choice([0.7, 0.75, 0.8, 0.85, 0.9, 0.95]) + 0.05 * draw.random()
    words, share = text.split(), 1.0
    while share > wanted:
        before, at = (list(words), share), draw.randrange(len(words))
        words[at] = draw.choice(vocabulary)
        share = similarity(text, " ".join(words))
        if share < 0.7:
            words, share = before
            break
    return " ".join(words), share


def written(truth: Truth, folder: Path, shard_rows: int) -> list[Path]:
    """The rows as Parquet shards: `text` for other tools, `messages` and `verdicts` for ours."""
    paths = []
    for number, at in enumerate(range(0, len(truth.texts), shard_rows)):
        texts = truth.texts[at : at + shard_rows]
        turns = pa.StructArray.from_arrays(
            [pa.array(["user"] * len(texts)), pa.array(texts)], ["role", "content"]
        )
        columns = {
            "id": pa.array([f"{row:016x}" for row in range(at, at + len(texts))]),
            "text": pa.array(texts),
            "messages": pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), turns),
            "verdicts": pa.array([[]] * len(texts), VERDICTS),
        }
        paths.append(folder / f"rows-{number:05d}.parquet")
        pq.write_table(pa.table(columns), paths[-1], compression="zstd")
    return paths


@dataclass(frozen=True, slots=True)
class Run:
    """What one tool did: ids removed, CPU and wall seconds of the work, the process's peak in MB."""

    removed: set[int]
    cpu: float
    wall: float
    peak: float
    more: dict[str, float]


def timed(command: list[str], result: Path) -> Run | None:
    """Run a tool; None, with a line, where it fails."""
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        out.print(f"left out: {' '.join(command[1:3])}: {done.stderr.strip().splitlines()[-1:]}")
        return None
    found = json.loads(result.read_bytes())
    removed = {int(row, 16) for row in found.pop("removed")}
    return Run(removed, found.pop("cpu"), found.pop("wall"), found.pop("peak"), found)


def recall(run: Run, truth: Truth, least: float) -> float:
    """Of the planted pairs of at least this similarity, those of which not both rows stay."""
    pairs = [(one, two) for one, two, share in truth.pairs if share >= least]
    return sum(one in run.removed or two in run.removed for one, two in pairs) / len(pairs)


def precision(run: Run, truth: Truth, known: Iterable[tuple[int, int]]) -> float:
    """Of the rows removed, those that are truly near a row that stays.

    True are planted pairs, and `known` ones whose similarity is computed here anew from the texts.
    """
    first: dict[str, int] = {}
    same = [
        first.setdefault(" ".join(WORD.findall(text.lower())), row) for row, text in enumerate(truth.texts)
    ]
    pairs = [(one, two) for one, two, share in truth.pairs if share >= 0.8]
    pairs += [(one, two) for one, two in known if similarity(truth.texts[one], truth.texts[two]) >= 0.8]
    near: defaultdict[int, set[int]] = defaultdict(set)
    for one, two in pairs:
        near[same[one]].add(same[two])
        near[same[two]].add(same[one])
    stay = {same[row] for row in range(len(same)) if row not in run.removed}
    right = sum(same[row] in stay or not stay.isdisjoint(near[same[row]]) for row in run.removed)
    return right / max(1, len(run.removed))


def compared(rows: int, truth: Truth, folder: Path, peers: Path | None, *, near: bool) -> None:
    """Print a table of all tools on these rows."""
    [path] = written(truth, folder, rows)
    ours = "minhash" if near else "exact"
    tools = (["rensa", "gaoya"] + ["datasketch"] * (rows < 100_000)) if near else []
    tools += [] if near else ["polars", "polars_bytes", "duckdb", "pandas"]
    result = folder / "result.json"
    runs = {
        f"ours ({ours})": timed([sys.executable, str(HERE / "ours.py"), ours, str(path), str(result)], result)
    }
    known = [tuple(pair) for pair in json.loads(result.read_bytes())["pairs"]]
    for tool in tools if peers else []:
        runs[tool] = timed([str(peers), str(HERE / "peers.py"), tool, str(path), str(result)], result)
    least = 0.8 if near else 1.0
    out.print(f"\n{rows:,} rows, {sum(map(len, truth.texts)) / rows:.0f} characters in the mean\n")
    out.print("| tool | rows per CPU s | wall s | peak MB | removed | recall | precision |")
    out.print("|---|---:|---:|---:|---:|---:|---:|")
    for tool, run in runs.items():
        if run is not None:
            right = f"{precision(run, truth, known):.3f}" if near else ""
            out.print(
                f"| {tool} | {rows / run.cpu:,.0f} | {run.wall:.1f} | {run.peak:,.0f} | {len(run.removed):,} "
                f"| {recall(run, truth, least):.4f} | {right} |"
            )
    mine = runs[f"ours ({ours})"]
    if mine is not None:
        out.print(
            "\nours: "
            + ", ".join(f"{name} {value:,.2f}" for name, value in mine.more.items() if name != "pairs")
        )


def main(
    data: Annotated[Path, typer.Option(help="The folder that holds p3/.")],
    peers: Annotated[Path | None, typer.Option(help="A Python that has the other tools.")] = None,
    rows: Annotated[list[int] | None, typer.Option(help="How many rows, once for each table.")] = None,
    million: Annotated[bool, typer.Option("--million", help="1M rows through exact + minhash.")] = False,
) -> None:
    """Make the rows, run the tools, print tables in Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if million:
            began = time.perf_counter()
            paths = written(made(data, 1_000_000), folder, 50_000)
            out.print(f"1,000,000 rows made in {time.perf_counter() - began:.0f} s")
            result = folder / "result.json"
            command = [sys.executable, str(HERE / "ours.py"), "both", str(paths[0].parent), str(result)]
            run = timed(command, result)
            if run is not None:
                out.print(f"wall {run.wall:.1f} s, CPU {run.cpu:.1f} s, peak {run.peak:,.0f} MB, {run.more}")
            return
        for number in rows or [52_000, 500_000]:
            truth = made(data, number)
            for near in (True, False):
                compared(number, truth, folder, peers, near=near)


if __name__ == "__main__":
    typer.run(main)
