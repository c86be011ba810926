"""What a training is told where the recipe says nothing, and what [train.trainer] may say."""

from typing import Any

import pytest

from synth.student.passthrough import problem
from synth.student.settings import learning_rate, parts
from synth.tables import Train


@pytest.mark.parametrize(
    ("method", "adapter", "parameters", "rate"),
    [
        ("sft", "none", 135e6, 1e-3),
        ("sft", "lora", 135e6, 1e-3),
        ("sft", "none", 1.7e9, 3e-4),
        ("sft", "none", 8e9, 2e-5),
        ("sft", "qlora", 8e9, 2e-4),
        ("logit_kd", "lora", 8e9, 2e-4),
        ("dpo", "none", 135e6, 1e-6),
        ("dpo", "none", 8e9, 5e-7),
        ("dpo", "lora", 8e9, 5e-6),
        ("on_policy", "lora", 8e9, 1e-4),
    ],
)
def test_the_rate_follows_from_method_adapter_and_size(
    method: str, adapter: str, parameters: float, rate: float
) -> None:
    config = Train.model_validate({"method": method, "adapter": adapter})
    assert learning_rate(config, int(parameters)) == rate
    assert learning_rate(config.model_copy(update={"learning_rate": 0.5}), int(parameters)) == 0.5


@pytest.mark.parametrize(
    ("batch", "micro", "cut"), [(8, 8, 1), (32, 8, 4), (12, 8, 2), (7, 4, 7), (8, 1, 8), (4, 8, 1)]
)
def test_a_batch_is_cut_into_equal_parts_of_at_most_the_micro_batch(batch: int, micro: int, cut: int) -> None:
    assert parts(Train(batch_size=batch, micro_batch=micro)) == cut


@pytest.mark.parametrize(
    "trainer",
    [
        {},
        {"neftune_noise_alpha": 5},
        {"max_grad_norm": 0.5, "optim": "adafactor"},
        {"lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"gradient_checkpointing": True},
    ],
)
def test_what_the_trainer_knows_is_passed_on(trainer: dict[str, Any]) -> None:
    assert problem(Train(trainer=trainer)) is None


@pytest.mark.parametrize(
    ("key", "value", "mend"),
    [
        ("neftune_alpha", 5, 'SFTConfig has no such setting; did you mean "neftune_noise_alpha"?'),
        ("qqqq", 5, "SFTConfig has no such setting"),
        ("max_grad_norm", "1", "is '1'; SFTConfig takes float"),
        ("gradient_checkpointing", 1, "is 1; SFTConfig takes bool"),
        ("learning_rate", 1e-4, "write [train] learning_rate instead"),
        ("per_device_train_batch_size", 4, "write [train] batch_size and micro_batch instead"),
        ("save_total_limit", 4, "is synth's own business; remove it"),
        ("train_sampling_strategy", "group_by_length", "is synth's own business; remove it"),
        ("bf16", True, "is synth's own business; remove it"),
    ],
)
def test_what_it_does_not_know_or_synth_says_itself_is_refused(key: str, value: object, mend: str) -> None:
    config = Train.model_validate({"trainer": {"adam_beta2": 0.95, key: value}})
    assert problem(config) == (f"train.trainer.{key}", mend)


def test_a_value_that_only_the_trainer_itself_can_judge_is_refused_too() -> None:
    wrong = problem(Train(trainer={"optim": "adamw"}))
    assert wrong is not None
    assert wrong[0] == "train.trainer"
    assert wrong[1].startswith(
        "SFTConfig refuses it: adamw is not a valid OptimizerNames, please select one of"
    )


def test_each_method_is_held_to_its_own_class() -> None:
    assert problem(Train(method="dpo", trainer={"loss_type": ["ipo"]})) is None
    assert problem(Train(method="sft", trainer={"loss_type": ["ipo"]})) is not None
