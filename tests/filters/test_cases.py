"""Every filter with labelled rows does on them what docs/filters.md says."""

import pytest
from filter_cases import cases, names, score

FLOORS = {
    "boilerplate": (0.97, 0.95),
    "characters": (0.97, 0.97),
    "echo": (0.97, 0.95),
    "language": (0.92, 0.97),
    "length": (1.0, 1.0),
    "pii": (0.97, 0.97),
    "refusal": (0.95, 0.93),
    "repetition": (0.97, 0.97),
    "secrets": (0.96, 0.96),
    "toxicity": (0.8, 0.92),
    "truncated": (0.97, 0.85),
    "valid_code": (0.97, 0.95),
    "valid_json": (0.97, 0.94),
}
"""Precision and recall."""


@pytest.mark.parametrize("name", names())
def test_a_filter_keeps_and_rejects_its_labelled_rows_as_well_as_is_said(name: str) -> None:
    rows = list(cases(name))
    wrong = [f"{case.note}: {case.verdict.reason or 'kept'}" for case in rows if not case.right]
    found, (precision, recall) = score(rows), FLOORS[name]
    assert len(rows) >= 50 and 20 <= found.wanted <= len(rows) - 20
    assert found.precision >= precision and found.recall >= recall, wrong


@pytest.mark.parametrize("name", names())
def test_a_rejection_has_a_reason_that_many_rows_share(name: str) -> None:
    rejected = [case.verdict for case in cases(name) if not case.verdict.keep]
    reasons = {verdict.reason for verdict in rejected}
    assert "" not in reasons and all(verdict.by == name for verdict in rejected)
    assert len(reasons) <= 15
