"""Which weights decay, and the rate of every step of a warmup."""

from __future__ import annotations

import pytest
from small_run import config

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.training.optim.optimizers import make_optimizers
from tutelage.training.optim.schedules import learning_rate


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "soap", "lion", "schedule_free"])
@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_matrices_decay_and_norms_biases_and_embeddings_do_not(tiny: ModelConfig, optimizer: str, norm: str) -> None:
    shape = FamilyConfig.parse({**tiny.plain(), "family": "custom", "norm": norm, "attention_bias": True,
                               "tie_word_embeddings": False})  # fmt: skip
    model = DecoderLM(shape)
    settings = config(optimizer=optimizer, weight_decay=0.1, schedule="constant")
    decays = {
        id(parameter): group["weight_decay"]
        for one in make_optimizers(model, settings) for group in one.param_groups for parameter in group["params"]
    }  # fmt: skip
    for name, parameter in model.named_parameters():
        decaying = "_proj.weight" in name or name == "lm_head.weight"
        assert decays[id(parameter)] == (0.1 if decaying else 0.0), name
    assert any("norm" in name for name, _ in model.named_parameters())


def test_a_warmup_is_linear_and_reaches_the_peak_right_after_it() -> None:
    settings = config(warmup_steps=4, learning_rate=1.0, schedule="linear", final_fraction=0.0)
    rates = [learning_rate(settings, step, 9) for step in range(10)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
