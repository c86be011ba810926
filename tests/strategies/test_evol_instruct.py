import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rows import scripted, turns_of

from synth.errors import RequestFailed, Unusable
from synth.llm.journal import Journal
from synth.llm.scripted import ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.steps import Row
from synth.strategies.evol_instruct import EvolInstruct, no_answer, no_instruction
from synth.types import Prompt, Record, Reply, Sampling
from synth.units import Steps, Unit, run_unit

SEED = make_seed({"instruction": "Name three rivers."})
HARDER = "Name rivers by length, task"


@dataclass
class Teacher:
    """Rewrites to `HARDER` and a number, says "different", and answers; notes how it was asked."""

    rewrite: Callable[[int], str | Reply] = lambda number: f"{HARDER} {number}."
    compare: Callable[[int], str] = lambda number: "different"
    answer: Callable[[str], str] = lambda instruction: f"Here you are: {instruction}"
    rewritten: list[tuple[str, Sampling]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)

    def __call__(self, prompt: Prompt, sampling: Sampling) -> str | Reply:
        text = text_of(prompt)
        if text.startswith('"'):
            inside = text[1:].split('"\n\nWrite ')[0]
            self.rewritten.append((inside, sampling))
            return self.rewrite(len(self.rewritten))
        if "<<<SECOND" in text:
            return self.compare(len(self.rewritten))
        assert [turn["role"] for turn in turns_of(prompt)] == ["user"]
        self.answered.append(text)
        return self.answer(text)


def made(folder: Path, teacher: Teacher, strategy: EvolInstruct | None = None) -> list[Row]:
    ask = ScriptedTeacher(teacher).asker(Journal(folder / "journal"), {"temperature": 0.3, "top_p": 0.5})
    return asyncio.run((strategy or EvolInstruct(rounds=3)).generate(SEED, ask, Prompts(folder)))


def shown(rows: list[Row]) -> list[str]:
    return [row.question if isinstance(row, Record) else str(row) for row in rows]


def test_every_round_is_a_row_made_of_the_row_before(tmp_path: Path) -> None:
    teacher = Teacher()
    rows = made(tmp_path, teacher)
    assert shown(rows) == [f"{HARDER} 1.", f"{HARDER} 2.", f"{HARDER} 3."]
    assert [text for text, _ in teacher.rewritten] == ["Name three rivers.", f"{HARDER} 1.", f"{HARDER} 2."]
    for row, parents in zip(rows, [(), ("#0",), ("#1",)], strict=True):
        assert isinstance(row, Record)
        assert row.parents == parents and row.seed_id == SEED.id
        assert row.answer == f"Here you are: {row.question}"
        assert len(row.replies) == 3 and row.prompt.startswith("evol_instruct/")


def test_answers_are_asked_of_the_evolved_instruction_alone_and_as_the_recipe_says(tmp_path: Path) -> None:
    teacher = Teacher()
    made(tmp_path, teacher)
    assert teacher.answered == [f"{HARDER} 1.", f"{HARDER} 2.", f"{HARDER} 3."]
    assert all(asked["temperature"] == 1.0 and asked["top_p"] == 0.95 for _, asked in teacher.rewritten)


def test_without_the_comparison_no_verdict_is_asked(tmp_path: Path) -> None:
    def compare(number: int) -> str:
        raise AssertionError("asked")

    rows = made(tmp_path, Teacher(compare=compare), EvolInstruct(rounds=2, compare=False))
    assert [len(row.replies) for row in rows if isinstance(row, Record)] == [2, 2]


