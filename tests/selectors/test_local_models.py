"""`perplexity`, `ifd` and `reward` against one row at a time computed plainly."""

import math
from pathlib import Path
from typing import Any

import pytest
from rows import record, selected
from tiny import saved

from synth.errors import RecipeError
from synth.selectors.ifd import IFD
from synth.selectors.perplexity import Perplexity
from synth.selectors.reward import Reward
from synth.steps import Selection
from synth.types import Record

ROWS = [
    record("the sky is blue .", question="what is the colour of the sky ?"),
    record("yes", question="is it late ?"),
    record("apples are a fruit , apples are a fruit , apples are a fruit .", question="name a fruit"),
    record("a cat has four legs .", question="what has a cat ?"),
    record("no , it is four .", question="is it late ?"),
]
LONG = record("it is late " * 30, question="is it late ?")
NONE = record("", question="is it late ?")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a chat template."""
    return saved(tmp_path_factory.mktemp("writer"), "LlamaForCausalLM")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without one."""
    return saved(tmp_path_factory.mktemp("base"), "LlamaForCausalLM", template=False)


@pytest.fixture(scope="session")
def rewarder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model."""
    return saved(tmp_path_factory.mktemp("rewarder"), "LlamaForSequenceClassification")


def loaded(folder: Path, kind: str) -> tuple[Any, Any]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, getattr(transformers, kind).from_pretrained(folder).eval()


def loss(folder: Path, prompt: str, answer: str, skip: int = 0) -> float:
    """The mean loss of an answer's tokens but the first `skip`, by one plain pass."""
    import torch

    tokenizer, model = loaded(folder, "AutoModelForCausalLM")
    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer))
    with torch.no_grad():
        logits = model(torch.tensor([[*before, *after]])).logits[0].float().log_softmax(-1)
    first = len(before) + skip
    picked: list[float] = [
        -logits[at - 1, [*before, *after][at]].item() for at in range(first, len(before) + len(after))
    ]
    return sum(picked) / len(picked)


def prompt(row: Record) -> str:
    return f"<user> {row.question} <end> <assistant> "


def scores(found: list[Selection]) -> list[float | None]:
    return [selection.verdict.score for selection in found]


def reasons(found: list[Selection]) -> list[str]:
    assert all(selection.verdict.keep is not bool(selection.verdict.reason) for selection in found)
    return [selection.verdict.reason for selection in found]


def test_perplexity_is_that_of_one_row_at_a_time(writer: Path, tmp_path: Path) -> None:
    found = selected(Perplexity(model=str(writer)), ROWS, tmp_path)
    plain = [math.exp(loss(writer, prompt(row), row.answer)) for row in ROWS]
    assert scores(found) == pytest.approx(plain, rel=1e-4)
    assert reasons(found) == [""] * 5


def test_without_a_chat_template_turns_are_lines(base: Path, tmp_path: Path) -> None:
    found = selected(Perplexity(model=str(base)), ROWS, tmp_path)
    plain = [math.exp(loss(base, f"{row.question}\n", row.answer)) for row in ROWS]
    assert scores(found) == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("form", ["perplexity", "loss"])
def test_ifd_is_a_ratio_over_the_same_tokens(writer: Path, tmp_path: Path, form: str) -> None:
    rows = [row for row in ROWS if len(row.answer.split()) > 1]
    found = selected(IFD.model_validate({"model": str(writer), "form": form}), rows, tmp_path)
    given = [loss(writer, prompt(row), row.answer, skip=1) for row in rows]
    alone = [loss(writer, "", row.answer, skip=1) for row in rows]
    ratio = [g / a if form == "loss" else math.exp(g - a) for g, a in zip(given, alone, strict=True)]
    assert scores(found) == pytest.approx(ratio, rel=1e-4)
    assert {value < 1 for value in ratio} == {True, False}
    helps = ["" if value < 1 else "the question does not help to write the answer" for value in ratio]
    assert reasons(found) == helps


