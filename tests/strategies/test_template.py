import asyncio
from pathlib import Path

import pytest
from rows import scripted, turns_of

from synth.errors import Unusable
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.strategies.template import Template
from synth.types import Record


@pytest.fixture
def prompts(tmp_path: Path) -> Prompts:
    (tmp_path / "prompts").mkdir()
    rules = "{% block system %}Rules.{% endblock %}{% block user %}{{ q }}{% endblock %}"
    (tmp_path / "prompts" / "rules.jinja").write_text(rules)
    (tmp_path / "prompts" / "bare.jinja").write_text("{{ q }}")
    return Prompts(tmp_path)


def test_a_row_is_the_prompt_filled_and_the_reply(tmp_path: Path, prompts: Prompts) -> None:
    ask, teacher = scripted(tmp_path, lambda prompt: f"  You said {prompt} \n")
    seed = make_seed({"q": "hi", "extra": 1})
    [row] = asyncio.run(Template(prompt="rules").generate(seed, ask, prompts))
    assert isinstance(row, Record)
    assert list(row.messages) == [
        {"role": "system", "content": "Rules."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "You said hi"},
    ]
    assert row.seed_id == seed.id and row.fields == {"q": "hi", "extra": 1}
    assert row.prompt == prompts.file("rules").version
    assert row.model == "scripted" and len(row.replies) == 1 and row.completion_tokens == 3
    assert teacher.asked == [list(row.messages[:2])]


def test_the_student_may_be_given_another_prompt_than_the_teacher(tmp_path: Path, prompts: Prompts) -> None:
    ask, teacher = scripted(tmp_path, lambda prompt: "answer")
    strategy = Template(prompt="rules", student_prompt="bare")
    [row] = asyncio.run(strategy.generate(make_seed({"q": "hi"}), ask, prompts))
    assert isinstance(row, Record)
    assert [turn["role"] for turn in row.messages] == ["user", "assistant"]
    assert [turn["role"] for turn in turns_of(teacher.asked[0])] == ["system", "user"]
    assert row.prompt == prompts.file("rules").version
    assert strategy.prompt_names() == ["rules", "bare"]


def test_a_seed_without_a_variable_is_unusable_and_asks_nothing(tmp_path: Path, prompts: Prompts) -> None:
    ask, teacher = scripted(tmp_path, lambda prompt: "answer")
    with pytest.raises(Unusable, match="'q' is undefined"):
        asyncio.run(Template(prompt="rules").generate(make_seed({"other": 1}), ask, prompts))
    assert teacher.asked == []
