"""Adoption: a model from elsewhere in the place of tokenizer and pretraining."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tutelage.inference.language_model import LanguageModel
from tutelage.interchange.adopt import adopt
from tutelage.interchange.config import AdoptConfig
from tutelage.interchange.export import export_gguf
from tutelage.interchange.source import open_model
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.io import load_model
from tutelage.recipe.config import Recipe, load_recipe
from tutelage.recipe.plan import plan
from tutelage.store.artifacts import ArtifactStore
from tutelage.store.errors import ConfigError, DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer

ADOPT = Path(__file__).parents[2] / "recipes" / "adopt.yaml"


@pytest.fixture
def source(tokenizer: Tokenizer, tmp_path: Path, log: EventLog) -> Path:
    config = FamilyConfig(family="llama", vocab_size=288, hidden_size=32, intermediate_size=64, num_layers=1)
    export_gguf(DecoderLM(config, seed=1), tokenizer, tmp_path / "model.gguf", log, "f32")
    return tmp_path / "model.gguf"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in ("train", "heldout"):
        texts = [f"{name} text number {index}, with an é and a 🎉." for index in range(40)]
        pq.write_table(pa.table({"text": texts}), tmp_path / f"{name}.parquet")
    return tmp_path


def test_the_adopted_model_is_the_base(source: Path, tmp_path: Path, tokenizer: Tokenizer, log: EventLog) -> None:
    said = adopt(AdoptConfig(source=str(source), context_length=64), tmp_path / "base", log)
    base = load_model(tmp_path / "base")
    assert said["parameters"] == base.num_parameters() and said["adopted"] == str(source)
    assert base.config.max_position_embeddings == said["context"] == 64
    assert Tokenizer.load(tmp_path / "base").encode("Größe") == tokenizer.encode("Größe")
    assert json.loads((tmp_path / "base" / "adopt.json").read_text()) == {"source": str(source), "chat": True}
    assert torch.isfinite(base(torch.arange(8)[None])).all()


def test_a_model_with_weights_that_are_no_numbers_is_not_adopted(
    source: Path, tmp_path: Path, tokenizer: Tokenizer, log: EventLog
) -> None:
    model = DecoderLM(open_model(str(source), log)[0].config, seed=1)
    with torch.no_grad():
        model.norm.weight[3] = float("nan")
    LanguageModel(model, tokenizer).save(tmp_path / "damaged")
    with pytest.raises(DamagedError, match=r"weight norm\.weight is not finite"):
        adopt(AdoptConfig(source=str(tmp_path / "damaged")), tmp_path / "base", log)
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("path", ["/nowhere/model", "./model", "~/no/such/model", "a/b/c"])
def test_a_model_that_is_not_there_is_missed_before_anything_runs(path: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Some text.")
    recipe = load_recipe(ADOPT, [f"base.source={path}", f"corpus.source={tmp_path}"])
    with pytest.raises(ConfigError, match=r"base.source: .* does not exist"):
        plan(recipe, ArtifactStore(tmp_path / "store"))
    with pytest.raises(InputError, match="does not exist"):
        adopt(AdoptConfig(source=path), tmp_path / "base", EventLog())


@pytest.mark.parametrize("section", ["tokenizer.vocab_size=4096", "model.num_layers=2"])
def test_what_the_model_brings_cannot_be_set_too(section: str) -> None:
    with pytest.raises(ConfigError, match="leave out the section"):
        load_recipe(ADOPT, [section])


def test_the_content_of_the_adopted_file_decides_what_runs_again(source: Path, tmp_path: Path) -> None:
    def identities() -> dict[str, Any]:
        recipe = load_recipe(ADOPT, [f"base.source={source}", f"corpus.source={tmp_path}/text.txt"])
        return {each.stage: each.identity for each in plan(recipe, ArtifactStore(tmp_path / "store"))}

    (tmp_path / "text.txt").write_text("Some text.")
    before = identities()
    assert before == identities()
    source.write_bytes(source.read_bytes() + b"\0")
    after = identities()
    assert {name for name in before if before[name] != after[name]} >= {"base", "classify", "instruct"}
    assert before["corpus"] == after["corpus"]


def test_where_a_model_lies_does_not_matter(source: Path, tmp_path: Path) -> None:
    def identity(path: Path) -> str | None:
        recipe = Recipe.parse({"base": {"source": str(path)}})
        return plan(recipe, ArtifactStore(tmp_path / "store"))[0].identity

    before = identity(source)
    assert identity(source.rename(tmp_path / "elsewhere.gguf")) == before
