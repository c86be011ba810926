from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from synth.llm.contract import (
    Contract,
    Engine,
    Malformed,
    common,
    engine,
    fits,
    replies,
    request,
    scores,
    scoring,
    share_out,
)
from synth.types import JSON, Message, Reply, Sampling

ASK: list[Message] = [{"role": "user", "content": "Why?"}]
SCHEMA: Mapping[str, JSON] = {"type": "object", "properties": {"a": {"type": "string"}}}


def body(sampling: Sampling, n: int = 1, contract: Contract | None = None) -> dict[str, Any]:
    """What is sent for a chat beside model and messages."""
    path, sent = request("m", ASK, sampling, n, contract or Contract())
    assert path == "/chat/completions"
    assert sent.pop("model") == "m" and sent.pop("messages") == ASK
    return sent


def test_sampling_is_sent_under_its_own_names_but_not_the_number_of_the_sample() -> None:
    assert body({"temperature": 0.5, "top_k": 3, "stop": ["x"], "seed": 4, "sample": 7}) == {
        "temperature": 0.5,
        "top_k": 3,
        "stop": ["x"],
        "seed": 4,
    }


def test_several_samples_are_asked_by_n_with_token_ids_where_the_endpoint_has_them() -> None:
    assert body({}, 3) == {"n": 3}
    assert body({}, 3, Contract(token_ids=True)) == {"n": 3, "return_token_ids": True}
    assert body({}, 1, Contract(token_ids=True)) == {}


def test_a_raw_completion_goes_to_its_own_page_and_counts_logprobs() -> None:
    assert request("m", "The sky is", {"max_tokens": 2, "top_logprobs": 5}, 1, Contract()) == (
        "/completions",
        {"model": "m", "prompt": "The sky is", "max_tokens": 2, "logprobs": 5},
    )
    assert body({"top_logprobs": 5}) == {"logprobs": True, "top_logprobs": 5}


def test_tokens_to_be_scored_are_the_prompt_and_one_token_is_written() -> None:
    sampling: Sampling = {"temperature": 0.7, "max_tokens": 50, "scored": [5, 6, 7]}
    path, sent = request("m", "", sampling, 1, Contract())
    assert (path, sent["prompt"]) == ("/completions", [5, 6, 7])
    assert (sent["max_tokens"], sent["temperature"], sent["prompt_logprobs"]) == (1, 0.0, 0)
    steps = [None, {"6": {"logprob": -0.5, "rank": 1}}, {"7": {"logprob": -2.0, "rank": 9}}]
    choice = {"text": "x", "finish_reason": "length", "prompt_logprobs": steps}
    [reply], _ = replies(orjson.dumps({"choices": [choice]}), "", sampling, "m", ["k"])
    assert reply.logprobs == ({"6": -0.5}, {"7": -2.0})


@pytest.mark.parametrize("steps", [None, [None, {"6": {"logprob": -0.5}}], [None, {"8": {}}, {"7": {}}]])
def test_a_reply_without_the_score_of_each_token_is_malformed(steps: object) -> None:
    data = orjson.dumps({"choices": [{"text": "x", "prompt_logprobs": steps}]})
    with pytest.raises(Malformed):
        replies(data, "", {"scored": [5, 6, 7]}, "m", ["k"])


