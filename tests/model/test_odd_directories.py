"""Model directories with something missing: the error says what, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model, save_model
from tutelage.store.errors import DamagedError, InputError, TutelageError


@pytest.fixture
def directory(tiny: ModelConfig, tmp_path: Path) -> Path:
    save_model(DecoderLM(tiny, seed=1), tmp_path)
    return tmp_path


def refused(directory: Path) -> TutelageError:
    with pytest.raises((InputError, DamagedError)) as error:
        load_model(directory)
    return error.value


def test_a_head_that_is_shared_but_not_said_to_be(directory: Path):
    weights = load_file(directory / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, directory / "model.safetensors")
    assert '"tie_word_embeddings": true' in (refused(directory).hint or "")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    assert load_model(directory).config.tie_word_embeddings


def test_shards_without_their_index_and_an_index_without_a_shard(tiny: ModelConfig, tmp_path: Path):
    save_model(DecoderLM(tiny, seed=1), tmp_path, 4000)
    index = tmp_path / "model.safetensors.index.json"
    kept = index.read_bytes()
    index.unlink()
    assert "model.safetensors.index.json, which is missing" in (refused(tmp_path).hint or "")
    index.write_bytes(kept)
    last = sorted(tmp_path.glob("*.safetensors"))[-1]
    last.unlink()
    error = refused(tmp_path)
    assert last.name in error.message and "get the files of the model again" in (error.hint or "")


def test_weights_that_are_cut_short(directory: Path):
    whole = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(whole[:-100])
    assert "cut short" in (refused(directory).hint or "")


def test_a_config_that_names_no_family(directory: Path):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "model_type": None}))
    assert "lacks 'model_type'" in refused(directory).message
