"""Model FLOPs by hand, and the peak that they are held against."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

from synth.student import settings
from synth.student.speed import Peak, flops_per_token
from synth.tables import Train

HIDDEN, MIDDLE, LAYERS, KEYS = 64, 128, 2, 32
LAYER = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEYS + 3 * HIDDEN * MIDDLE
"""Weights of a layer's matrices: queries and output, keys and values, the three of the MLP."""


def test_all_weights_trained_take_six_operations_each_and_a_frozen_one_four(model_folder: Path) -> None:
    from peft import get_peft_model

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    head = HIDDEN * model.config.vocab_size
    attention = 12 * LAYERS * HIDDEN * 10
    full = 6 * (LAYERS * LAYER + 0.5 * head) + attention
    assert flops_per_token(model, length=10, trained=0.5) == pytest.approx(full)

    lora = get_peft_model(model, settings.lora(Train(lora_rank=4)))
    adapter = sum(p.numel() for p in lora.parameters() if p.requires_grad)
    frozen = 4 * (LAYERS * LAYER + 0.5 * head) + 6 * adapter + attention
    assert flops_per_token(lora, length=10, trained=0.5) == pytest.approx(frozen)


def test_what_a_mixture_of_experts_needs_is_not_told() -> None:
    model = MixtralForCausalLM(
        MixtralConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_local_experts=2,
        )
    )
    assert flops_per_token(model, length=10, trained=1) is None


def test_without_a_data_sheet_the_peak_is_measured_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth.student.speed.WIDTHS", {"cpu": (64,), "cuda": (64,)})
    monkeypatch.setattr("synth.student.speed.SECONDS", 0.01)
    peak = Peak.here()
    assert peak.teraflops > 0
    assert peak.known.endswith("measured") or torch.cuda.is_available()
