"""What a head reads of a document: exactly its own tokens, wherever it stands."""

from __future__ import annotations

import pytest
import torch

from tutelage.model.config import ModelConfig
from tutelage.model.families import FamilyConfig
from tutelage.model.hf_config import from_hf_config, to_hf_config
from tutelage.model.pooling import pooled
from tutelage.store.errors import ConfigError, InputError

LENGTHS = [[3, 1, 4], [6, 2]]  # documents of two rows of 9 positions, from the left; the rest is padding
WAYS = {"last": 0, "mean": 0, "last_k": 3}


def places() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    found, at = [], 0
    for row, lengths in enumerate(LENGTHS):
        at = 0
        for length in lengths:
            at += length
            found.append((row, at - 1, length))
    row, last, length = (torch.tensor(each) for each in zip(*found, strict=True))
    return row, last, length


def config(pooling: str) -> ModelConfig:
    return FamilyConfig.parse(
        {"vocab_size": 64, "num_labels": 2, "labels": ["a", "b"], "pooling": pooling, "pool_tokens": WAYS[pooling]}
    )


@pytest.mark.parametrize("pooling", WAYS)
def test_each_document_is_read_by_itself_and_padding_never(pooling: str) -> None:
    hidden = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    hidden[0, 8:] = hidden[1, 8:] = float("nan")  # padding
    hidden.requires_grad_(True)
    row, last, length = places()
    found = pooled(hidden, row, last, length, config(pooling))
    kept = {"last": 1, "mean": 9, "last_k": 3}[pooling]
    for one, r, end, count in zip(found, row, last, length, strict=True):
        mine = hidden[r, int(end) + 1 - min(kept, int(count)) : int(end) + 1]
        torch.testing.assert_close(one, mine.mean(dim=0))
    found.sum().backward()
    assert hidden.grad is not None and not hidden.grad[:, 8:].any() and hidden.grad[:, :8].isfinite().all()
    assert float(hidden.grad.sum()) == pytest.approx(len(row) * 5)


def test_means_are_taken_in_float32_and_come_back_in_the_dtype_of_the_states() -> None:
    hidden = torch.full((1, 300, 2), 1.0, dtype=torch.bfloat16)
    hidden[0, 0] = 256.0  # a bfloat16 sum would stop counting here
    row, length = torch.tensor([0]), torch.tensor([300])
    found = pooled(hidden, row, length - 1, length, config("mean"))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), torch.full((1, 2), 555 / 300), atol=1e-2, rtol=0)


@pytest.mark.parametrize("pooling", WAYS)
def test_config_json_keeps_it(pooling: str) -> None:
    said = to_hf_config(config(pooling))
    assert ("classifier_pooling" in said) == (pooling != "last")
    assert ("classifier_pool_tokens" in said) == (pooling == "last_k")
    back = from_hf_config(said)
    assert (back.pooling, back.pool_tokens) == (pooling, WAYS[pooling])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="requires pool_tokens"):
        ModelConfig.parse({"pooling": "last_k"})
    with pytest.raises(ConfigError, match="pool_tokens requires pooling 'last_k'"):
        ModelConfig.parse({"pooling": "mean", "pool_tokens": 3})
    with pytest.raises(InputError, match="pooling"):
        from_hf_config({**to_hf_config(config("mean")), "classifier_pooling": "cls"})
