"""The contract probe: before work begins, one small request each shows what an endpoint really does."""

import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from synth.errors import RequestFailed
from synth.llm.client import Client
from synth.llm.contract import PROBES, SEEDED, WORDS, Contract, Probe, common
from synth.llm.endpoint import Endpoint, NotFound
from synth.types import Capability, Reply

FILE = "contracts.json"
TRIES = 2
"""A probe that shows nothing is asked once more: a single bad answer is no proof."""


async def prove(client: Client, memory: Path | None, *, seeded: bool, where: str = "") -> Contract:
    """What all endpoints of a client can do; the client asks by it from then on.

    `memory` is a folder that remembers contracts between runs, by the endpoint's address, version and model.
    For a server that was just started here, on whatever port, `where` stands for the address and names its
    flags. `seeded` tries the seed too.

    Raises:
        TeacherError: an endpoint can't be reached, or serves no such model.
    """
    contracts = [
        await _of(client, endpoint, memory, where or endpoint.base_url, seeded=seeded)
        for endpoint in client.endpoints
    ]
    client.contract = common(contracts)
    return client.contract


def lacking(contract: Contract, needs: Mapping[Capability, str]) -> str:
    """`strategy x needs logprobs`, for the first of `needs` (ability -> who needs it) that is not there."""
    for ability, who in needs.items():
        if ability not in contract.can:
            return f"{who} needs {ability}"
    return ""


async def _of(
    client: Client, endpoint: Endpoint, memory: Path | None, where: str, *, seeded: bool
) -> Contract:
    async with Client([endpoint.address], client.model, client.say) as alone:
        alone.patience = client.patience
        version, model = await alone.described()
        known = _read(memory)
        print_of = orjson.dumps([where, version, model, client.model, seeded])
        fingerprint = hashlib.sha256(print_of).hexdigest()[:16]
        if fingerprint in known:
            return Contract.from_json(known[fingerprint])
        contract = await _proven(alone, Contract(version=version, context=model.get("max_model_len")), seeded)
    if memory is not None:
        _write(memory, {**known, fingerprint: contract.to_json()})
    return contract


async def _proven(client: Client, contract: Contract, seeded: bool) -> Contract:
    words = await asyncio.gather(*(_tried(client, probe, contract) for probe in PROBES))
    can = {probe.ability for probe, word in zip(PROBES, words, strict=True) if word is not None}
    how: dict[str, str] = {probe.ability: word for probe, word in zip(PROBES, words, strict=True) if word}
    if seeded and await _seed_counts(client, contract):
        can.add("seed")
    contract = replace(contract, can=frozenset(can), how=how)
    if "n" not in can:
        return contract
    probe = next(probe for probe in PROBES if probe.ability == "n")
    with_ids = replace(contract, token_ids=True)
    got = await _asked(client, probe, with_ids)
    return with_ids if got and all(reply.completion_tokens for reply in got) else contract


async def _tried(client: Client, probe: Probe, contract: Contract) -> str | None:
    """The word by which a probe got what it asked ("" where it takes none), or None."""
    for word in WORDS.get(probe.ability, ("",)):
        under = replace(contract, how={probe.ability: word}) if word else contract
        for _ in range(TRIES):
            got = await _asked(client, probe, under)
            if got and probe.proves(got):
                return word
    return None


async def _asked(client: Client, probe: Probe, under: Contract) -> list[Reply]:
    try:
        return await client.ask(probe.prompt, probe.sampling, ["probe"] * probe.n, under=under)
    except RequestFailed:
        return []
    except NotFound:
        if probe.ability == "completions":
            return []
        raise


async def _seed_counts(client: Client, contract: Contract) -> bool:
    probe = Probe("seed", PROBES[0].prompt, SEEDED, bool)
    first, second = [await _asked(client, probe, contract) for _ in range(2)]
    return bool(first and second) and first[0].text == second[0].text


def _read(memory: Path | None) -> dict[str, Any]:
    if memory is None or not (memory / FILE).is_file():
        return {}
    try:
        known: dict[str, Any] = orjson.loads((memory / FILE).read_bytes())
    except orjson.JSONDecodeError:
        return {}  # written half when the machine stopped; the probes run again
    return known


def _write(memory: Path, known: Mapping[str, Any]) -> None:
    new = memory / f".{FILE}.{os.getpid()}"
    new.write_bytes(orjson.dumps(known, option=orjson.OPT_INDENT_2))
    new.replace(memory / FILE)
