"""What a run costs and where it goes: the live line while it runs, the account in the manifest afterwards."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from synth.engine import Progress
from synth.llm.journal import Sums
from synth.models import Models
from synth.recipe import Recipe
from synth.store import Dataset, read_parquet
from synth.tables import Role

WINDOW = 15.0
"""Seconds over which a rate "now" is taken."""


@dataclass(slots=True)
class Live:
    """The state of a run, looked at from time to time."""

    started: float = field(default_factory=time.monotonic)
    _before: int | None = None
    _seen: deque[tuple[float, int, int]] = field(default_factory=deque)

    def look(self, progress: Progress, models: Models) -> None:
        """Take note of rows and tokens so far."""
        now = time.monotonic()
        if self._before is None:
            self._before = progress.done
        self._seen.append((now, progress.done, _tokens(models)))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW:
            self._seen.popleft()

    def rates(self) -> tuple[float, float]:
        """Rows and reply tokens a second, over the last `WINDOW` seconds."""
        if len(self._seen) < 2:
            return 0.0, 0.0
        (start, rows, tokens), (end, rows_now, tokens_now) = self._seen[0], self._seen[-1]
        seconds = max(end - start, 1e-9)
        return (rows_now - rows) / seconds, (tokens_now - tokens) / seconds

    def line(self, progress: Progress, models: Models) -> str:
        """Rows, tokens a second now and in the mean, the engine, what was sent again, and the time left."""
        rows_now, tokens_now = self.rates()
        mean = sum(asker.meter.tokens_per_second for asker in models.askers.values())
        asks = any(asker.meter.requests or asker.meter.from_journal for asker in models.askers.values())
        rate = f"{tokens_now:,.0f} tokens/s now, {mean:,.0f} mean" if asks else f"{rows_now:,.0f} rows/s now"
        parts = [str(progress), rate]
        engines = [e.engine for client in models.clients.values() for e in client.endpoints if e.engine]
        in_flight = sum(client.in_flight for client in models.clients.values())
        if engines:
            running, waiting = (sum(getattr(e, name) for e in engines) for name in ("running", "waiting"))
            parts.append(f"engine: {running:.0f} running, {waiting:.0f} waiting")
        elif in_flight:
            parts.append(f"{in_flight} in flight")
        if again := retries(models):
            parts.append(f"sent again: {_named(again)}")
        if (left := self.seconds_left(progress)) is not None:
            parts.append(f"{_duration(left)} left")
        return "; ".join(parts)

    def seconds_left(self, progress: Progress) -> float | None:
        """At the mean of this session's rate and that of the last seconds; None before a row is done."""
        made = progress.done - (self._before or 0)
        elapsed = time.monotonic() - self.started
        at, goal = progress.steps
        if made <= 0 or at >= goal or not at:
            return None
        rate = (made / elapsed + (self.rates()[0] or made / elapsed)) / 2
        return (goal - at) / at * progress.done / rate if progress.target else (goal - at) / rate


def retries(models: Models) -> Counter[str]:
    """Requests that were sent again, by what went wrong."""
    return sum((client.retries for client in models.clients.values()), Counter())


def account(models: Models, recipe: Recipe, seconds: float) -> dict[str, Any]:
    """For the manifest: requests, tokens and time by role and step, waste, and cost.

    `paid` counts all sessions of the run folder, by its journal; `asked` and `waste` this session alone.
    """
    clients = models.clients.values()
    made_by = {step.name for step in (*recipe.generate, *recipe.judges)}
    paid = {step: s for step, s in sorted(models.journal.paid.items()) if step.partition(", ")[0] in made_by}
    requests = sum(asker.meter.requests for asker in models.askers.values())
    return {
        "asked": {
            name: {
                **asker.meter.to_json(),
                "steps": {step: meter.to_json() for step, meter in sorted(asker.meters.items())},
            }
            for name, asker in models.askers.items()
        },
        "paid": {
            step: {**asdict(sums), "request_seconds": round(sums.request_seconds, 1)}
            for step, sums in paid.items()
        },
        "waste": {
            "retries": dict(retries(models)),
            "queue_seconds_a_request": round(sum(c.queued for c in clients) / requests, 3)
            if requests
            else 0.0,
            "tail_seconds": round(sum(client.idle for client in clients), 1),
            "of_seconds": round(seconds, 1),
        },
        "prefix_cache": {
            "prompt_tokens_found": sum(client.cached[0] for client in clients),
            "of_prompt_tokens": sum(client.cached[1] for client in clients),
        },
        "contracts": {where: contract.to_json() for where, contract in models.contracts.items()},
        "cost": _cost(paid, recipe),
    }


