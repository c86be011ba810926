"""What must hold when things go wrong: `faults` and `kill`."""

from harness import Bench


def faults(bench: Bench, rows: int, outage: float) -> None:
    """Later."""


def kill(bench: Bench, rows: int, kills: int, seed: int) -> None:
    """Later."""
