"""Products in 8-bit floats, emulated on the CPU: it trains as float32 does, and leaves the model as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from small_run import config, objective

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.training import setup
from tutelage.training.float8 import use_float8
from tutelage.training.loop import train


def test_it_trains_nearly_as_float32_does_and_leaves_plain_layers(
    tiny: ModelConfig, tmp_path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "check_float8", lambda device: None)
    finals = {}
    for precision in ("float32", "float8"):
        model = DecoderLM(tiny)
        settings = config(steps=40, precision=precision)
        finals[precision] = train(model, objective(), settings, tmp_path / precision, log, 1).final["loss"]
        assert type(model.layers[0].mlp.up_proj) is torch.nn.Linear
    assert finals["float8"] != finals["float32"]
    assert finals["float8"] == pytest.approx(finals["float32"], rel=0.05)


def test_only_products_inside_the_blocks_that_fit_are_replaced(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny.model_copy(update={"intermediate_size": 40, "tie_word_embeddings": False}))
    names = list(model.state_dict())
    use_float8(model, emulate=True)
    replaced = {name for name, module in model.named_modules() if type(module).__name__ == "Float8Linear"}
    assert replaced == {f"layers.{block}.attention.{side}_proj" for block in (0, 1) for side in "qkvo"}
    assert list(model.state_dict()) == names


def test_a_machine_without_it_and_a_missing_package_are_said(
    tiny: ModelConfig, tmp_path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="requires a GPU"):
        train(DecoderLM(tiny), objective(), config(precision="float8", device="cpu"), tmp_path, log, 1)
    monkeypatch.setitem(sys.modules, "torchao.float8", None)
    with pytest.raises(ConfigError, match=r"tutelage\[float8\]"):
        use_float8(DecoderLM(tiny))
