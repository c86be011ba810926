"""Recipes that a command changes: the same text, comments too, with other values."""

import re
from collections.abc import Callable
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from synth.errors import RecipeError
from synth.steps import near

HUB = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?(@[\w.-]+)?")


def of_rows(file: Path, dataset: str) -> Callable[[str], str]:
    """Makes the recipe of `synth curate DATASET`: its rows in place of seeds and what makes rows of them.

    A path is taken from where the command was given; what is no path and looks like `owner/name` is a set
    of the Hub.

    Raises:
        RecipeError: when called, where the text can't be edited.
    """
    if not dataset.startswith("hub:"):
        place = Path(dataset).expanduser()
        dataset = f"hub:{dataset}" if HUB.fullmatch(dataset) and not place.exists() else str(place.resolve())

    def change(text: str) -> str:
        document = _parsed(file, text)
        for name in ("seeds", "generate", "novelty"):
            document.pop(name, None)
        seeds, existing = tomlkit.table(), tomlkit.table()
        seeds.add("path", dataset)
        existing.add("use", "existing")
        steps = tomlkit.aot()
        steps.append(existing)
        document.add("seeds", seeds)
        document.add("generate", steps)
        return tomlkit.dumps(document)

    return change


def with_key(file: Path, table: str, use: str, key: str, value: float) -> Callable[[str], str]:
    """Makes the recipe with this key of the first step of `[[table]]` that is called `use`.

    Raises:
        RecipeError: when called, where there is no such step, or the text can't be edited.
    """

    def change(text: str) -> str:
        document = _parsed(file, text)
        step = next((step for step in document.get(table, []) if step.get("use") == use), None)
        if step is None:
            raise RecipeError(file, table, f'has no step "{use}"; add [[{table}]] use = "{use}"')
        step[key] = value
        return tomlkit.dumps(document)

    return change


def with_value(file: Path, table: str, key: str, value: float) -> Callable[[str], str]:
    """Makes the recipe with this key of `[table]`, which must be there.

    Raises:
        RecipeError: when called, where there is no such table, or the text can't be edited.
    """

    def change(text: str) -> str:
        document = _parsed(file, text)
        if table not in document:
            raise RecipeError(file, table, f"missing; add [{table}]")
        document[table][key] = value
        return tomlkit.dumps(document)

    return change


def without(file: Path, use: str) -> Callable[[str], str]:
    """Makes the recipe without its filters, judges and selectors that are called `use`.

    Raises:
        RecipeError: when called, where there is none, or the text can't be edited.
    """

    def change(text: str) -> str:
        document = _parsed(file, text)
        known = []
        for table in ("filter", "select"):
            steps = document.get(table, [])
            known += [str(step.get("use")) for step in steps]
            for place in reversed([n for n, step in enumerate(steps) if step.get("use") == use]):
                del steps[place]
            if not steps:
                document.pop(table, None)
        if use not in known:
            mend = f'has no filter, judge or selector "{use}"{near(use, known)}'
            raise RecipeError(file, "", mend)
        return tomlkit.dumps(document)

    return change


def _parsed(file: Path, text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise RecipeError(file, "", f"is no valid TOML: {error}") from error
