import asyncio
import random
from itertools import product
from pathlib import Path

import pytest
from pydantic import ValidationError
from rows import turns_of

from synth import constraints
from synth.errors import RequestFailed
from synth.filters.constraint import Constraint
from synth.llm.journal import Journal
from synth.llm.scripted import Script, ScriptedTeacher, text_of
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.strategies.persona import CONFLICTS, DRAWN, Persona, conflict, draw
from synth.types import JSON, Prompt, Record, Reply, Sampling, Seed
from synth.units import Steps, Unit, run_unit

SEED = make_seed({"persona": "a lighthouse keeper"})
TASK = "How do I clean a lamp?"
MANY = [make_seed({"n": n}).id for n in range(500)]


def made(
    folder: Path, strategy: Persona, script: Script, seed: Seed = SEED
) -> tuple[Record, ScriptedTeacher]:
    """The one record of a seed, which the filter `constraint` sees where there are constraints."""
    teacher = ScriptedTeacher(script)
    asker = teacher.asker(Journal(folder / "journal"))
    filters = [Constraint()] if strategy.constraints else []
    steps = Steps(filters, [], Prompts(folder), asker, asker)
    [record] = asyncio.run(run_unit(Unit(strategy, 0, seed, 0), steps))
    return record, teacher


def says(prompt: Prompt, sampling: Sampling) -> str:
    """A persona for a text, a task for a persona, an answer for a task."""
    text = text_of(prompt)
    if text.startswith("Read this text"):
        return "A sailor who fears fog."
    return f'"{TASK}"' if text.startswith("Who: ") else "With a soft cloth."


def test_a_task_of_the_persona_is_answered_without_the_persona(tmp_path: Path) -> None:
    record, teacher = made(tmp_path, Persona(), says)
    assert [turn["content"] for turn in record.messages] == [TASK, "With a soft cloth."]
    assert "a lighthouse keeper" in text_of(teacher.asked[0])
    assert list(turns_of(teacher.asked[1])) == [{"role": "user", "content": TASK}]
    assert record.status == "kept" and record.fields == {"persona": "a lighthouse keeper"}
    assert record.prompt.startswith("persona/task@")
    assert len(set(record.replies)) == 2 and record.completion_tokens == 6 + 4


def test_a_persona_may_be_found_in_a_text_first(tmp_path: Path) -> None:
    seed = make_seed({"text": "The fog came in over the harbour."})
    record, teacher = made(tmp_path, Persona(persona_prompt="persona/from_text"), says, seed)
    assert "over the harbour" in text_of(teacher.asked[0])
    assert "A sailor who fears fog." in text_of(teacher.asked[1])
    assert record.fields == {**seed.fields, "persona": "A sailor who fears fog."}
    assert record.fields.keys() == seed.fields.keys() | Persona().adds
    assert len(record.replies) == 3


def test_seeds_need_a_persona_or_a_file_that_finds_one() -> None:
    assert "persona/from_text" in Persona().missing(frozenset({"text"}))
    assert Persona().missing(frozenset({"persona"})) == ""
    assert Persona(persona_prompt="persona/from_text").missing(frozenset({"text"})) == ""
    given = Persona(persona_prompt="persona/from_text").given(frozenset({"text"}))
    assert given["persona/from_text"] == {"text"} and given["persona/task"] == {"text", "persona"}


def reply_to(start: str, reply: str | Reply) -> Script:
    """`says`, but `reply` to the prompt that begins so."""
    return lambda prompt, sampling: reply if text_of(prompt).startswith(start) else says(prompt, sampling)


@pytest.mark.parametrize(
    ("strategy", "fields", "script", "reason"),
    [
        (Persona(), {"n": 1}, says, "the seed has no persona"),
        (Persona(), {"persona": "a cook"}, reply_to("Who: ", ' "" '), "the task is empty"),
        (
            Persona(),
            {"persona": "a cook"},
            reply_to("Who: ", Reply("How", "length", 1, 1, "scripted")),
            "the task was cut",
        ),
        (
            Persona(persona_prompt="persona/from_text"),
            {"text": "Fog."},
            reply_to("Read", " "),
            "the persona is empty",
        ),
        (
            Persona(constraints=(1, 1)),
            {"persona": "a cook", "constraints": "short"},
            says,
            'the seed\'s constraints: needs the field "constraints", a list of {"kind": ...}; add it',
        ),
    ],
)
def test_what_makes_no_row_is_rejected_with_the_reason(
    tmp_path: Path, strategy: Persona, fields: dict[str, JSON], script: Script, reason: str
) -> None:
    record, _ = made(tmp_path, strategy, script, make_seed(fields))
    assert record.status == "rejected" and record.rejection is not None
    assert record.rejection.reason == reason


def test_constraints_stand_in_the_task_in_words_and_beside_it_for_the_filter(tmp_path: Path) -> None:
    drawn = draw(SEED.id, (2, 2))
    record, teacher = made(tmp_path, Persona(constraints=(2, 2)), says)
    asked = text_of(teacher.asked[1])
    assert record.fields["constraints"] == drawn and len(drawn) == 2
    assert record.fields.keys() == SEED.fields.keys() | Persona(constraints=(2, 2)).adds
    assert record.messages[0]["content"] == asked
    assert asked.splitlines()[0] == TASK and len(asked.splitlines()) == 3
    kinds = [constraint["kind"] for constraint in drawn]
    assert record.rejection is not None and record.rejection.reason in {f"unmet: {kind}" for kind in kinds}


