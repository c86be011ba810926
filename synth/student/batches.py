"""Which rows come together: rows of like length in one step, the steps in a random order.

An epoch's order follows from seed and epoch alone, so a training that goes on from a checkpoint has the order
of one that was never stopped.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synth.student import packing
from synth.student.shards import IGNORED

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Sampler

Row = Mapping[str, Any]


def collate(rows: Sequence[Row], *, packed: int | None = None) -> dict[str, "torch.Tensor"]:
    """Rows of one forward pass, padded on the right; with `packed`, laid end to end up to so many tokens.

    `input_ids`, `labels` and `attention_mask` (which counts tokens: padding may equal eos) are (lines,
    length). Packed ones have `position_ids` too, with padding that restarts at 0 like a row of its own, and
    `place`: which of the rows a token is of. Rows that have a number hand it on, in `row`.
    """
    import torch

    lengths = [len(row["input_ids"]) for row in rows]
    packs = [[number] for number in range(len(rows))] if packed is None else packing.pack(lengths, packed)
    width = packing.width(packs, lengths)

    def lines(name: str, filler: int) -> "torch.Tensor":
        filled = torch.full((len(packs), width), filler)
        for line, pack in zip(filled, packs, strict=True):
            values = [value for number in pack for value in rows[number][name]]
            line[: len(values)] = torch.tensor(values)
        return filled

    def count(pack: Sequence[int]) -> list[int]:
        used = [position for number in pack for position in range(lengths[number])]
        return [*used, *range(width - len(used))]

    used = torch.tensor([[sum(lengths[number] for number in pack)] for pack in packs])
    out = {
        "input_ids": lines("input_ids", 0),
        "labels": lines("labels", IGNORED),
        "attention_mask": (torch.arange(width) < used).long(),
    }
    if packed is not None:
        out["position_ids"] = torch.tensor([count(pack) for pack in packs])
        out["place"] = torch.full((len(packs), width), len(rows))
        for line, pack in zip(out["place"], packs, strict=True):
            of = [number for number in pack for _ in range(lengths[number])]
            line[: len(of)] = torch.tensor(of)
    if "row" in rows[0]:
        out["row"] = torch.tensor([row["row"] for row in rows])
    return out


def sampler(lengths: Sequence[int], batch_size: int, seed: int) -> "Sampler[int]":
    """Rows of like length in each `batch_size` that follow one another; the longest come first.

    transformers groups them; it would leave each group of groups sorted by length, which here is shuffled.
    """
    import torch
    from torch.utils.data import Sampler
    from transformers.trainer_pt_utils import get_length_grouped_indices

    class LikeLengths(Sampler):  # type: ignore[misc]
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __len__(self) -> int:
            return len(lengths)

        def __iter__(self) -> Iterator[int]:
            random = torch.Generator().manual_seed(seed * 1_000_003 + self.epoch)
            order = get_length_grouped_indices(lengths, batch_size, generator=random)
            steps = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
            middle = steps[1:-1]
            shuffled = [middle[at] for at in torch.randperm(len(middle), generator=random).tolist()]
            ends = steps[:1], steps[-1:] if len(steps) > 1 else []
            for step in (*ends[0], *shuffled, *ends[1]):
                yield from step

    return LikeLengths()
