"""One process of several that train together: `python -m synth.student.worker BOX`, by a launcher.

BOX is a folder of this node, made by `student.launch`: the job is in it, and gets put into it what the first
process has to tell: each step, then the result; and by whoever fails what went wrong.
"""

import os
import pickle
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import orjson

from synth.errors import SynthError, TrainError
from synth.student import loading, ranks
from synth.student.job import Job
from synth.student.watch import TrainStep

JOB, STEPS, RESULT, FAILED = "job.pickle", "steps.jsonl", "result.pickle", "failed.pickle"
"""The files of a box."""


def main(box: Path) -> int:
    """Exit status."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    job, processes = pickle.loads((box / JOB).read_bytes())
    try:
        _work(job, processes, box)
    except SynthError as error:
        part = box / f"{FAILED}.{os.getpid()}"
        part.write_bytes(pickle.dumps(error))
        part.replace(box / FAILED)
        return error.exit_code
    return 0


def _work(job: Job, processes: int, box: Path) -> None:
    loading.import_torch()
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes != processes:
        raise TrainError(
            f"{state.num_processes} process{'es train together' if state.num_processes > 1 else ' trains'} "
            f"where {processes} were asked for; name another --launcher"
        )
    from synth.student.train import train_here

    with (box / STEPS if ranks.is_first() else Path(os.devnull)).open("ab", buffering=0) as steps:

        def tell(step: TrainStep) -> None:
            steps.write(orjson.dumps(asdict(step)) + b"\n")

        result = train_here(job, tell, lambda line: None)
    if ranks.is_first():
        (box / RESULT).write_bytes(pickle.dumps(result))
    torch.distributed.destroy_process_group()


def _end_with(parent: int) -> None:
    """End this process when the launcher is gone, however it ended: nobody would stop it any more."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
