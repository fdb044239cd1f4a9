"""Saving over what is there: the new weights count, the old ones go, everything else stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tutelage.inference.language_model import LanguageModel, load
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model, save_model, weights_identity
from tutelage.store.errors import InputError


def marked(config: ModelConfig, value: float) -> DecoderLM:
    model = DecoderLM(config, seed=1)
    with torch.no_grad():
        model.norm.weight.fill_(value)
    return model


@pytest.mark.parametrize(("first", "second"), [(10**9, 10**9), (4000, 10**9), (10**9, 4000), (4000, 9000)])
def test_the_last_save_counts(first: int, second: int, tiny: ModelConfig, tmp_path: Path) -> None:
    save_model(marked(tiny, 1.0), tmp_path, first)
    save_model(marked(tiny, 7.0), tmp_path, second)
    assert load_model(tmp_path).norm.weight.unique().tolist() == [7.0]
    alone = tmp_path / "alone"
    save_model(marked(tiny, 7.0), alone, second)
    names = {path.name for path in tmp_path.iterdir()} - {"alone"}
    assert names == {path.name for path in alone.iterdir()}  # nothing of the first is left


def test_a_save_by_the_api_over_a_sharded_directory(lm: LanguageModel, tmp_path: Path) -> None:
    save_model(marked(lm.model.config, 1.0), tmp_path, 4000)
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "chat_template.jinja").write_text("of the model before")
    lm.save(tmp_path)
    again = load(tmp_path)
    assert torch.equal(again.model.norm.weight, lm.model.norm.weight)
    assert again.tokenizer.chat_template == lm.tokenizer.chat_template
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_the_config_of_another_program_is_kept(tiny: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"port": 8080}')
    with pytest.raises(InputError, match="no model's config"):
        save_model(marked(tiny, 1.0), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {"port": 8080}
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_the_identity_is_of_all_weight_files(tiny: ModelConfig, tmp_path: Path) -> None:
    for name, limit in (("one", 10**9), ("many", 4000)):
        save_model(marked(tiny, 1.0), tmp_path / name, limit)
        before = weights_identity(tmp_path / name)
        assert before == weights_identity(tmp_path / name)
        save_model(marked(tiny, 2.0), tmp_path / name, limit)
        assert weights_identity(tmp_path / name) != before
