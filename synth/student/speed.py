"""How fast a training is, beside what its device could do: model FLOPs utilisation.

MFU is what Chowdhery et al. 2022 (PaLM, arXiv:2204.02311, appendix B) define: the floating point operations
that the model needs, not those that were done (recomputed activations don't count), over the device's peak.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synth.student.loading import has_bf16

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PEAKS = {
    "B200": 2250.0,
    "H200": 989.0,
    "GH200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "A10G": 70.0,
    "A10": 125.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "RTX A6000": 155.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
    "MI300X": 1307.0,
}
"""Teraflop/s of dense bfloat16 products, by the makers' data sheets; the first name found counts."""
WIDTHS = {"cpu": (512, 1024), "cuda": (4096, 8192)}
"""Of the square matrices whose products are timed where no data sheet is known. Short ones on a CPU: some of
them are over before another process takes the core."""
SECONDS = 0.25
"""For how long the products of one width are timed."""


@dataclass(frozen=True, slots=True)
class Peak:
    """What a device can do at most, in teraflop/s, and how that is known."""

    teraflops: float
    known: str

    @classmethod
    def here(cls) -> "Peak":
        """Of the device that training uses here."""
        import torch

        cuda = torch.cuda.is_available()
        name = torch.cuda.get_device_name(0) if cuda else ""
        for part, teraflops in PEAKS.items():
            if part in name and has_bf16():
                return cls(teraflops, f"{name}, bfloat16, by its data sheet")
        dtype = torch.bfloat16 if has_bf16() else torch.float32
        place = name or f"{torch.get_num_threads()} threads of this CPU"
        shown = str(dtype).removeprefix("torch.")
        return cls(_measured(torch.device("cuda" if cuda else "cpu"), dtype), f"{place}, {shown}, measured")


def _measured(device: "torch.device", dtype: "torch.dtype") -> float:
    """Teraflop/s of the fastest of many products of two matrices."""
    import torch

    best = 0.0
    for width in WIDTHS[device.type]:
        a, end = torch.ones(width, width, device=device, dtype=dtype), time.perf_counter() + SECONDS
        while (start := time.perf_counter()) < end:
            _ = (a @ a)[0, 0].item()
            best = max(best, 2e-12 * width**3 / (time.perf_counter() - start))
    return best


def flops_per_token(model: "PreTrainedModel", length: float, trained: float) -> float | None:
    """Floating point operations that training needs for a token of rows of `length` tokens on average.

    A trained weight of a matrix takes 6: two each for the forward pass, the gradient of what went in, and its
    own; a frozen one 4. Attention takes 12 for each layer, head, head width and token of the row. The output
    head is needed where a token is trained, on a share `trained` (0 to 1) of them. None for a model whose
    matrices are not all plain linear layers, as a mixture of experts: what it needs can't be told from them.
    """
    import torch

    head = model.get_output_embeddings()
    total, known = 0.0, 0
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            weights = module.in_features * module.out_features
            total += (6 if module.weight.requires_grad else 4) * weights * (trained if module is head else 1)
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            known += sum(parameter.numel() for parameter in module.parameters(recurse=False))
    matrices = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim > 1)
    config = model.config.get_text_config()
    heads, layers = config.num_attention_heads, config.num_hidden_layers
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    if known < matrices:
        return None
    return float(total + 12 * layers * heads * width * length)
