"""Quality by a small model: the bits that it needs are those of its logits, whatever stands beside a text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tutelage.corpus.selection.evidence import likelihood
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import save_model
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.train import train


def test_bits_per_byte_are_those_of_the_model(tmp_path: Path) -> None:
    tok = train(TokenizerConfig(method="byte", vocab_size=259), ["text"], EventLog())
    shape = ModelConfig(vocab_size=259, hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=2, eos_token_id=(0,))
    model = DecoderLM(shape, seed=3).eval()
    save_model(model, tmp_path)
    tok.save(tmp_path)
    texts = ["a text", "a much longer text than the first", "", "é"]
    found = likelihood(texts, str(tmp_path), lambda done: None)
    for text, value in zip(texts, found, strict=True):
        if not text:
            assert value == min(found)
            continue
        ids = torch.tensor([[tok.start_id, *tok.encode(text)]])
        with torch.no_grad():
            logits = model(ids[:, :-1])
        logprobs = logits.log_softmax(-1).gather(2, ids[:, 1:, None])
        assert value == pytest.approx(float(logprobs.sum()) / math.log(2) / len(text.encode()), rel=1e-4)
    with pytest.raises(ConfigError, match="no model directory"):
        likelihood(texts, str(tmp_path / "nothing"), lambda done: None)