@pytest.mark.parametrize(
    ("teacher", "reason"),
    [
        (Teacher(compare=lambda n: "Equal." if n == 2 else "not equal"), "says no more"),
        (Teacher(compare=lambda n: "Who knows?" if n == 2 else "different"), "no verdict"),
        (Teacher(answer=lambda text: "Sorry, no." if " 2." in text else "Fine words."), "says sorry"),
        (Teacher(answer=lambda text: "It was... so!" if " 2." in text else "Fine words."), "stop words"),
        (Teacher(rewrite=lambda n: "#Rewritten Prompt#" if n == 2 else f"{HARDER} {n}."), "words of its"),
        (Teacher(rewrite=lambda n: f"{HARDER} {1 if n == 2 else n}."), "repeats the one before"),
        (Teacher(rewrite=lambda n: " ... " if n == 2 else f"{HARDER} {n}."), "is empty"),
        (
            Teacher(rewrite=lambda n: Reply("Half an", "length", 1, 2, "m") if n == 2 else f"{HARDER} {n}."),
            "was cut",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_eliminated_round_is_rejected_and_the_next_begins_where_it_began(
    tmp_path: Path, teacher: Teacher, reason: str
) -> None:
    rows = made(tmp_path, teacher)
    assert isinstance(rows[1], Unusable) and reason in str(rows[1])
    assert [text for text, _ in teacher.rewritten] == ["Name three rivers.", f"{HARDER} 1.", f"{HARDER} 1."]
    assert isinstance(rows[2], Record) and rows[2].parents == ("#0",)
    assert rows[2].question == f"{HARDER} 3."


def test_a_failed_request_costs_its_round_alone(tmp_path: Path) -> None:
    def answer(text: str) -> str:
        if " 1." in text:
            raise RequestFailed("HTTP 400")
        return "Fine words."

    rows = made(tmp_path, Teacher(answer=answer))
    assert [type(row) for row in rows] == [RequestFailed, Record, Record]
    assert isinstance(rows[1], Record) and rows[1].parents == ()


def test_the_operation_depends_on_seed_round_and_instruction_and_on_nothing_else() -> None:
    strategy = EvolInstruct()
    again = EvolInstruct(rounds=2, temperature=0.1)
    drawn = [strategy.operation("s", number, f"text {number}") for number in range(6000)]
    assert drawn == [again.operation("s", number, f"text {number}") for number in range(6000)]
    counts = Counter(drawn)
    assert len(counts) == 6 and all(880 < times < 1120 for times in counts.values())
    assert strategy.operation("s", 1, "text") != strategy.operation("s", 2, "text")
    assert len({strategy.operation(str(seed), 1, "text") for seed in range(50)}) == 6


def test_an_operation_that_failed_is_not_tried_again_while_others_are_left(tmp_path: Path) -> None:
    teacher = Teacher(rewrite=lambda number: "#Rewritten Prompt#")
    rows = made(tmp_path, teacher, EvolInstruct(rounds=6))
    assert all(isinstance(row, Unusable) for row in rows)
    assert len(teacher.rewritten) == 6  # six requests that differ: an equal one is answered from the journal
    strategy = EvolInstruct(depth_prompts=("evol_instruct/deepen",), breadth=0)
    assert strategy.operation("s", 1, "text", {"evol_instruct/deepen"}) == "evol_instruct/deepen"


def test_a_guided_instruction_is_one_line_that_begins_as_one(tmp_path: Path) -> None:
    teacher, strategy = Teacher(), EvolInstruct(rounds=2, compare=False, guided=True)
    assert len(made(tmp_path, teacher, strategy)) == 2 and strategy.needs == {"regex"}
    guides = {sampling.get("regex", "") for _, sampling in teacher.rewritten}
    assert len(guides) == 1 and EvolInstruct().needs == frozenset()
    guide = guides.pop()
    for right in ("Name three rivers that end in a lake.", "Which three rivers meet?"):
        assert re.fullmatch(guide, right)
    for wrong in (
        "What a lovely long river.",
        "What a lovely long river?",
        "Name three rivers of Asia. They are long.",
        "The longest river is the Nile.",
        "Name three rivers\nof Asia.",
        "Name it.",
    ):
        assert not re.fullmatch(guide, wrong)


def test_an_in_depth_operation_keeps_to_the_subject(tmp_path: Path) -> None:
    def rewrite(number: int) -> str:
        return f"Bake a cake {number}."

    deep = made(tmp_path / "deep", Teacher(rewrite=rewrite), EvolInstruct(rounds=1, breadth=0))
    wide = made(tmp_path / "wide", Teacher(rewrite=rewrite), EvolInstruct(rounds=1, breadth=1))
    assert shown(deep) == ["evolved instruction leaves the subject"]
    assert shown(wide) == ["Bake a cake 1."]


@pytest.mark.parametrize(("breadth", "files"), [(0, 5), (1, 1)])
def test_breadth_is_the_share_of_rounds_that_leave_the_subject(breadth: float, files: int) -> None:
    strategy = EvolInstruct(breadth=breadth)
    drawn = {strategy.operation("s", number, "text") for number in range(200)}
    assert len(drawn) == files and ("evol_instruct/breadth" in drawn) == (breadth == 1)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ("Name three rivers of Asia.", ""),
        ("name THREE rivers", "repeats"),
        ("?!", "empty"),
        ("Here is the rewritten prompt: go", "words of its prompt"),
        ("The given instruction asks for rivers", "words of its prompt"),
        ("INSTRUCTION>>>", "words of its prompt"),
        ("Say why a person must be able.", ""),
        ("Say why a person must be able to understand rivers.", "words of its prompt"),
        ("Follow the given instructions of a recipe.", ""),
    ],
)
def test_what_an_evolved_instruction_may_not_be(after: str, reason: str) -> None:
    prompt = "Change it. A person must be able to understand it. Name three rivers."
    found = no_instruction("Name three rivers.", after, prompt)
    assert reason in found and bool(found) == bool(reason)


def test_words_of_the_instruction_before_may_stay() -> None:
    before = "Name the three longest rivers of all Asia."
    assert no_instruction(before, before + " Add lengths.", f"Change this: {before}") == ""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("The Nile.", ""),
        ("42", ""),
        ("I am SORRY, the Nile.", "sorry"),
        ("sorry " + "river " * 79, ""),
        ("sorry " + "river " * 78, "sorry"),
        ("", "stop words"),
        ("...!", "stop words"),
        ("It\u2019s what it is.", "stop words"),
    ],
)
def test_which_answers_eliminate_their_instruction(answer: str, reason: str) -> None:
    found = no_answer(answer)
    assert reason in found and bool(found) == bool(reason)


