"""What the UI shows of a run."""

from flows import artifacts
from synth.gate import Decision, Finding
from synth.store import Counts


def test_the_counts_have_a_row_a_reason_with_its_share_of_the_planned_rows() -> None:
    counts = Counts(
        {("kept", "", ""): 6, ("rejected", "length", "too short"): 3, ("failed", "template", "HTTP 400"): 1}
    )
    rows = artifacts.counts_rows(counts)
    assert sum(row["rows"] for row in rows) == counts.planned == 10
    assert {
        "status": "rejected",
        "step": "length",
        "reason": "too short",
        "rows": 3,
        "share of planned": "30.0%",
    } in rows


def test_a_key_has_only_what_prefect_allows() -> None:
    assert artifacts.key("my_recipe2", "counts") == "my-recipe2-counts"


def test_the_scores_are_a_markdown_table_and_the_paired_gain() -> None:
    base = {"mean": 0.25, "low": 0.1, "high": 0.4}
    student = {"mean": 0.75, "low": 0.6, "high": 0.9}
    gain = {"difference": 0.5, "low": 0.3, "high": 0.7, "wins": 12, "losses": 2, "p": 0.01}
    total = {
        "evaluator": "exact_match",
        "group": "a|b",
        "questions": 20,
        "systems": {"base": base, "student": student},
        "student_minus_base": gain,
    }
    page = artifacts.scores_page({"evaluations": [total]})
    assert "| evaluator | group | questions | base | student |\n| --- | --- | --- | --- | --- |" in page
    assert r"| exact_match | a\|b | 20 | 25.0% [10.0%, 40.0%] | 75.0% [60.0%, 90.0%] |" in page
    assert "student - base: +50.0 points [+30.0, +70.0]" in page


def test_the_gate_is_a_markdown_table_of_its_rules() -> None:
    found = Finding("target", "exact_match", False, "student - base +1.0 points [-2.0, +4.0]")
    page = artifacts.gate_page(Decision("small", False, "0001-abcdef01", (found,)))
    assert page.startswith("gate: refused the student; small 0001-abcdef01 stays the champion\n")
    assert "| target | exact_match | student - base +1.0 points [-2.0, +4.0] | NO |" in page
