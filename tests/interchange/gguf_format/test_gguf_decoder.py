"""GGUF files of every architecture become our decoder, and go back: weights bit for bit, and llama.cpp agrees."""

from __future__ import annotations

from pathlib import Path

import gguf_samples as samples
import pytest
import torch

from tutelage.interchange.export import export_gguf, export_model
from tutelage.interchange.gguf.load import read_gguf
from tutelage.interchange.gguf.writer import write_gguf
from tutelage.model.hf_config import to_hf_config
from tutelage.model.io import hf_weights
from tutelage.store.events import EventLog


@pytest.mark.parity
@pytest.mark.parametrize("name", samples.CONFIGS)
def test_every_architecture_becomes_our_decoder(name: str, tmp_path: Path, log: EventLog) -> None:
    config = samples.CONFIGS[name]
    weights = samples.random_weights(config)
    write_gguf(tmp_path / "a.gguf", config, weights, samples.bpe_tokenizer(), "f32")
    model, tok = read_gguf(tmp_path / "a.gguf")
    ours = dict(hf_weights(model))
    assert ours.keys() <= weights.keys()
    for key, value in ours.items():
        if "gemma" in name and "norm" in key:  # stored with 1 added, which rounds
            torch.testing.assert_close(value, weights[key], rtol=0, atol=2e-7)
        else:
            assert torch.equal(value, weights[key]), key
    written = export_gguf(model, tok, tmp_path / "b.gguf", log, "f32")
    assert written["parity"]["passed"] is not False, written
    assert read_gguf(tmp_path / "b.gguf")[0].config == model.config
    assert to_hf_config(model.config)["model_type"] == config["model_type"]
    result = export_model(model, tok, tmp_path / "hf", log)
    assert result["parity"]["passed"] is not False, result
