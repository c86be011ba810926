"""What a run says of itself to a person: closing lines, counts by reason, records, and a projection."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from synth import account, gate, quality, scoring
from synth.diversity import PERCENTILES
from synth.llm import journal
from synth.pipeline import Run
from synth.previews import Previewed
from synth.store import Counts, Dataset, to_table
from synth.types import Record, said

FIGURE, STAGE = 30, 16
"""Characters that the table of figures needs for their names, and for a stage."""


def summary(dataset: Dataset) -> list[str]:
    """The closing lines: counts that reconcile, tokens a second, scores with intervals, the run folder."""
    stages = dataset.manifest.get("stages", {})
    lines = []
    if (source := stages.get("curate", {}).get("from")) is not None:
        lines.append(f"training rows: those of {source}, or some of them")
    elif (stage := "curated" if "curate" in stages else "raw") == "curated" or "generate" in stages:
        lines.append(f"rows: {dataset.counts(stage)}")
    if (entry := stages.get("generate")) is not None:
        for role, asked in entry["asked"].items():
            if asked["requests"] or asked["from_journal"]:
                lines.append(f"{role}: {_asked(asked)}")
        lines += account.sentences(stages)
    for by, asked in stages.get("curate", {}).get("asked", {}).items():
        lines.append(f"judge, for {by}: {_asked(asked)}")
    if (entry := stages.get("train")) is not None:
        lines += _trained(entry)
    if "evaluate" in stages:
        lines += scoring.sentences(scoring.read(dataset.folder))
    if (decision := gate.read(dataset)) is not None:
        lines += gate.sentences(decision)
    return [*lines, f"run folder: {relative(dataset.folder)}"]


def _trained(entry: dict[str, Any]) -> list[str]:
    lines = [
        f"student: {entry['rows']:,} rows, {entry['steps']:,} steps in {entry['seconds']:.0f} s, loss "
        f"{entry['first_loss']:.2f} -> {entry['final_loss']:.2f} nats a trained token"
    ]
    if "device" in entry:  # not in the manifests of earlier versions
        lines.append(f"training: {_speed(entry)}")
    return lines


def _speed(entry: dict[str, Any]) -> str:
    rate = f"{entry['tokens_per_second']:,.0f} tokens/s, learning rate {entry['learning_rate']:g}"
    if entry["mfu"] is None:
        return rate
    peak = f"{entry['peak_teraflops']:.3g} teraflop/s ({entry['device']})"
    return f"{rate}, model FLOPs utilisation {100 * entry['mfu']:.0f}% of {peak}"


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


def quality_tables(found: quality.Quality, width: int) -> RenderableType:
    """Figures by stage, and what the rows that are left ask for, by leading verb and object.

    Where there are too many stages for so many characters, those between the filters and the last are left to
    the page and quality.json.
    """
    title = f"{found['planned']:,} rows planned; figures to inform, not as a target; 95% lies in []"
    stages: Sequence[int] = range(len(found["stages"]))
    if len(stages) > 3 and FIGURE + STAGE * len(stages) > width:
        between, stages = len(stages) - 3, [0, 1, len(stages) - 1]
        title += f"; {between} more stages: quality.json"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("figure")
    for at in stages:
        table.add_column(found["stages"][at]["stage"], justify="right")
    for label, cells in quality_lines(found):
        table.add_row(label, *(cells[at].replace(" [", "\n[") for at in stages))
    pairs = Table(title="leading verb and object, by rule; rows", title_justify="left", title_style="bold")
    for name in ("verb", "object"):
        pairs.add_column(name)
    for at in stages:
        pairs.add_column(found["stages"][at]["stage"], justify="right")
    for pair in found["pairs"][: quality.TOP_PAIRS]:
        pairs.add_row(pair["verb"], pair["object"], *(f"{pair['rows'][at]:,}" for at in stages))
    return Group(table, pairs)


def quality_lines(found: quality.Quality) -> list[tuple[str, list[str]]]:
    """The figures as a person reads them: what is measured, in which unit, and a cell for each stage."""
    drawn, stages = found["drawn"], found["stages"]
    lines = [("rows", [f"{stage['rows']:,}" for stage in stages])]
    if any(stage["measured"] < stage["rows"] for stage in stages):
        lines.append(("rows measured", [f"{stage['measured']:,}" for stage in stages]))
    lines.append(("near-duplicate questions, of rows", [_percent(s["near_duplicates"]) for s in stages]))
    what = f"Vendi score, effective number of {drawn['rows']:,} questions"
    lines.append((what, [_figure(s["vendi"]) for s in stages]))
    what = f"topics with 3 rows or more, of {drawn['topics']:,}"
    lines.append((what, [_percent({"value": s["topics"], "low": None, "high": None}) for s in stages]))
    for side in ("question", "answer"):
        for n in (1, 2, 3):
            what = f"distinct-{n}, of {n}-grams in {drawn[f'{side}_words']:,} words of {side}s"
            lines.append((what, [_percent(s[f"{side}_distinct_{n}"]) for s in stages]))
    for side in ("question", "answer"):
        what = f"words of {side}s: 5 · 25 · 50 · 75 · 95 in 100 are shorter"
        lines.append((what, [_lengths(s[f"{side}_lengths"]) for s in stages]))
        lines.append((f"languages of {side}s", [_shares(s[f"{side}_languages"]) for s in stages]))
    pairs = [f"{s['pairs']['different']:,} of {s['pairs']['questions']:,}" for s in stages]
    return [*lines, ("different verb-object pairs, of questions that have one", pairs)]


def _percent(figure: quality.Quality) -> str:
    return _figure(figure, 100, "%")


def _figure(figure: quality.Quality, times: int = 1, unit: str = "") -> str:
    if figure["value"] is None:
        return "-"
    value = f"{times * figure['value']:.1f}{unit}"
    if figure["low"] is None:
        return value
    return f"{value} [{times * figure['low']:.1f}, {times * figure['high']:.1f}]"


def _lengths(found: quality.Quality) -> str:
    if found["p50"] is None:
        return "-"
    text = " · ".join(f"{found[f'p{p}']:.0f}" for p in PERCENTILES)
    low, high = found["median_low"], found["median_high"]
    return text if low is None else f"{text} [median {low:.0f}, {high:.0f}]"


def _shares(counts: dict[str, int], most: int = 3) -> str:
    total = sum(counts.values())
    parts = [f"{name} {100 * rows / total:.0f}%" for name, rows in list(counts.items())[:most]]
    return ", ".join(parts + ["..."] * (len(counts) > most)) or "-"


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
