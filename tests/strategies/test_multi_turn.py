import asyncio
import random
import re
from pathlib import Path

from rows import turns_of

from synth.errors import RequestFailed
from synth.llm.journal import Journal
from synth.llm.scripted import Script, ScriptedTeacher
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.strategies.multi_turn import MultiTurn
from synth.types import Message, Prompt, Record, Reply, Sampling
from synth.units import Steps, Unit, run_unit

SEED = make_seed({"persona": "a baker", "goal": "find out why bread comes out flat"})
HELPFUL = "multi_turn/assistant"


def is_user(prompt: Prompt) -> bool:
    """Whether the simulator is asked."""
    return turns_of(prompt)[0]["content"].startswith("You write the messages of a person")


def made(folder: Path, strategy: MultiTurn, script: Script) -> tuple[Record, ScriptedTeacher]:
    """The one record of a seed, and who was asked."""
    teacher = ScriptedTeacher(script)
    asker = teacher.asker(Journal(folder / "journal"))
    steps = Steps([], [], Prompts(folder), asker, asker)
    [record] = asyncio.run(run_unit(Unit(strategy, 0, SEED, 0), steps))
    return record, teacher


def talk(prompt: Prompt, sampling: Sampling) -> str:
    """The user asks question 1, 2, 3; the assistant gives answer 1, 2, 3."""
    number = "\n".join(turn["content"] for turn in turns_of(prompt)).count("Answer ") + 1
    return f"Question {number}?" if is_user(prompt) else f"Answer {number}."


def until(turns: int, last: str = "[DONE]") -> Script:
    """`talk`, where the user says `last` after so many answers."""

    def script(prompt: Prompt, sampling: Sampling) -> str:
        said = talk(prompt, sampling)
        return last if said == f"Question {turns + 1}?" else said

    return script


def test_the_row_is_the_dialogue_from_the_assistants_side(tmp_path: Path) -> None:
    record, teacher = made(tmp_path, MultiTurn(turns=2), talk)
    assert list(record.messages) == [
        {"role": "user", "content": "Question 1?"},
        {"role": "assistant", "content": "Answer 1."},
        {"role": "user", "content": "Question 2?"},
        {"role": "assistant", "content": "Answer 2."},
    ]
    assert (record.status, record.seed_id, record.fields) == ("kept", SEED.id, SEED.fields)
    assert record.prompt.startswith("multi_turn/user@")
    assert len(teacher.asked) == len(set(record.replies)) == 4
    assert record.completion_tokens == 8


def test_the_simulator_is_shown_the_dialogue_and_who_it_is(tmp_path: Path) -> None:
    _, teacher = made(tmp_path, MultiTurn(turns=2), talk)
    first, later = (turns_of(teacher.asked[number])[-1]["content"] for number in (0, 2))
    assert first == (
        "Who: a baker. Wants to: find out why bread comes out flat.\n\n"
        "Write the first message to the assistant."
    )
    assert later.splitlines()[1:] == [
        'The person said: "Question 1?"',
        'The assistant said: "Answer 1."',
        "",
        "Write the next message to the assistant.",
    ]


def test_neither_role_is_ever_shown_the_others_system_prompt(tmp_path: Path) -> None:
    _, teacher = made(tmp_path, MultiTurn(turns=3, assistant_prompt=HELPFUL), talk)
    prompts = Prompts(tmp_path)
    of_assistant = prompts.render(HELPFUL, {})[0]["content"]
    of_user = [
        turn["content"]
        for turn in prompts.render(
            "multi_turn/user", {**SEED.fields, "turns": 3, "done": "[DONE]", "dialogue": []}
        )
    ]
    assert [is_user(prompt) for prompt in teacher.asked] == [True, False] * 3
    for prompt in teacher.asked:
        whole = "\n".join(turn["content"] for turn in turns_of(prompt))
        hidden = [of_assistant] if is_user(prompt) else [*of_user, "a baker", "flat", "[DONE]"]
        assert not [text for text in hidden if text in whole]


def test_the_assistants_system_turn_is_stored_where_that_is_wanted(tmp_path: Path) -> None:
    kept, teacher = made(tmp_path / "kept", MultiTurn(turns=1, assistant_prompt=HELPFUL), talk)
    left, _ = made(tmp_path / "left", MultiTurn(turns=1, assistant_prompt=HELPFUL, keep_system=False), talk)
    assert [turn["role"] for turn in kept.messages] == ["system", *["user", "assistant"] * 3]
    assert [turn["role"] for turn in left.messages] == ["user", "assistant"]
    assert list(kept.messages[:-1]) == list(turns_of(teacher.asked[1]))


