"""More rows for the embedding and the head: the mean of what they stand for, everything else as it was."""

from __future__ import annotations

import pytest
import torch

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.extend import extend_embeddings
from tutelage.model.io import load_model, save_model

PIECES = {64: (3, 5), 65: (7, 7, 2)}


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_means_and_old_logits_stay(tiny: ModelConfig, tied: bool) -> None:
    model = DecoderLM(tiny.with_(tie_word_embeddings=tied), seed=1).eval()
    tokens = torch.arange(20)[None]
    before, embedding, head = model(tokens), model.embed_tokens.weight.clone(), model.head_weight.clone()
    extend_embeddings(model, PIECES)
    assert model.config.vocab_size == 66 and model.embed_tokens.weight.shape[0] == 66
    after = model(tokens)
    torch.testing.assert_close(after[..., :64], before, rtol=1e-5, atol=1e-6)  # a product of another width rounds anew
    for weight, old in ((model.embed_tokens.weight, embedding), (model.head_weight, head)):
        assert torch.equal(weight[:64], old)
        for index, pieces in PIECES.items():
            torch.testing.assert_close(weight[index], old[list(pieces)].mean(0))
    # A new token's logit is the mean of its pieces' logits, since the head is linear.
    torch.testing.assert_close(after[..., 64], before[..., [3, 5]].mean(-1), rtol=1e-4, atol=1e-5)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_padded_vocabulary_is_filled_first(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny, seed=1)
    extend_embeddings(model, {60: (1, 2)})
    assert model.config.vocab_size == 64 and len(model.embed_tokens.weight) == 64
    torch.testing.assert_close(model.embed_tokens.weight[60], model.embed_tokens.weight[[1, 2]].mean(0))


@pytest.mark.parity
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_computes_the_same(tiny: ModelConfig, tied: bool, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    model = DecoderLM(tiny.with_(tie_word_embeddings=tied), seed=1).eval()
    extend_embeddings(model, PIECES)
    save_model(model, tmp_path)
    tokens = torch.tensor([[64, 1, 65, 63, 65]])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert theirs.config.vocab_size == 66
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, model(tokens), rtol=1e-4, atol=1e-5)
        assert torch.equal(load_model(tmp_path)(tokens), model(tokens))
