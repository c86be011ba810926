"""`instruction_check`, and the shipped questions that it grades."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from synth.constraints import KINDS, split, validate
from synth.errors import DataError
from synth.evaluators.instruction_check import InstructionCheck
from synth.prompts import Prompts

ROOT = Path(__file__).parents[2]
SEEDS = ROOT / "data/seeds/quickstart.jsonl"
EVAL = ROOT / "data/eval/quickstart.jsonl"
LINE: dict[str, Any] = {
    "prompt": "Why do cats purr? No capitals.",
    "kind": "lowercase",
    "group": "trained",
    "constraints": [{"kind": "lowercase"}],
}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_an_answer_scores_one_where_all_constraints_are_met(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps(LINE))
    evaluator = InstructionCheck(path=str(file))
    (question,) = evaluator.questions()
    assert question.messages == [{"role": "user", "content": LINE["prompt"]}]
    assert (question.kind, question.fields["group"]) == ("lowercase", "trained")
    assert evaluator.grade(question, "they are calm.") == 1.0
    assert evaluator.grade(question, "They are calm.") == 0.0
    assert evaluator.grade(question, "") == 0.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"group": "other"}, ':1: "group" must be one of trained, held_out'),
        ({"group": None}, ':1: "group" must be one of'),
        ({"prompt": ""}, ':1: needs the text field "prompt"'),
        ({"constraints": []}, ':1: needs the field "constraints"'),
        ({"constraints": [{"kind": "bullets", "count": 2}]}, 'did you mean "bullet_count"'),
        ({"constraints": [{"kind": "bullet_count"}]}, 'lacks its argument "count"'),
    ],
)
def test_a_bad_line_is_named_with_its_mend(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps(LINE | change))
    with pytest.raises(DataError, match=says):
        list(InstructionCheck(path=str(file)).questions())


def test_the_shipped_questions_are_enough_and_valid() -> None:
    questions = list(InstructionCheck(path=str(EVAL)).questions())
    groups = Counter(question.fields["group"] for question in questions)
    assert groups["trained"] >= 300
    assert groups["held_out"] >= 80
    assert len({question.id for question in questions}) == len(questions)


def test_no_topic_question_or_held_out_kind_of_the_evaluation_is_trained_on() -> None:
    seeds, questions = lines(SEEDS), lines(EVAL)
    for key in ("topic", "question"):
        assert not {row[key] for row in seeds} & {row[key] for row in questions}
    trained = {row["kind"] for row in seeds}
    assert {row["kind"] for row in questions if row["group"] == "trained"} == trained
    assert not {row["kind"] for row in questions if row["group"] == "held_out"} & trained


def test_the_shipped_seeds_are_valid_and_different() -> None:
    seeds = lines(SEEDS)
    assert len({(row["question"], row["constraint"]) for row in seeds}) == len(seeds) >= 300
    for row in seeds:
        assert row["constraints"][0]["kind"] == row["kind"] in KINDS
        for constraint in row["constraints"]:
            validate(*split(constraint))


def test_the_student_reads_in_training_what_it_is_asked_in_the_evaluation() -> None:
    prompts = Prompts(ROOT)
    for row in lines(EVAL):
        assert prompts.render("quickstart/student", row) == [{"role": "user", "content": row["prompt"]}]


def test_the_teacher_sees_examples_that_keep_the_rule_of_their_row() -> None:
    prompts = Prompts(ROOT)
    for row in lines(SEEDS):
        turns = prompts.render("quickstart/teacher", row)
        assert [turn["role"] for turn in turns] == ["system", *["user", "assistant"] * 3, "user"]
        kind, args = split(row["constraints"][0])
        checker = KINDS[kind][0]
        assert all(checker(turn["content"], args) for turn in turns if turn["role"] == "assistant"), row
        assert turns[-1]["content"] == f"{row['question']} {row['constraint']}"


IFEVAL: dict[str, Any] = {
    "key": 7,
    "prompt": "Describe the sky. No commas. Two bullets.",
    "instruction_id_list": ["punctuation:no_comma", "detectable_format:number_bullet_lists"],
    "kwargs": [{"num_bullets": None}, {"num_bullets": 2}],
}


def test_a_line_of_ifeval_is_graded_strictly_with_the_other_figures_beside(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    one = {"key": 8, "prompt": "?", "instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
    file.write_text("\n".join(json.dumps(row) for row in (IFEVAL, one | {"group": "held_out"})))
    evaluator = InstructionCheck(path=str(file))
    question, other = evaluator.questions()
    assert question.messages == [{"role": "user", "content": IFEVAL["prompt"]}]
    assert (question.kind, other.kind) == ("2 instructions", "startend:quotation")
    assert "group" not in question.fields and other.fields["group"] == "held_out"
    good, near = "* blue\n* wide", "Sure, here:\n* blue\n* wide"
    assert [evaluator.grade(question, answer) for answer in (good, near, "")] == [1.0, 0.0, 0.0]
    assert evaluator.details(question, near) == {
        "loose": 1.0,
        "instructions_strict": 0.5,
        "instructions_loose": 1.0,
    }


def test_a_line_of_our_own_has_the_other_figures_too(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    two = [{"kind": "lowercase"}, {"kind": "word_count", "relation": "at most", "count": 3}]
    file.write_text(json.dumps(LINE | {"constraints": two}))
    evaluator = InstructionCheck(path=str(file))
    (question,) = evaluator.questions()
    assert evaluator.grade(question, "Sure!\nthey are calm.") == 0.0
    assert evaluator.details(question, "Sure!\nthey are calm.") == {
        "loose": 1.0,
        "instructions_strict": 0.0,
        "instructions_loose": 1.0,
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"group": "other"}, ':1: "group" must be one of trained, held_out; correct it or leave it out'),
        ({"instruction_id_list": []}, ':1: needs "instruction_id_list", a list of at least one id'),
        ({"kwargs": [{}]}, ':1: needs "kwargs", a list of one object for each of the 2 ids'),
        ({"kwargs": [{}, 2]}, ':1: "kwargs" must hold objects, but one is 2'),
        ({"kwargs": [{}, {}]}, ':1: constraint "detectable_format:number_bullet_lists" lacks its argument'),
        (
            {"instruction_id_list": ["punctuation:no_comma", "title"]},
            ':1: no constraint kind is called "title"',
        ),
    ],
)
def test_a_bad_line_of_ifeval_is_named_with_its_mend(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps(IFEVAL | change))
    with pytest.raises(DataError, match=says):
        list(InstructionCheck(path=str(file)).questions())
