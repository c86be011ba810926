import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import scripted, turns_of

from synth.errors import RequestFailed, Unusable
from synth.llm.scripted import ScriptedTeacher
from synth.novelty import Novelty
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.steps import Row
from synth.strategies.self_instruct import SelfInstruct, instances, unsuited
from synth.types import Record, Reply
from synth.units import Steps, Unit, run_unit

EXAMPLES = ["Name three rivers of Europe.", "Explain why the sky\nis blue:"]
SEED = make_seed({"examples": [{"instruction": text} for text in EXAMPLES], "number": 0})


def script(proposed: str, answer: Callable[[str], str], labels: tuple[str, ...] = ()) -> Callable[[str], str]:
    """Proposes, calls tasks with one of `labels` classification, and writes instances by `answer`."""

    def say(prompt: str) -> str:
        if "new tasks, numbered" in prompt:
            return proposed
        if "Write" in prompt and "example" in prompt:
            return answer(prompt)
        return "Yes." if any(label in prompt for label in labels) else "no"

    return say


def made(
    folder: Path,
    proposed: str,
    answer: Callable[[str], str] = lambda prompt: "Input: none\nOutput: An answer.",
    *,
    strategy: SelfInstruct = SelfInstruct(per_seed=4),  # noqa: B008
    labels: tuple[str, ...] = (),
) -> tuple[list[Row], ScriptedTeacher]:
    """Rows of one seed where the teacher proposes `proposed`."""
    ask, teacher = scripted(folder, script(proposed, answer, labels))
    return asyncio.run(strategy.generate(SEED, ask, Prompts(folder))), teacher


def texts(rows: list[Row]) -> list[str]:
    return [row.question if isinstance(row, Record) else str(row) for row in rows]


def test_new_tasks_are_asked_and_each_gets_an_instance(tmp_path: Path) -> None:
    proposed = (
        "3. List five uses of a brick.\n4) Describe a sunset in one line.\nTask 5: Write a haiku about rain."
    )
    rows, teacher = made(tmp_path, proposed, lambda prompt: f"Input: none\nOutput: On {prompt[6:20]}")
    assert texts(rows) == [
        "List five uses of a brick.",
        "Describe a sunset in one line.",
        "Write a haiku about rain.",
    ]
    assert len(teacher.asked) == 1 + 2 * 3
    text = "\n".join(turn["content"] for turn in turns_of(teacher.asked[0]))
    assert "Name three rivers of Europe." in text and "Explain why the sky is blue" in text
    for row in rows:
        assert isinstance(row, Record)
        assert row.seed_id == SEED.id and row.answer.startswith("On ") and len(set(row.replies)) == 3
        assert row.prompt.startswith("self_instruct/propose@")
        assert row.fields["input"] == "" and row.fields["classification"] is False


