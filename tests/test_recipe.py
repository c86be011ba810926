from pathlib import Path

import pytest
from projects import RECIPE, edit, make_project

from synth.errors import RecipeError
from synth.filters.rubric import Rubric
from synth.filters.text import Length, Truncated
from synth.recipe import find_root, load_recipe
from synth.selectors.exact import Exact
from synth.strategies.template import Template
from synth.tables import Role, Student

URL = "http://127.0.0.1:9/v1"


def test_a_recipe_is_read_with_its_steps_built_and_its_paths_resolved(tmp_path: Path) -> None:
    recipe = load_recipe(make_project(tmp_path, URL))
    assert recipe.name == "small"
    assert recipe.generate == (Template(prompt="ask"),)
    assert recipe.filters == (Truncated(), Length(min_words=3))
    assert recipe.judges == (Rubric(prompt="judge", threshold=2, read="text"),)
    assert recipe.select == (Exact(),)
    assert recipe.teacher == Role(model="local", endpoint=URL, max_tokens=64)
    assert recipe.seeds.path == str(tmp_path / "seeds.jsonl")
    assert (recipe.run.shard_rows, recipe.run.validation, recipe.run.max_failed) == (8, 0.25, 0.05)
    assert recipe.text == RECIPE.replace("ENDPOINT", URL)
    assert [step.name for step in recipe.steps] == ["template", "truncated", "length", "rubric", "exact"]


def test_rows_of_the_command_line_win_over_those_of_the_recipe(tmp_path: Path) -> None:
    file = make_project(tmp_path, URL)
    edit(file, '"seeds.jsonl"', '"seeds.jsonl"\nrows = 20')
    assert load_recipe(file).seeds.rows == 20
    assert load_recipe(file, rows=5).seeds.rows == 5


def test_only_sampling_that_was_set_is_sent() -> None:
    assert Role(model="m").sampling() == {"temperature": 0.7, "top_p": 1.0, "max_tokens": 512}
    role = Role(model="m", top_k=5, stop=("\n",), presence_penalty=0.5, repetition_penalty=1.1)
    assert role.sampling() == {
        "temperature": 0.7,
        "top_p": 1.0,
        "max_tokens": 512,
        "top_k": 5,
        "stop": ["\n"],
        "presence_penalty": 0.5,
        "repetition_penalty": 1.1,
    }
    assert Student(model="m").sampling()["temperature"] == 0.0


def test_paths_belong_to_the_project_above_the_recipe(tmp_path: Path) -> None:
    make_project(tmp_path, URL)
    deep = tmp_path / "recipes" / "mine"
    deep.mkdir(parents=True)
    file = (tmp_path / "recipe.toml").rename(deep / "recipe.toml")
    assert find_root(file) == tmp_path
    assert load_recipe(file).seeds.path == str(tmp_path / "seeds.jsonl")


def test_a_step_of_the_users_own_is_imported_by_module_and_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "own_steps_of_a_test.py"
    module.write_text(
        "from synth import Filter, Record, Verdict\n"
        "class Haiku(Filter):\n"
        "    lines: int = 3\n"
        "    def check(self, record: Record) -> Verdict:\n"
        "        return Verdict('', record.answer.count('\\n') + 1 == self.lines)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = make_project(tmp_path, URL)
    edit(file, 'use = "truncated"', 'use = "own_steps_of_a_test:Haiku"\nlines = 5')
    step = load_recipe(file).filters[0]
    assert (step.name, step.model_dump()) == ("Haiku", {"lines": 5})
    edit(file, "lines = 5", "line = 5")
    with pytest.raises(RecipeError, match=r'filter\[0\]: line: unknown key; did you mean "lines"\?'):
        load_recipe(file)


def test_a_recipe_and_its_steps_can_not_be_changed(tmp_path: Path) -> None:
    recipe = load_recipe(make_project(tmp_path, URL))
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        recipe.generate[0].samples = 2  # type: ignore[misc]


def test_an_error_names_file_key_and_mend(tmp_path: Path) -> None:
    file = make_project(tmp_path, URL)
    edit(file, "max_tokens = 64", "temperatur = 1")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert str(caught.value) == f'{file}: teacher.temperatur: unknown key; did you mean "temperature"?'
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("key", ["file", "root", "text"])
def test_what_synth_adds_to_a_recipe_can_not_be_written_in_it(tmp_path: Path, key: str) -> None:
    file = make_project(tmp_path, URL)
    file.write_text(f'{key} = "x"\n{file.read_text()}')
    with pytest.raises(RecipeError, match=f"{key}: unknown key; remove it"):
        load_recipe(file)
