"""`report.html`: one page that says what a run made, what became of it, how it looks, how the student did.

It needs no network and no script. Whatever came of a model or a file is escaped.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from synth import gate, quality, report, scoring
from synth.diversity import PERCENTILES
from synth.recipe import Recipe
from synth.store import Counts, Dataset, read_parquet, to_record, write_whole
from synth.types import Record, said

EXAMPLES = 2
"""Rows shown of each reason: those with the smallest ids, which are hashes."""
REASONS = 40
"""The commonest are shown with examples; all are counted."""
MATCHES = 50
"""Pairs of a row and an evaluation item that are shown."""
DECONTAMINATE = "decontaminate"
CHARACTERS = 600
"""Of a text; the page says how many more it has."""

Key: TypeAlias = "tuple[str, str, str]"
"""Status, step and reason."""


@dataclass(slots=True)
class Reason:
    """A reason, its rows, and a few of them, each with the text of the row that it repeats."""

    key: Key
    rows: int
    ids: list[str] = field(default_factory=list)
    examples: list[tuple[Record, str]] = field(default_factory=list)


def write(dataset: Dataset, recipe: Recipe) -> Path:
    """Write `report.html` into the run folder; the same run gives the same bytes.

    Raises:
        DataError: there are no rows yet, or a file is corrupt.
    """
    path = dataset.folder / "report.html"
    write_whole(path, render(dataset, recipe).encode())
    return path


def render(dataset: Dataset, recipe: Recipe) -> str:
    """The page."""
    found = quality.of(dataset, recipe)
    stage = found["rows_of"]
    counts = dataset.counts(stage)
    stages = dataset.manifest.get("stages", {})
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cut"] = cut
    return environment.get_template("page.html.jinja").render(
        title=recipe.name,
        facts=list(_facts(dataset, recipe, found)),
        summary=report.summary(dataset)[:-1] if stages else [],
        counts=counts,
        reasons=[(key, rows, rows / counts.planned) for key, rows in _commonest(counts)],
        funnel=[("planned", found["planned"]), *((s["stage"], s["rows"]) for s in found["stages"])],
        names=[s["stage"] for s in found["stages"]],
        lines=report.quality_lines(found),
        lengths=[(side, *_boxes(found, side)) for side in ("question", "answer")],
        pairs=found["pairs"][: quality.TOP_PAIRS],
        examples=examples(dataset, stage, counts),
        most=(EXAMPLES, REASONS),
        contaminated=sum(rows for (_, by, _), rows in counts.counter.items() if by == DECONTAMINATE),
        contamination=_contamination(dataset, stage),
        scores=_scores(dataset) if "evaluate" in stages else [],
        gate=gate.sentences(decision) if (decision := gate.read(dataset)) else [],
        recipe=recipe.text,
        said=said,
    )


def cut(text: str, most: int = CHARACTERS) -> str:
    """The start of a long text, and how much is left out."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def _facts(dataset: Dataset, recipe: Recipe, found: quality.Quality) -> Iterator[tuple[str, str]]:
    yield "run", dataset.folder.name
    seeds = recipe.seeds.path
    yield (
        "seeds",
        str(Path(seeds).relative_to(recipe.root)) if Path(seeds).is_relative_to(recipe.root) else seeds,
    )
    yield "strategies", ", ".join(step.name for step in recipe.generate)
    roles = {"teacher": recipe.teacher, **recipe.teachers, "judge": recipe.judge, "student": recipe.student}
    yield from ((name, role.model) for name, role in roles.items() if role is not None and role.model)
    for name, steps in (("filters", recipe.filters), ("judges", recipe.judges), ("selectors", recipe.select)):
        yield name, ", ".join(step.name for step in steps) or "none"
    stages = dataset.manifest.get("stages", {})
    versions = {
        **stages.get("generate", {}).get("versions", {}),
        **stages.get("train", {}).get("versions", {}),
    }
    if versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"hash of {found['rows_of']}/", found["rows_hash"]
    for name, file in stages.get("curate", {}).get("files", {}).items():
        if name.startswith("train/") and name.endswith(".parquet"):
            yield name, f"{file['rows']:,} rows, sha256 {file['sha256'][:16]}"


