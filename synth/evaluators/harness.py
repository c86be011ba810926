"""`harness`: tasks of lm-evaluation-harness (Gao et al. 2021, zenodo 10256836), run by that program itself.

It runs in a process of its own, offline where its tasks' data is: nothing of it is imported here.
"""

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field, computed_field

from synth.errors import DataError, TrainError
from synth.evaluators.bases import ModelEvaluator
from synth.evaluators.ifeval_texts import write_punkt
from synth.evaluators.lines import content_id
from synth.steps import Graded, Question
from synth.store import sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROGRAM = "lm_eval"
SAMPLES = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT[^_]*\.jsonl")
"""How lm-eval names the file of a task's items."""
LOG = "lm_eval.log"


class Endpoint(NamedTuple):
    """A server of the model: its /v1 address, what it calls the model, and its key."""

    url: str
    model: str
    api_key: str = ""


class Harness(ModelEvaluator):
    """Scores each item of lm-evaluation-harness's tasks by one of their metrics, which must go from 0 to 1.

    Needs the extra `harness`. A task that comes with lm-eval reads its items from the Hub, or from the cache
    where they were read before; one of your own in `path` reads local files, which it names in
    `dataset_kwargs.data_files`, as seen from that folder. `kind` is the task's name.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of tasks or groups of lm-eval, or of your own in `path`."""
    path: str | None = None
    """A folder of your own tasks, each a YAML file, and their data."""
    metric: str | None = None
    """The metric that is the score; each task's first by default."""
    few_shot: int | None = Field(default=None, ge=0)
    """Solved items put before each question; as many as the task says by default."""
    limit: int | None = Field(default=None, gt=0)
    """Only so many items of each task, the first ones."""
    chat: bool = True
    """Put the questions through the model's chat template."""
    batch_size: int = Field(default=8, gt=0)
    """Items that go through the model at once."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def tasks_hash(self) -> str:
        """Of the files in `path`: a task that was edited is another evaluation."""
        return _hash(Path(self.path)) if self.path else ""

    def questions(self) -> Iterable[Question]:
        """None: lm-eval knows them.

        Raises:
            TrainError: lm-eval isn't installed.
            DataError: there is no folder at `path`, or no task in it.
        """
        self._ready()
        return ()

    def measure(
        self, model: Path | str, out: Path, endpoint: Endpoint | None = None
    ) -> Iterable[tuple[Question, Graded]]:
        """Every item with its score, by task and in the task's order.

        `model` is a folder of a model and its tokenizer, or a Hub name. lm-eval loads it by transformers, or
        asks a server of it at `endpoint`, which is faster where that is vLLM. What was measured is kept in
        `out` and read again by the same call.

        Raises:
            DataError: there is no folder at `path`, or no task in it.
            TrainError: lm-eval isn't installed or fails, or a metric is missing or not from 0 to 1.
        """
        self._ready()
        done = out.resolve() / self._digest(model, "served" if endpoint else "loaded")
        if not done.is_dir():
            key = {"OPENAI_API_KEY": endpoint.api_key} if endpoint else {}
            _run(self._config(model, endpoint), done, Path(self.path).resolve() if self.path else None, key)
        files = sorted(
            (found[1], file) for file in done.rglob("*.jsonl") if (found := SAMPLES.fullmatch(file.name))
        )
        if not files:
            raise TrainError(f"{done}: lm-eval wrote no items; delete the folder and run again")
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(_place(model))
        return [item for task, file in files for item in self._read(task, file, tokenizer)]

    def _ready(self) -> None:
        _version()
        if self.path is not None and not any(Path(self.path).rglob("*.yaml")):
            raise DataError(self.path, "has no task of lm-eval (*.yaml) in it; correct the evaluator's path")

    def _config(self, model: Path | str, endpoint: Endpoint | None) -> dict[str, object]:
        """What `lm_eval run --config` reads; JSON is YAML."""
        config = {
            "model": "local-completions" if endpoint else "hf",
            "model_args": _asked(endpoint, model) if endpoint else {"pretrained": _place(model)},
            "tasks": list(self.tasks),
            "num_fewshot": self.few_shot,
            "limit": self.limit,
            "apply_chat_template": self.chat,
            "batch_size": 1 if endpoint else self.batch_size,
            "log_samples": True,
            "include_path": str(Path(self.path).resolve()) if self.path else None,
        }
        return {key: value for key, value in config.items() if value is not None}

    def _digest(self, model: Path | str, how: str) -> str:
        """A name of what is measured, which changes with the tasks' files and with the model's."""
        what = self.model_dump_json(exclude={"metric", "path"})
        of = _hash(Path(model)) if Path(model).is_dir() else str(model)
        return hashlib.sha256(f"{how} {_version()} {what} {of}".encode()).hexdigest()[:16]

    def _read(
        self, task: str, file: Path, tokenizer: "PreTrainedTokenizerBase"
    ) -> Iterator[tuple[Question, Graded]]:
        """The items of a task, in order; where a task has several filters, its first one's is the score."""
        items: dict[int, list[dict[str, Any]]] = {}
        for line in file.read_text(encoding="utf-8").split("\n"):
            if line:
                row = json.loads(line)
                items.setdefault(row["doc_id"], []).append(row)
        for number, rows in sorted(items.items()):
            first = rows[0]
            metric = self.metric or first["metrics"][0]
            if metric not in first["metrics"]:
                raise TrainError(
                    f'harness: task {task} has no metric "{metric}"; set metric to one of: '
                    f"{', '.join(first['metrics'])}"
                )
            figures = {
                name if row is first else f"{name},{row['filter']}": float(row[name])
                for row in rows
                for name in row["metrics"]
                if _is_share(row[name])
            }
            if metric not in figures:
                raise TrainError(
                    f"harness: {metric} of task {task} is {first[metric]!r} for an item, not from 0 to 1; "
                    f"set metric to another of: {', '.join(first['metrics'])}"
                )
            asked, answer, written = _said(first)
            question = Question(
                id=content_id({"task": task, "number": number, "hash": first["doc_hash"]}),
                messages=[{"role": "user", "content": asked}],
                kind=task,
                fields={"target": first["target"]},
            )
            tokens = len(tokenizer(answer, add_special_tokens=False)["input_ids"]) if written else 0
            yield question, Graded(figures.pop(metric), figures, answer, tokens)


