import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from synth.errors import RequestFailed, Unusable
from synth.filters.text import Length
from synth.llm.asker import APART, StepAsk
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.steps import Filter, Row
from synth.strategies.best_of_n import BestOfN, plain
from synth.strategies.candidates import read_score
from synth.strategies.equations import equations, holds
from synth.types import Prompt, Record, Reply, Sampling, Verdict
from synth.units import Steps, Unit, run_unit

SEED = make_seed({"question": "How many eggs are six and six?", "answer": "12"})
RIGHT = ["6 + 6 = 12", "It is a dozen: 12", "6+6 = 12.", "2 * 6 = 12"]


class Comes(Filter):
    """Rejects an answer that does not end with the seed's."""

    def check(self, record: Record) -> Verdict:
        right = record.answer.rstrip(".").endswith(str(record.fields["answer"]))
        return Verdict(self.name, right, None, "" if right else "comes to another number")


def teacher(answers: Sequence[str | Reply], scores: Sequence[str] = ()) -> ScriptedTeacher:
    """Gives the answers in turn, and the judge's scores in turn."""
    said, marks = list(answers), list(scores)

    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        return (marks if "[ANSWER " in text_of(prompt) else said).pop(0)

    return ScriptedTeacher(script)


def made(
    folder: Path, asked: ScriptedTeacher, n: int = 4, *, sample: int = 0, **more: object
) -> tuple[list[Row], ScriptedTeacher]:
    keys = {"verify": (Comes(),), "prompt": "best_of_n/solve", "student_prompt": "best_of_n/student", **more}
    asker = asked.asker(Journal(folder / "journal"))
    ask = StepAsk({"teacher": asker, "judge": asker}, "teacher", "best_of_n", sample)
    return asyncio.run(BestOfN.model_validate({"n": n, **keys}).generate(SEED, ask, Prompts(folder))), asked


def told(row: Row) -> tuple[str, str]:
    """A row's answer, and why it is rejected ("" where it is kept)."""
    assert isinstance(row, Record)
    return row.answer, row.rejection.reason if row.rejection else ""


def test_the_first_answer_that_passes_is_kept_with_the_pass_rate_of_its_prompt(tmp_path: Path) -> None:
    [row], asked = made(tmp_path, teacher(["13", *RIGHT[:3]]))
    assert isinstance(row, Record) and row.status == "kept"
    assert row.messages[0] == {"role": "user", "content": SEED.fields["question"]}
    assert row.answer == "6 + 6 = 12"
    assert row.fields == {**SEED.fields, "passed": 3, "of": 4}
    assert len(asked.asked) == len(set(row.replies)) == 4 and row.completion_tokens == 1 + 5 + 5 + 3
    assert row.prompt.startswith("best_of_n/solve@")


def test_all_answers_go_out_as_one_request(tmp_path: Path) -> None:
    asked: list[int] = []

    class Counting(ScriptedTeacher):
        async def ask(self, prompt: Prompt, sampling: Sampling, keys: Sequence[str]) -> list[Reply]:
            asked.append(len(keys))
            return [Reply("12", "stop", 1, 1, "m", key) for key in keys]

    steps = BestOfN(n=8, prompt="best_of_n/student", verify=(Comes(),))
    many = Counting()

    async def connect() -> tuple[Counting, int]:
        return many, 32

    asker = many.asker(Journal(tmp_path / "journal"))
    asker._connect = connect
    [row] = asyncio.run(steps.generate(SEED, asker.of("best_of_n"), Prompts(tmp_path)))
    assert asked == [8] and steps.several and isinstance(row, Record) and row.fields["passed"] == 8


def test_another_sample_of_a_seed_draws_other_answers(tmp_path: Path) -> None:
    [first], _ = made(tmp_path, teacher(RIGHT[:2]), 2)
    [again], nothing = made(tmp_path, teacher([]), 2)
    assert first == again and nothing.asked == []
    [second], asked = made(tmp_path, teacher(RIGHT[2:]), 2, sample=1)
    assert isinstance(first, Record) and isinstance(second, Record)
    assert len(asked.asked) == 2 and not set(first.replies) & set(second.replies) and APART > 10_000


