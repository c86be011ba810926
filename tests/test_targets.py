import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from endpoint import Endpoint
from projects import edit, hashes
from rows import scripted

from synth import targets
from synth.engine import Progress
from synth.errors import RecipeError, RequestFailed, ShareFailedError
from synth.filters.text import Length
from synth.llm.asker import Asker, Backend
from synth.llm.journal import Journal
from synth.pipeline import curate, generate, open_run
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.steps import Row, Strategy, answered
from synth.store import read_parquet
from synth.targets import Quota, quotas, shared_out
from synth.types import Ask, Message, Prompt, Reply, Sampling, Seed
from synth.units import Steps

SEEDS = [make_seed({"n": n, "leaf": "abc"[n % 3]}) for n in range(30)]


class Say(Strategy):
    """A row a seed."""

    @property
    def rows_per_seed(self) -> int:
        return 2

    async def generate(self, seed: Seed, ask: Ask, prompts: Prompts) -> list[Row]:
        turn: Message = {"role": "user", "content": f"say {seed.fields['n']} {seed.fields['leaf']}"}
        replies = [await ask([turn], temperature=float(number)) for number in range(2)]
        return [answered([turn], reply, prompt="", seed=seed) for reply in replies]


class Other(Say):
    """The same by another name."""


def filled(
    folder: Path, wanted: list[Quota], ask: Asker, *, max_failed: float = 1.0
) -> tuple[list[dict[str, object]], Progress]:
    steps = Steps([Length(min_words=2)], [], Prompts(folder), ask, ask)
    progress = Progress(0, target=sum(quota.kept for quota in wanted))
    paths = asyncio.run(targets.fill(wanted, steps, folder / "raw", progress, max_failed, 8))
    rows = [row for path in paths for row in read_parquet(path).to_pylist()]
    assert len(rows) == progress.planned == progress.done
    assert all(len(read_parquet(path)) <= 8 for path in paths)
    assert Counter(row["status"] for row in rows)["kept"] == progress.kept
    return rows, progress


