"""A config is plain data; families complete and check it; what is changed is validated; nothing imports in a circle."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path
from typing import Any

import pytest
import torch

import tutelage.model
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.hf_config import from_hf_config, to_hf_config
from tutelage.model.io import load_model, save_model
from tutelage.store.errors import ConfigError, InputError

SMALL: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
}  # fmt: skip
ROOT = Path(next(iter(tutelage.model.__path__)))


def imports(path: Path) -> set[str]:
    """Modules of `model/` that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if _file(name)} or {node.module}
    return {name for name in found if name.startswith("tutelage.model.")}


def _file(name: str) -> bool:
    place = ROOT.joinpath(*name.split(".")[2:])
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def test_no_module_imports_itself_over_others() -> None:
    graph = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(("tutelage.model", *(part for part in parts if part != "__init__")))
        graph[name] = imports(path)
    assert graph["tutelage.model.config"] == set() and len(graph) > 40
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_a_plain_config_is_what_it_says_and_a_familys_has_its_parts() -> None:
    assert ModelConfig(**SMALL).family == "custom" and ModelConfig(**SMALL).qk_norm == "none"
    assert FamilyConfig(**SMALL).family == "qwen3" and FamilyConfig(**SMALL).qk_norm == "head"
    assert FamilyConfig(**SMALL, family="gemma2").norm_place == "sandwich"


def test_custom_parts_are_saved_and_come_back(tmp_path: Path) -> None:
    config = ModelConfig(**SMALL, norm_place="sandwich", qk_norm="layer")
    model = DecoderLM(config, seed=1)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config.plain() == config.plain()
    ids = torch.arange(9)[None]
    assert torch.equal(again(ids), model(ids))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"family": "qwen3"}, "family 'qwen3' cannot have qk_norm='none'"),
        ({"family": "llama", "parallel_residual": True}, "family 'llama' cannot have parallel_residual=True"),
        ({"family": "lama"}, "family 'lama' is not known; did you mean 'llama'"),
    ],
)
def test_what_a_family_cannot_say_is_never_written_in_its_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        to_hf_config(ModelConfig(**SMALL, **given))
    if given["family"] == "llama":
        with pytest.raises(ConfigError, match=says):
            FamilyConfig.parse({**SMALL, **given})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_heads": 5}, "must be a multiple of num_kv_heads"),
        ({"labels": ("a",), "num_labels": 2}, "1 labels are named but num_labels is 2"),
        ({"max_position_embeddings": 1}, "max_position_embeddings"),
        ({"num_label": 2}, "unknown key 'num_label'"),
        ({"qk_norm": "none"}, "family 'qwen3' cannot have qk_norm"),
    ],
)
def test_a_change_is_validated(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        FamilyConfig(**SMALL).with_(**changes)


def test_a_change_keeps_the_rest() -> None:
    config = FamilyConfig(**SMALL, family="gemma3", eos_token_id=(1, 2))
    changed = config.with_(num_labels=2, labels=("x", "y"), max_position_embeddings=32)
    assert changed.labels == ("x", "y") and type(changed) is FamilyConfig
    assert {**changed.plain(), "num_labels": 0, "labels": [], "max_position_embeddings": 256} == config.plain()
    assert config.with_() == config
    # Another family brings its own parts.
    assert config.with_(family="qwen3") == FamilyConfig(**SMALL, eos_token_id=(1, 2))
    read = from_hf_config(to_hf_config(changed))
    assert isinstance(read, FamilyConfig) and read.labels == ("x", "y")
