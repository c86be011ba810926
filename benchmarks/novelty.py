"""How long it takes to hold each of many instructions against all earlier ones by ROUGE-L.

    python benchmarks/novelty.py --data DIR            real prompts of P3 and Dolly below DIR
    python benchmarks/novelty.py --data DIR --texts 50000

The index beside the paper's way, `rouge_score` on every pair, of which a sample is timed and multiplied.
"""

import json
import random
import time
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table
from rouge_score import rouge_scorer

from synth.novelty import Index, words

THRESHOLD = 0.7
PAIRS = 20_000
"""Pairs of which the paper's way is timed."""
out = Console(highlight=False)


def texts_of(data: Path, number: int) -> list[str]:
    """Different prompts of 4 to 150 words, the paper's bounds, in an order drawn once."""
    found = [row["instruction"] for row in json.loads((data / "dolly" / "dolly_3k.json").read_bytes())]
    found += pq.read_table(data / "p3" / "t0_train_50k.parquet", columns=["prompt"])["prompt"].to_pylist()
    fit = [text for text in dict.fromkeys(found) if 3 < len(text.split()) <= 150]
    random.Random(0).shuffle(fit)
    return fit[:number]


def indexed(texts: list[str]) -> tuple[list[float], int]:
    """Seconds of each tenth of the texts, and how many were near an earlier one."""
    index, seconds, near = Index(THRESHOLD), [], 0
    for tenth in range(10):
        began = time.perf_counter()
        for text in texts[tenth * len(texts) // 10 : (tenth + 1) * len(texts) // 10]:
            if index.nearest(text) is None:
                index.add(text)
            else:
                near += 1
        seconds.append(time.perf_counter() - began)
    return seconds, near


def by_pair(texts: list[str]) -> float:
    """Seconds of one comparison by `rouge_score`, in the mean of `PAIRS` drawn pairs."""
    scorer, draw = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False), random.Random(1)
    pairs = [draw.sample(texts, 2) for _ in range(PAIRS)]
    began = time.perf_counter()
    for one, other in pairs:
        scorer.score(one, other)
    return (time.perf_counter() - began) / PAIRS


def main(
    data: Annotated[Path, typer.Option(help="The folder that holds dolly/ and p3/.")],
    texts: Annotated[int, typer.Option(min=10, help="How many instructions.")] = 10_000,
) -> None:
    """Time both, and print a table."""
    chosen = texts_of(data, texts)
    length = sum(len(words(text)) for text in chosen) / len(chosen)
    seconds, near = indexed(chosen)
    pair = by_pair(chosen)
    kept = len(chosen) - near
    whole = pair * kept * (kept - 1) / 2
    table = Table(
        title=f"{len(chosen):,} instructions, {length:.0f} words in the mean, ROUGE-L > {THRESHOLD}"
    )
    for name in ("way", "seconds", "texts a second"):
        table.add_column(name, justify="left" if name == "way" else "right")
    table.add_row("index, all texts", f"{sum(seconds):,.1f}", f"{len(chosen) / sum(seconds):,.0f}")
    table.add_row("index, first tenth", f"{seconds[0]:,.2f}", f"{len(chosen) / 10 / seconds[0]:,.0f}")
    table.add_row("index, last tenth", f"{seconds[-1]:,.2f}", f"{len(chosen) / 10 / seconds[-1]:,.0f}")
    table.add_row(
        f"rouge_score, every pair (from {PAIRS:,} pairs)", f"{whole:,.0f}", f"{len(chosen) / whole:,.2f}"
    )
    out.print(table)
    out.print(f"{near:,} of {len(chosen):,} are near an earlier one; ratio {whole / sum(seconds):,.0f}")


if __name__ == "__main__":
    typer.run(main)
