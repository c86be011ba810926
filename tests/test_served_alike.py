"""The embedded model answers and scores alike by vLLM and by transformers."""

import asyncio
from pathlib import Path

import pytest

from synth.llm.journal import Journal
from synth.models import Models
from synth.student.local import encoder
from synth.tables import Student
from synth.types import Message, Reply
from synth.weights import find_model

TOPICS = ("bread", "rain", "iron", "a library", "the moon", "a bicycle", "salt", "an island")
SAME = 0.75
"""Share of greedy answers of 12 tokens that must be equal: bfloat16 rounds differently in other kernels."""
APART = 0.05
"""Nats a token by which a text's mean loss may differ."""


def user(text: str) -> Message:
    return {"role": "user", "content": text}


async def answered(tmp_path: Path, name: str, local: Path | None, rows: list[list[int]]) -> list[Reply]:
    """What the model says of each topic, then what it makes of each row of tokens."""
    student = Student(model="smollm2-135m-instruct", max_tokens=12, max_model_len=512)
    journal = Journal(tmp_path / "runs" / name / "journal")
    async with Models(journal, tmp_path / "logs", print) as models:
        asker = models.asker("student", student, local=local)
        asked = [asker([user(f"Say in one sentence what {topic} is.")]) for topic in TOPICS]
        replies = await asyncio.gather(*asked, *(asker("", scored=ids) for ids in rows))
    return list(replies)


def test_both_give_the_same_answers_and_losses_within_noise(tmp_path: Path) -> None:
    folder = find_model("smollm2-135m-instruct", print)
    assert isinstance(folder, Path)
    encode = encoder(folder)
    turns: list[list[Message]] = [
        [user(f"What is {topic}?"), {"role": "assistant", "content": f"I would say that {topic} is a thing."}]
        for topic in TOPICS
    ]
    rows = [encode(each, ())[0] for each in turns]
    by_vllm = asyncio.run(answered(tmp_path, "vllm", None, rows))
    by_transformers = asyncio.run(answered(tmp_path, "transformers", folder, rows))
    pairs = list(zip(by_vllm, by_transformers, strict=True))
    assert [a.prompt_tokens for a, _ in pairs] == [b.prompt_tokens for _, b in pairs]
    said, scored = pairs[: len(TOPICS)], pairs[len(TOPICS) :]
    same = sum(a.text == b.text and a.finish_reason == b.finish_reason for a, b in said)
    losses = [
        [-sum(sum(step.values()) for step in r.logprobs) / len(r.logprobs) for r in pair] for pair in scored
    ]
    assert same >= SAME * len(said), said
    assert all(first == pytest.approx(second, abs=APART) for first, second in losses)