def _commonest(counts: Counts) -> list[tuple[Key, int]]:
    """What became of rows and why: kept first, then by rows."""
    return sorted(counts.counter.items(), key=lambda item: (item[0][0] != "kept", -item[1], item[0]))


def _boxes(found: quality.Quality, side: str) -> tuple[float, list[tuple[str, list[float] | None]]]:
    """The longest of the 95th percentiles in words (0: there is no text), and each stage's percentiles."""
    boxes: list[tuple[str, list[float] | None]] = []
    for stage in found["stages"]:
        lengths = stage[f"{side}_lengths"]
        boxes.append((stage["stage"], [lengths[f"p{p}"] for p in PERCENTILES] if lengths["p50"] else None))
    return max([0.0, *(box[-1] for _, box in boxes if box)]), boxes


def examples(dataset: Dataset, stage: str, counts: Counts) -> list[Reason]:
    """The commonest reasons, each with a few of its rows. At most these are held."""
    reasons = {
        key: Reason(key, rows) for key, rows in islice((r for r in _commonest(counts) if r[0][1]), REASONS)
    }
    for shard in dataset.shards(stage):
        for row in read_parquet(shard, ["id", "status", "rejected_by", "reason"]).to_pylist():
            reason = reasons.get((row["status"], row["rejected_by"] or "", row["reason"] or ""))
            if reason is not None and row["status"] != "kept":
                reason.ids = sorted([*reason.ids, row["id"]])[:EXAMPLES]
    records = _by_id(dataset, stage, (id_ for reason in reasons.values() for id_ in reason.ids))
    repeated = _by_id(dataset, stage, (r.duplicate_of for r in records.values() if r.duplicate_of))
    for reason in reasons.values():
        for record in (records[id_] for id_ in reason.ids):
            other = repeated.get(record.duplicate_of or "")
            asked = record.fields.get("repeats", "")
            reason.examples.append((record, other.question if other else str(asked)))
    return list(reasons.values())


def _by_id(dataset: Dataset, stage: str, ids: Iterable[str]) -> dict[str, Record]:
    wanted = pa.array(sorted(set(ids)), pa.string())
    found: dict[str, Record] = {}
    for shard in dataset.shards(stage) if len(wanted) else ():
        mask = pa.compute.is_in(read_parquet(shard, ["id"])["id"], wanted)
        if pa.compute.any(mask).as_py():
            records = map(to_record, read_parquet(shard).filter(mask).to_pylist())
            found.update((record.id, record) for record in records)
    return found


def _contamination(dataset: Dataset, stage: str) -> list[dict[str, Any]]:
    """The likeliest pairs of a row and the item that it was rejected for."""
    removed: dict[str, str] = {}
    for shard in dataset.shards(stage):
        table = read_parquet(shard, ["id", "rejected_by", "duplicate_of"])
        mine = table.filter(pa.compute.equal(table["rejected_by"], DECONTAMINATE))
        removed |= zip(mine["id"].to_pylist(), mine["duplicate_of"].to_pylist(), strict=True)
    if not removed:
        return []
    from synth.compute.contamination import matches

    best: dict[str, dict[str, Any]] = {}
    for match in matches(dataset.folder / "index", removed).to_pylist():
        best.setdefault(match["id"], match)
    return sorted(best.values(), key=lambda match: (-match["score"], match["id"]))[:MATCHES]


def _scores(dataset: Dataset) -> Sequence[dict[str, Any]]:
    """The totals of each evaluation, and all else that is said of it as sentences."""
    scores = scoring.read(dataset.folder)
    lines = scoring.sentences(scores)
    told: list[dict[str, Any]] = []
    for line in lines:
        if line.startswith("  "):
            told[-1]["gains"].append(line.strip())
        else:
            total = scores["evaluations"][len(told)]
            systems = total["systems"].items()
            means = {name: {**of, "shown": scoring.shown(total, of)} for name, of in systems}
            share = not total.get("unit")
            told.append({"title": line.partition(":")[0], "systems": means, "share": share, "gains": []})
    return told