def test_a_classification_gets_its_label_first_and_other_tasks_their_input(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        if "pleased" in prompt:
            return "Output: pleased\nInput: What a fine bell!\n\nOutput: angry\nInput: It broke at once."
        return "Example 1\nInput: one two\nOutput: two one\n\n**Input:** a b\n**Output:** b a"

    rows, teacher = made(
        tmp_path,
        "3. Is the writer pleased or angry?\n4. Turn the words around.",
        answer,
        strategy=SelfInstruct(per_seed=2, instances=2),
        labels=("pleased",),
    )
    assert [(row.question, row.answer) for row in rows if isinstance(row, Record)] == [
        ("Is the writer pleased or angry?\n\nWhat a fine bell!", "pleased"),
        ("Is the writer pleased or angry?\n\nIt broke at once.", "angry"),
        ("Turn the words around.\n\none two", "two one"),
        ("Turn the words around.\n\na b", "b a"),
    ]
    assert [row.fields["classification"] for row in rows if isinstance(row, Record)] == [
        True,
        True,
        False,
        False,
    ]
    asked = [turns_of(prompt)[0]["content"] for prompt in teacher.asked[-2:]]
    assert "label first" in asked[0] and "label" not in asked[1]


def said(text: str, finish_reason: str = "stop") -> Reply:
    return Reply(text, finish_reason, 1, 1, "m")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no parts at all", "no sound instance"),
        ("Input: a\nOutput: a", "no sound instance"),
        ("Input: a\nOutput:", "no sound instance"),
        ("Input: like this:\nOutput: b", "no sound instance"),
        ("Input: a\nOutput: b:", "no sound instance"),
        ("Input: a\nOutput: b\nInput: a\nOutput: c", "the same input has different outputs"),
        ("Input: a\nInput: b", "don't alternate"),
    ],
)
def test_instances_that_the_paper_drops(text: str, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        instances(said(text))


def test_equal_instances_count_once_and_one_that_was_cut_not_at_all() -> None:
    text = "Input: a\nOutput: b\nInput: a\nOutput: b\nInput: c\nOutput: d and so"
    assert instances(said(text)) == [("a", "b"), ("c", "d and so")]
    assert instances(said(text, "length")) == [("a", "b")]


def test_tasks_near_an_earlier_one_or_an_example_are_not_answered_and_the_pool_grows(tmp_path: Path) -> None:
    proposals = iter(
        [
            "3. Name three big rivers of Europe.\n4. List five uses of a brick.",
            "3. List six uses of a brick.\n4. Describe a sunset in one short line.",
            "3. Tell what a plumber does all day.",
        ]
    )

    def say(prompt: str) -> str:
        if "new tasks, numbered" in prompt:
            return next(proposals)
        return "Input: none\nOutput: Well." if "Write" in prompt else "no"

    ask, teacher = scripted(tmp_path, say)
    strategy = SelfInstruct(per_seed=2, machine=1)
    with Novelty(tmp_path / "run", 0.7) as novelty:
        steps = Steps([], [], Prompts(tmp_path), ask, ask, novelty=novelty)
        seeds = [make_seed({**SEED.fields, "number": number}) for number in range(2)]
        records = [
            record for seed in seeds for record in asyncio.run(run_unit(Unit(strategy, 0, seed, 0), steps))
        ]
    reasons = [(record.question, record.rejection.reason if record.rejection else "") for record in records]
    assert reasons == [
        ("Name three big rivers of Europe.", "repeats an earlier question"),
        ("List five uses of a brick.", ""),
        ("List six uses of a brick.", "repeats an earlier question"),
        ("Describe a sunset in one short line.", ""),
    ]
    assert (
        records[0].fields["repeats"] == "Name three rivers of Europe." and records[0].fields["run"] == "seeds"
    )
    assert records[2].fields["repeats"] == "List five uses of a brick."
    asked = [turns_of(prompt)[-1]["content"] for prompt in teacher.asked]
    lists = [text for text in asked if "new tasks, numbered" in text]
    assert "brick" not in lists[0] and "List five uses of a brick." in lists[1]
    assert len(asked) == 2 + 2 * 2


def test_no_more_tasks_are_taken_than_were_asked_for(tmp_path: Path) -> None:
    proposed = "\n".join(f"{n}. Tell a story of {n} small foxes." for n in range(1, 12))
    rows, _ = made(tmp_path, proposed)
    assert texts(rows) == [f"Tell a story of {n} small foxes." for n in (1, 2, 3, 4)]


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
    assert len(teacher.asked) == 3


def test_one_answer_that_fails_costs_that_row_alone(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        if "brick" in prompt:
            raise RequestFailed("HTTP 400")
        return "Input: none\nOutput: fine"

    rows, _ = made(tmp_path, "3. List five uses of a brick.\n4. List five uses of a straw.", answer)
    assert [type(row) for row in rows] == [RequestFailed, Record]


@pytest.mark.parametrize("proposed", ["", "Sure! Here they are.", "- A list without numbers."])
def test_a_reply_without_numbered_instructions_is_unusable(tmp_path: Path, proposed: str) -> None:
    with pytest.raises(Unusable, match="no numbered task"):
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
