"""What ships with synth holds together: every recipe, and the recipe that the README shows."""

import re
import shutil
from pathlib import Path

import pytest

from synth.check import check
from synth.recipe import load_recipe

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "file", sorted((ROOT / "flows" / "recipes").glob("*.toml")), ids=lambda file: file.stem
)
def test_a_shipped_recipe_passes_every_check_that_needs_no_model(file: Path) -> None:
    checked = check(load_recipe(file))
    assert checked.seeds
    assert checked.recipe.name == file.stem


def test_the_readmes_recipe_passes_too(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```toml\n(name = .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "mine.toml").write_text(snippet)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "mine.jinja").write_text("{% block user %}{{ question }}{% endblock %}")
    seeds = tmp_path / "data" / "seeds" / "mine.jsonl"
    seeds.parent.mkdir(parents=True)
    shutil.copy(ROOT / "data" / "seeds" / "quickstart.jsonl", seeds)
    assert check(load_recipe(tmp_path / "mine.toml")).recipe.name == "mine"
