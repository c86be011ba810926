"""What filters and judges may rely on: the fields of every seed, and those that every strategy adds."""

import json
from pathlib import Path

import pytest

from synth.check import check
from synth.errors import RecipeError
from synth.recipe import load_recipe

HEAD = """
name = "small"
[seeds]
path = "seeds.jsonl"
[teacher]
model = "local"
endpoint = "http://127.0.0.1:9/v1"
"""
DRAWS = '[[generate]]\nuse = "persona"\nconstraints = [1, 2]\n'
DRAWS_NONE = '[[generate]]\nuse = "persona"\n'
CONSTRAINT = '[[filter]]\nuse = "constraint"\n'
READS = '[[filter]]\nuse = "own_judge_of_a_test:Reads"\n'
JUDGE = """
from synth import Judge, Verdict
class Reads(Judge):
    prompts_used = ("prompt",)
    prompt: str = "judge"
    async def judge(self, record, ask, prompts):
        return Verdict(self.name, True)
"""


def recipe_of(root: Path, *tables: str) -> Path:
    (root / "prompts").mkdir()
    (root / "prompts" / "judge.jinja").write_text("Is this of {{ persona }}? {{ evidence }}")
    (root / "own_judge_of_a_test.py").write_text(JUDGE)
    (root / "seeds.jsonl").write_text(json.dumps({"persona": "a cook", "text": "Soup is hot."}))
    (root / "recipe.toml").write_text(HEAD + "".join(tables))
    return root / "recipe.toml"


def test_a_filter_finds_what_the_strategy_adds(tmp_path: Path) -> None:
    assert check(load_recipe(recipe_of(tmp_path, DRAWS, CONSTRAINT)))


@pytest.mark.parametrize("tables", [(DRAWS_NONE,), (DRAWS, DRAWS_NONE)])
def test_what_not_all_strategies_add_is_missed(tmp_path: Path, tables: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match=r"filter\[0\]: constraint needs the field .*of the strategy"):
        check(load_recipe(recipe_of(tmp_path, *tables, CONSTRAINT)))


def test_a_judges_prompt_may_read_what_the_strategy_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = recipe_of(tmp_path, '[[generate]]\nuse = "grounded_qa"\n', READS)
    assert check(load_recipe(file))
    file.write_text(HEAD + DRAWS_NONE + READS)
    with pytest.raises(RecipeError, match=r"judge\.jinja: evidence: "):
        check(load_recipe(file))


TRAIN = '[student]\nmodel = "local"\n[train.trainer]\nneftune_alpha = 5\n'


def test_a_setting_that_the_trainer_does_not_know_is_refused_by_file_key_and_mend(tmp_path: Path) -> None:
    mend = r"recipe\.toml: train\.trainer\.neftune_alpha: .*did you mean \"neftune_noise_alpha\""
    with pytest.raises(RecipeError, match=mend):
        check(load_recipe(recipe_of(tmp_path, TRAIN, DRAWS)))
