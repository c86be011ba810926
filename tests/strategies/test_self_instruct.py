import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import scripted, turns_of

from synth.errors import RequestFailed, Unusable
from synth.llm.scripted import ScriptedTeacher
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.steps import Row
from synth.strategies.self_instruct import SelfInstruct, unsuited
from synth.types import Record

EXAMPLES = ["Name three rivers of Europe.", "Explain why the sky\nis blue:"]
SEED = make_seed({"examples": [{"instruction": text} for text in EXAMPLES], "number": 0})


def made(
    folder: Path, proposed: str, answer: Callable[[str], str] = lambda prompt: "An answer."
) -> tuple[list[Row], ScriptedTeacher]:
    """Rows of one seed where the teacher proposes `proposed`; its first request is the proposal."""
    first = True

    def script(prompt: str) -> str:
        nonlocal first
        if first:
            first = False
            return proposed
        return answer(prompt)

    ask, teacher = scripted(folder, script)
    strategy = SelfInstruct(per_seed=4)
    return asyncio.run(strategy.generate(SEED, ask, Prompts(folder))), teacher


def texts(rows: list[Row]) -> list[str]:
    return [row.question if isinstance(row, Record) else str(row) for row in rows]


def test_new_instructions_are_asked_and_each_is_answered(tmp_path: Path) -> None:
    proposed = (
        "3. List five uses of a brick.\n4) Describe a sunset in one line.\nTask 5: Write a haiku about rain."
    )
    rows, teacher = made(tmp_path, proposed, lambda prompt: f"About: {prompt[-30:]}")
    assert texts(rows) == [
        "List five uses of a brick.",
        "Describe a sunset in one line.",
        "Write a haiku about rain.",
    ]
    assert len(teacher.asked) == 4
    text = "\n".join(turn["content"] for turn in turns_of(teacher.asked[0]))
    assert "Name three rivers of Europe." in text and "Explain why the sky is blue" in text
    for row in rows:
        assert isinstance(row, Record)
        assert row.seed_id == SEED.id and row.answer.startswith("About: ")
        assert row.prompt.startswith("self_instruct/propose@")


def test_numbers_that_were_not_asked_for_and_more_than_were_are_left_out(tmp_path: Path) -> None:
    proposed = "\n".join(f"{n}. Tell a story of {n} small foxes." for n in range(1, 12))
    rows, _ = made(tmp_path, proposed)
    assert texts(rows) == [f"Tell a story of {n} small foxes." for n in (3, 4, 5, 6)]


def test_unsuited_and_repeated_instructions_are_rejected_with_the_reason_and_not_answered(
    tmp_path: Path,
) -> None:
    proposed = (
        "3. name three rivers of europe\n4. Draw a picture of a cat.\n5. Too short.\n"
        "6. Count the legs of a spider."
    )
    rows, teacher = made(tmp_path, proposed)
    assert texts(rows) == [
        "instruction repeats an example",
        "instruction needs what a text model has not",
        "instruction of at most 3 or over 150 words",
        "Count the legs of a spider.",
    ]
    assert len(teacher.asked) == 2


def test_one_answer_that_fails_costs_that_row_alone(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        if "brick" in prompt:
            raise RequestFailed("HTTP 400")
        return "fine"

    rows, _ = made(tmp_path, "3. List five uses of a brick.\n4. List five uses of a straw.", answer)
    assert [type(row) for row in rows] == [RequestFailed, Record]


@pytest.mark.parametrize("proposed", ["", "Sure! Here they are.", "1. Only an old number is here."])
def test_a_reply_without_numbered_instructions_is_unusable(tmp_path: Path, proposed: str) -> None:
    with pytest.raises(Unusable, match="no numbered instruction"):
        made(tmp_path, proposed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Name four red fruits.", ""),
        ("Name red fruits.", "instruction of at most 3 or over 150 words"),
        ("word " * 151, "instruction of at most 3 or over 150 words"),
        ("Plot the data over time.", "instruction needs what a text model has not"),
        ("Write a program that sorts.", "instruction asks for a program"),
        ("- Name four red fruits.", "instruction begins with no letter"),
        ("Name THREE rivers, of Europe", "instruction repeats an example"),
    ],
)
def test_the_papers_rules(text: str, reason: str) -> None:
    assert unsuited(text, {"name three rivers of europe"}) == reason


def test_seeds_must_be_samples_of_lines_with_an_instruction(tmp_path: Path) -> None:
    strategy = SelfInstruct()
    assert "set [seeds] sample = 8" in strategy.missing(frozenset({"instruction"}))
    assert strategy.missing(frozenset({"examples", "number"})) == ""
    ask, _ = scripted(tmp_path, lambda prompt: "")
    seed = make_seed({"examples": [{"text": "no instruction"}]})
    with pytest.raises(Unusable, match="no text in `instruction`"):
        asyncio.run(strategy.generate(seed, ask, Prompts(tmp_path)))
