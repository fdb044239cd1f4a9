"""Precision: what `auto` means, that a run keeps it, and what holds in bfloat16 as it does in float32."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import config, objective, weights

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.norms import RMSNorm
from tutelage.store import device
from tutelage.store.errors import ConfigError, DamagedError
from tutelage.store.events import EventLog
from tutelage.training.loop import train
from tutelage.training.precision import resolve_precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.PRECISION_VARIABLE, raising=False)


@pytest.mark.parametrize(("gain", "chosen"), [(0.02, "float32"), (1.2, "float32"), (1.4, "bfloat16"), (7, "bfloat16")])
def test_auto_is_bfloat16_only_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, gain: float, chosen: str
) -> None:
    monkeypatch.setattr(device, "bfloat16_works", lambda name: True)
    monkeypatch.setattr(device, "_bfloat16_gain", lambda name: gain)
    found, why = device.auto_precision(CPU)
    assert found == chosen and f"{gain:.2g} times" in why
    assert device.choose_precision("auto", CPU) == getattr(torch, chosen)


def test_auto_is_float32_where_bfloat16_attention_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch does on a processor with AMX under ATEN_CPU_CAPABILITY=default, however fast its products are."""

    def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError("pack_vnni2 is only supported when avx512 is supported")

    monkeypatch.setattr(device, "_bfloat16_gain", lambda name: 9.0)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", refused)
    device.bfloat16_works.cache_clear()
    try:
        found, why = device.auto_precision(CPU)
    finally:
        device.bfloat16_works.cache_clear()
    assert found == "float32" and "does not work" in why


def test_the_gain_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[torch.dtype] = []

    def measure(seconds: float, size: int, name: str, dtype: torch.dtype) -> float:
        measured.append(dtype)
        return 2.0 if dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(device, "measure_gemm", measure)
    monkeypatch.setattr(device, "bfloat16_works", lambda name: True)
    device._bfloat16_gain.cache_clear()
    try:
        assert [device.auto_precision(CPU)[0] for _ in range(3)] == ["bfloat16"] * 3
        assert measured == [torch.float32, torch.bfloat16]
    finally:
        device._bfloat16_gain.cache_clear()


def test_a_variable_says_what_auto_means_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_bfloat16_gain", lambda name: pytest.fail("measured"))
    for name in ("float32", "bfloat16"):
        monkeypatch.setenv(device.PRECISION_VARIABLE, name)
        assert device.choose_precision("auto", CPU) == getattr(torch, name)
        assert device.choose_precision("float32", CPU) == torch.float32
    monkeypatch.setenv(device.PRECISION_VARIABLE, "float16")
    with pytest.raises(ConfigError, match="float16"):
        device.auto_precision(CPU)


def test_a_resumed_run_keeps_its_precision(
    tiny: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Begun in float32, killed, and resumed where `auto` means bfloat16: the same bits as without the kill."""
    heard: list[dict[str, Any]] = []
    log, auto = EventLog(listeners=(heard.append,)), config(precision="auto", checkpoint_seconds=0)
    straight, model = DecoderLM(tiny), DecoderLM(tiny)
    train(straight, objective(), config(checkpoint_seconds=0), tmp_path / "straight", EventLog(), 1)
    monkeypatch.setenv(device.PRECISION_VARIABLE, "float32")
    train(DecoderLM(tiny), objective(), auto, tmp_path / "work", log, 1)
    for path in sorted((tmp_path / "work/checkpoints").glob("step-*"))[1:]:  # as a kill would leave it
        path.rename(tmp_path / path.name)
    monkeypatch.setenv(device.PRECISION_VARIABLE, "bfloat16")
    train(model, objective(), auto, tmp_path / "work", log, 1)
    assert torch.equal(weights(model), weights(straight))
    said = [event["message"] for event in heard if "precision auto" in str(event.get("message"))]
    assert said == [
        "precision auto: float32 (set by TUTELAGE_PRECISION)",
        "precision auto: float32, as at the start of this run",
    ]


def test_what_is_asked_for_is_taken_and_a_damaged_record_is_named(tmp_path: Path, log: EventLog) -> None:
    assert resolve_precision("bfloat16", CPU, tmp_path, log) == "bfloat16" and not list(tmp_path.iterdir())
    (tmp_path / "precision.json").write_text(json.dumps({"precision": "float16"}))
    with pytest.raises(DamagedError, match="contains no valid precision"):
        resolve_precision("auto", CPU, tmp_path, log)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_bfloat16_run_learns_and_resumes_bit_for_bit(tiny: ModelConfig, tmp_path: Path, optimizer: str) -> None:
    settings = config(steps=40, precision="bfloat16", optimizer=optimizer, checkpoint_seconds=0, keep_checkpoints=30)
    straight, model = DecoderLM(tiny), DecoderLM(tiny, seed=99)
    expected = train(straight, objective(), settings, tmp_path, EventLog(), 1)
    losses = [point["loss"] for point in expected.curve if "loss" in point]
    assert losses[0] == pytest.approx(math.log(64), rel=0.03) and losses[-1] < 0.8 * losses[0]
    for path in (tmp_path / "checkpoints").glob("step-*"):
        if int(path.name[-2:]) > 21:
            path.rename(tmp_path / path.name)
    assert train(model, objective(), settings, tmp_path, EventLog(), 1).curve == expected.curve
    assert torch.equal(weights(model), weights(straight))


def test_bfloat16_microbatches_add_up_to_the_batch(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    """To 0.2 % of the loss: products of a microbatch round like those of a batch, weight gradients are summed apart."""
    finals = {}
    for accumulation in (1, 4):
        settings = config(steps=6, precision="bfloat16", accumulation=accumulation)
        curve = train(DecoderLM(tiny), objective(), settings, tmp_path / str(accumulation), log, 1).curve
        finals[accumulation] = [point["loss"] for point in curve if "loss" in point]
    assert finals[4] == pytest.approx(finals[1], rel=2e-3)


def test_a_norm_of_mixed_dtypes_is_computed_in_float32_and_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch warns of mixed dtypes once in a process, so what its kernel is given is looked at."""
    plain = torch.nn.functional.rms_norm

    def checked(x: torch.Tensor, shape: Any, weight: torch.Tensor, eps: float) -> torch.Tensor:
        assert x.dtype == weight.dtype
        return plain(x, shape, weight, eps)

    monkeypatch.setattr(torch.nn.functional, "rms_norm", checked)
    norm, x = RMSNorm(32, eps=1e-6), torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, 32))
        expected = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * norm.weight
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(norm(x), expected, atol=1e-6)
        low = x.bfloat16()
        mixed = norm(low)
    assert mixed.dtype == torch.bfloat16
    again = low.float() * torch.rsqrt(low.float().square().mean(-1, keepdim=True) + 1e-6) * norm.weight
    assert torch.equal(mixed, again.bfloat16()) or torch.allclose(mixed.float(), again, rtol=2**-8)
