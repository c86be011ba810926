"""A run: a checked recipe, its folder, and the journal and novelty log there."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from synth import takeover
from synth.check import Checked, check
from synth.errors import RecipeError
from synth.llm.journal import Journal
from synth.models import Say
from synth.novelty import Novelty
from synth.recipe import Recipe, load_recipe
from synth.store import Dataset


@dataclass(frozen=True, slots=True)
class Run:
    """A checked recipe and the folder of its run."""

    checked: Checked
    dataset: Dataset
    say: Say

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.checked.recipe

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.dataset.folder

    def novelty(self) -> AbstractContextManager[Novelty | None]:
        """What the run asked before, where the recipe has [novelty]."""
        config = self.recipe.novelty
        if config is None:
            return nullcontext()
        shared = self.recipe.root / config.shared if config.shared else None
        if shared is None and not (self.folder / "novelty.jsonl").is_file():
            takeover.take_decisions(self.dataset, self.recipe, self.checked.questions_key)
        return Novelty(self.folder, config.threshold, shared)

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        """This run's journal, which also knows what earlier runs of the recipe were answered."""
        runs = self.folder.parent.glob(f"{self.recipe.name}-*/journal")
        journal = Journal(self.folder / "journal", sorted(run for run in runs if run.parent != self.folder))
        if journal.torn:
            self.say(f"journal: {journal.torn} torn line(s) dropped")
        try:
            yield journal
        finally:
            journal.close()


def open_run(
    target: Path | str,
    *,
    rows: int | None = None,
    say: Say = lambda _: None,
    change: Callable[[str], str] | None = None,
) -> Run:
    """The run of a recipe file, or of a run folder; or that of its recipe with a `change`. Writes nothing.

    Raises:
        RecipeError, DataError: the recipe or a file that it names is wrong.
    """
    file, folder = Path(target), None
    if file.is_dir():
        if not (file / "recipe.toml").is_file():
            mend = "is no run folder (no recipe.toml); name a recipe or a folder of data/runs"
            raise RecipeError(file, "", mend)
        folder = file.resolve()
        rows = rows or Dataset(folder).manifest.get("stages", {}).get("generate", {}).get("rows")
        file = folder / "recipe.toml"
    if change is None:
        checked = check(load_recipe(file, rows=rows))
    else:
        checked, folder = check(load_recipe(file, rows=rows, change=change)), None
    runs = checked.recipe.root / "data" / "runs"
    return Run(checked, Dataset(folder or runs / f"{checked.recipe.name}-{checked.key}"), say)
