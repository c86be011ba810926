"""The base model into memory, and torch without its chatter."""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from synth.errors import TrainError
from synth.student import ranks

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel

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


def has_bf16() -> bool:
    """Whether this machine computes in bfloat16 itself: a GPU since Ampere, a CPU with AMX or AVX512-BF16.

    Elsewhere bfloat16 is emulated, and slower than float32.
    """
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))


def load(model: Path, longest: int, adapter: Literal["lora", "qlora", "none"] = "lora") -> "PreTrainedModel":
    """The base model; `longest` is the longest row's tokens.

    Weights under an adapter are bfloat16, or 4 bits (QLoRA, Dettmers et al. 2023, arXiv:2305.14314:
    NormalFloat, its scales quantized too). Weights that are trained themselves are float32: in bfloat16 a
    step smaller than a 256th of a weight is lost. The forward pass is in bfloat16 either way, where the
    machine has it.

    Raises:
        TrainError: several GPUs are visible to one process; or `qlora` without a GPU or bitsandbytes.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if ranks.processes() == 1 and torch.cuda.device_count() > 1:
        raise TrainError(
            f"{torch.cuda.device_count()} GPUs are visible; run `synth train RUN --launcher accelerate` to "
            "train on all of them, or set CUDA_VISIBLE_DEVICES=0"
        )
    plain = not torch.cuda.is_available() and longest <= EAGER_UP_TO
    whole = torch.float32 if adapter == "none" or not has_bf16() else torch.bfloat16
    return AutoModelForCausalLM.from_pretrained(
        model,
        dtype=whole,
        attn_implementation="eager" if plain else "sdpa",
        quantization_config=_four_bits() if adapter == "qlora" else None,
    )


def _four_bits() -> "BitsAndBytesConfig":
    import torch
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        raise TrainError('[train] adapter = "qlora" needs a GPU, and none is visible; write adapter = "lora"')
    if importlib.util.find_spec("bitsandbytes") is None:
        raise TrainError('[train] adapter = "qlora" needs bitsandbytes; install synth[gpu]')
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if has_bf16() else torch.float16,
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