def test_where_none_passes_the_row_names_what_most_of_them_failed(tmp_path: Path) -> None:
    cut = Reply("It is 12", "length", 1, 1, "m")
    [row], _ = made(
        tmp_path, teacher([cut, "13", "14", "1 is too short a"]), verify=(Comes(), Length(min_words=9))
    )
    assert told(row) == ("It is 12", "none of the n answers passed: Comes")
    assert isinstance(row, Record) and row.status == "rejected" and row.fields["passed"] == 0


def test_all_that_pass_are_kept_each_at_its_own_price(tmp_path: Path) -> None:
    rows, _ = made(tmp_path, teacher(["13", *RIGHT[:3]]), keep="all")
    reasons = [told(row)[1] for row in rows]
    assert reasons == ["comes to another number", "", "", ""]
    assert [row.completion_tokens for row in rows if isinstance(row, Record)] == [1, 5, 5, 3]
    assert all(isinstance(row, Record) and len(row.replies) == 1 for row in rows)


def test_distinct_answers_go_different_ways_by_equations_or_else_by_words(tmp_path: Path) -> None:
    rows, _ = made(tmp_path, teacher([*RIGHT, "it is, a dozen - 12."]), 5, keep="distinct")
    repeats = "goes the way of another answer"
    assert [told(row)[1] for row in rows] == ["", "", repeats, "", repeats]


def test_an_answer_that_comes_to_the_right_end_by_a_wrong_sum_may_be_rejected(tmp_path: Path) -> None:
    rows, _ = made(tmp_path, teacher(["5 + 6 = 12", "6 + 6 = 12", "12", "6 * 2 = 13"]), sums=True, keep="all")
    reasons = [told(row)[1] for row in rows]
    assert reasons == ["an equation is wrong", "", "", "comes to another number"]


@pytest.mark.parametrize(
    ("text", "found", "right"),
    [
        ("So 3 * 6 = 18 eggs, and 18 - 2 = 16.", ("3*6=18", "18-2=16"), True),
        ("$1,200 / 7 = $171.43", ("1200/7=171.43",), True),
        ("(2 + 3) x 4 = 21", ("(2+3)*4=21",), False),
        ("7 \u00f7 2 = 3", ("7/2=3",), False),
        ("1 / 0 = 5 and 20% * 5 = 1", ("1/0=5", "20%*5=1"), True),
        ("On 3-4 days, x = 5.", (), True),
    ],
)
def test_equations_are_found_and_reckoned(text: str, found: tuple[str, ...], right: object) -> None:
    assert equations(text) == found
    assert all(map(holds, found)) is right


def test_the_engine_files_rejected_answers_under_the_check_that_rejected_them(tmp_path: Path) -> None:
    asker = teacher(["13", "12", "12", "14"]).asker(Journal(tmp_path / "journal"))
    strategy = BestOfN(n=4, prompt="best_of_n/student", verify=(Comes(),), keep="distinct")
    steps = Steps([], [], Prompts(tmp_path), asker, asker)
    records = asyncio.run(run_unit(Unit(strategy, 0, SEED, 0), steps))
    assert [(r.status, r.rejection.by if r.rejection else "") for r in records] == [
        ("rejected", "Comes"),
        ("kept", ""),
        ("rejected", "best_of_n"),
        ("rejected", "Comes"),
    ]
    assert len({record.id for record in records}) == strategy.rows_per_seed == 4


@pytest.mark.parametrize(
    ("answers", "least", "reasons"),
    [
        (["so 12", "12.0", "13", "It is $12."], 0.75, ["", "", "not the answer of the majority", ""]),
        (["so 12", "12", "13", "14"], 0.6, ["the answers do not agree"] * 4),
        (["no number", "none", "why", "-"], 0.5, ["the answers do not agree"] * 4),
    ],
)
def test_the_answer_of_the_majority_is_taken_for_right(
    tmp_path: Path, answers: list[str], least: float, reasons: list[str]
) -> None:
    rows, _ = made(tmp_path, teacher(answers), verify=(), agreement=least, keep="all")
    assert [told(row)[1] for row in rows] == reasons
    if not all(reasons):
        assert isinstance(rows[0], Record)
        assert rows[0].fields == {**SEED.fields, "agreement": 0.75, "majority": "12", "passed": 3, "of": 4}