def test_ifd_keeps_the_hardest_of_those_under_one(writer: Path, tmp_path: Path) -> None:
    found = selected(IFD(model=str(writer), top=0.5), ROWS, tmp_path)
    under = sorted((s for s in scores(found) if s is not None and s < 1), reverse=True)
    kept = [s.verdict.score for s in found if s.verdict.keep]
    assert sorted(kept, reverse=True) == under[: math.ceil(len(under) / 2)]  # type: ignore[type-var]
    assert reasons(found)[1] == "an answer of one token"


def test_a_reward_is_that_of_one_row_at_a_time(rewarder: Path, tmp_path: Path) -> None:
    import torch

    tokenizer, model = loaded(rewarder, "AutoModelForSequenceClassification")
    plain = []
    for row in ROWS:
        text = tokenizer.apply_chat_template(list(row.messages), tokenize=False)
        with torch.no_grad():
            ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
            plain.append(model(ids).logits[0, 0].item())
    found = selected(Reward(model=str(rewarder)), ROWS, tmp_path)
    assert scores(found) == pytest.approx(plain, abs=1e-4)
    middle = sorted(plain)[2]
    found = selected(Reward(model=str(rewarder), threshold=middle - 1e-3, top=0.5), ROWS, tmp_path)
    why = {True: f"reward below {middle - 1e-3:g}", False: "not among the best 50%"}
    best = sorted(plain)[-2:]
    assert reasons(found) == ["" if value in best else why[value < middle] for value in plain]


def test_what_is_too_long_or_has_no_answer_is_rejected_without_a_score(
    writer: Path, rewarder: Path, tmp_path: Path
) -> None:
    steps = (Perplexity(model=str(writer)), IFD(model=str(writer)), Reward(model=str(rewarder)))
    for step in steps:
        found = selected(step, [LONG, *ROWS, NONE], tmp_path)
        assert (scores(found)[0], reasons(found)[0]) == (None, "more than 64 tokens")
        assert (scores(found)[-1], reasons(found)[-1]) == (None, "has no answer")
    short = selected(Perplexity(model=str(writer), max_length=9), [LONG, *ROWS], tmp_path)
    assert reasons(short)[:2] == ["more than 9 tokens"] * 2 and not reasons(short)[2]


def test_another_bound_takes_no_model_and_new_rows_only_their_own_pass(
    writer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = selected(Perplexity(model=str(writer)), ROWS[:4], tmp_path)
    files = {file.name: file.read_bytes() for file in tmp_path.glob("perplexity-*.parquet")}
    assert len(files) == 2
    middle = sorted(s for s in scores(found) if s is not None)[1]
    monkeypatch.setattr("synth.selectors.perplexity.load", None)
    again = selected(Perplexity(model=str(writer), max=middle + 1e-3), ROWS[:4], tmp_path)
    assert scores(again) == scores(found)
    assert sorted(reasons(again)) == ["", "", *[f"perplexity above {middle + 1e-3:g}"] * 2]
    least = selected(Perplexity(model=str(writer), min=middle - 1e-3, top=0.3), ROWS[:4], tmp_path)
    assert sorted(reasons(least))[0] == "" and "not among the best 30%" in reasons(least)
    monkeypatch.undo()
    more = selected(Perplexity(model=str(writer)), ROWS, tmp_path)
    assert scores(more)[:4] == scores(found)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert len(list(tmp_path.glob("perplexity-*.parquet"))) == 3


def test_a_model_that_can_not_be_used_is_named(writer: Path, tmp_path: Path) -> None:
    import transformers

    with pytest.raises(RecipeError, match="no such model folder"):
        selected(Perplexity(model=str(tmp_path / "none")), ROWS, tmp_path)
    two = tmp_path / "two"
    config = transformers.AutoConfig.from_pretrained(writer)
    config.num_labels = 2
    transformers.LlamaForSequenceClassification(config).save_pretrained(two)
    transformers.AutoTokenizer.from_pretrained(writer).save_pretrained(two)
    with pytest.raises(RecipeError, match="has 2 labels, and a reward is one"):
        selected(Reward(model=str(two)), ROWS, tmp_path)


def test_the_runs_name_follows_the_models_bytes(writer: Path) -> None:
    [(name, version)] = Perplexity(model=str(writer)).versions().items()
    assert name == str(writer) and version.startswith(f"{writer.name}@")
