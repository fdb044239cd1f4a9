"""Maximal update parametrisation: nothing changes at the base width, sizes stay flat over widths, rates carry over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import config

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import train
from tutelage.training.optim.mup import scale_initialisation
from tutelage.training.optim.optimizers import make_optimizers

BASE = 64


def shape(width: int) -> ModelConfig:
    """More heads of the same size."""
    return FamilyConfig.parse({
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
    with pytest.raises(ConfigError, match="untied output head"):
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


def chain() -> NextToken:
    """Texts in which each token is followed by one of two: at best ln 2."""
    generator = torch.Generator().manual_seed(5)
    followers = torch.randint(4, 64, (64, 2), generator=generator)
    choices = torch.randint(0, 2, (300, 32), generator=generator)
    documents = [[4 + document % 60] for document in range(300)]
    for document, chosen in zip(documents, choices.tolist(), strict=True):
        for choice in chosen:
            document.append(int(followers[document[-1], choice]))
    return NextToken({"train": pack_documents(documents, 0, 64)}, torch.ones(64, dtype=torch.int64), 0)


@pytest.mark.slow
def test_the_best_rate_of_a_narrow_model_is_that_of_a_wide_one(tmp_path: Path) -> None:
    """Loss over the last steps of short runs, on a grid of factors of 2."""
    rates = [2.0**power * 1e-3 for power in range(5)]
    texts = chain()

    def best(width: int, base: int) -> int:
        losses = []
        for rate in rates:
            settings = config(steps=40, learning_rate=rate, base_width=base, schedule="linear", final_fraction=0.0,
                              grad_clip=1e9, validate_every=0, threads=1)  # fmt: skip
            curve = train(fresh(width, base), texts, settings, tmp_path / f"{width}-{base}-{rate}", EventLog(), 1).curve
            losses.append(sum(point["loss"] for point in curve[-8:]) / 8)
        return losses.index(min(losses))

    narrow, wide, wide_without = best(BASE, BASE), best(4 * BASE, BASE), best(4 * BASE, 0)
    assert 0 < narrow < len(rates) - 1  # its optimum lies within the grid
    assert wide == narrow
    assert wide_without <= narrow - 2
