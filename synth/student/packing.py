"""Rows laid end to end, best fit decreasing (Ding et al. 2024, arXiv:2404.10830); none sees another.

Packed are the rows of one forward pass, so that an optimizer step has the same rows, and the same loss, with
packing as without: only the padding goes. Positions restart with each row, from which transformers makes a
block-diagonal attention mask (or FlashAttention's row boundaries), and no row's first token has a label.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

NEAR = 1024
"""Tokens of a pack from which attention costs as much as all that grows only with the tokens."""
MULTIPLES = 8
"""Packs of up to so many times the longest row are considered."""


def fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """The rows of each pack of at most `room` tokens: longest first, each where least room is left."""
    packs: list[list[int]] = []
    spaces: list[tuple[int, int]] = []  # (free tokens, pack), sorted
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        place = bisect_left(spaces, (lengths[row], 0))
        if place == len(spaces):
            space, pack = room, len(packs)
            packs.append([])
        else:
            space, pack = spaces.pop(place)
        packs[pack].append(row)
        insort(spaces, (space - lengths[row], pack))
    return packs


def pack(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """The packs, of at most `max_length` tokens, of the rows of a forward pass, as they cost least."""
    longest = max(lengths)
    rooms = {min(longest * times, max_length) for times in range(1, MULTIPLES + 1)}
    return min((fit(lengths, room) for room in sorted(rooms)), key=lambda packs: _cost(packs, lengths))


def width(packs: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
    """Tokens of the longest pack."""
    return max(sum(lengths[row] for row in pack) for pack in packs)


def _cost(packs: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    wide = width(packs, lengths)
    return len(packs) * wide * (1 + wide / NEAR)
