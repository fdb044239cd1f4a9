"""Maximal update parametrisation: nothing changes at the base width, sizes stay flat over widths, rates carry over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import config, objective

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import train
from tutelage.training.mup import scale_initialisation
from tutelage.training.optimizers import make_optimizers

BASE = 64


def shape(width: int) -> ModelConfig:
    """More heads of the same size."""
    return ModelConfig.parse({
        "vocab_size": 64, "hidden_size": width, "intermediate_size": 2 * width, "num_layers": 2, "head_dim": 16,
        "num_heads": width // 16, "num_kv_heads": width // 16, "max_position_embeddings": 64,
        "tie_word_embeddings": False,
    })  # fmt: skip


def fresh(width: int, base: int, seed: int = 3) -> DecoderLM:
    model = DecoderLM(shape(width), seed=seed)
    scale_initialisation(model, base)
    return model


def test_at_the_base_width_nothing_changes() -> None:
    plain, scaled = DecoderLM(shape(BASE), seed=3), fresh(BASE, BASE)
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), scaled.parameters(), strict=True))
    groups = [group for one in make_optimizers(scaled, config(base_width=BASE)) for group in one.param_groups]
    assert all(group.get("rate_factor", 1.0) == 1.0 for group in groups)


@pytest.mark.parametrize(("optimizer", "hidden"), [("adamw", 0.25), ("lion", 0.25), ("muon", 0.5)])
def test_factors_of_a_model_four_times_as_wide(optimizer: str, hidden: float) -> None:
    model = fresh(4 * BASE, BASE)
    plain = DecoderLM(shape(4 * BASE), seed=3)
    assert torch.equal(model.layers[0].mlp.up_proj.weight, plain.layers[0].mlp.up_proj.weight * 0.5)
    assert torch.equal(model.lm_head.weight, plain.lm_head.weight * 0.25)
    assert torch.equal(model.embed_tokens.weight, plain.embed_tokens.weight)
    settings = config(base_width=BASE, optimizer=optimizer, weight_decay=0.1)
    factors = {}
    for one in make_optimizers(model, settings):
        for group in one.param_groups:
            for parameter in group["params"]:
                name = next(name for name, other in model.named_parameters() if other is parameter)
                factors[name] = group.get("rate_factor", 1.0)
                decays = parameter.dim() == 2 and name != "embed_tokens.weight"
                assert group["weight_decay"] * factors[name] == pytest.approx(0.1 if decays else 0.0)
    assert factors["layers.0.mlp.up_proj.weight"] == hidden
    assert factors["lm_head.weight"] == 0.25
    assert factors["embed_tokens.weight"] == factors["norm.weight"] == 1.0


def test_a_tied_head_needs_a_divisor() -> None:
    tied = shape(4 * BASE).model_copy(update={"tie_word_embeddings": True})
    with pytest.raises(ConfigError, match="output head of its own"):
        make_optimizers(DecoderLM(tied), config(base_width=BASE))
    divided = tied.model_copy(update={"logit_divisor": 4.0})
    assert make_optimizers(DecoderLM(divided), config(base_width=BASE))


def moved(width: int, base: int, seed: int, rate: float = 0.02) -> float:
    """How far five steps move the logits, root mean square."""
    model = fresh(width, base, seed)
    tokens = torch.arange(64).reshape(2, 32)
    with torch.no_grad():
        logits = model(tokens)
    optimizers = make_optimizers(model, TrainingConfig(learning_rate=rate, base_width=base, weight_decay=0.0))
    for step in range(5):
        out = model(tokens)
        torch.nn.functional.cross_entropy(out.flatten(0, 1), (tokens * 7 + step).flatten() % 64).backward()
        for one in optimizers:
            for group in one.param_groups:
                group["lr"] = rate * group.get("rate_factor", 1.0)
            one.step()
            one.zero_grad()
    with torch.no_grad():
        return float((model(tokens) - logits).square().mean().sqrt())


def test_logits_move_as_far_at_every_width() -> None:
    """The coordinate check (Yang et al. 2022, appendix D.1)."""
    torch.set_num_threads(1)
    far = {
        base: [sum(moved(width, base, seed) for seed in range(4)) / 4 for width in (64, 128, 256, 512)]
        for base in (0, BASE)
    }
    assert far[0][-1] > 4 * far[0][0], far
    assert max(far[BASE]) < 1.6 * min(far[BASE]), far


@pytest.mark.slow
def test_the_best_rate_of_a_narrow_model_is_that_of_a_wide_one(tmp_path: Path) -> None:
    """About two minutes. Losses on a grid of factors 2 around the best rate of each width."""
    rates = [2.0**power * 1e-3 for power in range(-1, 7)]

    def best(width: int, base: int) -> int:
        losses = []
        for rate in rates:
            settings = config(steps=60, batch_rows=8, learning_rate=rate, base_width=base, validate_every=0,
                              checkpoint_seconds=1000, threads=2)  # fmt: skip
            work = tmp_path / f"{width}-{base}-{rate}"
            losses.append(train(fresh(width, base), objective(), settings, work, EventLog(), 1).final["loss"])
        print(width, base, [round(loss, 3) for loss in losses])
        return losses.index(min(losses))

    with_mup = [best(width, BASE) for width in (64, 256, 512)]
    without = [best(width, 0) for width in (64, 256, 512)]
    assert max(with_mup) - min(with_mup) <= 1, with_mup
    assert without[0] - without[-1] >= 2, without