def _cost(paid: Mapping[str, Sums], recipe: Recipe) -> dict[str, float]:
    """By role, at the recipe's prices; a role without prices is left out. A step's name tells its role."""
    asks = {strategy.name: strategy.teacher for strategy in recipe.generate}
    asks |= dict.fromkeys((judge.name for judge in recipe.judges), "judge")
    cost: dict[str, float] = {}
    for step, sums in paid.items():
        own, _, other = step.partition(", ")
        name = other or asks[own]
        role: Role = recipe.roles[name]
        if role.price_input is None and role.price_output is None:
            continue
        price = sums.prompt_tokens * (role.price_input or 0) + sums.completion_tokens * (
            role.price_output or 0
        )
        cost[name] = round(cost.get(name, 0.0) + price / 1e6, 6)
    return cost


def spent(dataset: Dataset, stage: str) -> dict[str, Any]:
    """Reply tokens in the rows of a stage: kept, rejected by each step, failed, and tokens a kept row."""
    tokens: Counter[str] = Counter()
    by: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for shard in dataset.shards(stage):
        table = read_parquet(shard, ["status", "rejected_by", "completion_tokens"])
        for row in table.to_pylist():
            tokens[row["status"]] += row["completion_tokens"]
            rows[row["status"]] += 1
            if row["status"] == "rejected":
                by[row["rejected_by"]] += row["completion_tokens"]
    return {
        "kept_tokens": tokens["kept"],
        "rejected_tokens": tokens["rejected"],
        "rejected_tokens_by_step": dict(by.most_common()),
        "tokens": tokens.total(),
        "kept_rows": rows["kept"],
    }


def sentences(stages: Mapping[str, Any]) -> list[str]:
    """The account as lines for a person, from the manifest's stages."""
    entry = stages.get("generate")
    if entry is None or "paid" not in entry:
        return []
    lines = []
    paid = sum(step["completion_tokens"] for step in entry["paid"].values())
    seconds = sum(step["request_seconds"] for step in entry["paid"].values())
    in_rows = stages.get("curate", entry)["spent"]
    kept = in_rows["kept_rows"]
    if paid and kept:
        lines.append(
            f"a kept row: {paid / kept:,.0f} reply tokens and {seconds / kept:,.2f} request-seconds paid, "
            f"of {in_rows['kept_tokens'] / kept:,.0f} tokens in the row ({kept:,} rows)"
        )
    if waste := _waste(entry["waste"], in_rows):
        lines.append(f"waste: {'; '.join(waste)}")
    if looked_up := entry["prefix_cache"]["of_prompt_tokens"]:
        found = entry["prefix_cache"]["prompt_tokens_found"]
        lines.append(
            f"prefix cache: {found:,} of {looked_up:,} prompt tokens ({100 * found / looked_up:.0f}%)"
        )
    if cost := entry["cost"]:
        parts = ", ".join(f"{role} {money:,.4f}" for role, money in cost.items())
        each = f" = {sum(cost.values()) / kept:,.6f} a kept row" if kept else ""
        lines.append(f"cost at the recipe's prices: {sum(cost.values()):,.4f} ({parts}){each}")
    return lines


def _waste(waste: Mapping[str, Any], in_rows: Mapping[str, Any]) -> list[str]:
    parts = []
    if in_rows["rejected_tokens"]:
        steps = ", ".join(f"{step} {tokens:,}" for step, tokens in in_rows["rejected_tokens_by_step"].items())
        parts.append(
            f"{in_rows['rejected_tokens']:,} of {in_rows['tokens']:,} reply tokens rejected ({steps})"
        )
    if waste["retries"]:
        parts.append(f"sent again {_named(waste['retries'])}")
    if waste["tail_seconds"]:
        parts.append(
            f"{waste['tail_seconds']:.0f} of {waste['of_seconds']:.0f} s with room left in the engine (tail)"
        )
    if waste["queue_seconds_a_request"]:
        parts.append(f"{waste['queue_seconds_a_request']:.2f} s a request in the engine's queue")
    return parts


def _tokens(models: Models) -> int:
    return sum(asker.meter.completion_tokens for asker in models.askers.values())


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in Counter(counts).most_common())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
