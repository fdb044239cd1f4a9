"""Packed weights: near the dense ones, alike in any company, and the flat step is the decoder's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.family_configs import CASES, fields
from torch import Tensor, nn

from tutelage.model import flat, lean
from tutelage.model.cache import KVCache, Sharing
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.lean import LeanDecoder, is_plain
from tutelage.model.pack import Packing, is_packed, pack
from tutelage.model.packed import Blocks, ByteLinear, HalfLinear, PackedLinear

SIZES = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_layers": 3, "num_heads": 4, "num_kv_heads": 2,
    "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip
KINDS: list[Packing] = ["bfloat16", "int8", "int4"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_blocks_hold_what_lies_on_their_grid() -> None:
    codes = torch.randint(0, 16, (48, 4, 32), generator=torch.Generator().manual_seed(0))
    codes[..., 0], codes[..., 1] = 0, 15
    scale, offset = random(48, 4, 1, seed=1).abs() + 0.1, random(48, 4, 1, seed=2)
    weight = (codes * scale + offset).flatten(1)
    blocks = Blocks.of(weight)
    torch.testing.assert_close(blocks.dense(), weight)
    assert torch.equal(blocks.passing(), blocks.dense().bfloat16())
    assert torch.equal(Blocks.joined([blocks, blocks]).dense(), torch.cat([blocks.dense()] * 2))
    assert torch.equal(blocks.rows(torch.tensor([5, 0])).dense(), blocks.dense()[[5, 0]])


def test_a_group_of_equal_weights_and_one_of_zeros() -> None:
    weight = torch.cat([torch.full((16, 32), 0.3), torch.zeros(16, 32)], dim=1)
    torch.testing.assert_close(Blocks.of(weight).dense(), weight)


@pytest.mark.parametrize("layer", [PackedLinear, ByteLinear, HalfLinear])
@pytest.mark.parametrize("bias", [False, True])
def test_products_are_those_of_the_dense_matrix(layer: type, bias: bool) -> None:
    weight, b = random(64, 96), random(64, seed=3) if bias else None
    packed = layer(Blocks.of(weight) if layer is PackedLinear else weight, b)
    x = random(2, 50, 96, seed=1)
    exact = nn.functional.linear(x, packed.dense(), b)
    for y in (x, x[:, :5]):  # a prompt, and a few tokens: two kernels
        out = packed(y)
        error = (out - exact[:, : y.shape[1]]).norm() / exact[:, : y.shape[1]].norm()
        assert out.shape == (2, y.shape[1], 64) and error < 0.01
    assert (packed.dense() - weight).norm() / weight.norm() < (0.15 if layer is PackedLinear else 0.01)


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="x86 only")
def test_a_product_of_bytes_loses_nothing_but_what_the_matrix_did() -> None:
    layer = ByteLinear(random(64, 96))
    x = random(7, 96, seed=1) * torch.tensor([1e-8, 1e-3, 1.0, 10.0, 1e3, 1e8, 0.0])[:, None]
    x[3, 5] = 4000.0  # an outlier takes most of the coarse steps
    exact = (x.double() @ layer.dense().double().T).float()
    assert (layer(x) - exact).norm(dim=1).div(exact.norm(dim=1).clamp(min=1e-30)).max() < 2e-4


@pytest.mark.parametrize("layer", [PackedLinear, ByteLinear, HalfLinear])
def test_a_row_of_a_product_does_not_depend_on_its_company(layer: type) -> None:
    weight = random(64, 96)
    packed = layer(Blocks.of(weight) if layer is PackedLinear else weight)
    x = random(9, 96, seed=1)
    together = packed.few(x)
    for count in (1, 2, 3, 5, 8):
        assert torch.equal(packed.few(x[:count]), together[:count]), count


def test_what_the_kernel_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        PackedLinear(Blocks.of(random(20, 32)))


def model_of(**given: Any) -> DecoderLM:
    return DecoderLM(FamilyConfig.parse({"family": "custom", **SIZES, **given}), seed=1).eval()


def tokens(*shape: int) -> Tensor:
    return torch.randint(0, 96, shape, generator=torch.Generator().manual_seed(5))


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_every_family_can_be_packed(case: tuple[str, int], kind: Packing) -> None:
    """8 bits and bfloat16 stay near; 4 bits of random weights are rough, so only that they run and are finite."""
    model = DecoderLM(FamilyConfig.parse(fields(*case)), seed=1).eval()
    text = tokens(2, 40)
    exact = model(text)
    packed = pack(model, kind)
    assert is_packed(packed)
    made = packed(text)
    assert made.dtype == torch.float32 and made.isfinite().all()
    if kind != "int4":  # where experts are chosen, a little can send a token to another
        assert (made - exact).norm() / exact.norm() < (0.1 if model.config.experts is None else 0.4)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "more", [{}, {"qk_norm": "head"}, {"tie_word_embeddings": False}, {"attention_bias": True}, {"sliding_window": 5}]
)
def test_the_flat_step_is_the_decoders_own(kind: Packing, more: dict[str, Any]) -> None:
    model = pack(model_of(**more), kind)
    assert is_plain(model)
    text, starts = tokens(3, 48), torch.tensor([6, 20, 33])
    caches = [KVCache.empty(model.config, 3, 64, torch.float32, torch.device("cpu")) for _ in range(2)]
    for cache in caches:
        model.hidden(text[:, :34], torch.arange(34).expand(3, -1), None, cache)
    lean = LeanDecoder(model)

    def both(ids: Tensor, places: Tensor, of: list[KVCache]) -> None:
        expected = model.logits(model.hidden(ids, places, None, of[0])[:, 0])
        # Not closer: a sum that rounds the other way becomes a step of bfloat16.
        torch.testing.assert_close(lean.logits(ids, places, of[1]), expected, rtol=1e-2, atol=1e-2)

    for step in range(6):
        places = (starts + step)[:, None]
        both(text.gather(1, places), places, caches)
    both(text[1:2, 26:27], torch.tensor([[26]]), [cache.view(1, 1, 64, 26) for cache in caches])


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [{}, {"qk_norm": "head"}, {"attention_bias": True}, {"sliding_window": 5}])
@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh", "relu2", "clamped_swish"])
def test_torchscript_and_python_run_the_same_step(
    kind: Packing, more: dict[str, Any], activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pack(model_of(activation=activation, **more), kind)
    assert flat.scripted() is not None
    by_script = LeanDecoder(model)
    monkeypatch.setattr(lean, "scripted", lambda: None)
    by_python = LeanDecoder(model)
    assert by_python._step is flat.step and by_script._step is not flat.step
    text, made = tokens(4, 20), []
    for decoder in (by_script, by_python):
        cache, rows = KVCache.empty(model.config, 4, 32, torch.float32, torch.device("cpu")), []
        for at in range(16):
            places = torch.tensor([[at], [at], [at], [at]])
            rows.append(decoder.logits(text.gather(1, places), places, cache))
        shared = cache.view(0, 3, 32)  # two rows of one text, then two of texts of their own
        shared.sharing = Sharing.of([2, 1, 1], torch.device("cpu"))
        rows.append(decoder.logits(text[:, 16:17], torch.tensor([[16], [17], [16], [16]]), shared))
        rows.append(decoder.logits(text[:1, 18:19], torch.tensor([[18]]), cache.view(0, 1, 32, 18)))
        made.append(torch.cat(rows))
    assert torch.equal(*made)


def test_where_torchscript_fails_python_runs_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("torch.jit.script is not supported")

    monkeypatch.setattr(torch.jit, "script", fail)
    assert flat.scripted.__wrapped__() is None


@pytest.mark.parametrize(
    "more", [{"qk_norm": "layer"}, {"norm_place": "post"}, {"positions": "alibi"}, {"gated": False}]
)
def test_a_decoder_that_is_not_plain_goes_the_long_way(more: dict[str, Any]) -> None:
    model = pack(model_of(**more), "int8")
    assert not is_plain(model)
    with pytest.raises(ValueError, match="flat step"):
        LeanDecoder(model)


def test_a_model_that_is_trained_is_not_plain() -> None:
    assert not is_plain(model_of()) and not is_packed(model_of())
