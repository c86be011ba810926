import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import turns_of

from synth.errors import RequestFailed
from synth.llm.journal import Journal
from synth.llm.scripted import Script, ScriptedTeacher
from synth.prompts import Prompts
from synth.seeds import make_seed
from synth.strategies.magpie import FORMATS, Magpie, pre_query
from synth.types import Message, Prompt, Record, Reply, Sampling
from synth.units import Steps, Unit, run_unit

SEED = make_seed({"topic": "bread"})
TALK: list[Message] = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U"},
    {"role": "assistant", "content": "A"},
]


def made(folder: Path, strategy: Magpie, script: Script) -> tuple[Record, ScriptedTeacher]:
    """The one record of a seed, and who was asked."""
    teacher = ScriptedTeacher(script)
    asker = teacher.asker(Journal(folder / "journal"))
    steps = Steps([], [], Prompts(folder), asker, asker)
    [record] = asyncio.run(run_unit(Unit(strategy, 0, SEED, 0), steps))
    return record, teacher


def says(instruction: str, answer: str = "An answer.") -> Script:
    """Goes on with raw text by `instruction`, and answers a chat by `answer`."""
    return lambda prompt, sampling: instruction if isinstance(prompt, str) else answer


def cut(text: str) -> Reply:
    return Reply(text, "length", 1, 1, "scripted")


@pytest.mark.parametrize(
    ("name", "turns", "text"),
    [
        ("chatml", [], "<|im_start|>user\n"),
        ("chatml", TALK[:1], "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n"),
        (
            "chatml",
            TALK[1:],
            "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\n",
        ),
        ("llama3", [], "<|start_header_id|>user<|end_header_id|>\n\n"),
        (
            "llama3",
            TALK[:1],
            "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\n",
        ),
        ("gemma", [], "<start_of_turn>user\n"),
        ("gemma", TALK[:1], "<start_of_turn>user\nS\n\n"),
        (
            "gemma",
            TALK,
            "<start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
            "<start_of_turn>user\n",
        ),
        ("mistral", [], "[INST]"),
        ("mistral", TALK[:1], "[INST] S\n\n"),
        ("mistral", TALK, "[INST] S\n\nU[/INST] A</s>[INST]"),
    ],
)
def test_a_format_up_to_the_users_next_text(name: str, turns: list[Message], text: str) -> None:
    assert pre_query(FORMATS[name], turns) == text


def test_the_instruction_is_drawn_from_raw_text_and_answered_greedily(tmp_path: Path) -> None:
    asked: list[Sampling] = []

    def script(prompt: Prompt, sampling: Sampling) -> str:
        asked.append(sampling)
        return " How do I bake bread? \n" if isinstance(prompt, str) else "With flour."

    record, teacher = made(tmp_path, Magpie(template="llama3"), script)
    question: Message = {"role": "user", "content": "How do I bake bread?"}
    assert teacher.asked == ["<|start_header_id|>user<|end_header_id|>\n\n", [question]]
    assert list(record.messages) == [question, {"role": "assistant", "content": "With flour."}]
    assert (record.status, record.seed_id, record.prompt) == ("kept", SEED.id, "")
    assert (asked[0]["temperature"], asked[0]["top_p"], asked[1]["temperature"]) == (1.0, 1.0, 0.0)
    assert {"\n", "<|eot_id|>", "<|start_header_id|>"} <= set(asked[0]["stop"])
    assert len(set(record.replies)) == 2
    assert record.completion_tokens == 5 + 2


def test_the_system_text_steers_the_instruction_and_is_seen_nowhere_else(tmp_path: Path) -> None:
    record, teacher = made(tmp_path, Magpie(system="magpie/topic"), says("How do I bake it?"))
    raw, chat = teacher.asked
    assert isinstance(raw, str)
    assert raw.startswith("<|im_start|>system\n") and "about bread" in raw and raw.endswith("user\n")
    assert [turn["role"] for turn in turns_of(chat)] == ["user"]
    assert [turn["role"] for turn in record.messages] == ["user", "assistant"]
    assert record.prompt.startswith("magpie/topic@")


def test_a_second_instruction_is_drawn_after_the_first_answer(tmp_path: Path) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str:
        if isinstance(prompt, str):
            return "And what comes next?" if "one.<|im_end|>" in prompt else "What comes first here?"
        return "one." if len(prompt) == 1 else "two."

    record, teacher = made(tmp_path, Magpie(turns=2), script)
    texts = [turn["content"] for turn in record.messages]
    assert texts == ["What comes first here?", "one.", "And what comes next?", "two."]
    assert len(record.replies) == 4 and record.completion_tokens == 4 + 1 + 4 + 1
    assert len(turns_of(teacher.asked[3])) == 3


def test_a_cut_answer_ends_the_dialogue_and_the_row_says_so(tmp_path: Path) -> None:
    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        return "What comes first here?" if isinstance(prompt, str) else cut("It goes on and")

    record, teacher = made(tmp_path, Magpie(turns=3), script)
    assert (record.finish_reason, len(record.messages), len(teacher.asked)) == ("length", 2, 2)


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        (" \n", "the instruction is empty"),
        ("Sort the words below:", "the instruction ends in a colon"),
        ("Hello there.", "the instruction has fewer than 3 words"),
        (cut("Write a story about a"), "the instruction was cut"),
    ],
)
def test_an_unsuited_instruction_is_rejected_with_the_reason_and_not_answered(
    tmp_path: Path, instruction: str | Reply, reason: str
) -> None:
    record, teacher = made(tmp_path, Magpie(), lambda prompt, sampling: instruction)
    assert record.status == "rejected" and record.rejection is not None
    assert record.rejection.reason == reason
    assert len(teacher.asked) == 1


def test_an_empty_answer_is_rejected(tmp_path: Path) -> None:
    record, _ = made(tmp_path, Magpie(), says("How do I bake it?", " "))
    assert record.rejection is not None and record.rejection.reason == "the answer is empty"


def test_it_needs_raw_completions() -> None:
    assert Magpie().needs == {"completions"}
    assert Magpie().prompt_names() == [] and Magpie(system="magpie/topic").prompt_names() == ["magpie/topic"]


def test_a_seed_and_sample_is_always_one_row(tmp_path: Path) -> None:
    rng = random.Random(0)
    replies: list[Callable[[], str | Reply]] = [
        lambda: "What is this thing?",
        lambda: "",
        lambda: "Too short",
        lambda: cut("What is this thing and"),
    ]

    def script(prompt: Prompt, sampling: Sampling) -> str | Reply:
        if rng.random() < 0.1:
            raise RequestFailed("HTTP 400")
        return rng.choices(replies, [6, 1, 1, 1])[0]()

    found = {made(tmp_path / str(n), Magpie(turns=2), script)[0].status for n in range(60)}
    assert found == {"kept", "rejected", "failed"}