class Slow:
    """A teacher whose replies come in another order each time; half of them are too short for the filter."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    async def ask(self, prompt: Prompt, sampling: Sampling, keys: Sequence[str]) -> list[Reply]:
        await asyncio.sleep(self.draw.random() / 20)
        return [Reply("well said" if int(k, 16) % 2 else "short", "stop", 1, 1, "slow", k) for k in keys]

    def asker(self, folder: Path) -> Asker:
        async def connect() -> tuple[Backend, int]:
            return self, 1

        return Asker("slow", {}, Journal(folder / "journal"), connect)


def half(folder: Path, seed: int = 0) -> Asker:
    """A teacher half of whose replies are too short for the filter."""
    draw = random.Random(seed)
    return scripted(folder, lambda prompt: "well said" if draw.random() < 0.5 else "short")[0]


@pytest.mark.parametrize("target", [1, 7, 200])
def test_exactly_the_target_is_kept_where_a_filter_rejects_half(tmp_path: Path, target: int) -> None:
    rows, progress = filled(tmp_path, quotas([Say()], SEEDS, target, 10, None), half(tmp_path))
    assert progress.kept == target
    last = [row for row in rows if row["rejected_by"] == "target"]
    assert len(last) <= 1
    assert len({row["id"] for row in rows}) == len(rows)


def test_what_comes_out_does_not_depend_on_which_reply_came_first(tmp_path: Path) -> None:
    outcomes = []
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        asker = Slow(attempt).asker(folder)
        filled(folder, quotas([Say(weight=3), Other(weight=1)], SEEDS, 37, 10, None), asker)
        outcomes.append(hashes(folder))
    assert outcomes[0] == outcomes[1] == outcomes[2] and outcomes[0]


def test_weights_share_the_target_out(tmp_path: Path) -> None:
    rows, _ = filled(
        tmp_path, quotas([Say(weight=0.6), Other(weight=0.4)], SEEDS, 50, 10, None), half(tmp_path)
    )
    kept = Counter(row["strategy"] for row in rows if row["status"] == "kept")
    assert kept == {"Say": 30, "Other": 20}
    assert shared_out(10, [1, 1, 1]) == [4, 3, 3] and shared_out(7, [0.6, 0.4]) == [4, 3]


def test_the_target_is_balanced_over_the_values_of_a_seed_field(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        return "well said" if not prompt.endswith("b") or sum(map(ord, prompt)) % 4 == 0 else "short"

    rows, _ = filled(tmp_path, quotas([Say()], SEEDS, 30, 20, "leaf"), scripted(tmp_path, answer)[0])
    leaves = {seed.id: seed.fields["leaf"] for seed in SEEDS}
    assert Counter(leaves[str(row["seed_id"])] for row in rows if row["status"] == "kept") == {
        "a": 10,
        "b": 10,
        "c": 10,
    }


def test_little_more_is_asked_than_is_needed(tmp_path: Path) -> None:
    asker, teacher = scripted(tmp_path, lambda prompt: "well said")
    filled(tmp_path, quotas([Say()], SEEDS, 20, 10, None), asker)
    assert len(teacher.asked) == 20


def test_the_candidates_are_a_limit_and_what_was_made_by_then_is_kept(tmp_path: Path) -> None:
    rows, progress = filled(
        tmp_path, quotas([Say()], SEEDS, 10, 3, None), scripted(tmp_path, lambda prompt: "short")[0]
    )
    assert (progress.kept, len(rows)) == (0, 30)


def test_a_seed_that_makes_more_rows_than_there_are_candidates_is_taken_all_the_same(tmp_path: Path) -> None:
    rows, progress = filled(
        tmp_path, quotas([Say()], SEEDS, 1, 1, None), scripted(tmp_path, lambda prompt: "well said")[0]
    )
    assert progress.kept == 1
    assert [row["rejected_by"] for row in rows if row["status"] == "rejected"] == ["target"]


def test_too_many_failures_stop_a_run_with_a_target(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        raise RequestFailed("HTTP 500")

    with pytest.raises(ShareFailedError, match="HTTP 500"):
        filled(tmp_path, quotas([Say()], SEEDS, 40, 10, None), scripted(tmp_path, answer)[0], max_failed=0.1)


def aimed(recipe: Path, more: str) -> Path:
    edit(recipe, "[run]\n", f"[run]\n{more}\n")
    return recipe


def test_rows_that_a_selector_takes_are_made_up_for_and_a_rerun_asks_nothing(
    recipe: Path, endpoint: Endpoint
) -> None:
    run = open_run(aimed(recipe, "target = 22"))
    raw, counts = generate(run), curate(run)
    assert counts.of("kept") == 22 < raw.of("kept")
    assert counts.by_step("rejected")["exact"] > 0
    assert counts.planned == sum(counts.of(status) for status in ("kept", "rejected", "failed"))
    asked, before = endpoint.requests, hashes(run.folder)
    (run.folder / "manifest.json").unlink()
    again = open_run(recipe)
    generate(again)
    curate(again)
    assert endpoint.requests == asked and hashes(run.folder) == before


def test_a_target_that_was_not_reached_is_said(recipe: Path) -> None:
    said: list[str] = []
    run = open_run(aimed(recipe, "target = 300\ncandidates = 1"), say=said.append)
    generate(run)
    assert curate(run).of("kept") < 300
    assert any("rows are missing: 1 candidates a row are used up" in line for line in said)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('use = "template"', 'use = "template"\nweight = 2', r"generate\[0\].weight: .*add target"),
        ("[seeds]", '[seeds]\nbalance = "topic"', r"seeds.balance: .*add target"),
        ("[run]", "[run]\ntarget = 0", "run.target"),
        (
            'use = "template"',
            'use = "template"\nteacher = "strong"',
            r'called "strong".*teachers.strong',
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(recipe: Path, old: str, new: str, match: str) -> None:
    edit(recipe, old, new)
    with pytest.raises(RecipeError, match=match):
        open_run(recipe)


def test_balance_names_a_field_that_every_seed_has(recipe: Path) -> None:
    edit(recipe, "[seeds]", '[seeds]\nbalance = "leaf"')
    with pytest.raises(RecipeError, match="not every seed has this field; name one of: topic"):
        open_run(aimed(recipe, "target = 5"))


def test_a_strategy_may_be_answered_by_a_teacher_of_its_own(recipe: Path, endpoint: Endpoint) -> None:
    edit(recipe, 'use = "template"', 'use = "template"\nteacher = "strong"')
    edit(
        recipe, "[[generate]]", f'[teachers.strong]\nmodel = "big"\nendpoint = "{endpoint.url}"\n[[generate]]'
    )
    run = open_run(recipe)
    generate(run)
    asked = run.dataset.manifest["stages"]["generate"]["asked"]
    assert asked["strong"]["steps"]["template"]["requests"] > 0
    assert "template" not in asked["teacher"]["steps"] if "teacher" in asked else True
