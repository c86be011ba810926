import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from endpoint import Endpoint
from projects import edit, make_project, start_synth, synth_each

URL = "http://127.0.0.1:9/v1"
"""Nothing listens there: what is wrong with a recipe is found without any model."""


def in_recipe(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: edit(root / "recipe.toml", old, new)


def in_file(name: str, content: bytes) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / name).write_bytes(content)

    return write


def both(*acts: Callable[[Path], None]) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for one in acts:
            one(root)

    return act


@dataclass(frozen=True)
class Bad:
    """How a good project is spoilt, and the words that its one line must have."""

    spoil: Callable[[Path], None]
    words: tuple[str, ...]


PARQUET = in_recipe('"seeds.jsonl"', '"seeds.parquet"')
BAD = {
    "unknown key": Bad(
        in_recipe("max_tokens", "max_token"),
        ("recipe.toml: teacher.max_token: unknown key", 'did you mean "max_tokens"?'),
    ),
    "unknown key of a step": Bad(
        in_recipe("min_words", "min_word"), ("recipe.toml: filter[1]: min_word: unknown key", '"min_words"?')
    ),
    "unknown table": Bad(in_recipe("[teacher]", "[teachr]"), ("recipe.toml: teachr:", '"teacher"?')),
    "misspelt steps": Bad(in_recipe("[[generate]]", "[[generat]]"), ("generat: unknown", '"generate"?')),
    "wrong type": Bad(
        in_recipe("max_tokens = 64", 'max_tokens = "many"'),
        ("recipe.toml: teacher.max_tokens:", "valid integer", "'many'"),
    ),
    "wrong value": Bad(in_recipe("shard_rows = 8", "shard_rows = 0"), ("run.shard_rows:", "greater than 0")),
    "wrong type of a step's key": Bad(
        in_recipe("min_words = 3", 'min_words = "x"'), ("filter[1]: min_words:", "valid integer", "'x'")
    ),
    "missing key": Bad(in_recipe('model = "local"\n', ""), ("recipe.toml: teacher.model: missing; add it",)),
    "bad name": Bad(in_recipe('"small"', '"Small Run"'), ("recipe.toml: name:", "'Small Run'")),
    "endpoint without http": Bad(
        in_recipe("http://127.0.0.1:9/v1", "localhost:9/v1"), ("teacher.endpoint", "'localhost:9/v1'")
    ),
    "missing seeds": Bad(
        in_recipe("seeds.jsonl", "sedes.jsonl"),
        ("seeds.path", "sedes.jsonl: no such seed file; write it, or correct the path"),
    ),
    "empty seeds": Bad(in_file("seeds.jsonl", b"\n"), ("seeds.jsonl: has no seeds; put at least one",)),
    "corrupt seeds": Bad(in_file("seeds.jsonl", b'{"topic": 1}\n{"top'), ("seeds.jsonl:2: is no JSON",)),
    "corrupt Parquet seeds": Bad(
        both(PARQUET, in_file("seeds.parquet", b"PAR1 nothing")), ("seeds.parquet: is no readable Parquet",)
    ),
    "too few seeds": Bad(
        in_recipe('"seeds.jsonl"', '"seeds.jsonl"\nrows = 99'), ("has 40 different seeds", "lower [seeds]")
    ),
    "a variable that no seed has": Bad(
        in_file("prompts/ask.jinja", b"About {{ topik }}"),
        ("prompts/ask.jinja: topik: no seed has this field", "topic"),
    ),
    "a variable that some seeds have not": Bad(
        both(in_file("seeds.jsonl", b'{"topic": "a"}\n{"other": "b"}\n')),
        ("prompts/ask.jinja: topic: some seeds have no such field",),
    ),
    "a variable that the judge is not given": Bad(
        in_file("prompts/judge.jinja", b"{{ topic }}"), ("prompts/judge.jinja: topic:", "answer, criterion")
    ),
    "unknown step": Bad(
        in_recipe('"truncated"', '"truncate"'),
        ('filter[0]: use: no filter step is called "truncate"', 'did you mean "truncated"?'),
    ),
    "a step without use": Bad(in_recipe('use = "template"\n', ""), ("generate[0]: use: missing",)),
    "a step that can't be imported": Bad(
        in_recipe('"truncated"', '"no_such_package.mine:Haiku"'),
        ("filter[0]: use:", "can't be imported", "No module named 'no_such_package'"),
    ),
    "a module path without a module": Bad(
        in_recipe('"truncated"', '".mine:Haiku"'), ('no filter step is called ".mine:Haiku"',)
    ),
    "a module without that step": Bad(
        in_recipe('"truncated"', '"json:Haiku"'), ("filter[0]: use:", "can't be imported", "'Haiku'")
    ),
    "a step of another kind": Bad(
        in_recipe('"truncated"', '"synth.selectors.exact:Exact"'),
        ("filter[0]: use:", "is no Filter or Judge"),
    ),
    "a table in place of a list": Bad(
        in_recipe("[[generate]]", "[generate]"),
        ("recipe.toml: generate: must be a list of steps; write [[generate]], not [generate]",),
    ),
    "invalid TOML": Bad(in_recipe("[teacher]", "[teacher"), ("recipe.toml: is no valid TOML:", "line")),
    "no text": Bad(in_file("recipe.toml", b"\xff\xfe"), ("recipe.toml: can't be read as a recipe",)),
    "missing recipe": Bad(lambda root: (root / "recipe.toml").unlink(), ("recipe.toml: can't be read",)),
    "missing prompt": Bad(
        in_recipe('"ask"', '"aks"'), ("prompts/aks.jinja: no such prompt file; write it, or correct",)
    ),
    "bad Jinja": Bad(
        in_file("prompts/ask.jinja", b"x\n{% for %}"), ("prompts/ask.jinja: line 2: is no valid Jinja",)
    ),
    "a filter that the seeds don't feed": Bad(
        in_recipe('use = "truncated"', 'use = "constraint"'), ("filter[0]: constraint needs", "constraints")
    ),
    "samples for self_instruct": Bad(
        in_recipe('use = "template"\nprompt = "ask"', 'use = "self_instruct"'),
        ("generate[0]: self_instruct needs seeds with `examples`; set [seeds] sample",),
    ),
    "training without a student": Bad(
        in_recipe("[run]", "[train]\nepochs = 1\n[run]"), ("recipe.toml: student: missing; add [student]",)
    ),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> "dict[str, subprocess.CompletedProcess[str]]":
    runs = []
    for bad in BAD.values():
        root = tmp_path_factory.mktemp("bad")
        make_project(root, URL)
        bad.spoil(root)
        runs.append((root, ["generate", "recipe.toml"]))
    results = dict(zip(BAD, synth_each(runs), strict=True))
    written = [name for name, (root, _) in zip(BAD, runs, strict=True) if (root / "data").exists()]
    assert written == []
    return results


@pytest.mark.parametrize("name", BAD)
def test_a_bad_recipe_is_one_line_with_file_key_and_mend_and_writes_nothing(
    name: str, told: "dict[str, subprocess.CompletedProcess[str]]"
) -> None:
    result = told[name]
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("synth: ") and result.stderr.count("\n") == 1, result.stderr
    for words in BAD[name].words:
        assert words in result.stderr


def test_a_good_recipe_is_checked_generated_curated_and_shown(recipe: Path, endpoint: Endpoint) -> None:
    verbs = ["check", "preview", "generate", "curate", "show"]
    done = dict(
        zip(verbs, synth_each([(recipe.parent, [verb, "recipe.toml"]) for verb in verbs]), strict=True)
    )
    assert {verb: result.returncode for verb, result in done.items()} == dict.fromkeys(verbs, 0)
    [run] = (recipe.parent / "data" / "runs").glob("small-*")
    assert (run / "train" / "train-00000.parquet").is_file()
    assert endpoint.requests == len(endpoint.asked) > 40  # the preview's replies were not asked again
    said = f"recipe.toml: good. 40 seeds, 40 rows planned\nrun folder: data/runs/{run.name}\n"
    assert (done["check"].stdout, done["check"].stderr) == (said, "")
    assert "40 rows planned" in done["preview"].stdout
    for verb in ("curate", "show"):
        assert "rows: 40 planned = " in done[verb].stdout
        assert f"run folder: data/runs/{run.name}\n" in done[verb].stdout


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_with_130_and_one_line(tmp_path: Path, sign: signal.Signals) -> None:
    with Endpoint(delay=0.3) as endpoint:
        make_project(tmp_path, endpoint.url)
        process = start_synth("generate", "recipe.toml", cwd=tmp_path)
        end = time.monotonic() + 30
        replies = 0
        while replies < 5 and time.monotonic() < end:
            time.sleep(0.02)
            journals = tmp_path.glob("data/runs/*/journal/replies.jsonl")
            replies = sum(journal.read_bytes().count(b"\n") for journal in journals)
        process.send_signal(sign)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        lines = [line for line in err.splitlines() if not line.startswith(endpoint.url)]
        assert lines == ["synth: stopped; run the same command again to go on: every reply so far is kept"]
        assert replies >= 5
