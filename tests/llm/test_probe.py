import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from endpoint import Able, Endpoint, answer_of
from projects import edit, make_project

from synth.errors import TeacherError
from synth.llm import client as module
from synth.llm.client import Client
from synth.llm.contract import Contract
from synth.llm.endpoint import Address
from synth.llm.probe import FILE, lacking, prove
from synth.pipeline import generate, open_run
from synth.types import Reply, Sampling

ABLE = Able()
ALL = {"n", "logprobs", "completions", "json_schema", "regex", "choice"}


def proven(*endpoints: Endpoint, memory: Path | None = None, seeded: bool = False) -> Contract:
    """What a new client finds out about endpoints."""

    async def run() -> Contract:
        async with Client([Address(each.url) for each in endpoints], "local", print) as client:
            found = await prove(client, memory, seeded=seeded)
            assert client.contract is found
            return found

    return asyncio.run(run())


def test_an_endpoint_that_can_do_all_is_seen_to() -> None:
    with Endpoint(able=ABLE) as endpoint:
        found = proven(endpoint)
    assert found.can == ALL
    assert set(found.how.values()) == {"structured_outputs"}
    assert (found.version, found.context, found.token_ids) == ("0.32.0", 4096, True)
    assert endpoint.requests == 0 and endpoint.probes <= 12


@pytest.mark.parametrize(
    ("able", "can", "words"),
    [
        (replace(ABLE, words=()), {"n", "logprobs", "completions"}, set()),
        (
            replace(ABLE, words=("response_format",)),
            {"n", "logprobs", "completions", "json_schema"},
            {"response_format"},
        ),
        (replace(ABLE, words=("guided",)), ALL, {"guided"}),
        (replace(ABLE, completions=False), ALL - {"completions"}, {"structured_outputs"}),
        (replace(ABLE, n=False), ALL - {"n"}, {"structured_outputs"}),
        (replace(ABLE, logprobs=False), ALL - {"logprobs"}, {"structured_outputs"}),
    ],
    ids=["ignores in silence", "response_format", "guided", "no completions", "no n", "no logprobs"],
)
def test_what_an_endpoint_ignores_or_refuses_is_seen(able: Able, can: set[str], words: set[str]) -> None:
    with Endpoint(able=able) as endpoint:
        found = proven(endpoint)
    assert found.can == can and set(found.how.values()) == words


def test_a_plain_endpoint_can_do_nothing_beyond_a_chat() -> None:
    with Endpoint() as endpoint:
        assert proven(endpoint).can == set()


def test_samples_without_token_ids_are_asked_without_them() -> None:
    with Endpoint(able=replace(ABLE, token_ids=False)) as endpoint:
        found = proven(endpoint)
    assert "n" in found.can and not found.token_ids


def test_a_seed_is_tried_only_where_it_is_asked_for_and_must_count() -> None:
    with Endpoint(able=ABLE) as endpoint:
        assert "seed" not in proven(endpoint).can
        assert "seed" in proven(endpoint, seeded=True).can
    with Endpoint(able=replace(ABLE, seed=False)) as endpoint:
        assert "seed" not in proven(endpoint, seeded=True).can


def test_a_model_that_is_not_served_ends_the_run_and_says_what_is() -> None:
    with (
        Endpoint(able=replace(ABLE, models=("qwen", "gemma"))) as endpoint,
        pytest.raises(TeacherError, match="serves gemma, qwen, not local; correct model"),
    ):
        proven(endpoint)


def test_an_endpoint_that_is_not_there_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PATIENCE", 0.1)
    with Endpoint() as endpoint:
        pass
    with pytest.raises(TeacherError, match=rf"{endpoint.url}: can't be reached"):
        proven(endpoint)


def test_a_known_endpoint_is_not_probed_again_until_its_version_changes(tmp_path: Path) -> None:
    with Endpoint(able=ABLE) as endpoint:
        first = proven(endpoint, memory=tmp_path)
        probes = endpoint.probes
        assert proven(endpoint, memory=tmp_path) == first
        assert endpoint.probes == probes
        endpoint.version = "0.33.0"
        second = proven(endpoint, memory=tmp_path)
        assert endpoint.probes > probes and second == replace(first, version="0.33.0")
        probes = endpoint.probes
        proven(endpoint, memory=tmp_path)
        assert endpoint.probes == probes
        (tmp_path / FILE).write_text("{half")
        assert proven(endpoint, memory=tmp_path) == second
        assert endpoint.probes > probes


def test_several_endpoints_are_asked_by_what_all_can_do(tmp_path: Path) -> None:
    with Endpoint(able=ABLE) as new, Endpoint(able=replace(ABLE, words=("guided",), n=False)) as old:
        found = proven(new, old, memory=tmp_path)
        assert found.can == {"logprobs", "completions"} and not found.how
        probes = new.probes + old.probes
        assert proven(new, old, memory=tmp_path) == found
        assert new.probes + old.probes == probes


def test_constrained_requests_go_out_in_the_word_that_was_proven() -> None:
    async def run(endpoint: Endpoint) -> list[Reply]:
        asked: list[Sampling] = [{"choice": ["yes", "no"]}, {"regex": "[a-c]+"}]
        async with Client([Address(endpoint.url)], "local", print) as client:
            await prove(client, None, seeded=False)
            found = [await client.ask([{"role": "user", "content": "Well?"}], each, ["k"]) for each in asked]
            found.append(await client.ask("Go on", {"top_logprobs": 2}, ["k"]))
            found.append(await client.ask([{"role": "user", "content": "Thrice?"}], {}, ["a", "b", "c"]))
            return [reply for replies in found for reply in replies]

    with Endpoint(able=replace(ABLE, words=("guided",))) as endpoint:
        yes, letters, raw, *three = asyncio.run(run(endpoint))
    assert (yes.text, letters.text) == ("yes", "abc")
    assert raw.text == answer_of("Go on") and len(raw.logprobs) == raw.completion_tokens
    assert [reply.key for reply in three] == ["a", "b", "c"] and len({reply.text for reply in three}) == 3
    assert all(reply.completion_tokens == len(reply.text.split()) for reply in three)
    assert endpoint.requests == 4


def test_what_is_lacking_names_who_needs_it() -> None:
    contract = Contract(can=frozenset({"n"}))
    assert lacking(contract, {"n": "best_of"}) == ""
    assert lacking(contract, {"n": "best_of", "logprobs": "judge sure"}) == "judge sure needs logprobs"


STEP = '''
from synth.strategies.template import Template
from synth.types import Capability


class Sure(Template):
    """Needs what the endpoint may lack."""

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({"logprobs"})
'''


def test_a_step_that_needs_what_the_endpoint_lacks_stops_the_run_before_any_work(tmp_path: Path) -> None:
    with Endpoint(able=replace(ABLE, logprobs=False)) as endpoint:
        recipe = make_project(tmp_path, endpoint.url)
        (tmp_path / "sure_step_of_test_probe.py").write_text(STEP)
        edit(recipe, 'use = "template"', 'use = "sure_step_of_test_probe:Sure"')
        with pytest.raises(TeacherError, match=r"[Ss]ure.* needs logprobs, which it can't do") as told:
            generate(open_run(recipe))
        assert told.value.exit_code == 3
        assert endpoint.requests == 0
