"""The bare loop that synth is held against: aiohttp, orjson and a fixed number of workers, nothing else.

Each worker takes the next seed and asks its steps one after the other. No journal, no retry, no table: what
is left is what the server and the client library cost. Prints one JSON line.
"""

import argparse
import asyncio
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson


@dataclass(slots=True)
class Tally:
    """What came back. `failed` holds the seed's number, the step and why."""

    answers: int = 0
    tokens: int = 0
    failed: list[tuple[int, int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Loop:
    """The settings of one run; each step is a text with `{field}` places, `{asked}` the reply before."""

    url: str
    model: str
    steps: tuple[str, ...]
    sampling: dict[str, float]
    tally: Tally

    async def row(self, session: aiohttp.ClientSession, seed: dict[str, Any]) -> None:
        """All steps of one seed, up to the first that fails."""
        asked = ""
        for number, step in enumerate(self.steps, 1):
            messages = [{"role": "user", "content": step.format(**seed, asked=asked)}]
            body = orjson.dumps({"model": self.model, "messages": messages, **self.sampling})
            headers = {"Content-Type": "application/json"}
            try:
                async with session.post(self.url, data=body, headers=headers) as response:
                    data = await response.read()
                    if response.status != 200:
                        self.tally.failed.append((seed["n"], number, f"HTTP {response.status}"))
                        return
                reply = orjson.loads(data)
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
                self.tally.failed.append((seed["n"], number, type(error).__name__))
                return
            asked = reply["choices"][0]["message"]["content"]
            self.tally.answers += 1
            self.tally.tokens += reply["usage"]["completion_tokens"]

    async def run(self, seeds: Iterator[dict[str, Any]], concurrency: int, api_key: str | None) -> float:
        """All seeds, `concurrency` at a time; returns seconds from first request to last reply."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
        timeout = aiohttp.ClientTimeout(total=3600)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:

            async def worker() -> None:
                for seed in seeds:
                    await self.row(session, seed)

            start = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(worker())
            return time.monotonic() - start


def main() -> None:
    """The command line; `--step` once for each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="the /v1 address")
    parser.add_argument("--model", default="mock")
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--step", action="append", required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--api-key-env")
    options = parser.parse_args()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    tally = Tally()
    sampling = {"temperature": options.temperature, "top_p": 1.0, "max_tokens": options.max_tokens}
    url = f"{options.url}/chat/completions"
    loop = Loop(url, options.model, tuple(options.step), sampling, tally)
    key = os.environ[options.api_key_env] if options.api_key_env else None
    with options.seeds.open("rb") as file:
        seconds = asyncio.run(loop.run(map(orjson.loads, file), options.concurrency, key))
    line = {"seconds": seconds, "answers": tally.answers, "tokens": tally.tokens, "failed": tally.failed}
    sys.stdout.write(orjson.dumps(line).decode() + "\n")


if __name__ == "__main__":
    main()
