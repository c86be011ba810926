"""What a run shows in Prefect's UI: a table of counts by reason, and a page of scores."""

from typing import Any

from synth import gate, scoring
from synth.gate import Decision
from synth.scoring import Scores
from synth.store import Counts


def key(recipe: str, what: str) -> str:
    """The artifact's key: one history for each recipe. Prefect allows a-z, 0-9 and dashes."""
    return f"{recipe}-{what}".replace("_", "-")


def counts_rows(counts: Counts) -> list[dict[str, Any]]:
    """A row for each status, step and reason, with its share of the planned rows."""
    return [
        {
            "status": status,
            "step": step,
            "reason": reason,
            "rows": rows,
            "share of planned": f"{100 * rows / counts.planned:.1f}%",
        }
        for (status, step, reason), rows in counts.counter.items()
    ]


def scores_page(scores: Scores) -> str:
    """The scores as Markdown: a table of the systems, then the sentences with the paired gains."""
    shown = [
        system
        for system in scoring.SYSTEMS
        if any(system in total["systems"] for total in scores["evaluations"])
    ]
    lines = [_row("evaluator", "group", "questions", *shown), _row(*["---"] * (3 + len(shown)))]
    for total in scores["evaluations"]:
        of = [total["systems"].get(system) for system in shown]
        means = (scoring.shown(total, one) if one else "" for one in of)
        lines.append(_row(total["evaluator"], total["group"], str(total["questions"]), *means))
    sentences = [f"- {line.strip()}" for line in scoring.sentences(scores)]
    return "\n".join(["Mean scores with 95% intervals.", "", *lines, "", *sentences, ""])


def gate_page(decision: Decision) -> str:
    """What the gate said as Markdown: the outcome, then a table of its rules."""
    lines = [_row("rule", "of", "found", "holds"), _row(*["---"] * 4)]
    for finding in decision.findings:
        lines.append(_row(finding.rule, finding.name, finding.said, "yes" if finding.holds else "NO"))
    return "\n".join([gate.sentences(decision)[0], "", *lines, ""])


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
