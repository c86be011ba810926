"""The base model into memory, and torch without its chatter."""

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synth.errors import TrainError
from synth.student import ranks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EAGER_UP_TO = 256
"""Longest row, in tokens, for which a CPU computes attention plainly: 1.3 times as many tokens a CPU second
as its fused kernel (135M parameters, batch 8), for memory that grows with the square of the length."""


def import_torch() -> None:
    """Import torch so that its threads sleep, not spin, while they wait for each other.

    OpenMP reads OMP_WAIT_POLICY when it is loaded. Where another process uses the cores, spinning made
    training more than ten times slower here; processes that are started later don't inherit the setting.
    """
    if "OMP_WAIT_POLICY" in os.environ or "torch" in sys.modules:
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        importlib.import_module("torch")
    finally:
        del os.environ["OMP_WAIT_POLICY"]


def load(model: Path, longest: int) -> "PreTrainedModel":
    """The base model in bfloat16; `longest` is the longest row's tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    if ranks.processes() == 1 and torch.cuda.device_count() > 1:
        raise TrainError(
            f"{torch.cuda.device_count()} GPUs are visible; run `synth train RUN --launcher accelerate` to "
            "train on all of them, or set CUDA_VISIBLE_DEVICES=0"
        )
    plain = not torch.cuda.is_available() and longest <= EAGER_UP_TO
    return AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.bfloat16, attn_implementation="eager" if plain else "sdpa"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no chatter from transformers inside; its settings are put back afterwards."""
    from transformers.utils import logging as chatter

    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity(logging.ERROR)
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