def test_worked_examples_meet_the_constraints_that_they_show_and_are_not_stored(tmp_path: Path) -> None:
    prompts = Prompts(tmp_path)
    for kind, arguments in DRAWN.items():
        for values in product(*arguments.values()):
            constraint: dict[str, JSON] = {"kind": kind, **dict(zip(arguments, values, strict=True))}
            fields = {"constraints": [{"kind": "mentions", "words": ["lamp"]}, constraint]}
            question, answer = prompts.render("persona/examples", fields)
            told = prompts.render("persona/answer", {"instruction": "-", "constraints": [constraint]})
            assert question["content"].splitlines()[1:] == told[0]["content"].splitlines()[1:]
            assert constraints.check(answer["content"], [constraint]) == (True, "")
    strategy = Persona(constraints=(2, 2), examples_prompt="persona/examples")
    record, teacher = made(tmp_path, strategy, says)
    asked = list(turns_of(teacher.asked[1]))
    assert len(asked) == 5 and asked[4:] == list(record.messages[:-1])


def seed_that_draws(kind: str) -> Seed:
    seeds = (make_seed({"persona": "a cook", "n": n}) for n in range(1000))
    return next(seed for seed in seeds if [c["kind"] for c in draw(seed.id, (1, 1))] == [kind])


def test_an_answer_that_keeps_to_its_constraint_is_kept(tmp_path: Path) -> None:
    seed = seed_that_draws("lowercase")
    loud, _ = made(tmp_path / "loud", Persona(constraints=(1, 1)), says, seed)
    quiet, _ = made(
        tmp_path / "quiet", Persona(constraints=(1, 1)), reply_to(TASK, "with a soft cloth."), seed
    )
    assert (loud.status, quiet.status) == ("rejected", "kept")


def test_a_seeds_own_constraints_come_first_and_nothing_drawn_is_at_odds_with_them(tmp_path: Path) -> None:
    own: list[JSON] = [{"kind": "json_format"}, {"kind": "mentions", "words": ["lamp"]}]
    for n in range(20):
        seed = make_seed({"persona": "a cook", "n": n, "constraints": own})
        record, _ = made(tmp_path / str(n), Persona(constraints=(3, 3)), says, seed)
        found = constraints.constraints_of(record.fields)
        assert found[:2] == own and len(found) == 5
        assert not any(conflict("json_format", str(c["kind"])) for c in found[2:])
    plain, _ = made(tmp_path / "plain", Persona(), says, seed)
    assert plain.fields["constraints"] == own


def test_a_draw_depends_on_the_seed_alone_and_is_valid() -> None:
    counts = set()
    for key in MANY:
        drawn = draw(key, (1, 3))
        assert drawn == draw(key, (1, 3))
        counts.add(len(drawn))
        for constraint in drawn:
            constraints.validate(*constraints.split(constraint))
    assert counts == {1, 2, 3}
    assert {c["kind"] for key in MANY for c in draw(key, (1, 3))} == set(DRAWN)
    assert {len(draw(key, (5, 5))) for key in MANY} == {5}


def test_no_draw_holds_two_kinds_that_are_at_odds() -> None:
    for key in MANY:
        kinds = [str(constraint["kind"]) for constraint in draw(key, (3, 5))]
        assert not [pair for pair in product(kinds, kinds) if pair[0] != pair[1] and conflict(*pair)]
        assert len(set(kinds)) == len(kinds)


def test_the_table_of_conflicts_names_kinds_that_are_drawn_and_each_pair_once() -> None:
    pairs = [frozenset({one, other}) for one, others in CONFLICTS.items() for other in others.split()]
    assert len(pairs) == len(set(pairs))
    assert frozenset[str]().union(*pairs) <= set(DRAWN) <= set(constraints.KINDS)
    assert conflict("uppercase", "lowercase") and conflict("lowercase", "uppercase")
    assert conflict("paragraph_count", "json_format") and conflict("title", "title")
    assert not conflict("lowercase", "word_count")


def test_every_kind_and_each_of_its_values_is_put_into_words(tmp_path: Path) -> None:
    prompts = Prompts(tmp_path)
    for kind, arguments in DRAWN.items():
        for values in product(*arguments.values()):
            constraint: dict[str, JSON] = {"kind": kind, **dict(zip(arguments, values, strict=True))}
            [turn] = prompts.render("persona/answer", {"instruction": TASK, "constraints": [constraint]})
            task, words = turn["content"].split("\n")
            assert task == TASK
            for value in values:
                for part in value if isinstance(value, list) else [value]:
                    assert str(part) in words


@pytest.mark.parametrize("wrong", [(0, 2), (3, 1), (1, 6), (1,), 2])
def test_a_wrong_number_of_constraints_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match="constraints"):
        Persona.model_validate({"constraints": wrong})


def test_a_seed_and_sample_is_always_one_row(tmp_path: Path) -> None:
    rng = random.Random(0)

    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        if rng.random() < 0.1:
            raise RequestFailed("HTTP 400")
        replies: list[str | Reply] = ["go on with it.", "", Reply("and", "length", 1, 1, "scripted")]
        return rng.choices(replies, [8, 1, 1])[0]

    found = set()
    for n in range(60):
        seed = make_seed({"persona": "a cook", "n": n})
        found.add(made(tmp_path / str(n), Persona(constraints=(1, 1)), script, seed)[0].status)
    assert found == {"kept", "rejected", "failed"}
