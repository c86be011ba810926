import numpy as np
import pytest

from synth.compute import vectors as module
from synth.compute.vectors import Vectors, centres, greedy, near_cells


def drawn(rows: int, wide: int = 16, seed: int = 0) -> Vectors:
    """Unit vectors, half of them near an earlier one."""
    draw = np.random.default_rng(seed)
    found = draw.normal(size=(rows, wide))
    copies = np.arange(rows // 2, rows)
    found[copies] = found[copies - rows // 2] + draw.normal(size=(len(copies), wide)) * 0.1
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32)


def plainly(vectors: Vectors, order: list[int], threshold: float) -> list[int]:
    """The nearest taken row of each row that goes, -1 for those that stay."""
    taken: list[int] = []
    said = [-1] * len(vectors)
    for row in order:
        near = max(taken, key=lambda other: (vectors[row] @ vectors[other], -other), default=-1)
        if near >= 0 and vectors[row] @ vectors[near] >= threshold:
            said[row] = near
        else:
            taken.append(row)
    return said


@pytest.mark.parametrize("rows", [1, 7, 3000])
def test_blocks_choose_what_a_plain_loop_over_pairs_chooses(rows: int) -> None:
    vectors = drawn(rows)
    order = np.random.default_rng(1).permutation(rows)
    chosen = greedy(vectors, order, 0.9)
    wanted = plainly(vectors, order.tolist(), 0.9)
    assert np.where(chosen.taken, -1, chosen.nearest).tolist() == wanted
    assert rows < 10 or max(wanted) >= 0


def test_cells_find_what_blocks_find(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, order = drawn(6000), np.arange(6000)
    exact = greedy(vectors, order, 0.9)
    monkeypatch.setattr(module, "EXACT", 0)
    cells = greedy(vectors, order, 0.9)
    gone = ~exact.taken
    assert gone.sum() > 2500
    assert (gone & ~cells.taken).sum() >= 0.99 * gone.sum()
    removed = np.flatnonzero(~cells.taken)
    assert cells.taken[cells.nearest[removed]].all()
    true = (vectors[removed] * vectors[cells.nearest[removed]]).sum(axis=1)
    assert cells.cosine[removed] == pytest.approx(true, abs=1e-4)
    assert (cells.cosine[removed] >= 0.9 - 1e-6).all()
    again = greedy(vectors, order, 0.9)
    assert (again.taken == cells.taken).all() and (again.nearest == cells.nearest).all()


@pytest.mark.parametrize("exact", [0, 20_000])
def test_it_ends_when_enough_are_taken(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", exact)
    chosen = greedy(drawn(500), np.arange(500)[::-1].copy(), 0.9, 10)
    assert np.flatnonzero(chosen.taken).tolist() == list(range(490, 500))
    assert (chosen.nearest[:490] == -1).all()


@pytest.mark.parametrize("exact", [0, 20_000])
def test_rows_that_are_all_alike_leave_the_first(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", exact)
    alike = np.repeat(drawn(1), 3000, axis=0)
    chosen = greedy(alike, np.arange(3000), 1.0)
    assert np.flatnonzero(chosen.taken).tolist() == [0]
    assert set(chosen.nearest[1:].tolist()) == {0}


@pytest.mark.parametrize("exact", [0, 20_000])
def test_rows_without_a_vector_resemble_nothing(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", exact)
    assert greedy(np.zeros((5, 4), np.float32), np.arange(5), 0.5).taken.all()
    assert greedy(np.zeros((0, 1), np.float32), np.arange(0), 0.5).taken.tolist() == []


def test_centres_find_groups_that_lie_apart() -> None:
    groups = np.repeat(np.eye(4, 8, dtype=np.float32), 50, axis=0) + drawn(200, 8) * 0.1
    groups /= np.linalg.norm(groups, axis=1, keepdims=True)
    cells = near_cells(groups, centres(groups, 4, rounds=20), 1)[:, 0]
    assert [len(set(cells[start : start + 50].tolist())) for start in range(0, 200, 50)] == [1] * 4
    assert len(set(cells.tolist())) == 4
