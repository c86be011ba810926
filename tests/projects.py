"""A small project in a folder: prompts, seeds and a recipe; and the real command line on it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from synth.edits import of_rows
from synth.pipeline import Run, curate, generate, open_run

RECIPE = """
name = "small"

[seeds]
path = "seeds.jsonl"

[teacher]
model = "local"
endpoint = "ENDPOINT"
max_tokens = 64

[[generate]]
use = "template"
prompt = "ask"

[[filter]]
use = "truncated"

[[filter]]
use = "length"
min_words = 3

[[filter]]
use = "rubric"
prompt = "judge"
threshold = 2
read = "text"

[[select]]
use = "exact"

[run]
shard_rows = 8
validation = 0.25
"""
ASK = """{% block system %}You are terse.{% endblock %}
{% block user %}Say something about {{ topic }}.{% endblock %}
"""
JUDGE = "Judge this. Question: {{ question }} Answer: {{ answer }}\n"
SEEDS = 40
"""Every tenth repeats the one before it in other letters."""


def make_project(root: Path, endpoint: str) -> Path:
    """The recipe of a new project in `root`, of 40 seeds in five shards."""
    (root / "prompts").mkdir(parents=True)
    (root / "prompts" / "ask.jinja").write_text(ASK)
    (root / "prompts" / "judge.jinja").write_text(JUDGE)
    topics = [f"Topic {n - 1}!" if n % 10 == 9 else f"topic {n}" for n in range(SEEDS)]
    (root / "seeds.jsonl").write_text("".join(json.dumps({"topic": topic}) + "\n" for topic in topics))
    recipe = root / "recipe.toml"
    recipe.write_text(RECIPE.replace("ENDPOINT", endpoint))
    return recipe


def jsonl(path: Path, rows: Iterable[object]) -> Path:
    """A file of rows, one a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def curated(recipe: Path, dataset: Path | str) -> Run:
    """The run of a dataset through a recipe, as `synth curate DATASET --recipe R`."""
    run = open_run(recipe, change=of_rows(recipe, str(dataset)))
    generate(run)
    curate(run)
    return run


def lines(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder of JSONL files."""
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def edit(file: Path, old: str, new: str) -> None:
    """Replace what must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def hashes(folder: Path, stages: tuple[str, ...] = ("raw", "curated", "train")) -> dict[str, str]:
    """The sha256 of every Parquet file of a run."""
    files = [file for stage in stages for file in sorted((folder / stage).glob("*.parquet"))]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


COMMAND = [sys.executable, "-c", "from synth.cli import main; main()"]


def start_synth(*arguments: str | Path, cwd: Path) -> "subprocess.Popen[str]":
    """`synth ...` as a process of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
    )


EACH = """
import json, os, pathlib, sys
from synth.cli import main
for number, (folder, arguments) in enumerate(json.load(sys.stdin)):
    process = os.fork()
    if process == 0:
        os.chdir(folder)
        for descriptor, name in ((1, f"{number}.out"), (2, f"{number}.err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), descriptor)
        sys.argv = ["synth", *arguments]
        main()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


def synth_each(runs: list[tuple[Path, list[str]]]) -> "list[subprocess.CompletedProcess[str]]":
    """`synth ...` in each folder, a process each, forked from one that has imported everything."""
    done = subprocess.run(
        [sys.executable, "-c", EACH],
        input=json.dumps([[str(folder), arguments] for folder, arguments in runs]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
    )
    results = []
    for number, (status, (folder, arguments)) in enumerate(zip(done.stdout.split(), runs, strict=True)):
        out, err = ((folder / f"{number}.{name}").read_text() for name in ("out", "err"))
        results.append(subprocess.CompletedProcess(arguments, int(status), out, err))
    return results
