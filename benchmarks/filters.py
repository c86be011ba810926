"""Precision and recall of every filter with labelled rows (tests/filters/cases), and its rows per CPU second.

    python benchmarks/filters.py
    python benchmarks/filters.py --wrong repetition refusal
    python benchmarks/filters.py --data rows.parquet

Prints a Markdown table; intervals are Wilson's at 95%. Speed is one thread's, on the answers of --data.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from filter_cases import Case, cases, filter_of, names, score

from synth.evaluators.stats import wilson
from synth.steps import Filter
from synth.types import Message, Record

QUESTIONS = ("instruction", "question", "prompt", "source")
ANSWERS = ("output", "answer", "response", "completion", "target")


def share(hits: int, n: int) -> str:
    """A share with its interval, in percent."""
    if not n:
        return "-"
    low, high = wilson(hits, n)
    return f"{100 * hits / n:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def records(file: Path) -> list[Record]:
    """The rows of a Parquet file, a JSON list or lines of JSON, with columns of the usual names."""
    rows: list[dict[str, Any]]
    if file.suffix == ".parquet":
        rows = pq.read_table(file).to_pylist()
    else:
        text = file.read_text(encoding="utf-8")
        rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return [_record(row, file) for row in rows]


def _record(row: dict[str, Any], file: Path) -> Record:
    messages: list[Message] | None = row.get("messages")
    if messages is None:
        question = next((row[key] for key in QUESTIONS if key in row), None)
        answer = next((row[key] for key in ANSWERS if key in row), None)
        if question is None or answer is None:
            sys.exit(f"{file}: needs messages, or one of {QUESTIONS} and one of {ANSWERS}")
        question = "\n\n".join(filter(None, (question, row.get("input"))))
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Record(messages=messages, seed_id="row", finish_reason="stop")


def speed(step: Filter, rows: Sequence[Record]) -> tuple[float, list[Record]]:
    """Rows per CPU second, and the rows that the filter rejects."""
    step.check(rows[0])  # models are loaded here
    start = time.process_time()
    rejected = [replace(row, verdicts=(said,)) for row in rows if not (said := step.check(row)).keep]
    return len(rows) / (time.process_time() - start), rejected


def wrong(rows: Sequence[Case]) -> str:
    """The rows that a filter gets wrong, a line each."""
    return "".join(
        f"    {'missed' if case.reject else 'wrongly rejected'} ({case.note}): {case.record.answer[:90]!r} "
        f"{case.verdict.reason}\n"
        for case in rows
        if not case.right
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("filters", nargs="*", default=names())
    parser.add_argument("--wrong", action="store_true", help="show the labelled rows that it gets wrong")
    parser.add_argument("--data", type=Path, help="Parquet, JSON or JSONL whose answers are checked")
    parser.add_argument("--rejects", type=int, default=0, help="show so many rejected rows of --data")
    options = parser.parse_args()
    data = records(options.data) if options.data else []
    out = sys.stdout.write
    out("| filter | rows | to reject | precision % | recall % | rows/CPU s | rejected of --data |\n")
    out("|---|--:|--:|--:|--:|--:|--:|\n")
    for name in options.filters:
        rows = list(cases(name))
        found = score(rows)
        line = [name, str(len(rows)), str(found.wanted)]
        line += [share(found.hits, found.rejected), share(found.hits, found.wanted)]
        rate, rejected = speed(filter_of(name), data) if data else (0.0, [])
        line += [f"{rate:,.0f}", f"{100 * len(rejected) / len(data):.1f}%"] if data else ["", ""]
        out(f"| {' | '.join(line)} |\n")
        if options.wrong:
            out(wrong(rows))
        for row in rejected[: options.rejects]:
            said = f"{row.question[-80:]!r} -> {row.answer[:60]!r} ... {row.answer[-80:]!r}"
            out(f"    {row.verdicts[0].reason}: {said}\n")


if __name__ == "__main__":
    main()
