"""What a run says of itself to a person: closing lines, counts by reason, records, and a projection."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from synth import account, scoring
from synth.llm import journal
from synth.pipeline import Run
from synth.previews import Previewed
from synth.store import Counts, Dataset, to_table
from synth.types import Record, said


def summary(dataset: Dataset) -> list[str]:
    """The closing lines: counts that reconcile, tokens a second, scores with intervals, the run folder."""
    stages = dataset.manifest.get("stages", {})
    lines = []
    if (stage := "curated" if "curate" in stages else "raw") == "curated" or "generate" in stages:
        lines.append(f"rows: {dataset.counts(stage)}")
    if (entry := stages.get("generate")) is not None:
        for role, asked in entry["asked"].items():
            if asked["requests"] or asked["from_journal"]:
                lines.append(f"{role}: {_asked(asked)}")
        lines += account.sentences(stages)
    for by, asked in stages.get("curate", {}).get("asked", {}).items():
        lines.append(f"judge, for {by}: {_asked(asked)}")
    if (entry := stages.get("train")) is not None:
        lines.append(
            f"student: {entry['rows']:,} rows, {entry['steps']:,} steps in {entry['seconds']:.0f} s, loss "
            f"{entry['first_loss']:.2f} -> {entry['final_loss']:.2f} nats a trained token"
        )
    if "evaluate" in stages:
        lines += scoring.sentences(scoring.read(dataset.folder))
    return [*lines, f"run folder: {relative(dataset.folder)}"]


def _asked(asked: dict[str, Any]) -> str:
    rate = asked["completion_tokens"] / asked["seconds"] if asked["seconds"] else 0.0
    return (
        f"{asked['requests']:,} requests, {asked['from_journal']:,} from the journal, "
        f"{asked['completion_tokens']:,} tokens in {asked['seconds']:.0f} s = {rate:.0f} tokens/s"
    )


def relative(path: Path) -> str:
    """A path as a person would type it from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def counts_table(counts: Counts) -> Table:
    """Rows by status, step and reason, each with its share of those planned."""
    table = Table(title=str(counts), title_justify="left", title_style="bold")
    for name in ("status", "step", "reason"):
        table.add_column(name)
    for name in ("rows", "share"):
        table.add_column(name, justify="right")
    for (status, by, reason), rows in counts.counter.items():
        table.add_row(status, by, reason, f"{rows:,}", f"{100 * rows / counts.planned:.1f}%")
    return table


def journal_table(folder: Path) -> Table:
    """Replies of a journal by model and step, with their tokens and the seconds that they took."""
    found = journal.stats(folder)
    again = f", {found.again:,} there twice" if found.again else ""
    title = f"{found.replies:,} replies, {found.copied:,} of them copied from earlier runs{again}, "
    table = Table(title=f"{title}{found.torn:,} torn lines", title_justify="left", title_style="bold")
    for name in ("model", "step"):
        table.add_column(name)
    for name in ("replies", "prompt tokens", "reply tokens", "request-seconds"):
        table.add_column(name, justify="right")
    for (model, step), sums in sorted(found.by.items()):
        figures = (sums.replies, sums.prompt_tokens, sums.completion_tokens, round(sums.request_seconds))
        table.add_row(model, step, *(f"{figure:,}" for figure in figures))
    return table


def record_panel(record: Record) -> RenderableType:
    """One record, its verdicts and where it came from."""
    turns = [Text.assemble((f"{turn['role']}: ", "bold"), said(turn)) for turn in record.messages]
    for verdict in record.verdicts:
        mark, style = ("kept", "green") if verdict.keep else ("rejected", "red")
        score = f" {verdict.score:g}" if verdict.score is not None else ""
        turns.append(Text(f"{verdict.by}: {mark}{score} {verdict.reason}".rstrip(), style=style))
    made = f"{record.strategy} · seed {record.seed_id} · sample {record.sample}"
    origin = f"{made} · {record.prompt} · {record.model}"
    return Panel(Group(*turns), title=f"{record.status} {record.id}", subtitle=origin, title_align="left")


def projection(run: Run, previewed: Previewed) -> list[str]:
    """Tokens, time and size of the whole run, from the previewed rows."""
    records = previewed.records
    planned = previewed.planned
    tokens, low, high = _mean_interval([record.completion_tokens for record in records])
    size = len(records) and to_table(records).nbytes / len(records)
    kept = sum(record.status == "kept" for record in records)
    lines = [
        f"{planned:,} rows planned; {kept} of {len(records)} previewed rows kept",
        f"answers: {tokens * planned:,.0f} tokens, 95% interval "
        f"[{max(0.0, low) * planned:,.0f}, {high * planned:,.0f}]",
        f"size: about {size * planned / 1e6:,.1f} MB in memory, less as Parquet",
    ]
    rate = previewed.tokens_per_second
    if rate:
        minutes = tokens * planned / rate / 60
        lines.append(
            f"time: {minutes:,.1f} min at this preview's {rate:.0f} tokens/s; a full engine is faster"
        )
    else:
        lines.append("time: not measured, every reply was in the journal")
    return [*lines, f"run folder: {relative(run.folder)}"]


def _mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    from synth.evaluators.stats import mean_interval

    mean = sum(values) / len(values) if values else 0.0
    return (mean, *mean_interval(values)) if len(values) > 1 else (mean, mean, mean)
