import io
import re
import sys
import tomllib
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from typer.testing import CliRunner

from synth import catalogue
from synth.cli import app
from synth.errors import RecipeError
from synth.shipped import USE
from synth.steps import find

OWN = '''
"""Poems, in any [mood]; after Poe 1845, arXiv 1845.00001."""
from typing import Literal
from synth import Strategy
class Poem(Strategy):
    """Writes a poem.

    Needs [nothing]. Yields

    - one row;
    - or none
      at all.
    """
    lines: int
    """How many
    there are."""
    mood: Literal["sad", "glad"] | None = None
    pair: tuple[int, float] = (1, 0.5)
    words: tuple[str, ...] = ("a",)
    async def generate(self, seed, ask, prompts):
        return []
'''


MAKING = [name for name in USE["generate"] if name != "existing"]


def shown(what: RenderableType, width: int = 80) -> str:
    out = Console(file=io.StringIO(), width=width, color_system=None)
    out.print(what, crop=False)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_every_shipped_strategy_has_a_line_with_its_papers() -> None:
    text = shown(catalogue.strategies(), 200)
    for name in MAKING:
        [line] = [line for line in text.splitlines() if line.startswith(f"│ {name} ")]
        assert "arXiv" in line and len(line.split("│")[2].split()) >= 5
    assert "Maini et al. 2024, arXiv 2401.16380" in text and "Su et al. 2024, arXiv 2412.02595" in text


@pytest.mark.parametrize("name", MAKING)
def test_a_strategy_is_told_whole_and_no_line_is_cut_at_80_columns(name: str) -> None:
    cls = find("generate", name)
    text = shown(catalogue.strategy(name))
    assert text.startswith(f"{name}\n") and "paper" in text and "Example" in text
    before = text[: text.index("\nExample")]
    assert max(map(len, before.splitlines())) <= 80
    for key, info in cls.model_fields.items():
        assert f"│ {info.alias or key} " in text
        assert info.description, f"{name}: give {key} a docstring below it"


@pytest.mark.parametrize("name", sorted(USE["generate"]))
def test_the_example_is_a_table_that_a_shipped_recipe_has(name: str) -> None:
    text = shown(catalogue.strategy(name))
    [entry] = tomllib.loads(text[text.index("[[generate]]") :])["generate"]
    assert entry["use"] == name
    assert "Example, from flows/recipes/" in text


def test_what_a_strategy_needs_and_yields_comes_from_its_code() -> None:
    magpie = shown(catalogue.strategy("magpie"), 120)
    assert "an endpoint that can do: completions" in magpie and "1 row a sample" in magpie
    assert "prompts/magpie/topic.jinja" in magpie
    limits = " ".join(shown(catalogue.strategy("limits"), 120).split())
    assert "needs seeds with `text`" in limits and "with the fields kind, question beside" in limits


def test_a_strategy_of_the_users_own_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_strategy_of_a_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    text = shown(catalogue.strategy("own_strategy_of_a_test:Poem"))
    assert "Writes a poem.\n\nNeeds [nothing]. Yields\n\n- one row;\n- or none at all.\n" in text
    assert "arXiv 1845.00001" in text
    for line in (
        "│ lines │ required │ How many there are.",
        '│ mood │ │ "sad" or "glad"',
        "│ pair │ [1, 0.5] │ [integer, number]",
        '│ words │ ["a"] │ list of text',
    ):
        assert line in re.sub(" +", " ", text)
    assert text.endswith(
        'Example\n[[generate]]\nuse = "own_strategy_of_a_test:Poem"\nlines = ...    # integer\n'
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("magpi", 'no generate step is called "magpi"; did you mean "magpie"?'),
        ("zzz", 'no generate step is called "zzz"; known: backtranslate, '),
        ("nowhere:Poem", '"nowhere:Poem" can\'t be imported'),
        ("synth.filters.text:Length", '"synth.filters.text:Length" is no Strategy; derive it'),
    ],
)
def test_a_name_that_is_no_strategy_is_told_the_nearest(name: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        catalogue.strategy(name)
    assert str(caught.value).startswith(message) and caught.value.exit_code == 2


def test_the_command_ends_with_2_where_the_name_is_wrong() -> None:
    done = {name: CliRunner().invoke(app, ["strategies", name]) for name in ("template", "templat")}
    assert done["template"].exit_code == 0 and 'use = "template"' in done["template"].output
    assert done["templat"].exit_code == 2
