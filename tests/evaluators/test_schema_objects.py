"""`schema`, and the shipped questions that it grades."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from synth.errors import DataError
from synth.evaluators.schema import Schema
from synth.filters.grounded_values import GroundedValues
from synth.prompts import Prompts
from synth.recipe import load_recipe
from synth.steps import Question, build
from synth.texts import fold
from synth.types import JSON, Message, Record

ROOT = Path(__file__).parents[2]
SEEDS = ROOT / "data/seeds/extract.jsonl"
EVAL = ROOT / "data/eval/extract.jsonl"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
    "additionalProperties": False,
}
LINE: dict[str, Any] = {
    "prompt": "A table for 4, Rosa Lind\n\nExtract as JSON: name, people",
    "schema": SCHEMA,
    "answer": {"name": "Rosa Lind", "people": 4},
}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def asked(fields: dict[str, Any], **keys: JSON) -> tuple[Schema, Question]:
    step = build("evaluate", {"use": "schema", "path": "unused.jsonl", **keys})
    assert isinstance(step, Schema)
    return step, Question("1", [{"role": "user", "content": "?"}], fields=fields)


def measured(answer: str, line: dict[str, Any] = LINE, **keys: JSON) -> tuple[float, dict[str, float]]:
    evaluator, question = asked(line, **keys)
    return evaluator.grade(question, answer), dict(evaluator.details(question, answer))


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "Rosa Lind", "people": 4}',
        '{"people": 4.0, "name": "rosa  lind."}',
        '```json\n{"name": "Rosa Lind", "people": 4}\n```',
        'Here it is:\n```\n{"name": "The Rosa Lind", "people": 4}\n```\nBye.',
    ],
)
def test_a_valid_object_that_says_what_the_reference_says_scores_one(answer: str) -> None:
    assert measured(answer) == (1.0, {"valid": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0})


@pytest.mark.parametrize(
    ("answer", "valid", "precision", "recall", "f1"),
    [
        ('{"name": "Rosa", "people": 4}', 1, 1 / 2, 1 / 2, 1 / 2),
        ('{"name": "Rosa Lind", "people": "4"}', 0, 1 / 2, 1 / 2, 1 / 2),
        ('{"name": "Rosa Lind"}', 0, 1, 1 / 2, 2 / 3),
        ('{"name": "Rosa Lind", "people": 4, "day": "Monday"}', 0, 2 / 3, 1, 4 / 5),
        ('[{"name": "Rosa Lind", "people": 4}]', 0, 0, 0, 0),
        ('The object is {"name": "Rosa Lind", "people": 4}', 0, 0, 0, 0),
        ('{"name": "Rosa Lind", "people": 4', 0, 0, 0, 0),
        ("{}", 0, 0, 0, 0),
        ("", 0, 0, 0, 0),
    ],
)
def test_any_other_answer_scores_zero_and_its_right_fields_are_counted(
    answer: str, valid: float, precision: float, recall: float, f1: float
) -> None:
    score, beside = measured(answer)
    assert score == 0.0
    assert beside == pytest.approx({"valid": valid, "precision": precision, "recall": recall, "f1": f1})


def test_items_of_a_list_and_fields_of_fields_count_each_by_itself() -> None:
    line = {
        "schema": {"type": "object"},
        "answer": {"guest": {"name": "Rosa", "child": False}, "dishes": ["soup", "rice", "rice"]},
    }
    same = '{"dishes": ["rice", "soup", "rice"], "guest": {"child": false, "name": "Rosa"}}'
    assert measured(same, line)[0] == 1.0
    score, beside = measured('{"dishes": ["soup", "rice", "fish"], "guest": {"name": "Rosa"}}', line)
    assert (score, beside["precision"], beside["recall"]) == (0.0, 3 / 4, 3 / 5)
    for other in ('{"guest": {"name": "Rosa", "child": 0}, "dishes": ["soup", "rice", "rice"]}', same[:-1]):
        assert measured(other, line)[0] == 0.0


def test_the_recipe_may_take_valid_objects_for_right_with_or_without_a_reference() -> None:
    other = '{"name": "Tom", "people": 4}'
    assert measured(other, score="valid") == (1.0, {"exact": 0.0, "precision": 0.5, "recall": 0.5, "f1": 0.5})
    assert measured(other, {"schema": SCHEMA}, score="valid") == (1.0, {})
    assert measured('{"name": "Tom"}', {"schema": SCHEMA}, score="valid") == (0.0, {})


def test_questions_carry_kind_group_and_the_lines_or_the_recipes_schema(tmp_path: Path) -> None:
    file, schema = tmp_path / "q.jsonl", tmp_path / "schema.json"
    schema.write_text(json.dumps({**SCHEMA, "required": []}))
    own = {**LINE, "kind": "table", "group": "held_out"}
    file.write_text(f"{json.dumps(own)}\n\n{json.dumps({'prompt': 'Another?', 'answer': {'name': 'Tom'}})}\n")
    evaluator = Schema(path=str(file), schema=str(schema))
    first, second = evaluator.questions()
    assert first.messages == [{"role": "user", "content": LINE["prompt"]}]
    assert (first.kind, first.fields["group"], second.kind) == ("table", "held_out", "")
    assert evaluator.grade(first, '{"name": "Tom"}') == 0.0
    assert evaluator.grade(second, '{"name": "Tom"}') == 1.0
    assert evaluator.details(first, '{"name": "Rosa Lind"}')["valid"] == 0.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompt": ""}, ':1: needs the text field "prompt"'),
        ({"kind": 3}, ':1: "kind" must be a text'),
        ({"group": None}, ':1: "group" must be a text'),
        ({"schema": {"type": "nothing"}}, ':1: "schema" is no JSON schema'),
        ({"schema": 3}, ':1: "schema" is no object'),
        ({"answer": None}, ':1: needs "answer".*add it, or score = "valid" to the recipe'),
        ({"answer": {}}, ':1: needs "answer".*write {...}'),
        ({"answer": ["Rosa"]}, ':1: needs "answer".*write {...}'),
        ({"answer": {"name": "Rosa"}}, r':1: "answer" breaks the schema at \$ \(required\); mend one'),
    ],
)
def test_a_bad_line_is_named_with_its_mend(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps({**LINE, **change}))
    with pytest.raises(DataError, match=says):
        list(Schema(path=str(file)).questions())


def test_a_line_without_a_schema_needs_one_in_the_recipe_and_without_an_answer_another_score(
    tmp_path: Path,
) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps({"prompt": "Who?"}))
    with pytest.raises(DataError, match=':1: "schema" is missing; write one in the line'):
        list(Schema(path=str(file)).questions())
    keys: dict[str, Any] = {"path": str(file), "schema": SCHEMA}
    with pytest.raises(DataError, match=':1: needs "answer"'):
        list(Schema(**keys).questions())
    assert len(list(Schema(**keys, score="valid").questions())) == 1


def test_the_shipped_questions_are_what_a_student_would_be_asked_and_can_be_answered() -> None:
    prompts, evaluator = Prompts(ROOT), Schema(path=str(EVAL))
    questions = list(evaluator.questions())
    assert Counter(q.fields["group"] for q in questions) == {"trained": 240, "held_out": 80}
    grounded = GroundedValues(distinct=True)
    for question in questions:
        assert question.messages == prompts.render("extract/student", question.fields)
        turns = prompts.render("extract/teacher", question.fields)
        assert turns[-1] == question.messages[0] and len(turns) == 10
        answer = json.dumps(question.fields["answer"])
        assert evaluator.grade(question, answer) == 1.0
        turns.append({"role": "assistant", "content": answer})
        assert grounded.check(Record(tuple(turns), "", fields=question.fields)).keep


def test_the_shipped_seeds_have_no_answers_and_none_of_the_questions_texts_kinds_or_names() -> None:
    seeds, questions = lines(SEEDS), lines(EVAL)
    assert len(seeds) == 420 and all(set(seed) == {"kind", "text", "schema"} for seed in seeds)
    trained = {line["kind"] for line in questions if line["group"] == "trained"}
    assert trained == {seed["kind"] for seed in seeds}
    assert not trained & {line["kind"] for line in questions if line["group"] == "held_out"}
    texts = {fold(seed["text"]) for seed in seeds}
    assert not texts & {fold(line["text"]) for line in questions}
    people = ("customer", "patient", "buyer", "passenger", "guest", "owner", "student", "teacher")
    names = {fold(line["answer"][field]) for line in questions for field in people if field in line["answer"]}
    assert not [(name, text) for name in names for text in texts if f" {name} " in f" {text} "]


def test_the_teachers_examples_are_right_and_share_nothing_with_seeds_and_questions() -> None:
    prompts = Prompts(ROOT)
    known = [fold(line["text"]) for line in [*lines(SEEDS), *lines(EVAL)]]
    for line in lines(EVAL):
        turns = prompts.render("extract/teacher", line)
        for user, said in zip(turns[1:-1:2], turns[2:-1:2], strict=True):
            text = user["content"].partition("\n\n")[0]
            fields = {"text": text, "schema": line["schema"]}
            evaluator, question = asked({"schema": line["schema"]}, score="valid")
            assert evaluator.grade(question, said["content"]) == 1.0
            assert GroundedValues(distinct=True).check(Record((*turns[:2], said), "", fields=fields)).keep
            assert list(json.loads(said["content"])) == line["schema"]["required"]
            assert fold(text) not in known


def test_the_shipped_recipe_keeps_right_objects_and_none_that_a_value_was_altered_in() -> None:
    filters = load_recipe(ROOT / "flows/recipes/extract.toml").filters
    prompts = Prompts(ROOT)

    def kept(line: dict[str, Any], answer: dict[str, Any]) -> bool:
        said: Message = {"role": "assistant", "content": json.dumps(answer)}
        turns = (*prompts.render("extract/student", line), said)
        record = Record(turns, "", finish_reason="stop", fields=line)
        return all(check.check(record).keep for check in filters)

    for line, other in pairwise(lines(EVAL)):
        right = line["answer"]
        first, second, *_ = right
        assert kept(line, right)
        assert not kept(line, {**right, first: right[second]})
        assert not kept(line, {**right, "more": right[second]})
        assert not kept(line, {name: right[name] for name in right if name != first})
        assert not kept(line, {**right, first: f"{right[first]} and more"})
        assert not kept(line, {**right, first: list(other["answer"].values())})
