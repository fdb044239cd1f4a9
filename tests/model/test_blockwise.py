"""Attention in blocks on a CPU against torch's own and against float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.model import blockwise
from tutelage.model.config import ModelConfig
from tutelage.model.mask import AttentionMask
from tutelage.model.norms import rms_norm
from tutelage.model.rope import inverse_frequencies, rotary_of, rotate

Shape = tuple[int, int, int, int, int]
SHAPES: list[Shape] = [(3, 4, 2, 300, 16), (2, 3, 3, 129, 8), (5, 4, 1, 64, 8), (1, 2, 2, 700, 4)]  # B, H, H_kv, T, D


def drawn(shape: Shape, dtype: torch.dtype) -> list[Tensor]:
    rows, heads, kv_heads, length, dim = shape
    draw = torch.Generator().manual_seed(length)
    made = [torch.randn(rows, length, n, dim, generator=draw, dtype=torch.float64) for n in (heads, kv_heads, kv_heads)]
    return [x.to(dtype).transpose(1, 2).requires_grad_() for x in made]


def documents(rows: int, length: int) -> Tensor:
    """Of 1 to 80 tokens each, the last part of each row padding."""
    draw = torch.Generator().manual_seed(rows)
    numbers = (torch.rand(rows, length, generator=draw) < 1 / 40).cumsum(1) + 1
    numbers[:, length - 5 :] = 0
    return numbers


def results(attend: object, inputs: list[Tensor]) -> list[Tensor]:
    """The output and the gradients of the inputs, under a gradient that is not uniform."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    out = attend(*inputs)  # type: ignore[operator]
    out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape))
    return [out.detach(), *(x.grad for x in inputs if x.grad is not None)]


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "causal"])
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_torchs_in_float64(
    shape: Shape, window: int | None, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _, _, length, dim = shape
    monkeypatch.setattr(blockwise, "CHUNK", 3 * 4 * 128 * 300)  # several chunks of several rows
    positions = torch.arange(length).expand(rows, -1)
    mask = AttentionMask(positions, documents(rows, length) if packed else None, None)
    inputs = drawn(shape, torch.float64)
    own = results(lambda q, k, v: blockwise.attend(q, k, v, mask.visible(torch.float64, window), dim**-0.5), inputs)
    allowed = mask.explicit(window)
    theirs = results(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=True), inputs
    )
    for mine, reference in zip(own, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-10, atol=1e-12)


def test_what_is_made_again_for_a_long_row_equals_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    shape: Shape = (2, 2, 2, 256, 8)
    mask = AttentionMask(torch.arange(256).expand(2, -1), documents(2, 256), None)
    inputs = drawn(shape, torch.float32)

    def attend(*given: Tensor) -> Tensor:
        return blockwise.attend(*given, mask.visible(torch.float32), 0.3)

    kept = results(attend, inputs)
    monkeypatch.setattr(blockwise, "KEPT_LENGTH", 128)
    for mine, reference in zip(results(attend, inputs), kept, strict=True):
        assert torch.equal(mine, reference)


def test_in_bfloat16_it_is_as_near_to_the_truth_as_a_rounded_score_allows() -> None:
    shape: Shape = (2, 4, 2, 256, 32)
    mask = AttentionMask(torch.arange(256).expand(2, -1), documents(2, 256), None)
    inputs = drawn(shape, torch.bfloat16)
    own = results(lambda q, k, v: blockwise.attend(q, k, v, mask.visible(torch.bfloat16), 32**-0.5), inputs)
    exact = [x.detach().double() for x in inputs]
    allowed = mask.explicit()
    truth = results(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=True), exact)
    for mine, reference in zip(own, truth, strict=True):
        assert mine.dtype == torch.bfloat16
        assert float((mine.double() - reference).norm() / reference.norm()) < 8e-3  # torch's own kernel: 3e-3


def test_blocks_before_the_first_visible_key_are_left_out() -> None:
    numbers = torch.arange(1, 5).repeat_interleave(blockwise.BLOCK)[None]
    visible = AttentionMask(torch.arange(numbers.shape[1])[None], numbers, None).visible(torch.float32)
    assert visible.first == [[0, 128, 256, 384]]


def test_used_where_it_is_faster_and_exact() -> None:
    short, long = torch.zeros(1, 1, 64, 8), torch.zeros(1, 1, 256, 8)
    assert blockwise.is_for(long, None) and blockwise.is_for(short.bfloat16(), None)
    assert not blockwise.is_for(short, None)  # float32: torch's is as fast
    assert not blockwise.is_for(long, 256)  # with a cache
    assert not blockwise.is_for(torch.zeros(1, 1, 256, 8, device="meta"), None)


def test_gradients_written_by_hand() -> None:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 5, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, generator=draw, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, 1e-3), (x, weight))
    torch.testing.assert_close(rms_norm(x, weight, 1e-3), F.rms_norm(x, (8,), weight, 1e-3), rtol=1e-12, atol=1e-12)
    config = ModelConfig(hidden_size=8, num_heads=1, num_kv_heads=1)
    turns = rotary_of(torch.arange(5).expand(2, -1), *inverse_frequencies(config))
    for interleaved in (False, True):
        assert torch.autograd.gradcheck(lambda x, i=interleaved: rotate(x, *turns, interleaved=i), (x,))