def test_a_pattern_finds_the_final_answer_of_another_form(tmp_path: Path) -> None:
    answers = ["A or B? Answer: B", "answer: b", "Answer: A", "B"]
    rows, _ = made(
        tmp_path, teacher(answers), verify=(), agreement=0.5, keep="all", final=r"(?i)answer:\s*([A-D])"
    )
    assert [told(row)[1] for row in rows] == ["", "", *["not the answer of the majority"] * 2]
    with pytest.raises(ValidationError, match="no regular expression"):
        BestOfN(prompt="x", agreement=0.5, final="(")


@pytest.mark.parametrize(
    ("text", "form"),
    [("1,234.50", "1234.5"), ("-0", "0"), ("$18.", "18"), ("1e3", "1000"), (" Paris* ", "paris")],
)
def test_final_answers_are_compared_in_one_form(text: str, form: str) -> None:
    assert plain(text) == form


def test_the_judge_picks_the_best_of_those_that_pass(tmp_path: Path) -> None:
    scores = ["Score: 3", "Score: 5", "Fine. Score: 5", "Score: 4"]
    [row], asked = made(
        tmp_path,
        teacher(["13", *RIGHT[:2], "14"], scores),
        judge=True,
        criteria=("It is right.", "It is clear."),
    )
    assert isinstance(row, Record) and (row.answer, row.fields["score"]) == (RIGHT[1], 4.5)
    assert len(asked.asked) == len(row.replies) == 4 + 2 * 2
    assert "Criterion: It is right." in text_of(asked.asked[4]) and str(SEED.fields["question"]) in text_of(
        asked.asked[4]
    )


def test_without_a_readable_score_nothing_is_picked(tmp_path: Path) -> None:
    scores = ["Score: 10", "Score: 4", "Good!", "Score: 5"]
    with pytest.raises(Unusable, match=r"^no score in any of the judge's replies$"):
        made(tmp_path, teacher(RIGHT[:2], scores), 2, judge=True, criteria=("a", "b"))


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("4", 4),
        (" 5\n", 5),
        ("Score: **3**", 3),
        ("score = 2/5", 2),
        ("Score: 10", None),
        ("Score: 4.5", None),
        ("Score: 0", None),
        ("11", None),
        ("I give it a 4", None),
        ("Score: 2. No, score: 3", 3),
    ],
)
def test_a_score_is_a_whole_number_on_the_scale_or_none(text: str, score: int | None) -> None:
    assert read_score(text) == score


def test_a_prompt_to_which_all_say_the_same_may_be_skipped(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"^all n answers are the same$"):
        made(tmp_path, teacher(["12"] * 4), skip_identical=True)
    [row], _ = made(tmp_path / "2", teacher(["12"] * 3 + ["so 12"]), skip_identical=True)
    assert told(row) == ("12", "")


def test_a_request_that_fails_fails_the_rows(tmp_path: Path) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str:
        raise RequestFailed("HTTP 400")

    with pytest.raises(RequestFailed):
        made(tmp_path, ScriptedTeacher(script))


def test_something_must_tell_which_answer_is_right(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="nothing tells which answer is right"):
        BestOfN(prompt="x")
    with pytest.raises(ValidationError, match="a judge picks one answer"):
        BestOfN(prompt="x", judge=True, keep="all")
    verified = BestOfN.model_validate({"prompt": "x", "verify": [{"use": "constraint"}]})
    assert 'needs the field "constraints"' in verified.missing(frozenset({"question"}))
    assert verified.missing(frozenset({"constraints"})) == "" and verified.rows_per_seed == 1
    judged = BestOfN(prompt="x", judge=True, guided=True)
    assert judged.askers == ("teacher", "judge") and verified.askers == ("teacher",)
    assert judged.needs_of("judge") == {"choice"} and not judged.needs_of("teacher")
