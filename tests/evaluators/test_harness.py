"""`harness`: lm-evaluation-harness itself, on a tiny model and tasks with local items."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from projects import jsonl
from tiny import saved

from synth.errors import DataError, TrainError
from synth.evaluators import harness
from synth.evaluators.harness import Endpoint, Harness
from synth.steps import build

COLOURS = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
WRITTEN = """
task: written
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["<end>"], do_sample: false, max_gen_toks: 8}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
ITEMS: list[dict[str, Any]] = [
    {"question": "what is the colour of the sky ?", "choices": ["blue", "apples", "no"], "answer": 0},
    {"question": "name a fruit", "choices": ["four", "apples"], "answer": 1},
    {"question": "is it late ?", "choices": ["yes", "no", "cat", "sky"], "answer": 1},
]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two tasks and their items."""
    folder = tmp_path_factory.mktemp("tasks")
    jsonl(folder / "colours.jsonl", ITEMS)
    (folder / "colours.yaml").write_text(COLOURS)
    (folder / "written.yaml").write_text(WRITTEN)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model"), "LlamaForCausalLM")


def test_items_come_back_with_scores_answers_and_tokens(tasks: Path, model: Path, tmp_path: Path) -> None:
    step = build(
        "evaluate", {"use": "harness", "tasks": ["written", "colours"], "path": str(tasks), "limit": 2}
    )
    assert isinstance(step, Harness)
    rows = list(step.measure(model, tmp_path))
    assert [question.kind for question, _ in rows] == ["colours", "colours", "written", "written"]
    assert len({question.id for question, _ in rows}) == 4
    for item, (question, graded) in zip(ITEMS[:2], rows[:2], strict=True):
        assert question.messages[0]["content"].startswith(f"<user> {item['question']}")
        assert graded.answer in item["choices"]
        right = item["choices"].index(graded.answer) == item["answer"]
        assert (graded.score, graded.tokens) == (float(right), 0)
        assert graded.details.keys() == {"acc_norm"}
    assert all(graded.score == 0 and 0 < graded.tokens <= 8 for _, graded in rows[2:])

    [kept] = tmp_path.iterdir()
    (kept / harness.LOG).write_text("read again, not measured")
    assert list(step.measure(model, tmp_path)) == rows
    by_other = step.model_copy(update={"metric": "acc_norm"})
    with pytest.raises(TrainError, match=r'task written has no metric "acc_norm"; .* one of: exact_match'):
        list(by_other.measure(model, tmp_path))
    assert (kept / harness.LOG).read_text() == "read again, not measured"


def test_what_lm_eval_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"lm-eval ended with 1: .*'nonsense'; see .*done.part/lm_eval.log"):
        harness._run({"nonsense": 1}, tmp_path / "done", None, {})
    assert not (tmp_path / "done").exists()


class Completions(BaseHTTPRequestHandler):
    """/v1/completions of a model, of one prompt of token ids, as vLLM answers it."""

    model: ClassVar[Any]
    tokenizer: ClassVar[Any]
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        import torch

        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(said | {"path": self.path, "key": self.headers["Authorization"]})
        [given] = said["prompt"] if isinstance(said["prompt"][0], list) else [said["prompt"]]
        ids = self.model.generate(
            torch.tensor([given]), max_new_tokens=said["max_tokens"], do_sample=False, pad_token_id=0
        )[0]
        with torch.no_grad():
            likely = torch.log_softmax(self.model(ids[None]).logits[0].float(), -1)
        of = [None, *(float(likely[at, token]) for at, token in enumerate(ids[1:]))]
        best = [None, *({"": float(row.max())} for row in likely[:-1])]
        choice = {
            "index": 0,
            "text": self.tokenizer.decode(ids[len(given) :], skip_special_tokens=True),
            "logprobs": {"token_logprobs": of, "top_logprobs": best},
        }
        body = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_a_server_of_the_model_gives_the_scores_of_the_model(
    tasks: Path, model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    Completions.model = AutoModelForCausalLM.from_pretrained(model)
    Completions.tokenizer = AutoTokenizer.from_pretrained(model)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Completions)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        step = Harness(tasks=("written", "colours"), path=str(tasks))
        url = f"http://127.0.0.1:{server.server_port}/v1"
        served = list(step.measure(model, tmp_path, Endpoint(url, "student", "secret")))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    asked = {(said["path"], said["model"], said["key"]) for said in Completions.asked}
    assert asked == {("/v1/completions", "student", "Bearer secret")}
    loaded = list(step.measure(model, tmp_path))
    assert [(q.id, q.kind, g.score, g.details) for q, g in served] == [
        (q.id, q.kind, g.score, g.details) for q, g in loaded
    ]
    assert [g.answer for _, g in served[:3]] == [g.answer for _, g in loaded[:3]]


def test_an_edited_task_is_another_evaluation(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("task: a")
    step = Harness(tasks=("a",), path=str(tmp_path))
    before = step.model_dump(), step._digest(model, "loaded")
    assert (step.model_dump(), step._digest(model, "loaded")) == before
    (tmp_path / "a.yaml").write_text("task: a # edited")
    assert step.model_dump() != before[0]
    assert step._digest(model, "loaded") != before[1]


def test_a_folder_without_tasks_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: has no task of lm-eval \(\*\.yaml\)"):
        Harness(tasks=("a",), path=str(tmp_path / "none")).questions()


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "PROGRAM", "lm_eval_that_is_not_there")
    with pytest.raises(TrainError, match=r'needs lm-eval; install synth with its extra: "synth\[harness\]"'):
        Harness(tasks=("gsm8k",)).questions()


@pytest.mark.parametrize(("value", "says"), [(1.5, "is 1.5 for an item"), ([1, 0], r"is \[1, 0\] for")])
def test_a_metric_that_is_no_share_is_refused(tmp_path: Path, value: object, says: str) -> None:
    row = {
        "doc_id": 0,
        "metrics": ["nats"],
        "nats": value,
        "filter": "none",
        "doc_hash": "0",
        "target": "",
        "arguments": {"gen_args_0": {"arg_0": "?"}},
        "resps": [["!"]],
    }
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(TrainError, match=says):
        list(Harness(tasks=("t",))._read("t", tmp_path / "s.jsonl", None))
