"""Adapters: nothing changes until they are trained, what is trained is theirs alone, and merging loses nothing."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tutelage.model.adaptable import quantise_model
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model, save_model
from tutelage.model.lora import (
    Adapter,
    LoraConfig,
    LoraExperts,
    LoraLinear,
    add_lora,
    load_lora_state,
    lora_layers,
    lora_starts,
    lora_state,
    merge_lora,
    place_adapters,
    principal_part,
    shared_copy,
    without_adapters,
)
from tutelage.model.lora_layers import cast_frozen
from tutelage.store.errors import ConfigError, InputError
from tutelage.training.config import TrainingConfig
from tutelage.training.optim.optimizers import make_optimizers

KINDS = [{}, {"rslora": True}, {"dora": True}, {"targets": ["q_proj", "down_proj"], "layers": [1]}]
IDS = torch.arange(24).reshape(2, 12) % 64


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request: pytest.FixtureRequest, tiny: ModelConfig) -> DecoderLM:
    return DecoderLM(tiny.model_copy(update={"tie_word_embeddings": request.param}), seed=1).eval()


def lora(**changes: object) -> LoraConfig:
    return LoraConfig.parse({"rank": 4, "alpha": 8, **changes})


def train_a_little(model: DecoderLM, steps: int = 3) -> None:
    """A few steps of AdamW on whatever can be trained."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(steps):
        model(IDS).logsumexp(-1).sub(model(IDS)[..., 3]).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_adapters_change_no_bit(model: DecoderLM, kind: dict[str, object]) -> None:
    before = model(IDS)
    add_lora(model, lora(**kind, dropout=0.5), seed=3)
    assert lora_layers(model) and torch.equal(model(IDS), before)


@torch.no_grad()
def test_what_is_frozen_is_cast_once_for_the_same_numbers(model: DecoderLM) -> None:
    add_lora(model, lora(), seed=3)
    plain = model(IDS)
    with torch.autocast("cpu", torch.bfloat16):
        lower = model(IDS)
    with cast_frozen(model, torch.bfloat16):
        assert all(layer.cast_weight.dtype == torch.bfloat16 for layer in lora_layers(model).values())
        assert torch.equal(model(IDS), plain)  # outside autocast the whole weights are read
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(IDS), lower)
    assert all(layer.cast_weight is None for layer in lora_layers(model).values())


@pytest.mark.parametrize("kind", KINDS)
def test_merging_keeps_the_logits_and_leaves_a_plain_model(
    model: DecoderLM, kind: dict[str, object], tmp_path: Path
) -> None:
    plain = copy.deepcopy(model)
    add_lora(model, lora(**kind), seed=3)
    train_a_little(model)
    live = model(IDS)
    assert not torch.allclose(live, plain(IDS), atol=1e-2)
    merge_lora(model)
    assert [(name, type(part)) for name, part in model.named_modules()] == [
        (name, type(part)) for name, part in plain.named_modules()]  # fmt: skip
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(part.training for part in model.modules())
    torch.testing.assert_close(model(IDS), live, rtol=1e-5, atol=1e-5)
    save_model(model, tmp_path)  # a tied head must survive the merge
    assert torch.equal(load_model(tmp_path)(IDS), model(IDS))


def test_the_formula(tiny: ModelConfig) -> None:
    for adapter, scale in ((Adapter(4, 6.0), 1.5), (Adapter(4, 6.0, rslora=True), 3.0)):
        linear = torch.nn.Linear(8, 5)
        layer = LoraLinear(linear, adapter, torch.Generator().manual_seed(0))
        with torch.no_grad():
            layer.lora_B.copy_(torch.randn(5, 4, generator=torch.Generator().manual_seed(1)))
        x = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
        expected = linear(x) + scale * (x @ layer.lora_A.T @ layer.lora_B.T)
        torch.testing.assert_close(layer(x), expected)
        torch.testing.assert_close(layer.merged()(x), expected)


def test_a_is_drawn_like_kaiming_uniform_from_the_seed_alone(tiny: ModelConfig) -> None:
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(states))  # the global state must not matter
        model = DecoderLM(tiny)
        add_lora(model, lora(rank=16), seed)
        states.append(lora_state(model))
    name = "layers.0.attention.q_proj.lora_A"
    assert torch.equal(states[0][name], states[1][name]) and not torch.equal(states[0][name], states[2][name])
    assert not torch.equal(states[0][name], states[0]["layers.1.attention.q_proj.lora_A"])
    bound = 1 / math.sqrt(32)
    assert 0.95 * bound < states[0][name].abs().max() <= bound
    assert states[0][name].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert not states[0]["layers.0.attention.q_proj.lora_B"].any()