def _said(row: Mapping[str, Any]) -> tuple[str, str, bool]:
    """What was asked, the answer, and whether the model wrote it; else it is the likeliest of those given."""
    requests = [row["arguments"][f"gen_args_{number}"] for number in range(len(row["resps"]))]
    replies = [each[0] for each in row["resps"]]
    if isinstance(replies[0], str):
        return str(requests[0]["arg_0"]), replies[0], True
    likeliest = max(range(len(replies)), key=lambda number: float(replies[number][0]))
    return str(requests[0]["arg_0"]), str(requests[likeliest].get("arg_1", "")).strip(), False


def _hash(folder: Path) -> str:
    """A hash of the names and contents of a folder's files."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    told = "".join(f"{file.relative_to(folder)} {sha256(file)}\n" for file in files)
    return hashlib.sha256(told.encode()).hexdigest()


def _is_share(value: object) -> bool:
    return isinstance(value, bool | int | float) and math.isfinite(value) and 0 <= value <= 1


def _place(model: Path | str) -> str:
    return str(Path(model).resolve()) if Path(model).is_dir() else str(model)


def _asked(endpoint: Endpoint, model: Path | str) -> dict[str, object]:
    """For lm-eval's client of completions: chat templates are applied here, by the model's tokenizer."""
    return {
        "model": endpoint.model,
        "base_url": endpoint.url.rstrip("/") + "/completions",
        "tokenizer": _place(model),
        "tokenizer_backend": "huggingface",
        "num_concurrent": 16,
    }


def _run(config: Mapping[str, object], done: Path, cwd: Path | None, secret: Mapping[str, str]) -> None:
    """lm-eval to its end, with `secret` in its environment; `done` is there when it went well."""
    fresh = done.with_name(f"{done.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    (fresh / "config.yaml").write_text(json.dumps({**config, "output_path": str(fresh)}), encoding="utf-8")
    data = [os.environ["NLTK_DATA"]] if os.environ.get("NLTK_DATA") else []
    env = {
        **os.environ,
        **secret,
        "NLTK_DATA": os.pathsep.join([*data, str(write_punkt(fresh / "nltk_data"))]),
    }
    command = [sys.executable, "-P", "-m", PROGRAM, "run", "--config", str(fresh / "config.yaml")]
    with (fresh / LOG).open("wb") as log:
        ended = subprocess.run(command, cwd=cwd or fresh, env=env, stdout=log, stderr=log, check=False)
    if ended.returncode != 0:
        lines = (fresh / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        raise TrainError(f"harness: lm-eval ended with {ended.returncode}: {last}; see {fresh / LOG}")
    shutil.rmtree(fresh / "nltk_data")
    fresh.replace(done)


def _version() -> str:
    try:
        return version(PROGRAM)
    except PackageNotFoundError as error:
        raise TrainError('harness: needs lm-eval; install synth with its extra: "synth[harness]"') from error