@pytest.mark.parametrize(
    ("sampling", "word", "sent"),
    [
        ({"json_schema": SCHEMA}, "structured_outputs", {"structured_outputs": {"json": SCHEMA}}),
        ({"json_schema": SCHEMA}, "guided", {"guided_json": SCHEMA}),
        (
            {"json_schema": SCHEMA},
            "response_format",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        ({"regex": "a+"}, "structured_outputs", {"structured_outputs": {"regex": "a+"}}),
        ({"regex": "a+"}, "guided", {"guided_regex": "a+"}),
        ({"choice": ["a", "b"]}, "structured_outputs", {"structured_outputs": {"choice": ["a", "b"]}}),
        ({"choice": ["a", "b"]}, "guided", {"guided_choice": ["a", "b"]}),
    ],
)
def test_a_constraint_is_asked_for_by_the_word_that_the_endpoint_knows(
    sampling: Sampling, word: str, sent: dict[str, Any]
) -> None:
    [kind] = sampling
    assert body(sampling, 1, Contract(how={kind: word})) == sent
    if word == "structured_outputs":
        assert body(sampling) == sent  # what is asked where nothing is known


def answer(*choices: dict[str, Any], prompt: int = 5, completion: int = 10) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return orjson.dumps({"choices": choices, "usage": usage})


def chat(text: str | None, **more: object) -> dict[str, Any]:
    return {"message": {"content": text}, "finish_reason": "stop", **more}


def test_one_reply_carries_text_reason_and_the_tokens_of_the_answer() -> None:
    [found], total = replies(answer(chat("Because.")), ASK, {}, "m", ["k"])
    assert found == Reply("Because.", "stop", 5, 10, "m", "k") and total == 10
    [found], _ = replies(answer(chat(None, finish_reason=None)), ASK, {}, "m", ["k"])
    assert (found.text, found.finish_reason) == ("", "unknown")
    [found], _ = replies(answer({"text": " blue", "finish_reason": "length"}), "The sky is", {}, "m", ["k"])
    assert found.text == " blue" and found.cut


def test_log_probabilities_of_chats_and_raw_completions_come_in_one_form() -> None:
    tops = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]
    steps = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": tops}] * 2}
    [found], _ = replies(answer(chat("aa", logprobs=steps)), ASK, {}, "m", ["k"])
    assert found.logprobs == ({"a": -0.5, "b": -1.5},) * 2
    raw = {"text": "aa", "logprobs": {"tokens": ["a", "a"], "top_logprobs": [{"a": -0.5}, None]}}
    [found], _ = replies(answer(raw), "aa", {}, "m", ["k"])
    assert found.logprobs == ({"a": -0.5}, {})
    [found], _ = replies(answer(chat("aa", logprobs=None)), ASK, {}, "m", ["k"])
    assert found.logprobs == ()


def test_samples_tell_their_own_tokens_where_token_ids_come() -> None:
    data = answer(chat("one", token_ids=[1, 2, 3]), chat("two", token_ids=[4]), completion=4)
    found, total = replies(data, ASK, {}, "m", ["a", "b"])
    assert [(r.key, r.text, r.completion_tokens, r.prompt_tokens) for r in share_out(found, total)] == [
        ("a", "one", 3, 5),
        ("b", "two", 1, 0),
    ]


@pytest.mark.parametrize("texts", [["aaaa", "bb", ""], ["", "", ""], ["x", "y", "z"], ["a" * 1000, "b", "c"]])
@pytest.mark.parametrize("total", [0, 1, 2, 10, 1001])
def test_tokens_that_the_samples_do_not_tell_are_shared_out_and_add_up(texts: list[str], total: int) -> None:
    data = answer(*(chat(text) for text in texts), completion=total)
    found, seen = replies(data, ASK, {}, "m", ["a", "b", "c"])
    shares = [reply.completion_tokens for reply in share_out(found, seen)]
    assert sum(shares) == total and min(shares) >= 0


def test_more_samples_than_asked_are_left_and_fewer_are_malformed() -> None:
    found, _ = replies(answer(chat("one"), chat("two")), ASK, {}, "m", ["a"])
    assert [reply.text for reply in found] == ["one"]
    with pytest.raises(Malformed, match="1 of 2 samples"):
        replies(answer(chat("one")), ASK, {}, "m", ["a", "b"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"choices": [',
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        b'{"choices": null}',
        b'{"choices": [null]}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 3}}]}',
        b'{"choices": [{"message": {"content": [{"text": "part"}]}}]}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": [1]}',
        b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{}]}}]}',
        b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"top_logprobs": null}]}}]}',
    ],
)
def test_an_answer_that_is_none_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed, match="malformed reply"):
        replies(data, ASK, {}, "m", ["k"])


def test_a_raw_completion_without_text_is_malformed() -> None:
    for text in (None, 3):
        with pytest.raises(Malformed, match="malformed reply"):
            replies(answer({"text": text}), "The sky is", {}, "m", ["k"])


def test_a_reply_that_ended_by_itself_is_held_to_the_form_and_a_cut_one_is_not() -> None:
    def reply(text: str, reason: str = "stop") -> Reply:
        return Reply(text, reason, 1, 1, "m")

    assert fits(reply("anything"), {})
    assert fits(reply("a"), {"choice": ["a", "b"]}) and not fits(reply("c"), {"choice": ["a", "b"]})
    assert fits(reply("aaa"), {"regex": "a+"}) and not fits(reply("aab"), {"regex": "a+"})
    assert fits(reply('{"a": "x"}'), {"json_schema": SCHEMA})
    assert not fits(reply('{"a": '), {"json_schema": SCHEMA})
    assert fits(reply('{"a": ', "length"), {"json_schema": SCHEMA})
    with pytest.raises(Malformed, match="reply without the form asked"):
        replies(answer(chat("c")), ASK, {"choice": ["a"]}, "m", ["k"])