def test_only_adapters_and_the_class_head_get_gradients(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny.model_copy(update={"num_labels": 3}))
    base = {name: value.clone() for name, value in model.state_dict().items()}
    add_lora(model, lora(dora=True), seed=0)
    (model(IDS).sum() + model.scores(model.hidden(IDS)).sum()).backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == lora_state(model).keys() and "score.weight" in trained
    train_a_little(model)
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in base.items() if name != "score.weight")


def test_a_state_dict_of_the_base_still_fits(model: DecoderLM, tiny: ModelConfig) -> None:
    other = DecoderLM(model.config, seed=9).eval()
    add_lora(model, lora(), seed=0)
    missing, unexpected = model.load_state_dict(other.state_dict(), strict=False)
    assert not unexpected and set(missing) == lora_state(model).keys()
    assert torch.equal(model(IDS), other(IDS))


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_carries_over_to_another_copy(model: DecoderLM, kind: dict[str, object]) -> None:
    copied = copy.deepcopy(model)
    for one, seed in ((model, 0), (copied, 1)):
        add_lora(one, lora(**kind), seed)
    train_a_little(model)
    load_lora_state(copied, lora_state(model))
    assert torch.equal(model(IDS), copied(IDS))


def test_a_state_that_does_not_fit_changes_nothing(model: DecoderLM) -> None:
    add_lora(model, lora(), seed=0)
    before = {name: value.clone() for name, value in lora_state(model).items()}
    good: dict[str, Tensor] = {name: torch.ones_like(value) for name, value in before.items()}
    last = list(good)[-1]
    with pytest.raises(InputError, match="shape"):
        load_lora_state(model, {**good, last: torch.ones(1, 1)})
    with pytest.raises(InputError, match="only in one"):
        load_lora_state(model, {name: value for name, value in good.items() if name != last})
    assert all(torch.equal(value, before[name]) for name, value in lora_state(model).items())


def test_dropout_acts_in_training_only(model: DecoderLM) -> None:
    add_lora(model, lora(dropout=0.5), seed=0)
    train_a_little(model)
    assert torch.equal(model(IDS), model(IDS))
    model.train()
    torch.manual_seed(0)
    assert not torch.allclose(model(IDS), model(IDS), atol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"rslora": True}, {"svd_iterations": 0, "targets": ["q_proj", "down_proj"]}])
def test_pissa_begins_with_the_principal_part(model: DecoderLM, settings: dict[str, object]) -> None:
    plain = copy.deepcopy(model)
    add_lora(model, lora(init="pissa", **settings), seed=3)
    torch.testing.assert_close(model(IDS), plain(IDS), rtol=1e-5, atol=1e-5)  # in float32: but for rounding
    for path, layer in lora_layers(model).items():
        weight = plain.get_submodule(path).weight
        sizes = torch.linalg.svdvals(weight)
        left = torch.linalg.svdvals(layer.weight)
        torch.testing.assert_close(left[: len(sizes) - 4], sizes[4:], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            layer.lora_A.norm(dim=1), (sizes[:4] / layer.adapter.scale).sqrt(), rtol=1e-3, atol=1e-4
        )
        torch.testing.assert_close(layer.lora_A.norm(dim=1), layer.lora_B.norm(dim=0), rtol=1e-4, atol=1e-5)
    begun = {name: value.clone() for name, value in lora_starts(model).items()}
    train_a_little(model)
    live = model(IDS)
    assert not torch.allclose(live, plain(IDS), atol=1e-2)
    assert all(torch.equal(value, begun[name]) for name, value in lora_starts(model).items())
    again = copy.deepcopy(plain)
    add_lora(again, lora(init="pissa", **settings), seed=3, starts=begun)
    load_lora_state(again, lora_state(model))
    assert torch.equal(again(IDS), live)
    merge_lora(model)
    torch.testing.assert_close(model(IDS), live, rtol=1e-5, atol=2e-5)


def test_randomised_svd_is_as_good_and_draws_from_its_seed() -> None:
    weight = torch.randn(60, 40, generator=torch.Generator().manual_seed(0)) @ torch.diag(0.9 ** torch.arange(40.0))
    exact, fast = (principal_part(weight, 5, 2.0, iterations) for iterations in (0, 8))
    torch.testing.assert_close(fast[1] @ fast[0], exact[1] @ exact[0], rtol=1e-3, atol=1e-3)
    state = torch.get_rng_state()
    assert torch.equal(principal_part(weight, 5, 2.0, 1, seed=7)[0], principal_part(weight, 5, 2.0, 1, seed=7)[0])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("kind", [*KINDS, {"init": "pissa"}, {"quantisation": "nf4"}])
