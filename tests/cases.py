"""The labelled rows of tests/filters/cases, and how right a filter is on them."""

import json
from collections import Counter
from pathlib import Path

from rows import record

from synth.steps import Filter, build

FOLDER = Path(__file__).parent / "filters" / "cases"


def labelled(name: str) -> tuple[Filter, list[dict[str, object]]]:
    """The filter with the keys that its file's first line sets, and the rows."""
    rows = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    config = rows.pop(0)["config"] if "config" in rows[0] else {}
    step = build("filter", {"use": name, **config})
    assert isinstance(step, Filter)
    return step, rows


def measured(name: str) -> tuple[float, float, list[str]]:
    """Precision and recall of its rejections, and the notes of the rows that it gets wrong."""
    step, rows = labelled(name)
    assert len(rows) >= 50
    counts: Counter[tuple[bool, bool]] = Counter()
    wrong = []
    for row in rows:
        keep = step.check(record(str(row["answer"]), question=str(row["question"]))).keep
        counts[not keep, bool(row["reject"])] += 1
        if keep is row["reject"]:
            wrong.append(str(row["note"]))
    right = counts[True, True]
    return right / (right + counts[True, False]), right / (right + counts[False, True]), wrong
