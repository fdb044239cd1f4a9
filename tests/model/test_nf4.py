"""Weights in 4 bits: the published code, the nearest value of it, and never a dense copy that stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from tests.family_configs import fields

from tutelage.model import room
from tutelage.model.adaptable import expert_stacks, is_quantised, projections, quantisation_of, quantise_model
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.io import load_model, save_model
from tutelage.model.lora import LoraConfig, LoraLinear, add_lora, lora_layers, lora_state, merge_lora
from tutelage.model.nf4 import (
    BLOCK,
    CODE,
    NF4Linear,
    NF4Weight,
    Packed,
    dequantise,
    dynamic_code,
    part_shapes,
    quantise,
    stored_bytes,
)
from tutelage.store.errors import InputError

IDS = torch.arange(24).reshape(2, 12) % 64


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.05


def test_the_code_is_that_of_the_paper() -> None:
    """Quantiles of the normal distribution, scaled to [-1, 1], with a zero (QLoRA, section 3 and appendix E)."""
    offset = 0.9677083
    negative = [-norm.ppf(x) for x in torch.linspace(offset, 0.5, 8)[:-1].tolist()]
    positive = [norm.ppf(x) for x in torch.linspace(offset, 0.5, 9)[:-1].tolist()]
    values = torch.tensor(sorted([*negative, 0.0, *positive]), dtype=torch.float32)
    torch.testing.assert_close(torch.tensor(CODE), values / values.max(), rtol=0, atol=1e-5)
    assert CODE[1] == -0.6961928009986877 and CODE[14] == 0.7229568362236023


def test_bytes_and_scales_by_hand() -> None:
    weight = torch.zeros(2, 64)
    weight[0, :4] = torch.tensor([-2.0, 2.0, 0.5, 0.0])  # of the largest: -1, 1, 0.25, 0
    weight[1, 0] = 0.1
    parts = quantise(weight)
    assert parts["absmax"].tolist() == [2.0, pytest.approx(0.1)]
    # Code 0 and 15; 10 (0.2461 is nearest to 0.25) and 7 (zero): the first weight is in the high half.
    assert parts["codes"][:2].tolist() == [0x0F, 0xA7] and parts["codes"][32].item() == 0xF7
    assert dequantise(parts, weight.shape)[0, :4].tolist() == [-2.0, 2.0, pytest.approx(2 * CODE[10]), 0.0]


@given(st.integers(1, 5), st.integers(1, 150), st.integers(0, 3))
def test_every_weight_becomes_the_nearest_value_of_its_block(rows: int, columns: int, seed: int) -> None:
    weight = random(rows, columns, seed=seed)
    found = dequantise(quantise(weight), weight.shape)
    flat = weight.flatten()
    blocks = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    values = blocks.abs().amax(1)[:, None, None] * torch.tensor(CODE)
    nearest = (blocks[..., None] - values).abs().amin(-1).flatten()[: len(flat)].view_as(weight)
    torch.testing.assert_close((weight - found).abs(), nearest, rtol=1e-4, atol=1e-7)


def test_what_is_stored_stays_the_same_when_stored_again() -> None:
    weight = dequantise(quantise(random(48, 64)), torch.Size((48, 64)))
    assert torch.equal(dequantise(quantise(weight), weight.shape), weight)


def test_double_quantisation_errs_little_more_and_takes_less() -> None:
    weight = random(256, 512)
    errors = [(dequantise(quantise(weight, double), weight.shape) - weight).pow(2).mean().sqrt() for double in (0, 1)]
    assert errors[0] < 0.093 * weight.std() and errors[0] <= errors[1] < 1.01 * errors[0]
    for double, bits in ((False, 4.5), (True, 4.127)):
        parts = quantise(weight, double)
        size = sum(value.numel() * value.element_size() for value in parts.values())
        assert size == stored_bytes(weight.shape, double)
        assert 8 * size / weight.numel() == pytest.approx(bits, abs=0.001)
        assert {name: tuple(value.shape) for name, value in parts.items()} == part_shapes(weight.shape, double)
    code = dynamic_code()
    assert len(set(code)) == 256 and code[0] == pytest.approx(-0.99296875) and code[-1] == 1.0 and 0.0 in code


def test_like_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional", reason="compared where bitsandbytes is installed")
    weight = random(96, 128)
    codes, state = functional.quantize_4bit(weight, quant_type="nf4", blocksize=64)
    parts = quantise(weight)
    assert torch.equal(codes.flatten(), parts["codes"]) and torch.equal(state.absmax, parts["absmax"])


@pytest.mark.parametrize("double", [False, True])
def test_product_and_gradient_are_those_of_the_dense_matrix(double: bool) -> None:
    weight, bias = random(24, 40), random(24, seed=1)
    packed = Packed(weight.shape, quantise(weight, double))
    x, y = (random(3, 5, 40, seed=2).requires_grad_() for _ in range(2))
    out, dense = packed.linear(x, bias), F.linear(y, packed.dense(), bias)
    assert torch.equal(out, dense)
    out.pow(3).sum().backward()
    dense.pow(3).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    with torch.autocast("cpu", torch.bfloat16):
        assert packed.linear(x, bias).dtype == torch.bfloat16


def test_the_room_that_generating_made_serves_training_too() -> None:
    room._THREAD.__dict__.pop("rooms", None)
    packed = Packed(torch.Size((24, 40)), quantise(random(24, 40)))
    x = random(3, 40, seed=2)
    with torch.inference_mode():
        expected = packed.linear(x).clone()
    y = x.clone().requires_grad_()
    out = packed.linear(y)
    out.sum().backward()
    assert torch.equal(out.detach(), expected) and y.grad is not None


def model_of(family: str, index: int = 0, **keys: object) -> DecoderLM:
    return DecoderLM(FamilyConfig.parse({**fields(family, index), **keys}), seed=1).eval()


@pytest.mark.parametrize(
    ("family", "index"),
    [("llama", 1), ("llama", 2), ("mixtral", 0), ("gpt2", 0), ("deepseek_v3", 1), ("qwen3_next", 0)],
)
@pytest.mark.parametrize("kind", ["nf4", "nf4_double"])
def test_a_model_is_read_into_4_bits_and_computes_as_one_stored_so(
    family: str, index: int, kind: str, tmp_path: Path
) -> None:
    model = model_of(family, index)
    save_model(model, tmp_path)
    read = load_model(tmp_path, quantisation=kind)
    quantise_model(model, kind)
    assert quantisation_of(read) == quantisation_of(model) == kind
    linear = {path: layer for path, layer in projections(read).items() if not path.endswith("shared_gate")}
    assert all(isinstance(layer, NF4Linear) for layer in linear.values())
    assert all(isinstance(stack, NF4Weight) for stack in expert_stacks(read).values())
    assert all(torch.equal(value, read.state_dict()[name]) for name, value in model.state_dict().items())
    assert torch.equal(read(IDS), model(IDS)) and not torch.equal(model(IDS), model_of(family, index)(IDS))
    with pytest.raises(InputError, match="4 bits"):
        save_model(read, tmp_path / "again")
    merge_lora(model)
    assert not is_quantised(model)
    torch.testing.assert_close(model(IDS), read(IDS), rtol=1e-5, atol=1e-5)
    save_model(model, tmp_path / "merged")
    assert torch.equal(load_model(tmp_path / "merged")(IDS), model(IDS))


@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"rslora": True, "targets": ["q_proj", "up_proj"]}])
@pytest.mark.parametrize("family", ["qwen3", "mixtral"])
def test_adapters_learn_beside_4_bits_and_merge_into_them(family: str, settings: dict[str, object]) -> None:
    if family == "mixtral" and "dora" in settings:
        settings = {**settings, "targets": ["q_proj"]}
    model = model_of(family)
    quantise_model(model, "nf4_double")
    before, stored = model(IDS), {name: value.clone() for name, value in model.state_dict().items()}
    add_lora(model, LoraConfig.parse({"rank": 3, "quantisation": "nf4_double", **settings}), seed=0)
    assert torch.equal(model(IDS), before)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.02)
    for _ in range(3):
        model(IDS).logsumexp(-1).sub(model(IDS)[..., 3]).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert trained == lora_state(model).keys()
    state = model.state_dict()
    assert all(torch.equal(state.get(name, state.get(name.replace("_proj.", "_proj.weight."))), value)
               for name, value in stored.items())  # fmt: skip
    live = model(IDS)
    assert not torch.allclose(live, before, atol=1e-2)
    merge_lora(model)
    assert not is_quantised(model) and not lora_layers(model)
    torch.testing.assert_close(model(IDS), live, rtol=1e-5, atol=2e-5)


def test_nothing_of_the_size_of_a_weight_is_kept_for_the_backward_pass() -> None:
    model = model_of("llama", hidden_size=88, intermediate_size=512, num_heads=2, num_kv_heads=2)
    add_lora(model, LoraConfig.parse({"rank": 2, "quantisation": "nf4"}), seed=0)
    kept: list[torch.Size] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(IDS[:1, :4]).sum().backward()
    weights = {tuple(layer.weight.shape) for layer in lora_layers(model).values() if isinstance(layer, LoraLinear)}
    weights |= {shape[::-1] for shape in weights}
    assert kept and not weights & {tuple(shape) for shape in kept}
    held = sum(value.numel() * value.element_size() for name, value in model.named_parameters() if "layers" in name)
    full = sum(shape[0] * shape[1] for shape in (tuple(one.weight.shape) for one in lora_layers(model).values()))
    assert held < 0.25 * 4 * full
