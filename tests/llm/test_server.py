"""vLLM itself, started, asked and stopped. The happy path is in tests/test_first_light.py."""

import asyncio
import time
from pathlib import Path

import pytest

from synth.errors import TeacherError
from synth.llm import server


async def start(model: Path, log: Path, *flags: str) -> None:
    async with server.serve(model, "m", log, lambda _: None, flags=flags):
        raise AssertionError("it must not come up")


def processes_with(word: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in line:
            found.append(process.name)
    return found


def test_a_folder_that_is_no_model_is_one_line_with_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "no-model-here"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(TeacherError) as error:
        asyncio.run(start(folder, tmp_path / "vllm.log"))
    assert str(tmp_path / "vllm.log") in str(error.value)
    assert "\n" not in str(error.value)
    assert processes_with(str(folder)) == []


def test_an_unknown_flag_is_named_as_the_recipes_fault(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="vLLM knows no such flag; correct `flags`"):
        asyncio.run(start(tmp_path, tmp_path / "vllm.log", "--no-such-flag"))


def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    model = tmp_path / "cancelled-start"
    model.mkdir()

    async def cancel() -> None:
        task = asyncio.create_task(start(model, tmp_path / "vllm.log"))
        while not processes_with(str(model)):
            await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    began = time.monotonic()
    asyncio.run(cancel())
    assert processes_with(str(model)) == []
    assert time.monotonic() - began < 60
