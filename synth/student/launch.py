"""The same training in several processes, on one machine or several: accelerate or torchrun starts them.

This process prepares and finishes the student's folder; the others train. What they print goes to a log, what
one of them raises is raised here, and none of them outlives this process (`synth.guard`).
"""

import os
import pickle
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from synth import guard
from synth.errors import TrainError
from synth.student import loading, ranks, worker
from synth.student.job import Job
from synth.student.watch import TrainStep

if TYPE_CHECKING:
    from synth.student.train import OnStep, Outcome, Runner, Say

CONFIGS = Path(__file__).parent / "launchers"
RAISED = r"^(?:\[rank{rank}\]: ?)?((?:\w+\.)*\w*(?:Error|Exception)\b.*)$"
"""The last line of a traceback, as PyTorch prints those of a process of several."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How many processes train together, and what starts them.

    `processes` are those of this node; without it, one for each GPU that is visible. `sharding` "fsdp2"
    spreads weights, gradients and optimizer state over all processes, "ddp" copies them. Where `nodes` are
    several, the same command runs on each with its own `node_rank`, and `rdzv` is the host:port of node 0.

    Raises:
        TrainError: they don't fit together, or this machine.
    """

    launcher: str = "accelerate"
    processes: int | None = None
    sharding: str = "ddp"
    nodes: int = 1
    node_rank: int = 0
    rdzv: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("launcher", self.launcher, ("accelerate", "torchrun")),
            ("sharding", self.sharding, ("ddp", "fsdp2")),
        ):
            if value not in known:
                raise TrainError(f"--{name} {value}: is {' or '.join(known)}")
        if self.sharding == "fsdp2" and self.launcher != "accelerate":
            raise TrainError("--sharding fsdp2 is set up by accelerate; name --launcher accelerate")
        if self.nodes > 1 and not re.fullmatch(r"[^:\s]+:\d+", self.rdzv):
            raise TrainError(f"--rdzv {self.rdzv!r}: with --nodes, name the host:port of node 0")
        if not 0 <= self.node_rank < self.nodes:
            raise TrainError(
                f"--node-rank {self.node_rank}: of {self.nodes} nodes it is 0 to {self.nodes - 1}"
            )

    def here(self) -> int:
        """The processes of this node.

        Raises:
            TrainError: none were named, and no GPU is visible; or there would be one in all.
        """
        if not (count := self.processes or _gpus()):
            raise TrainError("no GPU is visible; name --processes to train in several processes on the CPU")
        if count * self.nodes < 2:
            raise TrainError("one process needs no --launcher; leave it out, or name --processes")
        if self.sharding == "fsdp2" and not _gpus():
            raise TrainError("--sharding fsdp2 needs GPUs, and none is visible; name --sharding ddp")
        return count

    def command(self, box: Path) -> list[str]:
        """The command line that starts this node's processes."""
        count, (host, _, port) = self.here(), self.rdzv.partition(":")
        if self.launcher == "torchrun":
            meet = ["--standalone"]
            if self.nodes > 1:
                meet = ["--nnodes", str(self.nodes), "--node-rank", str(self.node_rank)]
                meet += ["--master-addr", host, "--master-port", port]
            start = ["torch.distributed.run", "--nproc-per-node", str(count), *meet]
        else:
            start = ["accelerate.commands.launch", "--config_file", str(CONFIGS / f"{self.sharding}.yaml")]
            start += ["--num_processes", str(count * self.nodes), "--main_process_port", port or "0"]
            if self.nodes > 1:
                start += ["--num_machines", str(self.nodes), "--machine_rank", str(self.node_rank)]
                start += ["--main_process_ip", host]
        return [sys.executable, "-m", *start, "-m", "synth.student.worker", str(box)]

    def environment(self) -> dict[str, str]:
        """Ours. Without a GPU accelerate is told so, else each of the processes would train alone."""
        env = {**os.environ}
        if not _gpus():
            env["ACCELERATE_USE_CPU"] = "true"
            cores = len(os.sched_getaffinity(0))
            env.setdefault("OMP_NUM_THREADS", str(max(1, cores // self.here())))
        return env


def _gpus() -> int:
    loading.import_torch()
    import torch

    return int(torch.cuda.device_count())


def runner(launch: Launch, log: Path) -> "Runner":
    """What trains a job in several processes; their output is added to `log`."""

    def run(job: Job, on_step: "OnStep", say: "Say") -> "Outcome":
        with tempfile.TemporaryDirectory(prefix="synth-train-") as name:
            box = Path(name)
            _start(launch, job, box, log, on_step)
            result: Outcome = pickle.loads((box / worker.RESULT).read_bytes())
            return result

    return run


def join(launch: Launch, job: Job, log: Path) -> None:
    """Train as a node that is not the first: the first keeps the student's folder.

    Raises:
        TrainError: training failed, here or elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="synth-train-") as name:
        _start(launch, job, Path(name), log, lambda _: None)


def _start(launch: Launch, job: Job, box: Path, log: Path, on_step: Callable[[TrainStep], None]) -> None:
    """Start the processes and wait for their end.

    Raises:
        SynthError: as one of them did.
        TrainError: one of them ended otherwise; the line says how, and where the log is. Or they can't share
            the rows of a step.
    """
    processes = launch.here() * launch.nodes
    ranks.share(job.config.batch_size, processes)
    (box / worker.JOB).write_bytes(pickle.dumps((job, processes)))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        begun = out.tell()
        process = guard.start(launch.command(box), launch.environment(), out)
        told = 0
        try:
            while True:
                ended = process.poll() is not None
                lines, told = _lines(box / worker.STEPS, told)
                for line in lines:
                    on_step(TrainStep(**orjson.loads(line)))
                if ended:
                    break
                time.sleep(0.1)
        finally:
            guard.stop(process)
    if process.returncode == 0:
        return
    if (box / worker.FAILED).is_file():
        raise pickle.loads((box / worker.FAILED).read_bytes())
    raise TrainError(f"{_why(log, begun, process.returncode)}; the log: {log}")


def _lines(file: Path, start: int) -> tuple[list[bytes], int]:
    """The whole lines from a byte on of a file that is being written, and the byte behind them."""
    if not file.is_file():
        return [], start
    with file.open("rb") as stream:
        stream.seek(start)
        whole, newline, _ = stream.read().rpartition(b"\n")
    return whole.split(b"\n") if newline else [], start + len(whole) + len(newline)


def _why(log: Path, begun: int, status: int) -> str:
    """What the processes printed last of a failure."""
    with log.open("rb") as file:
        file.seek(begun)
        text = file.read().decode(errors="replace")
    first = text.rpartition("Root Cause")[2]  # torchrun's account of who failed first; the others it ended
    if killed := re.search(r"Signal \d+ \((SIG\w+)\)", first):
        return f"a training process was ended by {killed[1]}; run the same command again to go on"
    rank = re.search(r"rank +: (\d+)", first)
    lines = RAISED.format(rank=rank[1] if rank else r"\d+")
    raised = [line for line in re.findall(lines, text, re.MULTILINE) if "ChildFailedError" not in line]
    return f"training ended with exit code {status}" + (f": {raised[-1].strip()}" if raised else "")