@pytest.mark.parametrize("said", ["Fine words.", "sorry", ""])
def test_planned_rows_reconcile_and_parents_are_ids(tmp_path: Path, said: str) -> None:
    asker = ScriptedTeacher(Teacher(answer=lambda text: said)).asker(Journal(tmp_path / "journal"))
    strategy = EvolInstruct()
    records = asyncio.run(
        run_unit(Unit(strategy, 0, SEED, 0), Steps([], [], Prompts(tmp_path), asker, asker))
    )
    assert len(records) == strategy.rows_per_seed == 4
    kept = [record for record in records if record.status == "kept"]
    assert len(kept) == (4 if said == "Fine words." else 0)
    assert [record.parents for record in kept] == [(), *((record.id,) for record in kept[:-1])][: len(kept)]


def test_seeds_must_have_an_instruction(tmp_path: Path) -> None:
    strategy = EvolInstruct(field="question")
    assert strategy.missing(frozenset({"question"})) == ""
    assert "needs seeds with `question`" in strategy.missing(frozenset({"instruction"}))
    ask, teacher = scripted(tmp_path, lambda prompt: "")
    with pytest.raises(Unusable, match="no text in `question`"):
        asyncio.run(strategy.generate(make_seed({"question": " "}), ask, Prompts(tmp_path)))
    assert teacher.asked == []


def test_every_prompt_file_gets_what_it_asks_for(tmp_path: Path) -> None:
    prompts, strategy = Prompts(tmp_path), EvolInstruct()
    given = strategy.given(frozenset())
    assert set(given) == set(strategy.prompt_names()) and len(given) == 8
    assert all(prompts.file(name).variables == variables for name, variables in given.items())