def test_without_its_adapters_a_model_is_as_it_was_before_them(model: DecoderLM, kind: dict[str, object]) -> None:
    add = lora(**kind)
    if add.quantisation != "none":
        quantise_model(model, add.quantisation)
    before = model(IDS).detach()
    add_lora(model, add, seed=3)
    train_a_little(model)
    trained = model(IDS).detach()
    with without_adapters(model):
        torch.testing.assert_close(model(IDS), before, atol=1e-5, rtol=1e-5)
    assert torch.equal(model(IDS), trained) and not torch.allclose(trained, before, atol=1e-4)


def test_without_their_adapters_experts_are_as_they_were(tiny: ModelConfig) -> None:
    experts = {"num_experts": 4, "experts_per_token": 2, "intermediate_size": 32}
    model = DecoderLM(ModelConfig.parse({**tiny.plain(), "family": "custom", "experts": experts}), seed=1).eval()
    for kind in ({}, {"init": "pissa"}):
        one = copy.deepcopy(model)
        before = one(IDS).detach()
        add_lora(one, lora(**kind), seed=3)
        train_a_little(one)
        assert any(isinstance(layer, LoraExperts) for layer in lora_layers(one).values())
        with without_adapters(one):
            torch.testing.assert_close(one(IDS), before, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(one(IDS), before, atol=1e-4)


def test_copies_share_their_weights_and_nothing_else(model: DecoderLM) -> None:
    before = model(IDS)
    one, two = shared_copy(model), shared_copy(model)
    for copied, seed in ((one, 1), (two, 2)):
        add_lora(copied, lora(), seed)
        train_a_little(copied)
    assert torch.equal(model(IDS), before) and not lora_layers(model)
    assert not torch.allclose(one(IDS), two(IDS), atol=1e-3)
    for path, layer in lora_layers(one).items():
        assert layer.weight is model.get_submodule(path).weight
    assert one.embed_tokens.weight is two.embed_tokens.weight is model.embed_tokens.weight


def test_b_learns_faster_where_that_is_asked_for(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny, seed=1)
    add_lora(model, lora(b_rate=16), seed=0)
    (optimizer,) = make_optimizers(model, TrainingConfig())
    rates = {id(one): group["rate_factor"] for group in optimizer.param_groups for one in group["params"]}
    for layer in lora_layers(model).values():
        assert rates[id(layer.lora_B)] == 16 * rates[id(layer.lora_A)]


def test_each_projection_may_have_its_own_rank(model: DecoderLM) -> None:
    plan = {"layers.0.attention.q_proj": Adapter(2, 4.0), "layers.1.mlp.up_proj": Adapter(3, 1.0, rslora=True)}
    place_adapters(model, plan, seed=0)
    assert {path: layer.adapter for path, layer in lora_layers(model).items()} == plan


def test_a_base_in_half_precision_merges_in_its_own(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny, seed=1).to(torch.bfloat16).eval()
    before = model(IDS)
    add_lora(model, lora(dora=True), seed=0)
    assert torch.equal(model(IDS), before)
    assert {value.dtype for value in lora_state(model).values()} == {torch.float32}
    merge_lora(model)
    assert {value.dtype for value in model.state_dict().values()} == {torch.bfloat16}


def test_dora_takes_a_row_of_zeros(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny)
    with torch.no_grad():
        model.layers[0].mlp.up_proj.weight[3] = 0
    add_lora(model, lora(dora=True), seed=0)
    train_a_little(model)
    assert torch.isfinite(model(IDS)).all()
    merge_lora(model)
    assert torch.isfinite(model(IDS)).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"targets": ["q_prj"]}, "did you mean 'q_proj'"),
        ({"layers": [2]}, "no block 2"),
        ({"layers": [-1]}, "from 0"),
        ({"targets": []}, "must not be empty"),
        ({"rank": 0}, "rank"),
        ({"dropout": 1.0}, "dropout"),
        ({"rnak": 4}, "did you mean 'rank'"),
        ({"init": "pissa", "dora": True}, "exclude each other"),
        ({"init": "pissa", "quantisation": "nf4"}, "exclude each other"),
        ({"quantisation": "nf5"}, "quantisation"),
    ],
)
def test_wrong_settings_are_named(tiny: ModelConfig, wrong: dict[str, object], said: str) -> None:
    model = DecoderLM(tiny)
    with pytest.raises(ConfigError, match=said):
        add_lora(model, lora(**wrong), seed=0)
    assert not lora_layers(model) and all(parameter.requires_grad for parameter in model.parameters())


def test_names_with_commas_are_a_list_and_twice_is_refused(tiny: ModelConfig) -> None:
    assert lora(targets="q_proj, v_proj").targets == ("q_proj", "v_proj")
    model = DecoderLM(tiny)
    add_lora(model, lora(), seed=0)
    with pytest.raises((InputError, ConfigError)):
        add_lora(model, lora(), seed=0)