def test_the_mark_ends_the_dialogue_and_is_not_in_it(tmp_path: Path) -> None:
    for number, last in enumerate(("[DONE]", "Thank you, that is all. [DONE]")):
        record, teacher = made(tmp_path / str(number), MultiTurn(turns=5), until(2, last))
        assert [turn["content"] for turn in record.messages][-2:] == ["Question 2?", "Answer 2."]
        assert len(teacher.asked) == len(record.replies) == 5
    over, _ = made(tmp_path / "over", MultiTurn(turns=5, done="OVER"), until(1, "OVER"))
    assert len(over.messages) == 2


def reason_of(record: Record) -> str:
    assert record.status == "rejected" and record.rejection is not None
    return record.rejection.reason


def test_what_is_no_dialogue_is_rejected_with_the_reason(tmp_path: Path) -> None:
    def cut_user(prompt: Prompt, sampling: Sampling) -> str | Reply:
        said = talk(prompt, sampling)
        return Reply("And then I", "length", 1, 1, "scripted") if said == "Question 2?" else said

    def silent(prompt: Prompt, sampling: Sampling) -> str:
        return talk(prompt, sampling) if is_user(prompt) else " "

    scripts: dict[str, Script] = {
        "the user was done before the first answer": until(0),
        "a turn of the user is empty": until(1, " \n"),
        "a turn of the user was cut": cut_user,
        "a turn of the assistant is empty": silent,
        "a turn of the user repeats an earlier one": until(1, "question 1"),
        "a turn of the assistant repeats an earlier one": lambda prompt, sampling: "Question 1?",
    }
    for number, (reason, script) in enumerate(scripts.items()):
        assert reason_of(made(tmp_path / str(number), MultiTurn(), script)[0]) == reason


def test_a_guided_user_asks_in_one_line_and_is_done_after_the_first_alone(tmp_path: Path) -> None:
    asked: list[Sampling] = []

    def script(prompt: Prompt, sampling: Sampling) -> str:
        asked.append(sampling)
        return talk(prompt, sampling)

    strategy = MultiTurn(turns=2, guided=True)
    made(tmp_path, strategy, script)
    first, answer, later, _ = (sampling.get("regex", "") for sampling in asked)
    assert answer == "" and strategy.needs == {"regex"} and MultiTurn().needs == frozenset()
    assert re.fullmatch(first, "Why is my bread so flat?") and re.fullmatch(later, "[DONE]")
    for wrong in ("[DONE]", "Bread is flat.", "Why is it?\nYou see, it is flat?"):
        assert not re.fullmatch(first, wrong)


def test_a_cut_answer_is_the_last_and_the_row_says_so(tmp_path: Path) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        return talk(prompt, sampling) if is_user(prompt) else Reply("It is", "length", 1, 2, "scripted")

    record, teacher = made(tmp_path, MultiTurn(turns=3), script)
    assert (record.finish_reason, record.answer, len(teacher.asked)) == ("length", "It is", 2)


def test_the_simulator_is_given_the_mark_and_the_number_of_turns(tmp_path: Path) -> None:
    _, teacher = made(tmp_path, MultiTurn(turns=4, done="OVER"), talk)
    told: Message = turns_of(teacher.asked[0])[0]
    assert "OVER" in told["content"] and "4 messages" in told["content"]
    given = MultiTurn(assistant_prompt=HELPFUL).given(frozenset({"goal"}))
    assert given == {"multi_turn/user": {"goal", "turns", "done", "dialogue"}, HELPFUL: {"goal"}}


def test_a_seed_and_sample_is_always_one_row(tmp_path: Path) -> None:
    rng = random.Random(0)

    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        if rng.random() < 0.1:
            raise RequestFailed("HTTP 400")
        replies: list[str | Reply] = [
            f"Go on, {rng.random()}.",
            "",
            "[DONE]",
            Reply("and", "length", 1, 1, "scripted"),
        ]
        return rng.choices(replies, [6, 1, 1, 1])[0]

    found = {made(tmp_path / str(n), MultiTurn(turns=3), script)[0].status for n in range(60)}
    assert found == {"kept", "rejected", "failed"}
