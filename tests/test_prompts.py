from pathlib import Path

import pytest

from synth.errors import RecipeError, Unusable
from synth.prompts import Prompts


def write(root: Path, name: str, text: str) -> Prompts:
    file = root / "prompts" / f"{name}.jinja"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return Prompts(root)


def test_blocks_are_turns_in_file_order_and_their_names_begin_with_the_role(tmp_path: Path) -> None:
    text = (
        "{% block system %}Be {{ how }}.{% endblock %}\n{% block user_1 %}Hi{% endblock %}\n"
        "{% block assistant %}\n  Ho\n{% endblock %}{% block user_2 %}{{ what }}{% endblock %}"
    )
    prompts = write(tmp_path, "chat", text)
    assert prompts.render("chat", {"how": "kind", "what": "Why?"}) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho"},
        {"role": "user", "content": "Why?"},
    ]
    assert prompts.file("chat").variables == {"how", "what"}


def test_a_file_without_blocks_is_one_user_turn(tmp_path: Path) -> None:
    prompts = write(tmp_path, "plain", "Say {{ word }}.\n")
    assert prompts.render("plain", {"word": "yes"}) == [{"role": "user", "content": "Say yes."}]


def test_a_turn_that_renders_empty_is_left_out_and_a_prompt_without_turns_is_unusable(tmp_path: Path) -> None:
    text = "{% block system %}{{ rule }}{% endblock %}{% block user %}{{ ask }}{% endblock %}"
    prompts = write(tmp_path, "maybe", text)
    assert prompts.render("maybe", {"rule": " ", "ask": "Go"}) == [{"role": "user", "content": "Go"}]
    with pytest.raises(Unusable, match="prompt maybe is empty"):
        prompts.render("maybe", {"rule": "", "ask": ""})


def test_what_a_file_sets_above_its_blocks_is_seen_in_them(tmp_path: Path) -> None:
    text = '{% set word = "three " ~ what %}{% block user %}Say {{ word }}.{% endblock %}'
    prompts = write(tmp_path, "set", text)
    assert prompts.render("set", {"what": "things"}) == [{"role": "user", "content": "Say three things."}]


@pytest.mark.parametrize("text", ["{{ missing }}", "{{ word + 1 }}", "{{ 1 // 0 }}", "{{ word.x.y }}"])
def test_a_template_that_fails_on_a_seed_makes_it_unusable(tmp_path: Path, text: str) -> None:
    prompts = write(tmp_path, "bad", f"{{% block user %}}{text}{{% endblock %}}")
    with pytest.raises(Unusable, match="prompt bad can't be filled"):
        prompts.render("bad", {"word": "text"})


def test_a_prompt_can_not_reach_into_python(tmp_path: Path) -> None:
    prompts = write(tmp_path, "evil", "{{ word.__class__.__mro__ }}")
    with pytest.raises(Unusable, match="can't be filled"):
        prompts.render("evil", {"word": "text"})


def test_seeds_are_text_and_never_templates(tmp_path: Path) -> None:
    prompts = write(tmp_path, "plain", "{{ word }}")
    assert prompts.render("plain", {"word": "{{ 7 * 7 }} <b>"})[0]["content"] == "{{ 7 * 7 }} <b>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% block user %}{{ word }", r"prompts/bad\.jinja: line 1: is no valid Jinja"),
        ("{% block human %}x{% endblock %}", r"block human: names no role; begin it with one of system"),
        ("{% include 'other.jinja' %}", r"includes other\.jinja, which is not there"),
        ("{{ word | nofilter }}", r"is no valid Jinja: No filter named 'nofilter'"),
    ],
)
def test_a_wrong_prompt_file_is_named_with_its_mend(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        write(tmp_path, "bad", text).file("bad")


def test_a_prompt_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    prompts = write(tmp_path, "bytes", "")
    with pytest.raises(RecipeError, match=r"prompts/none\.jinja: no such prompt file"):
        prompts.file("none")
    (tmp_path / "prompts" / "bytes.jinja").write_bytes(b"\xff\xfe{{ x }}")
    with pytest.raises(RecipeError, match=r"prompts/bytes\.jinja: is no UTF-8 text"):
        prompts.file("bytes")


def test_a_version_follows_the_text_of_the_file_and_of_what_it_includes(tmp_path: Path) -> None:
    write(tmp_path, "part", "{{ word }}")
    first = write(tmp_path, "whole", "Say {% include 'part.jinja' %}").file("whole")
    assert first.version.startswith("whole@") and first.variables == {"word"}
    assert Prompts(tmp_path).file("whole").version == first.version
    assert write(tmp_path, "part", "{{ word }}!").file("whole").version != first.version
    assert write(tmp_path, "part", "{{ word }}").file("whole").version == first.version


def test_macros_are_no_variables_and_are_seen_in_blocks(tmp_path: Path) -> None:
    write(tmp_path, "said", "{% macro said(x) %}said {{ x }}{% endmacro %}")
    text = "{% from 'said.jinja' import said %}{% macro loud(x) %}{{ x | upper }}{% endmacro %}"
    prompts = write(tmp_path, "uses", text + "{% block user %}{{ loud(said(word)) }}{% endblock %}")
    assert prompts.file("uses").variables == {"word"}
    assert prompts.render("uses", {"word": "yes"}) == [{"role": "user", "content": "SAID YES"}]


def test_a_project_goes_before_the_prompts_that_ship(tmp_path: Path) -> None:
    assert Prompts(tmp_path).file("rubric/judge").variables
    own = write(tmp_path, "rubric/judge", "{{ answer }}")
    assert own.file("rubric/judge").variables == {"answer"}
