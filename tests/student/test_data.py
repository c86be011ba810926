"""What is trained, for the ways in which chat templates write an answer."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rows import calling
from transformers import PreTrainedTokenizerBase as Tokenizer

from synth.errors import DataError, TrainError
from synth.store import to_table, train_columns, write_parquet
from synth.student.data import IGNORED, digest, encode, files, preview, tokenize
from synth.types import Message, Record

CHATML_WITH_SYSTEM = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "<|begin_of_text|>{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
HARMONY = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ('<|start_header_id|>final' if m['role'] == "
    "'assistant' else '') + '<|end_header_id|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
)
TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{% for call in m.tool_calls %}{{ '<call>' + (call.function | tojson) + '<|eot_id|>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TALK: list[Message] = [
    {"role": "user", "content": "What is the colour of the sky?"},
    {"role": "assistant", "content": "Blue, é 蓝 \n\nmostly."},
    {"role": "user", "content": "And a cat?"},
    {"role": "assistant", "content": "Four legs. "},
]


def trained(tokenizer: Tokenizer, messages: list[Message]) -> list[str]:
    """The decoded stretches that have labels."""
    ids, labels = encode(tokenizer, messages)
    assert len(ids) == len(labels)
    assert all(label in (token, IGNORED) for token, label in zip(ids, labels, strict=True))
    spans: list[list[int]] = []
    for before, label in zip([IGNORED, *labels], labels, strict=False):
        if label != IGNORED:
            spans = [*spans, []] if before == IGNORED else spans
            spans[-1].append(label)
    return [tokenizer.decode(span, skip_special_tokens=False) for span in spans]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, ["Blue, é 蓝 \n\nmostly.<|im_end|>", "Four legs. <|im_end|>"]),
        (CHATML_WITH_SYSTEM, ["Blue, é 蓝 \n\nmostly.<|im_end|>", "Four legs. <|im_end|>"]),
        (LLAMA3, ["Blue, é 蓝 \n\nmostly.<|eot_id|>", "Four legs.<|eot_id|>"]),
        (GEMMA, ["Blue, é 蓝 \n\nmostly.<end_of_turn>", "Four legs.<end_of_turn>"]),
        (
            HARMONY,
            [
                f"<|start_header_id|>final<|end_header_id|>{a}<|im_end|>"
                for a in ("Blue, é 蓝 \n\nmostly.", "Four legs. ")
            ],
        ),
    ],
    ids=["chatml", "chatml-system", "llama3", "gemma", "harmony"],
)
def test_every_answer_and_its_end_of_turn_are_trained_and_nothing_else(
    tokenizer: Tokenizer,
    template: str | None,
    expected: list[str],
) -> None:
    tokenizer.chat_template = template or tokenizer.chat_template
    assert trained(tokenizer, TALK) == expected


def test_the_tokens_are_those_that_the_tokenizer_makes_of_the_conversation(tokenizer: Tokenizer) -> None:
    assert encode(tokenizer, TALK)[0] == tokenizer.apply_chat_template(TALK, return_dict=False)


def test_an_end_of_turn_written_in_an_answer_does_not_end_the_training(tokenizer: Tokenizer) -> None:
    talk: list[Message] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "say <|im_end|> twice"},
    ]
    assert trained(tokenizer, talk) == ["say <|im_end|> twice<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "talk", "reason"),
    [
        (None, TALK[:1], "no assistant turn"),
        (GEMMA, [{"role": "system", "content": "x"}, *TALK], "System role not supported"),
        ("{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}", TALK, "no special token"),
        (LLAMA3.replace("| trim", "| upper"), TALK, "rewrites the answer"),
        (
            LLAMA3.replace("{% if add_gen", "{% if add_generation_prompt %}!{% endif %}{% if add_gen"),
            TALK,
            "training and serving would differ",
        ),
    ],
    ids=["no-answer", "refused", "no-end", "rewritten", "other-prompt"],
)
def test_a_conversation_that_would_be_trained_wrongly_is_refused(
    tokenizer: Tokenizer,
    template: str | None,
    talk: list[Message],
    reason: str,
) -> None:
    tokenizer.chat_template = template or tokenizer.chat_template
    with pytest.raises(TrainError, match=reason):
        encode(tokenizer, talk)


def test_calls_are_trained_to_the_end_of_their_turn_and_replies_of_tools_are_not(
    tokenizer: Tokenizer,
) -> None:
    tokenizer.chat_template = TOOLS
    row = calling()
    text = preview(tokenizer, row.messages, row.tools)
    assert re.findall("\u27e6(.*?)\u27e7", text) == [
        '<call>{"name": "book", "arguments": {"days": 3, "bike": "caf\u00e9 racer", "extras": [null, true]}}'
        "<|eot_id|><|im_end|>",
        "It is booked under number 7.<|im_end|>",
    ]
    assert text.startswith('<|im_start|>system\n[{"type": "function"')


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "leaves out the tools; train a model whose template takes tools"),
        (
            TOOLS.replace("call in m.tool_calls", "call in []"),
            "turn 1: the chat template leaves out the tool calls",
        ),
        (
            TOOLS.replace("'<call>'", "('<call>' if loop.last and messages[-1] == m else '<c>')"),
            "in another way",
        ),
    ],
    ids=["no-tools", "no-calls", "other-calls"],
)
def test_a_template_that_would_lose_tools_or_calls_is_refused(
    tokenizer: Tokenizer, template: str | None, reason: str
) -> None:
    tokenizer.chat_template = template or tokenizer.chat_template
    with pytest.raises(TrainError, match=reason):
        encode(tokenizer, calling().messages, calling().tools)


def test_rows_with_tools_are_read_from_parquet_with_them(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.chat_template = TOOLS
    plain = Record(TALK, seed_id="s", id="b")
    table = to_table([replace(calling(), id="a"), plain])
    write_parquet(tmp_path / "train-00000.parquet", train_columns(table, ("id", "messages"), tools=True))
    tokens = tokenize(tokenizer, files(tmp_path, "train"), 1000, tmp_path / "tokens").rows
    assert [row["input_ids"] for row in tokens] == [
        encode(tokenizer, calling().messages, calling().tools)[0],
        encode(tokenizer, TALK)[0],
    ]


def test_a_tokenizer_without_a_chat_template_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.chat_template = None
    with pytest.raises(TrainError, match=r"no chat template.* name one in \[student\] template"):
        tokenize(tokenizer, [], 100, tmp_path)


def test_a_row_that_is_too_long_is_left_out_and_counted(
    tokenizer: Tokenizer,
    rows: list[dict[str, Any]],
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    long = {"id": "long", "messages": [TALK[0], {"role": "assistant", "content": "The sky is blue. " * 90}]}
    data = write([*rows[:3], long, *rows[3:5]])
    tokens = tokenize(tokenizer, files(data, "train"), 128, tmp_path / "tokens")
    assert (tokens.counts.rows, tokens.counts.left_out, tokens.counts.cut) == (5, 1, 0)
    assert tokens.rows["id"][:] == [row["id"] for row in rows[:5]]
    assert tokens.rows["row"][:] == [0, 1, 2, 3, 4]
    labels = [label for row in tokens.rows["labels"] for label in row]
    trained = sum(label != IGNORED for label in labels)
    assert (tokens.counts.tokens, tokens.counts.trained) == (len(labels), trained)
    assert tokens.rows["length"][:] == [len(ids) for ids in tokens.rows["input_ids"]]
    assert tokens.counts.longest == max(tokens.rows["length"])
    assert tokens.counts.ends == {tokenizer.eos_token_id}


def test_a_row_exactly_as_long_as_allowed_is_kept(
    tokenizer: Tokenizer, rows: list[dict[str, Any]], write: Callable[..., Path], tmp_path: Path
) -> None:
    data = write(rows[:1])
    length = len(encode(tokenizer, rows[0]["messages"])[0])
    assert tokenize(tokenizer, files(data, "train"), length, tmp_path / "fits").counts.left_out == 0
    assert tokenize(tokenizer, files(data, "train"), length - 1, tmp_path / "long").counts.left_out == 1


def test_a_longer_row_loses_its_last_turns_up_to_an_answer_that_fits(
    tokenizer: Tokenizer, write: Callable[..., Path], tmp_path: Path
) -> None:
    first, both = (len(encode(tokenizer, turns)[0]) for turns in (TALK[:2], TALK))
    open_end = {"id": "question-last", "messages": TALK[:3]}
    data = write([{"id": "two", "messages": TALK}, open_end, {"id": "one", "messages": TALK[:2]}])

    def cut(room: int) -> tuple[list[tuple[str, int]], int, int]:
        tokens = tokenize(tokenizer, files(data, "train"), room, tmp_path / str(room), cut=True)
        whole = [(row["id"], row["length"]) for row in tokens.rows]
        assert all(tokenizer.eos_token_id in row["labels"] for row in tokens.rows)
        return whole, tokens.counts.cut, tokens.counts.left_out

    between = len(encode(tokenizer, TALK[:3])[0])
    assert cut(both) == ([("two", both), ("question-last", between), ("one", first)], 0, 0)
    assert cut(first) == ([("two", first), ("question-last", first), ("one", first)], 2, 0)
    assert cut(first - 1) == ([], 0, 3)


def test_files_that_were_tokenized_before_a_kill_are_not_read_again(
    tokenizer: Tokenizer, rows: list[dict[str, Any]], write: Callable[..., Path], tmp_path: Path
) -> None:
    data, folder = write(rows[:4]), tmp_path / "tokens"
    write([*rows[4:6], {"id": "bad", "messages": TALK[:1]}], "train-1")
    with pytest.raises(TrainError, match="row bad"):
        tokenize(tokenizer, files(data, "train"), 128, folder)
    assert sorted(file.name for file in folder.glob("*.json")) == ["train-00000.json"]
    write(rows[4:6], "train-1")
    made = (folder / "train-00000.arrow").stat().st_mtime_ns
    tokens = tokenize(tokenizer, files(data, "train"), 128, folder)
    assert (folder / "train-00000.arrow").stat().st_mtime_ns == made
    assert tokens.rows["id"][:] == [row["id"] for row in rows[:6]]
    assert tokens.rows["row"][:] == list(range(6))


def test_a_row_that_is_refused_is_named(
    tokenizer: Tokenizer, write: Callable[..., Path], tmp_path: Path
) -> None:
    data = write([{"id": "bad-7", "messages": TALK[:1]}])
    with pytest.raises(TrainError, match="row bad-7: has no assistant turn"):
        tokenize(tokenizer, files(data, "train"), 100, tmp_path / "tokens")


def test_preview_marks_what_is_trained(tokenizer: Tokenizer) -> None:
    assert preview(tokenizer, TALK[:2]) == (
        "<|im_start|>user\nWhat is the colour of the sky?<|im_end|>\n<|im_start|>assistant\n"
        "⟦Blue, é 蓝 \n\nmostly.<|im_end|>⟧\n"
    )


def test_a_folder_without_rows_and_a_broken_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no train-\*.parquet"):
        digest(tmp_path)
    (tmp_path / "train-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"train-00000\.parquet: is no readable Parquet"):
        digest(tmp_path)
