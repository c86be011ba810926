"""What a training process knows of the others. The launcher tells it through the environment."""

import os
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from synth.errors import TrainError
from synth.student.data import IGNORED

if TYPE_CHECKING:
    import torch


def processes() -> int:
    """How many processes train together, on all nodes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes and reports."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def first_alone() -> Iterator[None]:
    """Inside, the first process goes ahead; the others follow when it is done, and find what it wrote."""
    if processes() == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield


def share(batch_size: int, count: int) -> int:
    """The rows of an optimizer step that each of `count` processes reads.

    Raises:
        TrainError: they can't share them evenly.
    """
    if batch_size % count:
        raise TrainError(
            f"[train] batch_size = {batch_size} rows can't be shared evenly by {count} processes; "
            f"make it a multiple of {count}, or name another number of --processes"
        )
    return batch_size // count


def ignore_repeats(last: "Sequence[MutableMapping[str, torch.Tensor]]", rows: int, micro_batch: int) -> None:
    """Take the labels from the rows of an epoch's last micro-batch that are there a second time.

    accelerate fills the last micro-batches of an epoch up with rows of its beginning, so that each process
    has one of the same size. `last` ends with this process's; `rows` are those of the epoch, `micro_batch`
    those of one micro-batch of one process.
    """
    over = rows % (micro_batch * processes())
    if processes() == 1 or not over:
        return
    mine = min(max(over - int(os.environ["RANK"]) * micro_batch, 0), micro_batch)
    labels, place = last[-1]["labels"], last[-1].get("place")
    labels[slice(mine, None) if place is None else place >= mine] = IGNORED
