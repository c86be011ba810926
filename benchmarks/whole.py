"""A million rows through the command that people type: `synth curate DATASET --recipe R`, then `synth dedup`.

    python benchmarks/whole.py --data DIR [--rows 1000000]

Prints the wall and CPU seconds and the peak memory (PSS of the whole process tree) of each command, and what
became of the rows. They are those of `benchmarks/curation.py`.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from curation import made
from harness import Usage, measure, must
from rich.console import Console

RECIPE = """
name = "million"

[[filter]]
use = "length"

[[select]]
use = "exact"
on = "question"

[[select]]
use = "minhash"
on = "question"
threshold = 0.8
"""
out = Console(highlight=False, soft_wrap=True)
SYNTH = [sys.executable, "-c", "from synth.cli import main; main()"]


def said(name: str, usage: Usage, rows: int) -> None:
    """A line of the table, and the closing lines of the command."""
    used = f"{usage.wall:,.0f} s | {usage.cpu:,.0f} s | {usage.peak_mb:,.0f} MB"
    out.print(f"| {name} | {used} | {usage.peak_mb * 2**20 / rows:,.0f} | {rows / usage.cpu:,.0f} |")


def main(
    data: Annotated[Path, typer.Option(help="The folder that holds p3/.")],
    rows: Annotated[int, typer.Option(min=1000, help="How many rows.")] = 1_000_000,
) -> None:
    """Write the rows as one Parquet file, curate them, and move the threshold."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began, truth = time.monotonic(), made(data, rows)
        columns = {"prompt": truth.texts, "completion": ["Yes, that is so."] * rows}
        pq.write_table(pa.table(columns), folder / "rows.parquet", compression="zstd")
        (folder / "recipe.toml").write_text(RECIPE)
        del truth, columns
        out.print(f"{rows:,} rows made in {time.monotonic() - began:,.0f} s\n")
        out.print("| command | wall | CPU | peak | bytes a row | rows per CPU s |")
        out.print("|---|---:|---:|---:|---:|---:|")
        curate = ["curate", "rows.parquet", "--recipe", "recipe.toml"]
        first = must(measure([*SYNTH, *curate], folder), "curate")
        said("`synth curate`", first, rows)
        [run] = (folder / "data" / "runs").iterdir()
        dedup = ["dedup", str(run), "--threshold", "0.9"]
        second = must(measure([*SYNTH, *dedup], folder), "dedup")
        said("`synth dedup --threshold 0.9`", second, rows)
        for usage in (first, second):
            out.print("\n" + "\n".join(usage.out.splitlines()[-3:-1] + usage.err.splitlines()[-1:]))


if __name__ == "__main__":
    typer.run(main)
