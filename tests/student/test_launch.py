"""Two processes train what one does, are killed and go on, and say in one line what went wrong."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
import yaml
from safetensors.torch import load_file

from synth.errors import TrainError
from synth.student import launch as launching
from synth.student.job import Job
from synth.student.launch import CONFIGS, Launch, runner
from synth.student.ranks import ignore_repeats, share
from synth.student.train import train
from synth.student.watch import TrainStep
from synth.tables import Train

CONFIG = Train(epochs=2, learning_rate=5e-3, batch_size=8, max_length=64, lora_rank=8, save_steps=5)
KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from synth.student.launch import Launch, runner
from synth.student.train import train

def step(step):
    if step.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)

job, log = pickle.loads(sys.stdin.buffer.read())
train(job, on_step=step, run=runner(Launch("torchrun", 2), log))
"""


def losses(out: Path) -> list[float]:
    """The loss of each step."""
    return list(orjson.loads((out / "manifest.json").read_bytes())["losses"])


def furthest(one: Path, other: Path) -> float:
    """The largest difference of two files of tensors."""
    a, b = load_file(one), load_file(other)
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


def test_two_processes_train_what_one_does_though_killed_in_between(
    model_folder: Path,
    rows: list[dict[str, Any]],
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """42 rows in steps of 8: the last step of an epoch has two, and accelerate fills it up."""
    import pickle

    write(rows[:8], "validation")
    data = write([*rows, *({**row, "id": f"again-{row['id']}"} for row in rows[:2])])
    one, two, log = tmp_path / "one", tmp_path / "two", tmp_path / "logs" / "train.log"
    config = CONFIG.model_copy(update={"micro_batch": 4})
    alone = train(Job(config, model_folder, data, one), on_step=lambda _: None)

    job = Job(config, model_folder, data, two)
    killed = subprocess.run([sys.executable, "-c", KILLED], input=pickle.dumps((job, log)), check=False)
    assert killed.returncode == -signal.SIGKILL
    steps: list[TrainStep] = []
    done = train(job, on_step=steps.append, run=runner(Launch("accelerate", 2), log))

    assert [step.step for step in steps] == list(range(6, 13))
    assert (done.processes, done.steps, done.rows) == (2, alone.steps, alone.rows)
    apart = max(abs(a - b) for a, b in zip(losses(one), losses(two), strict=True))
    adapters = furthest(*(out / "adapter" / "adapter_model.safetensors" for out in (one, two)))
    assert apart < 1e-5
    assert adapters < 1e-5
    assert done.validation_loss == pytest.approx(alone.validation_loss, abs=1e-3)
    assert not (two / "checkpoints").exists()


def test_a_checkpoint_of_sharded_weights_is_not_gone_on_from_without(
    model_folder: Path, rows: list[dict[str, Any]], write: Callable[..., Path], tmp_path: Path
) -> None:
    class Stopped(BaseException):
        pass

    def stop(step: TrainStep) -> None:
        if step.step == 6:
            raise Stopped

    job = Job(CONFIG, model_folder, write(rows), tmp_path / "student")
    with pytest.raises(Stopped):
        train(job, on_step=stop)
    (job.checkpoints / "checkpoint-5" / "pytorch_model_fsdp.bin").touch()
    with pytest.raises(
        TrainError, match="checkpoint-5 was saved with --sharding fsdp2; go on as it was begun"
    ):
        train(job, on_step=stop)


class Alone(Launch):
    """accelerate's own switch for a CPU, with which it starts one process whatever number is named."""

    def command(self, box: Path) -> list[str]:
        start = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
        return [*start, "-m", "synth.student.worker", str(box)]


def test_a_launcher_that_starts_too_few_processes_is_found_out(
    model_folder: Path, rows: list[dict[str, Any]], write: Callable[..., Path], tmp_path: Path
) -> None:
    """What a process raises is raised here."""
    job = Job(CONFIG, model_folder, write(rows), tmp_path / "student")
    with pytest.raises(
        TrainError, match=r"^1 process trains where 2 were asked for; name another --launcher$"
    ):
        train(job, on_step=lambda _: None, run=runner(Alone(processes=2), tmp_path / "train.log"))


def test_a_process_that_ended_otherwise_is_named_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    old = "old: ValueError: of another run\n"
    text = (
        "[rank1]: Traceback (most recent call last):\n"
        "[rank1]: ValueError: no such thing\n"
        "[rank0]: RuntimeError: Connection closed by peer\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
        "Failures:\n  rank : 0\n  traceback : Signal 15 (SIGTERM) received by PID 8\n"
        "Root Cause (first observed failure):\n  rank      : 1 (local_rank: 1)\n"
    )
    log.write_text(old + text)
    assert launching._why(log, len(old), 1) == "training ended with exit code 1: ValueError: no such thing"
    log.write_text(text + "  traceback : Signal 9 (SIGKILL) received by PID 7\n")
    assert launching._why(log, 0, 1) == (
        "a training process was ended by SIGKILL; run the same command again to go on"
    )


def test_rows_of_a_step_are_shared_evenly_or_not_at_all() -> None:
    assert share(8, 2) == 4
    with pytest.raises(
        TrainError, match=r"batch_size = 8 rows can't be shared evenly by 3 processes; make it"
    ):
        share(8, 3)


@pytest.mark.parametrize(("rank", "kept"), [(0, [True, True]), (1, [True, False]), (2, [False, False])])
def test_a_row_that_fills_an_epoch_up_is_not_trained_again(
    rank: int, kept: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine rows of three processes, two a micro-batch: the second round has three rows, and three again."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", str(rank))
    last = {"labels": torch.tensor([[-100, 5], [-100, 6]])}
    ignore_repeats([{"labels": torch.tensor([[1]])}, last], rows=9, micro_batch=2)
    assert [bool(labels.ne(-100).any()) for labels in last["labels"]] == kept


def test_the_command_line_of_each_launcher_on_one_node_and_on_two(tmp_path: Path) -> None:
    def words(launch: Launch) -> str:
        return " ".join(launch.command(Path("BOX"))[1:]).replace(str(CONFIGS), "CONFIGS")

    assert words(Launch("torchrun", 2)) == (
        "-m torch.distributed.run --nproc-per-node 2 --standalone -m synth.student.worker BOX"
    )
    assert words(Launch("torchrun", 4, nodes=2, node_rank=1, rdzv="first:29500")) == (
        "-m torch.distributed.run --nproc-per-node 4 --nnodes 2 --node-rank 1 --master-addr first "
        "--master-port 29500 -m synth.student.worker BOX"
    )
    assert words(Launch("accelerate", 2)) == (
        "-m accelerate.commands.launch --config_file CONFIGS/ddp.yaml --num_processes 2 "
        "--main_process_port 0 -m synth.student.worker BOX"
    )
    assert words(Launch("accelerate", 4, nodes=2, node_rank=1, rdzv="first:29500")) == (
        "-m accelerate.commands.launch --config_file CONFIGS/ddp.yaml --num_processes 8 "
        "--main_process_port 29500 --num_machines 2 --machine_rank 1 --main_process_ip first "
        "-m synth.student.worker BOX"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"launcher": "slurm"}, "--launcher slurm: is accelerate or torchrun"),
        ({"sharding": "zero"}, "--sharding zero: is ddp or fsdp2"),
        ({"launcher": "torchrun", "sharding": "fsdp2"}, "fsdp2 is set up by accelerate"),
        ({"nodes": 2}, "--rdzv '': with --nodes, name the host:port of node 0"),
        ({"node_rank": 1}, "--node-rank 1: of 1 nodes it is 0 to 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainError, match=words):
        Launch(**given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for what a machine without a GPU refuses")
@pytest.mark.parametrize(
    ("launch", "words"),
    [
        (Launch(), "no GPU is visible; name --processes"),
        (Launch(processes=1), "one process needs no --launcher"),
        (Launch(processes=2, sharding="fsdp2"), "fsdp2 needs GPUs, and none is visible; name --sharding ddp"),
    ],
)
def test_what_this_machine_has_not_is_refused(launch: Launch, words: str) -> None:
    with pytest.raises(TrainError, match=words):
        launch.here()


@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_accelerate_reads_the_shipped_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key is one that accelerate's launcher knows, and FSDP comes out as version 2."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    file = CONFIGS / f"{name}.yaml"
    written = yaml.safe_load(file.read_text())
    config = load_config_from_file(str(file))
    assert (config.fsdp_config or {}) == written.get("fsdp_config", {})
    words = ["--config_file", str(file), "--num_processes", "2", "--main_process_port", "0", "-m", "x"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert (args.use_fsdp, args.multi_gpu) == ((True, False) if name == "fsdp2" else (False, True))
    assert all(hasattr(args, key) for key in written.get("fsdp_config", {}))
    env = prepare_multi_gpu_env(args)
    assert env["ACCELERATE_MIXED_PRECISION"] == "bf16"
    if name == "fsdp2":
        for key, value in env.items():
            if key.startswith(("FSDP_", "ACCELERATE_USE_FSDP")):
                monkeypatch.setenv(key, value)
        plugin = FullyShardedDataParallelPlugin()
        assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
        assert "FULL_STATE_DICT" in str(plugin.state_dict_type)
