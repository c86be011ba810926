import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from synth import engine
from synth.engine import Progress
from synth.errors import RequestFailed, ShareFailedError, TeacherError, Unusable
from synth.filters.text import Length
from synth.llm.asker import Asker, Backend
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.steps import Judge, Row, Strategy, answered
from synth.store import read_parquet, sha256
from synth.types import Ask, Message, Prompt, Record, Reply, Sampling, Seed, Verdict
from synth.units import Steps, Unit

SEEDS = [make_seed({"n": n}) for n in range(30)]


class Echo(Strategy):
    """Asks for a number and keeps what comes."""

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        turn: Message = {"role": "user", "content": f"say {seed.fields['n']}"}
        return [answered([turn], await ask([turn]), prompt="echo@0", seed=seed)]


class Lines(Strategy):
    """A row for each line of the reply, of four planned."""

    @property
    def rows_per_seed(self) -> int:
        return 4

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        turn: Message = {"role": "user", "content": f"list {seed.fields['n']}"}
        reply = await ask([turn])
        if not reply.text:
            raise Unusable("nothing in the reply")
        rows: list[Row] = []
        for line in reply.text.splitlines():
            row = answered([turn], replace(reply, text=line), prompt="", seed=seed)
            rows.append(RequestFailed("HTTP 500") if line == "fail" else row)
        return rows


class Grumpy(Judge):
    """Keeps what it is told to."""

    async def judge(self, record: Record, ask: Ask, prompts: Prompts) -> Verdict:
        reply = await ask([{"role": "user", "content": f"judge {record.answer}"}])
        if reply.text == "?":
            raise Unusable("no score in the reply")
        return Verdict("whatever", reply.text == "good", 1.0, "" if reply.text == "good" else "bad")


def steps(folder: Path, ask: Asker, *, judge: Asker | None = None) -> Steps:
    judges = [Grumpy()] if judge else []
    return Steps([Length(min_words=2)], judges, Prompts(folder), ask, judge or ask)


def scripted(folder: Path, script: Callable[[str], str]) -> Asker:
    """A teacher that answers the last turn by `script`."""
    teacher = ScriptedTeacher(lambda prompt, sampling: script(text_of(prompt)))
    return teacher.asker(Journal(folder / "journal"))


def run(
    folder: Path, strategies: Sequence[Strategy], made: Steps, *, max_failed: float = 1.0, shard_rows: int = 8
) -> tuple[list[Path], Progress]:
    shards = engine.plan(strategies, SEEDS, shard_rows)
    progress = Progress(engine.planned_rows(strategies, len(SEEDS)))
    paths = asyncio.run(engine.generate(shards, made, folder / "raw", progress, max_failed))
    return paths, progress


def rows_of(paths: Sequence[Path]) -> list[dict[str, object]]:
    return [row for path in paths for row in read_parquet(path).to_pylist()]


def test_a_plan_holds_every_sample_of_every_seed_in_shards_of_the_rows_asked() -> None:
    strategies = [Echo(samples=2), Lines()]
    shards = list(engine.plan(strategies, SEEDS, 8))
    units = [unit for shard in shards for unit in shard]
    assert len(units) == 30 * 2 + 30
    rows = [sum(unit.strategy.rows_per_seed for unit in shard) for shard in shards]
    assert sum(rows) == engine.planned_rows(strategies, 30) == 30 * 2 + 30 * 4
    assert all(number <= 8 for number in rows)
    assert all(number > 4 for number in rows[:-1])
    assert [len(shard) for shard in engine.plan([Lines()], SEEDS, 1)] == [1] * 30
    assert units[:2] == [Unit(Echo(samples=2), 0, SEEDS[0], 0), Unit(Echo(samples=2), 0, SEEDS[0], 1)]


