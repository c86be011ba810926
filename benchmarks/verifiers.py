"""How often each verifier accepts what is right, and what is wrong: shares with Wilson intervals (95%).

Reads real data that doesn't come with synth: `python benchmarks/verifiers.py --data FOLDER`, in which lie
gsm8k/test.jsonl, humaneval/HumanEval.jsonl.gz, ifeval/input_data.jsonl, bbh/*.json and dolly/dolly_3k.json.
Right answers are those of the data in other words; wrong ones are the right ones with one thing altered.
What a verifier can't tell by its rule is counted as "limit", outside of "all".
"""

import argparse
import functools
import gzip
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from verifier_cases import Case, choices, code, constraints, maths, patterns, quotations, schemas

from synth.evaluators.stats import wilson
from synth.steps import Filter, build
from synth.types import Record

NEEDED = {
    "maths": "gsm8k/test.jsonl",
    "code_tests": "humaneval/HumanEval.jsonl.gz",
    "constraint": "ifeval/input_data.jsonl",
    "schema": "dolly/dolly_3k.json",
    "grounded_values": "dolly/dolly_3k.json",
    "regex": "bbh/word_sorting.json",
    "choice": "bbh/navigate.json",
}
CASES: dict[str, Callable[[list[dict[str, Any]]], Iterator[Case]]] = {
    "maths": maths,
    "code_tests": code,
    "constraint": constraints,
    "schema": schemas,
    "grounded_values": quotations,
    "regex": patterns,
    "choice": choices,
}


@dataclass(slots=True)
class Count:
    """Cases of one kind."""

    accepted: int = 0
    n: int = 0

    def __str__(self) -> str:
        low, high = wilson(self.accepted, self.n)
        share = self.accepted / self.n
        return f"{self.accepted:,} of {self.n:,} | {share:.2%} | {low:.2%} to {high:.2%}"


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a data file, in its own form."""
    if not file.is_file():
        sys.exit(f"{file}: no such file; give the folder of the data by --data")
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    if ".jsonl" in file.name:
        return [orjson.loads(line) for line in data.splitlines()]
    found = orjson.loads(data)
    return list(found["examples"] if isinstance(found, dict) else found)


@functools.cache
def _built(config: bytes) -> Filter:
    step = build("filter", orjson.loads(config))
    assert isinstance(step, Filter)
    return step


def accepted(case: Case) -> bool:
    """Whether the case's filter keeps its answer."""
    step = _built(orjson.dumps(case.step))
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": case.answer}]
    return step.check(Record(messages=turns, seed_id="0", fields=case.fields)).keep  # type: ignore[arg-type]


def measured(name: str, rows: list[dict[str, Any]], show: int) -> Iterator[str]:
    """The table's lines of one verifier: right answers, then wrong ones, by how they were made."""
    cases = list(CASES[name](rows))
    counts: dict[tuple[bool, str], Count] = defaultdict(Count)
    with ThreadPoolExecutor(os.cpu_count() if name == "code_tests" else 1) as pool:
        for case, keep in zip(cases, pool.map(accepted, cases), strict=True):
            for kind in (case.kind,) if case.kind.startswith("limit") else (case.kind, "all"):
                counts[not case.right, kind].accepted += keep
                counts[not case.right, kind].n += 1
            if keep != case.right and show > 0:
                show -= 1
                sys.stderr.write(f"{name}, {case.kind}: {case.answer!r} for {str(case.fields)[:300]}\n")
    for (wrong, kind), count in sorted(counts.items(), key=lambda item: (item[0][0], item[0][1] == "all")):
        yield f"| {name} | {'wrong' if wrong else 'right'} | {kind} | {count} |"


def main() -> None:
    """The command line; prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of the data")
    parser.add_argument("--only", choices=sorted(NEEDED), action="append", help="these verifiers alone")
    parser.add_argument("--show", type=int, default=0, help="so many misjudged answers of each")
    options = parser.parse_args()
    sys.stdout.write(
        "| verifier | answers | made by | accepted | share | 95% |\n|---|---|---|---:|---:|---|\n"
    )
    for name, file in NEEDED.items():
        if options.only and name not in options.only:
            continue
        for line in measured(name, rows_of(options.data / file), options.show):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
