"""What comes out: the merged model is the base with its adapter, and the card says what was measured."""

from pathlib import Path
from typing import Any

import orjson
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from synth.student import settings
from synth.student.publish import card, describe, merged
from synth.tables import Train

REPORT: dict[str, Any] = {
    "recipe": "quick",
    "base": {"name": "tiny: a model"},
    "dataset": {"sha256": "5" * 64},
    "config": Train(learning_rate=1e-3).model_dump(mode="json"),
    "trained": {
        "rows": 1234,
        "left_out_rows": 5,
        "tokens": 90000,
        "trained_tokens": 4000,
        "steps": 310,
        "first_loss": 2.0,
        "final_loss": 1.0,
        "seconds": 61.0,
        "tokens_per_second": 2950.0,
        "base_validation_loss": 2.1,
        "validation_loss": 1.2,
        "processes": 2,
    },
}
SCORES = ["exact_match, 300 held-out questions: base 10.0% [7.1%, 13.9%] · student 50.0% [44.4%, 55.6%]"]


def adapted(base: Path, folder: Path) -> None:
    """An adapter of random weights, as large as a real one's, on every linear layer."""
    from peft import get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), settings.lora(Train(lora_rank=8))
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)


def test_the_merged_model_is_the_base_with_its_adapter(model_folder: Path, tmp_path: Path) -> None:
    adapted(model_folder, tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "adapter_model.safetensors").values()} == {
        torch.float32
    }
    whole = merged(model_folder, tmp_path, {})
    exact = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32), tmp_path
    )
    ids = torch.arange(20, 60).reshape(2, 20)
    with torch.no_grad():
        with exact.disable_adapter():
            base = exact(ids).logits
        wanted, found = exact(ids).logits, whole.float()(ids).logits
    moved, off = (wanted - base).abs().max().item(), (found - wanted).abs().max().item()
    assert moved > 0.5
    assert off < 0.005, "bfloat16 keeps 8 bits of a weight"
    weights = exact.merge_and_unload().state_dict()
    again = merged(model_folder, tmp_path, {}).state_dict()
    assert all(torch.equal(weights[name].to(torch.bfloat16), tensor) for name, tensor in again.items())


def test_a_student_whose_weights_were_all_trained_has_them(model_folder: Path) -> None:
    trained = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.125)
    weights = trained.state_dict()
    found = merged(model_folder, None, weights).state_dict()
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    assert all(torch.equal(found[name], weights[name].to(torch.bfloat16)) for name in weights)


def test_the_card_names_base_data_recipe_settings_and_limits() -> None:
    _, header, text = card(REPORT).split("---\n", 2)
    assert yaml.safe_load(header) == {
        "base_model": "tiny: a model",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["synth", "sft", "lora"],
        "dataset_sha256": "5" * 64,
    }
    for words in (
        "by the recipe `quick`",
        "| rows | 1,234; 5 more were left out as too long |",
        "| tokens an epoch | 90,000, of them 4,000 trained |",
        "| learning rate | 0.001, linear, warm-up 5% of the steps |",
        "2.100 before, 1.200 after",
        "It has not been evaluated yet.",
        "no conversation of more than 1,024 tokens",
        "`adapter/` is the adapter alone",
    ):
        assert words in text
    whole = card({**REPORT, "config": {**REPORT["config"], "adapter": "none"}})
    assert "all weights trained" in whole
    assert "adapter/" not in whole


def test_the_card_is_written_anew_with_scores(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(orjson.dumps(REPORT))
    written = describe(tmp_path, SCORES).read_text(encoding="utf-8")
    assert f"- {SCORES[0]}\n" in written
    assert "not been evaluated" not in written
    assert describe(tmp_path, SCORES).read_text(encoding="utf-8") == written
