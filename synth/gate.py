"""The gate: a student becomes the champion of its name only by showing that it is better and lost nothing.

Every rule is held against a paired 95% interval, so that chance alone seldom opens the gate. All rules must
hold, each at 5%: that asks for no correction for their number, which would only make the gate wider.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from synth import gains, scoring
from synth.ablation import repeated
from synth.errors import DataError, GateRefused, RecipeError
from synth.runs import Run
from synth.steps import near
from synth.store import Dataset, sha256, write_whole
from synth.students import Students
from synth.tables import Gate
from synth.variants import answers_of

FILE = "gate.json"
NOTHING = "no question was scored for both systems"
Total = Mapping[str, Any]
"""One evaluation of `scores.json`, or one group of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule of the gate: what it is about, whether it holds, and the figures, as a person reads them."""

    rule: str
    name: str
    holds: bool
    said: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate said of a run's student. `champion` is the champion of the name after it, if any."""

    student: str
    passed: bool
    champion: str | None
    findings: tuple[Finding, ...]


def hold(run: Run) -> Decision:
    """Hold the evaluated student against [gate]; where it passes, make it the champion of its name.

    A gate that was decided is not decided again for the same student, scores and settings.

    Raises:
        RecipeError: there is no [gate], or it names a group that no question has.
        DataError: there is no evaluated student, or a file is corrupt.
        BusyError: another process works on this run or on this student.
    """
    gate = run.recipe.gate
    if gate is None:
        raise RecipeError(run.recipe.file, "gate", "missing; add [gate]")
    stages = run.dataset.manifest.get("stages", {})
    if "evaluate" not in stages or "train" not in stages:
        raise DataError(run.folder / "scores.json", "is not there; run `synth evaluate` first")
    name = gate.name or run.recipe.name
    with run.dataset.lock():
        weights = {file: about["sha256"] for file, about in stages["train"]["files"].items()}
        scores = sha256(run.folder / "scores.json")
        about = [scores, name, gate.model_dump(), weights, repeated(run.folder)]
        inputs = hashlib.sha256(orjson.dumps(about, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
        if run.dataset.done("gate", inputs) is not None and (decided := read(run.dataset)) is not None:
            run.say("gate: decided before")
            return decided
        students = Students(run.recipe.root, name)
        with students.lock():
            decision = _decide(run, gate, students)
        said = {"passed": decision.passed, "champion": decision.champion}
        run.dataset.record("gate", {"inputs": inputs, "scores": scores, **said}, [run.folder / FILE])
        return decision


def enforce(decision: Decision) -> None:
    """Raise `GateRefused` where the student did not pass, with every rule that does not hold."""
    if not decision.passed:
        why = "; ".join(f"{f.rule} {f.name}: {f.said}" for f in decision.findings if not f.holds)
        raise GateRefused(f"the gate refused the student; {_stays(decision)}. {why}")


def read(dataset: Dataset) -> Decision | None:
    """What the gate said of a run's scores as they stand now, if it did."""
    stages = dataset.manifest.get("stages", {})
    evaluated = stages.get("evaluate", {}).get("files", {}).get("scores.json", {})
    if "gate" not in stages or stages["gate"]["scores"] != evaluated.get("sha256"):
        return None
    file = dataset.folder / FILE
    if not file.is_file() or stages["gate"]["files"][FILE]["sha256"] != sha256(file):
        return None  # written by one that was killed before it could note it
    held = json.loads(file.read_bytes())
    return Decision(**{**held, "findings": tuple(Finding(**finding) for finding in held["findings"])})


def sentences(decision: Decision) -> list[str]:
    """The decision as lines for a person, then a line for each rule."""
    passed = f"passed; {decision.student} {decision.champion} is the champion"
    lines = ["gate: " + (passed if decision.passed else f"refused the student; {_stays(decision)}")]
    for finding in decision.findings:
        verdict = "holds" if finding.holds else "DOES NOT HOLD"
        lines.append(f"  {finding.rule} {finding.name}: {finding.said}: {verdict}")
    return lines


def shown(scores: Mapping[str, Any]) -> list[str]:
    """What a student scored: a line an evaluation, with the 95% interval and the difference to its base."""
    lines = []
    for total in scores["evaluations"]:
        if (other := gains.against(total)) is not None:
            gain = gains.difference(total[f"student_minus_{other}"], total)
            mean = scoring.shown(total, total["systems"]["student"])
            lines.append(f"{gains.name_of(total)}: {mean}, student - {other} {gain}")
    return lines


def _stays(decision: Decision) -> str:
    if decision.champion is None:
        return f"{decision.student} has no champion yet"
    return f"{decision.student} {decision.champion} stays the champion"


def _decide(run: Run, gate: Gate, students: Students) -> Decision:
    findings = tuple(_findings(run, gate, students))
    passed = all(finding.holds for finding in findings)
    name, held = students.folder.name, students.champion

    def write(champion: str | None) -> Decision:
        decision = Decision(name, passed, champion, findings)
        write_whole(
            run.folder / FILE, json.dumps(asdict(decision), indent=1, ensure_ascii=False).encode() + b"\n"
        )
        return decision

    why = "; ".join(f"{f.rule} {f.name}: {f.said}" for f in findings if f.holds == passed)
    if not passed:
        students.note("refused", None, run.folder.name, who="gate", why=why)
        return write(held)
    write(students.version_of(run.folder))  # it goes into the version, so before it
    version = students.add(run.folder)
    students.promote(version, who="gate", why=why)
    return write(version)


def _findings(run: Run, gate: Gate, students: Students) -> Iterator[Finding]:
    totals = {gains.name_of(total): total for total in scoring.read(run.folder)["evaluations"]}
    for at, row in repeated(run.folder).items():
        spread = {"seeds": len(row["means"]), "seed_range": row["seed_range"]}
        totals[at] = {**totals[at], f"student_minus_{row['against']}": row["gain"], **spread}
    guards = {at: allowed for n, allowed in gate.guards.items() for at in _matching(run, n, totals, "guards")}
    named = [at for n in gate.targets for at in _matching(run, n, totals, "targets")]
    targets = list(dict.fromkeys(named)) or [at for at in totals if at not in guards]
    for at in targets:
        yield _target(at, totals[at], gate.margin)
    for at, allowed in guards.items():
        yield _guard(at, totals[at], allowed)
    yield _contamination(run, totals)
    yield from _challenge(run, students, {at: totals[at] for at in (*targets, *guards)})


def _matching(run: Run, name: str, totals: Mapping[str, Total], key: str) -> list[str]:
    """The evaluation of this name, or all groups of it."""
    if found := [at for at in totals if name in (at, totals[at]["evaluator"])]:
        return found
    raise RecipeError(run.recipe.file, f"gate.{key}", f'no evaluation is called "{name}"{near(name, totals)}')


def _target(name: str, total: Total, margin: float) -> Finding:
    other = gains.against(total)
    if other is None:
        return Finding("target", name, False, NOTHING)
    gain = total[f"student_minus_{other}"]
    wide = abs(gain["difference"]) > total.get("seed_range", 0.0)
    needs = gains.needs(gain)
    if gains.lower_is_better(total):
        return Finding(
            "target", name, wide and gain["high"] < -margin, _said(total, "below", -margin) + needs
        )
    return Finding("target", name, wide and gain["low"] > margin, _said(total, "above", margin) + needs)


def _guard(name: str, total: Total, allowed: float) -> Finding:
    other = gains.against(total)
    if other is None:
        return Finding("guard", name, False, NOTHING)
    gain = total[f"student_minus_{other}"]
    if gains.lower_is_better(total):
        return Finding("guard", name, gain["high"] <= allowed, _said(total, "not above", allowed))
    return Finding("guard", name, gain["low"] >= -allowed, _said(total, "not below", -allowed))


def _said(total: Total, side: str, bound: float) -> str:
    other = gains.against(total)
    gain = total[f"student_minus_{other}"]
    difference = f"student - {other} {gains.difference(gain, total)}"
    must = f"{difference}, must lie {side} {gains.in_unit(bound, total)}"
    if "seeds" in total:
        spread = gains.in_unit(total["seed_range"], total)
        must += f"; {total['seeds']} seeds differ by {spread}, which it must exceed"
    return must


def _contamination(run: Run, totals: Mapping[str, Total]) -> Finding:
    """No question that was asked may stand, word for word, in a training row."""
    hit = sum({total["evaluator"]: total["contaminated"] for total in totals.values()}.values())
    asked = sum(total["questions"] + sum(total["not_scored"].values()) for total in totals.values())
    looked = any(step.name == "decontaminate" for step in run.recipe.select)
    rest = "rephrased ones: see decontaminate" if looked else "rephrased ones were not looked for"
    said = f"{hit:,} of {asked:,} asked questions stand word for word in training rows ({rest})"
    return Finding("contamination", "0", not hit, said)


def _challenge(run: Run, students: Students, totals: Mapping[str, Total]) -> Iterator[Finding]:
    """The champion's answers to the same questions: on none of these may the student be shown to be worse."""
    from synth.evaluators import stats

    champion = students.champion
    if champion is None or champion == students.version_of(run.folder):
        return
    before = {_key(answer): answer["score"] for answer in _answers(students.folder / champion)}
    after = {_key(answer): answer for answer in _answers(run.folder)}
    for at, total in totals.items():
        both = [key for key in after if key[0] == at and key in before]
        if not both:
            yield Finding("champion", at, True, f"{champion} was asked none of these questions: not compared")
            continue
        gain = asdict(
            stats.paired(
                [before[key] for key in both],
                [after[key]["score"] for key in both],
                scoring.clusters_of(after[key] for key in both),
                bounded=not total["unit"],
            )
        )
        worse = gain["low"] > 0 if gains.lower_is_better(total) else gain["high"] < 0
        said = (
            f"student - {champion} {gains.difference(gain, total)} on {len(both):,} questions, must reach 0"
        )
        yield Finding("champion", at, not worse, said)


def _answers(folder: Path) -> list[dict[str, Any]]:
    """What the student of a run or version scored."""
    scored = (answer for answer in answers_of(folder) if answer["score"] is not None)
    return [answer for answer in scored if answer["system"] == "student"]


def _key(answer: Mapping[str, Any]) -> tuple[str, str]:
    return gains.name_of(answer), answer["question_id"]