def test_every_planned_row_is_kept_rejected_or_failed_whatever_goes_wrong(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        kind, number = prompt.split()
        if kind == "say":
            return "short" if int(number) % 3 == 0 else "long enough"
        match int(number) % 5:
            case 0:
                return ""
            case 1:
                return "one line\nfail\nthird line\nx"
            case 2:
                raise RequestFailed("HTTP 400: poison")
            case 3:
                return "only one"
        return "a b\nc d\ne f\ng h"

    made = steps(tmp_path, scripted(tmp_path, script))
    paths, progress = run(tmp_path, [Echo(), Lines()], made)
    assert progress.done == progress.planned == 30 + 120
    rows = rows_of(paths)
    assert len({row["id"] for row in rows}) == 150
    counts = Counter((row["status"], row["rejected_by"], row["reason"]) for row in rows)
    assert counts == {
        ("kept", None, None): 20 + 6 * 2 + 6 + 24,
        ("rejected", "length", "fewer than 2 words"): 10 + 6,
        ("rejected", "Lines", "nothing in the reply"): 24,
        ("rejected", "Lines", "the teacher gave fewer rows than asked"): 18,
        ("failed", "Lines", "HTTP 500"): 6,
        ("failed", "Lines", "HTTP 400: poison"): 24,
    }
    assert (progress.kept, progress.rejected, progress.failed) == (62, 58, 30)


def test_poison_rows_fail_exactly_and_the_others_are_kept(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        if prompt in ("say 3", "say 17"):
            raise RequestFailed("HTTP 500 in each of 5 tries")
        return "well said"

    paths, progress = run(tmp_path, [Echo()], steps(tmp_path, scripted(tmp_path, script)))
    failed = {row["seed_id"] for row in rows_of(paths) if row["status"] == "failed"}
    assert failed == {SEEDS[3].id, SEEDS[17].id}
    assert (progress.kept, progress.failed) == (28, 2)


def test_a_judges_trouble_rejects_or_fails_the_row_and_never_scores_it(tmp_path: Path) -> None:
    def judge(prompt: str) -> str:
        number = int(prompt.split()[-1])
        if number % 4 == 3:
            raise RequestFailed("HTTP 400: too long")
        return ("good", "bad", "?")[number % 4]

    teacher = scripted(tmp_path / "t", lambda prompt: f"number {prompt.split()[-1]}")
    made = steps(tmp_path, teacher, judge=scripted(tmp_path / "j", judge))
    paths, _ = run(tmp_path, [Echo()], made)
    counts = Counter((row["status"], row["rejected_by"], row["reason"]) for row in rows_of(paths))
    assert counts == {
        ("kept", None, None): 8,
        ("rejected", "Grumpy", "bad"): 8,
        ("rejected", "Grumpy", "no score in the reply"): 7,
        ("failed", "Grumpy", "HTTP 400: too long"): 7,
    }
    [kept] = {tuple(v["by"] for v in row["verdicts"]) for row in rows_of(paths) if row["status"] == "kept"}  # type: ignore[attr-defined]
    assert kept == ("length", "Grumpy")


def test_a_run_stops_when_more_than_its_share_failed_and_asks_for_those_again(tmp_path: Path) -> None:
    sick = True

    def script(prompt: str) -> str:
        if sick and int(prompt.split()[-1]) < 24:
            raise RequestFailed("HTTP 503 in each of 5 tries")
        return "well said"

    made = steps(tmp_path, scripted(tmp_path, script))
    with pytest.raises(ShareFailedError, match=r"of 30 planned rows failed, more than .* 50.0%.*HTTP 503"):
        run(tmp_path, [Echo()], made, max_failed=0.5)
    sick = False
    paths, progress = run(tmp_path, [Echo()], made, max_failed=0.5)
    assert {row["status"] for row in rows_of(paths)} == {"kept"}
    assert progress.kept == 30


def test_a_dead_teacher_ends_the_run_and_keeps_what_was_said(tmp_path: Path) -> None:
    left = 10

    def script(prompt: str) -> str:
        nonlocal left
        if left == 0:
            raise TeacherError("no endpoint answers")
        left -= 1
        return "well said"

    made = steps(tmp_path, scripted(tmp_path, script))
    with pytest.raises(TeacherError, match="no endpoint answers"):
        run(tmp_path, [Echo()], made)
    journal = made.teacher.journal
    assert len(journal) == 10
    left = 100
    _, progress = run(tmp_path, [Echo()], made)
    assert left == 100 - 20 and progress.kept == 30


def test_a_strategy_that_breaks_its_promise_is_a_bug_that_names_the_row(tmp_path: Path) -> None:
    made = steps(tmp_path, scripted(tmp_path, lambda prompt: "a\n" * 5))
    with pytest.raises(ValueError, match="Lines made 5 rows of one seed and promised at most 4") as caught:
        run(tmp_path, [Lines()], made)
    assert "in strategy Lines, seed " in caught.value.__notes__[0]


class Slow:
    """A teacher that takes its time, other times with each `seed`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    async def ask(self, prompt: Prompt, sampling: Sampling, keys: Sequence[str]) -> list[Reply]:
        await asyncio.sleep(self.random.uniform(0, 0.02))
        return [
            Reply(f"you said: {text_of(prompt)}, drawn for {key}", "stop", 1, 2, "slow", key) for key in keys
        ]

    def asker(self, journal: Journal) -> Asker:
        async def connect() -> tuple[Backend, int]:
            return self, 2

        return Asker("slow", {}, journal, connect)


def test_bytes_never_depend_on_which_reply_came_first(tmp_path: Path) -> None:
    digests = []
    for seed in range(2):
        folder = tmp_path / str(seed)
        made = steps(folder, Slow(seed).asker(Journal(folder / "journal")))
        paths, _ = run(folder, [Echo(samples=3), Lines()], made)
        digests.append([sha256(path) for path in paths])
    assert digests[0] == digests[1]
    rows = rows_of(paths)
    assert len({row["id"] for row in rows}) == len(rows) == 30 * 3 + 30 * 4
    texts = {row["messages"][-1]["content"] for row in rows if row["strategy"] == "Echo"}  # type: ignore[index]
    assert len(texts) == 90


def test_a_finished_shard_is_not_made_again(tmp_path: Path) -> None:
    made = steps(tmp_path, scripted(tmp_path, lambda prompt: "well said"))
    paths, _ = run(tmp_path, [Echo()], made)
    before = [(path.stat().st_mtime_ns, sha256(path)) for path in paths]
    paths[1].unlink()
    _, progress = run(tmp_path, [Echo()], made)
    after = [(path.stat().st_mtime_ns, sha256(path)) for path in paths]
    assert [digest for _, digest in after] == [digest for _, digest in before]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]
    assert progress.done == 30


def test_two_equal_requests_at_once_are_sent_once(tmp_path: Path) -> None:
    teacher = ScriptedTeacher(lambda messages, sampling: "well said")
    ask = teacher.asker(Journal(tmp_path / "journal"))
    run(tmp_path, [Echo(), Echo()], steps(tmp_path, ask))
    assert len(teacher.asked) == 30
    assert ask.meter.requests == 30


class Counted:
    """A teacher that notes how many samples each request asks for, and how many are under way."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.under_way = self.most = 0

    async def ask(self, prompt: Prompt, sampling: Sampling, keys: Sequence[str]) -> list[Reply]:
        self.asked.append(len(keys))
        self.under_way += len(keys)
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.001 * (len(self.asked) % 3))
        self.under_way -= len(keys)
        return [Reply(f"drawn for {key}", "stop", 1, 2, "counted", key) for key in keys]

    def asker(self, folder: Path) -> Asker:
        async def connect() -> tuple[Backend, int]:
            return self, 32

        return Asker("counted", {}, Journal(folder / "journal"), connect)


@pytest.mark.parametrize("window", [5, 6, 9, 2048])
def test_the_samples_of_a_seed_are_asked_together_even_when_the_window_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(engine, "WINDOW", window)
    teacher = Counted()
    made = steps(tmp_path, teacher.asker(tmp_path))
    _, progress = run(tmp_path, [Echo(samples=5)], made, shard_rows=50)
    assert teacher.asked == [5] * 30
    assert teacher.most <= window and progress.kept == 150


def test_many_samples_of_a_seed_are_asked_in_parts(tmp_path: Path) -> None:
    teacher = Counted()
    made = steps(tmp_path, teacher.asker(tmp_path))
    _, progress = run(tmp_path, [Echo(samples=100)], made, shard_rows=1000)
    assert progress.kept == 3000 and max(teacher.asked) == 32
    assert len(teacher.asked) == 30 * (2 + 2)  # 64 together, then 36


def test_a_plan_takes_seeds_as_its_shards_are_asked_for() -> None:
    taken: list[int] = []

    def seeds() -> Iterator[Seed]:
        for number in range(1_000_000):
            taken.append(number)
            yield make_seed({"n": number})

    shards = engine.plan([Echo()], seeds(), 8)
    assert taken == []
    assert [unit.seed.fields["n"] for unit in next(shards)] == [*range(8)]
    assert len(taken) <= 9
    assert [unit.seed.fields["n"] for unit in next(shards)] == [*range(8, 16)]
    assert len(taken) <= 17


class Chain(Strategy):
    """Three rows, each made of the one before; the second comes to nothing."""

    @property
    def rows_per_seed(self) -> int:
        return 3

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        turn: Message = {"role": "user", "content": f"say {seed.fields['n']}"}
        first = answered([turn], await ask([turn]), prompt="", seed=seed)
        return [first, Unusable("no gain"), replace(first, parents=("#0",))]


def test_a_row_names_the_ids_of_the_rows_that_it_was_made_of(tmp_path: Path) -> None:
    paths, _ = run(tmp_path, [Chain()], steps(tmp_path, scripted(tmp_path, lambda prompt: "well said")))
    rows = rows_of(paths)
    by_id = {row["id"]: row for row in rows}
    children = [row for row in rows if row["parents"]]
    assert len(rows) == 90 and len(children) == 30
    for child in children:
        assert isinstance(child["parents"], list)
        (parent,) = (by_id[parent] for parent in child["parents"])
        assert parent["seed_id"] == child["seed_id"] and parent["parents"] == []
