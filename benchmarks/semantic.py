"""Near-duplicates in meaning: rows a second of a processor and recall, beside brute force over all pairs.

    python benchmarks/semantic.py PROMPTS.parquet TEST.jsonl REPHRASED.jsonl

PROMPTS has a column `prompt`; line i of REPHRASED (key `text`) says in other words what line i of TEST (key
`question`) says. Prints Markdown tables.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synth.compute import vectors
from synth.compute.embeddings import PART_ROWS, embedder
from synth.compute.vectors import Chosen, Vectors, greedy
from synth.selectors.semantic import numbers_of

THRESHOLDS = (0.9, 0.95)


def timed(work: Callable[[], Chosen]) -> tuple[Chosen, float]:
    """What a call gives, and the seconds that processors worked for it."""
    start = process_time()
    return work(), process_time() - start


def embed(texts: pa.StringArray, model: str) -> Vectors:
    """The vectors of texts, as many at a time as a run makes."""
    parts = (texts.slice(start, PART_ROWS) for start in range(0, len(texts), PART_ROWS))
    return np.concatenate([embedder(model).embed(part) for part in parts])


def speed(prompts: Path, say: Callable[[str], object]) -> None:
    """Embedding and search of real prompts; recall is the share of what brute force removes."""
    texts = pq.read_table(prompts, columns=["prompt"])["prompt"].combine_chunks().cast(pa.string())
    embedder("words").embed(texts.slice(0, 8))
    start = process_time()
    held = embed(texts, "words")
    say(f"embedding, {len(texts):,} rows: {len(texts) / (process_time() - start):,.0f} rows per CPU s\n\n")
    order = np.arange(len(held))
    vectors.EXACT = 0
    greedy(held[:100], order[:100], 0.9)
    say("| threshold | search | rows per CPU s | removed | recall | precision |\n")
    say("|---|---|---:|---:|---:|---:|\n")
    for threshold in THRESHOLDS:
        found: dict[str, tuple[Chosen, float]] = {}
        for name, exact in (("all pairs", len(held)), ("two cells", 0)):
            vectors.EXACT = exact
            found[name] = timed(lambda at=threshold: greedy(held, order, at))  # type: ignore[misc]
        wanted = ~found["all pairs"][0].taken
        for name, (chosen, seconds) in found.items():
            gone = ~chosen.taken
            true = _true(held, chosen, threshold)
            recall = (gone & wanted).sum() / wanted.sum()
            speed_of = len(held) / seconds
            say(f"| {threshold} | {name} | {speed_of:,.0f} | {gone.sum():,} | {recall:.4f} | {true:.4f} |\n")


def _true(held: Vectors, chosen: Chosen, threshold: float) -> float:
    """The share of removed rows that are as near as asked to the row they name, which stays."""
    gone = np.flatnonzero(~chosen.taken)
    near = chosen.nearest[gone]
    cosines = np.einsum("ij,ij->i", held[gone], held[near])
    return float(((cosines >= threshold - 1e-4) & chosen.taken[near]).mean())


def rephrased(test: Path, others: Path, model: str, say: Callable[[str], object]) -> None:
    """Of which threshold items and their rephrasings are duplicates, and items that are others."""
    items = [str(orjson.loads(line)["question"]) for line in test.read_bytes().splitlines()]
    said = [str(orjson.loads(line)["text"]) for line in others.read_bytes().splitlines()]
    said = [text.split("Question:", 1)[-1].split("\nAnswer:")[0].strip() for text in said]
    one, other = (embed(pa.array(texts, pa.string()), model) for texts in (items, said))
    same = _numbers(items)[:, None] == _numbers(items)[None, :]
    kept = np.array([numbers_of(a) == numbers_of(b) for a, b in zip(items, said, strict=True)])
    own, among = np.einsum("ij,ij->i", one, other), one @ one.T
    np.fill_diagonal(among, -1)
    alike = np.where(same, among, -1).max(axis=1)
    say(f"\n| {model} | rephrased found | others taken for one | the same, numbers alike | others |\n")
    say("|---|---:|---:|---:|---:|\n")
    for threshold in (0.7, 0.8, 0.85, 0.9, 0.95):
        near = own >= threshold
        shares = (near, among.max(axis=1) >= threshold, near & kept, alike >= threshold)
        say(f"| {threshold} | {' | '.join(f'{share.sum():,} of {len(items):,}' for share in shares)} |\n")


def _numbers(texts: list[str]) -> "NDArray[np.int64]":
    known: dict[tuple[str, ...], int] = {}
    return np.array([known.setdefault(numbers_of(text), len(known)) for text in texts])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name in ("prompts", "test", "rephrased"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--model", default="words")
    options = parser.parse_args()
    speed(options.prompts, sys.stdout.write)
    rephrased(options.test, options.rephrased, options.model, sys.stdout.write)


if __name__ == "__main__":
    main()
