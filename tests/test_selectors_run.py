"""The selectors that embed, in a whole run."""

from pathlib import Path

import pandas as pd
import pytest
from endpoint import Endpoint
from projects import edit, hashes

from synth import edits
from synth.errors import RecipeError
from synth.pipeline import Run, curate, generate, open_run

SELECT = """[[select]]
use = "semantic"
threshold = 0.99
numbers = false
by = "rubric"

[[select]]
use = "balance"
field = "topic"
most = 30
clusters = 3

[[select]]
use = "diverse"
by = ["rubric"]
rows = 20
threshold = 0.999

[run]"""


def made(run: Run) -> Run:
    """The run, generated and curated."""
    generate(run)
    curate(run)
    return run


def test_another_threshold_asks_nothing_and_embeds_nothing(recipe: Path, endpoint: Endpoint) -> None:
    edit(recipe, "[run]", SELECT)
    first = made(open_run(recipe))
    asked, before = endpoint.requests, hashes(first.folder)
    change = edits.with_key(first.folder, "select", "semantic", "threshold", 0.5)
    second = made(open_run(first.folder, change=change))
    assert endpoint.requests == asked
    assert second.folder != first.folder
    assert hashes(first.folder) == before
    inodes = [
        {file.stat().st_ino for file in (run.folder / "index").glob("*.npy")} for run in (first, second)
    ]
    assert inodes[0] and inodes[0] <= inodes[1]
    kept = [sum(frame(run)["status"] == "kept") for run in (first, second)]
    assert 20 == kept[0] > kept[1] > 0


def test_every_row_that_goes_names_a_row_that_stayed_until_then(recipe: Path) -> None:
    edit(recipe, "[run]", SELECT.replace("0.99\n", "0.5\n"))
    rows = frame(made(open_run(recipe))).set_index("id")
    gone = rows[rows["rejected_by"] == "semantic"]
    assert len(gone) and (gone["reason"] == "means the same as another row").all()
    assert set(rows.loc[gone["duplicate_of"], "rejected_by"].fillna("")) <= {"", "balance", "diverse"}


def test_a_share_that_no_cap_gives_names_the_key(recipe: Path) -> None:
    edit(recipe, "[run]", '[[select]]\nuse = "balance"\nfield = "strategy"\nshare = 0.5\n\n[run]')
    run = open_run(recipe)
    generate(run)
    with pytest.raises(RecipeError, match=r"select.share: 1 group by strategy can't be at most 0.5 of all"):
        curate(run)


def frame(run: Run) -> pd.DataFrame:
    """The run's rows with all that was said of them."""
    return run.dataset.to_pandas()
