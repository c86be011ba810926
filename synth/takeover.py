"""Rows of an earlier run of a recipe: where only its selectors changed, `raw/` is linked, not made again."""

import os
import shutil
from pathlib import Path

from synth.recipe import Recipe
from synth.store import Dataset, write_whole


def take_over(dataset: Dataset, recipe: Recipe, raw_key: str) -> Path | None:
    """Make `raw/` of this run from an earlier one that has the same, if there is one; returns its folder.

    Parquet files, which are only ever replaced, are linked; the journal, which grows, is copied. What
    selectors found out of the rows comes along.
    """
    for folder in sorted(dataset.folder.parent.glob(f"{recipe.name}-*")):
        other = Dataset(folder)
        if folder == dataset.folder or (entry := other.done("generate", raw_key)) is None:
            continue
        dataset.clear("raw")
        for name in (*entry["files"], *_stored(folder)):
            link(folder / name, dataset.folder / name)
        if (folder / "journal").is_dir():
            shutil.copytree(folder / "journal", dataset.folder / "journal", dirs_exist_ok=True)
        write_whole(dataset.folder / "recipe.toml", recipe.text.encode())
        dataset.record(
            "generate", {**entry, "from": folder.name}, [dataset.folder / name for name in entry["files"]]
        )
        return folder
    return None


def take_decisions(dataset: Dataset, recipe: Recipe, questions_key: str) -> None:
    """Begin with what an earlier run that asks the same questions decided of them, if there is one.

    Else a run with another filter would find other questions new, or draw others, and ask anew.
    """
    for folder in sorted(dataset.folder.parent.glob(f"{recipe.name}-*")):
        made = Dataset(folder).manifest.get("stages", {}).get("generate", {})
        if made.get("questions") == questions_key and (folder / "novelty.jsonl").is_file():
            write_whole(dataset.folder / "novelty.jsonl", (folder / "novelty.jsonl").read_bytes())
            return


def _stored(folder: Path) -> list[str]:
    files = (*(folder / "index").glob("*"), *folder.glob("novelty.jsonl"))
    return [str(file.relative_to(folder)) for file in files if not file.name.startswith(".")]


def link(source: Path, place: Path) -> None:
    """A second name of a file that is only ever replaced; a copy where there can be no link."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        os.link(source, place)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, place)
