"""Saving over what is there: the new weights count, the old ones go, everything else stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from killed import in_killed_process
from tutelage.inference.language_model import LanguageModel, load
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
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


@pytest.mark.parametrize(("first", "second"), [(20_000, 20_000), (20_000, 10**9), (10**9, 10**9)])
def test_a_killed_save_leaves_one_model_whole(first: int, second: int, tiny: ModelConfig, tmp_path: Path) -> None:
    """Of two models of different depth: before, weights of both came back together, or a config without its weights."""
    seen = set()
    for moment in range(200):
        save_model(marked(tiny, 1.0), tmp_path / str(moment), first)
        other = FamilyConfig.parse({**tiny.plain(), "num_layers": tiny.num_layers + (second > 20_000)})
        status = in_killed_process(
            moment, lambda moment=moment, other=other: save_model(marked(other, 7.0), tmp_path / str(moment), second)
        )
        seen |= set(load_model(tmp_path / str(moment)).norm.weight.unique().tolist())
        if status == 0:
            break
    assert seen == {1.0, 7.0} and status == 0


def test_a_save_removes_what_it_supersedes_and_nothing_else(lm: LanguageModel, tmp_path: Path) -> None:
    save_model(marked(lm.model.config, 1.0), tmp_path, 4000)
    stale = ["special_tokens_map.json", "vocab.json", "adapter_config.json", "adapter_model.safetensors"]
    stale += ["pytorch_model.bin", "tokenizer.json"]
    kept = ["notes.md", "model.bin", "optimizer.bin", "README.md", "src/app.py"]
    (tmp_path / "src").mkdir()
    for name in (*stale, *kept):
        (tmp_path / name).write_text('{"bos_token": "zzz"}')
    lm.save(tmp_path)
    lm.save(tmp_path / "alone")
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    alone = {path.name for path in (tmp_path / "alone").iterdir()}
    assert there == alone | set(kept) | {f"alone/{name}" for name in alone}
    assert load(tmp_path).tokenizer.special_tokens == lm.tokenizer.special_tokens


def test_files_of_no_model_are_not_superseded(tiny: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_text("mine")
    (tmp_path / "model-00001-of-00002.safetensors").write_text("mine")
    save_model(marked(tiny, 1.0), tmp_path)
    assert (tmp_path / "pytorch_model.bin").read_text() == "mine"
    assert (tmp_path / "model-00001-of-00002.safetensors").read_text() == "mine"


def test_an_adapter_that_lies_alone_is_kept(tiny: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="contains an adapter"):
        save_model(marked(tiny, 1.0), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_config.json"]


def test_the_config_of_another_program_is_kept(tiny: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"port": 8080}')
    with pytest.raises(InputError, match="not a model config"):
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


@pytest.mark.parametrize("limit", [10**9, 4000])
def test_weights_are_as_readable_as_any_other_file(limit: int, tiny: ModelConfig, tmp_path: Path) -> None:
    """safetensors 0.8 makes files for their owner alone: a server under another user could not open the model."""
    save_model(marked(tiny, 1.0), tmp_path, limit)
    (tmp_path / "any").write_text("")
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "any").stat().st_mode}