def test_several_endpoints_can_do_what_each_can_in_the_same_words() -> None:
    new = Contract(
        "0.32",
        4096,
        frozenset({"n", "regex", "json_schema"}),
        {"regex": "structured_outputs", "json_schema": "structured_outputs"},
        token_ids=True,
    )
    old = Contract(
        "0.9",
        None,
        frozenset({"n", "regex", "json_schema", "choice"}),
        {"regex": "guided", "json_schema": "structured_outputs", "choice": "guided"},
    )
    both = common([new, old])
    assert both.can == {"n", "json_schema"} and both.how == {"json_schema": "structured_outputs"}
    assert (both.context, both.token_ids) == (4096, False)
    assert common([new]) == new
    assert Contract.from_json(orjson.loads(orjson.dumps(new.to_json()))) == new


def test_an_engines_counters_are_read_whatever_their_labels_and_added_up() -> None:
    page = (
        "# HELP vllm:num_requests_running x\n"
        "# TYPE vllm:num_requests_running gauge\n"
        'vllm:num_requests_running{engine="0",model_name="a b"} 8.0\n'
        'vllm:num_requests_running{engine="1",model_name="a b"} 4.0\n'
        'vllm:num_requests_waiting{engine="0",model_name="a b"} 3.0\n'
        'vllm:num_requests_waiting_by_reason{engine="0",reason="x"} 99.0\n'
        'vllm:prefix_cache_queries_total{engine="0"} 1e+03\n'
        'vllm:prefix_cache_hits_total{engine="0"} 250.0\n'
        "process_open_fds 12.0\n"
    )
    assert engine(page) == Engine(12.0, 3.0, 1000.0, 250.0)
    assert engine("vllm:num_requests_running 2\nvllm:num_requests_waiting 1.0\n") == Engine(2.0, 1.0)


@pytest.mark.parametrize("page", ["", "process_open_fds 12.0\n", "vllm:num_requests_running 2\n", "<html>"])
def test_a_page_that_is_no_engines_says_nothing(page: str) -> None:
    assert engine(page) is None


def test_candidates_are_asked_by_token_id_and_the_token_that_ended_the_reply_is_told() -> None:
    assert body({"top_token_ids": 20}) == {
        "logprobs": True,
        "top_logprobs": 20,
        "return_tokens_as_token_ids": True,
        "return_token_ids": True,
    }
    assert body({"top_token_ids": 20, "top_logprobs": 5}) == {"logprobs": True, "top_logprobs": 5}
    top = [{"token": "token_id:7", "logprob": -0.123456}, {"token": "token_id:31", "logprob": -2.0}]
    choice = {
        "message": {"content": "Yes"},
        "finish_reason": "stop",
        "token_ids": [7, 2],
        "logprobs": {"content": [{"token": "token_id:7", "logprob": -0.123456, "top_logprobs": top}] * 2},
    }
    answer = orjson.dumps({"choices": [choice], "usage": {"completion_tokens": 2}})
    ([reply], _) = replies(answer, ASK, {"top_token_ids": 2}, "m", ["k"])
    assert reply.tokens == (7, 2)
    assert reply.logprobs == ({"7": -0.1235, "31": -2.0},) * 2


def test_an_answer_that_is_there_already_is_scored_by_its_tokens() -> None:
    assert scoring("m", [4, 5], [6], 20) == (
        "/completions",
        {"model": "m", "prompt": [4, 5, 6], "max_tokens": 1, "prompt_logprobs": 20},
    )
    told = [None, {"5": {"logprob": -1.0}}, {"6": {"logprob": -2.5, "rank": 3}, "9": {"logprob": -0.25}}]
    answer = orjson.dumps({"choices": [{"text": "", "prompt_logprobs": told}]})
    assert scores(answer, [6]) == [{6: -2.5, 9: -0.25}]
    with pytest.raises(Malformed, match="of other tokens"):
        scores(answer, [7])
    with pytest.raises(Malformed, match="no prompt_logprobs"):
        scores(orjson.dumps({"choices": [{"text": "", "prompt_logprobs": None}]}), [6])
    with pytest.raises(Malformed, match="no prompt_logprobs"):
        scores(answer, [4, 5, 6])
