"""Attention in blocks sees what the plain mask lets it see: on the CPU, where its kernel only runs forward."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.model import flex
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.mask import AttentionMask

LENGTH = 256
SHAPE = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_layers": 3, "num_heads": 4,
         "num_kv_heads": 2, "head_dim": 16, "max_position_embeddings": LENGTH, "initializer_range": 0.2}  # fmt: skip
LATENT = {"q_rank": 24, "kv_rank": 16, "nope_head_dim": 16, "rope_head_dim": 8, "value_head_dim": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"layer_types": ("sliding",), "sliding_window": 70},
    "gemma2": {"sliding_window": 40},  # softcap, windows, full layers between
    "deepseek_v3": {"latent": LATENT},
    "gpt_oss": {"sliding_window": 40},  # sinks: not in blocks
}


def packed() -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, positions and documents of rows with documents of many lengths, the last row padded."""
    lengths = [[100, 30, 126], [1, 254, 1], [200, 3]]
    documents, positions = torch.zeros(3, LENGTH, dtype=torch.int64), torch.zeros(3, LENGTH, dtype=torch.int64)
    for row, sizes in enumerate(lengths):
        at = 0
        for number, size in enumerate(sizes, 1):
            documents[row, at : at + size], positions[row, at : at + size] = number, torch.arange(size)
            at += size
    return torch.randint(0, 96, (3, LENGTH), generator=torch.Generator().manual_seed(0)), positions, documents


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_and_the_plain_mask_agree(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DecoderLM(FamilyConfig.parse({**SHAPE, "family": family, **FAMILIES[family]})).eval()
    tokens, positions, documents = packed()
    used: list[bool] = []
    with torch.no_grad():
        plain = model.hidden(tokens, positions, documents)
        monkeypatch.setattr(flex, "is_for", lambda queries, cached, docs: used.append(True) or docs is not None)
        in_blocks = model.hidden(tokens, positions, documents)
        monkeypatch.undo()
        branches = (torch.arange(LENGTH) // 50 % 3).clamp(max=2).expand(3, -1).where(documents == 1, 0)
        branches[:, :60] = 0
        branching = model.hidden(tokens, positions, documents, branches=branches)
        monkeypatch.setattr(flex, "is_for", lambda queries, cached, docs: docs is not None)
        branching_in_blocks = model.hidden(tokens, positions, documents, branches=branches)
    real = documents > 0
    assert torch.allclose(branching_in_blocks[real], branching[real], atol=1e-4)
    assert not torch.allclose(branching[real], plain[real], atol=1e-2)
    assert torch.allclose(in_blocks[real], plain[real], atol=1e-4)
    assert len(used) == (0 if family == "gpt_oss" else 3)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("softcap", [0.0, 2.0])
def test_attention_in_blocks_is_attention(softcap: float) -> None:
    """With a scale of the model's own, fewer heads of keys than of queries, and a softcap before the mask."""
    draw = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(1, heads, 128, 16, generator=draw) for heads in (4, 2, 2))
    mask = AttentionMask(torch.arange(128)[None], torch.tensor([[1] * 50 + [2] * 78]), None)
    scores = queries @ keys.repeat_interleave(2, 1).transpose(-1, -2) * 0.7
    scores = softcap * (scores / softcap).tanh() if softcap else scores
    wanted = scores.masked_fill(~mask.explicit(), -torch.inf).softmax(-1) @ values.repeat_interleave(2, 1)
    made = flex.attend_in_blocks(queries, keys, values, mask.blocks(), 0.7, softcap)
    assert torch.allclose(made, wanted, atol=1e-5)


def test_blocks_that_no_document_fills_are_left_out() -> None:
    documents = torch.arange(1, 9).repeat_interleave(flex.BLOCK)[None]
    made = AttentionMask(torch.zeros_like(documents), documents, None).blocks()
    assert int(made.kv_num_blocks.sum()) == 8  # of 36 below the diagonal
    whole = AttentionMask(torch.zeros_like(documents), torch.ones_like(documents), None)
    assert int(whole.blocks().kv_num_blocks.sum() + whole.blocks().full_kv_num_blocks.sum()) == 36
    assert int(whole.blocks(flex.BLOCK).kv_num_blocks.sum() + whole.blocks(flex.BLOCK).full_kv_num_blocks.sum()) == 15
    assert whole.blocks() is whole.blocks()


@pytest.mark.parametrize(
    ("shape", "cached", "packed", "wanted"),
    [
        ((1, 4, 128, 16), None, True, True),
        ((2, 4, 384, 64), None, True, True),
        ((1, 4, 127, 16), None, True, False),  # no whole block
        ((1, 4, 192, 16), None, True, False),
        ((1, 4, 128, 15), None, True, False),  # a head too small for the kernel
        ((1, 4, 128, 16), 128, True, False),  # with a cache
        ((1, 4, 128, 16), None, False, False),  # one document a row: the plain causal kernel
    ],
)
def test_blocks_are_for_packed_rows_on_a_gpu(
    shape: tuple[int, ...], cached: int | None, packed: bool, wanted: bool
) -> None:
    queries: Any = SimpleNamespace(shape=shape, is_cuda=True)
    assert flex.is_for(queries, cached, torch.ones(shape[0], shape[2]) if packed else None) is wanted


def test_on_the_cpu_nothing_changes() -> None:
    assert not flex.is_for(torch.zeros(1, 4, 256, 16), None, torch.ones(1, 256))
