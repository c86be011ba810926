"""What ships with synth holds together: every recipe, and the recipe that the README shows."""

import re
import shutil
from pathlib import Path

import pytest

from synth.check import check
from synth.prompts import Prompts
from synth.recipe import load_recipe

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "file", sorted((ROOT / "flows" / "recipes").glob("*.toml")), ids=lambda file: file.stem
)
def test_a_shipped_recipe_passes_every_check_that_needs_no_model(file: Path) -> None:
    checked = check(load_recipe(file))
    assert checked.seeds
    assert checked.recipe.name == file.stem


@pytest.mark.parametrize(
    "file", sorted((ROOT / "flows" / "recipes").glob("*.toml")), ids=lambda file: file.stem
)
def test_what_a_shipped_recipe_has_written_can_be_in_another_language(file: Path) -> None:
    """But for the quickstart's prompts, whose rows are English constraints, and extract, which copies."""
    for step in load_recipe(file).generate:
        sources = [(ROOT / "prompts" / f"{name}.jinja").read_text() for name in step.prompt_names()]
        english = file.stem in ("curate", "extract") or "quickstart" in step.prompt_names()[0]
        assert any("language.jinja" in source for source in sources) or english


def test_the_recipes_language_is_a_variable_of_every_prompt(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "own.jinja").write_text(
        "{{ word }}{% if language %} in {{ language }}{% endif %}{% include 'language.jinja' %}"
    )
    plain, german = Prompts(tmp_path), Prompts(tmp_path, "German")
    assert plain.render("own", {"word": "Bread"})[0]["content"] == "Bread"
    text = german.render("own", {"word": "Bread"})[0]["content"]
    assert text.startswith("Bread in German\n\nWrite in German. ")
    assert german.file("own").variables == {"word"}


def test_the_readmes_recipe_passes_too(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```toml\n(name = .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "mine.toml").write_text(snippet)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "mine.jinja").write_text("{% block user %}{{ question }}{% endblock %}")
    seeds = tmp_path / "data" / "seeds" / "mine.jsonl"
    seeds.parent.mkdir(parents=True)
    shutil.copy(ROOT / "data" / "seeds" / "quickstart.jsonl", seeds)
    assert check(load_recipe(tmp_path / "mine.toml")).recipe.name == "mine"
