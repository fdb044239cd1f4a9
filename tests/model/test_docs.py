"""The page on architectures says what the code does: its table is the registry's, its worked example works."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
import torch

from family_configs import SIZES
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FAMILIES, FamilyConfig
from tutelage.model.families.table import family_table
from tutelage.model.io import load_model, save_model

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_table_is_the_registrys() -> None:
    assert family_table() in PAGE


def test_the_worked_example_is_a_family(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    heron = types.ModuleType("heron")
    monkeypatch.setitem(sys.modules, "heron", heron)
    exec(compile(code, "docs/architecture.md", "exec"), heron.__dict__)
    monkeypatch.setitem(FAMILIES, "heron", heron.FAMILY)
    config = FamilyConfig.parse({**SIZES, "family": "heron", "sliding_window": 5})
    assert config.norm_place == "post" and config.activation == "relu2" and not config.gated
    model = DecoderLM(config, seed=1).eval()
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == config
    text = torch.arange(12)[None]
    assert torch.equal(again(text), model(text))
