"""Every family against transformers, in and out of the Hugging Face layout, and what must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from family_configs import CASES, CONFIGS, fields
from tutelage.model.cache import KVCache
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FAMILIES, FamilyConfig, differing
from tutelage.model.io import load_model, save_model
from tutelage.store.errors import DamagedError, InputError, TutelageError

from .test_contracts import lively, tokens


@torch.no_grad()
def greedy(model: DecoderLM, prompt: Tensor, count: int) -> Tensor:
    cache = KVCache.empty(model.config, len(prompt), prompt.shape[1] + count, torch.float32, torch.device("cpu"))
    text, at = prompt, 0
    for _ in range(count):
        new = text[:, at:]
        places = torch.arange(at, text.shape[1]).expand(len(text), -1)
        at = text.shape[1]
        following = model.logits(model.hidden(new, places, None, cache)[:, -1:]).argmax(-1)
        text = torch.cat([text, following], 1)
    return text


def test_every_family_has_odd_configs() -> None:
    assert set(CONFIGS) == set(FAMILIES) - {"custom"}


@pytest.mark.parity
@pytest.mark.parametrize(("family", "index"), CASES)
def test_it_computes_what_transformers_computes(family: str, index: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    model = lively(fields(family, index))
    save_model(model, tmp_path)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info.values()), info
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [type(theirs).__name__]
    text = tokens(2, 23)
    with torch.no_grad():
        expected, got = theirs.eval()(text).logits, model(text)
    # The delta rule is solved chunk by chunk, theirs by another order of sums.
    tolerance = 5e-5 if family == "qwen3_next" else 1e-5
    assert float((got - expected).abs().max()) < tolerance * float(expected.abs().max())
    generated = theirs.generate(text[:, :11], max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert torch.equal(greedy(model, text[:, :11], 20), generated)


@pytest.mark.parity
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_it_reads_what_transformers_writes(family: str, tmp_path: Path) -> None:
    """A directory that transformers saved, with the config it fills up by its own defaults."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    save_model(lively(fields(family, 0)), tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists()
    a, b = load_model(tmp_path / "ours"), load_model(tmp_path / "theirs")
    assert a.config == b.config
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize(("family", "index"), CASES)
@pytest.mark.parametrize("shard_bytes", [10**9, 9000])
def test_out_and_in_again_is_the_same_model(family: str, index: int, shard_bytes: int, tmp_path: Path) -> None:
    model = lively(fields(family, index))
    save_model(model, tmp_path, shard_bytes)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard_bytes < 10**9)
    again = load_model(tmp_path)
    assert again.config == model.config
    state = again.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in again.parameters())
    storages = {value.untyped_storage().data_ptr() for value in state.values()}
    assert len(storages) == len(state)  # no two weights in one piece of memory


def test_custom_models_go_out_and_in_too(tmp_path: Path) -> None:
    from .test_contracts import drawn

    for seed in range(24):
        model = lively(drawn(seed))
        save_model(model, tmp_path / str(seed))
        again = load_model(tmp_path / str(seed))
        assert again.config == model.config
        assert torch.equal(again(tokens(1, 9)), model(tokens(1, 9)))


def saved(directory: Path, family: str = "llama") -> Path:
    save_model(lively(fields(family, 0)), directory)
    return directory


def edit(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_bare_models_names_are_understood(tmp_path: Path) -> None:
    """Checkpoints of GPT-2 and others on the hub lack the prefix of the whole model, and carry mask buffers."""
    directory = saved(tmp_path, "gpt2")
    whole = load_model(directory)
    weights = load_file(directory / "model.safetensors")
    bare = {name.removeprefix("transformer."): value for name, value in weights.items()}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    save_file(bare, directory / "model.safetensors")
    assert torch.equal(load_model(directory)(tokens(1, 5)), whole(tokens(1, 5)))


def test_half_precision_is_read(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    weights = load_file(directory / "model.safetensors")
    save_file({name: value.bfloat16() for name, value in weights.items()}, directory / "model.safetensors")
    model = load_model(directory)
    assert model.embed_tokens.weight.dtype == torch.float32
    assert torch.equal(model.embed_tokens.weight, weights["model.embed_tokens.weight"].bfloat16().float())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "llamma"}, "llamma"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_size": None}, "config.json"),
        ({"num_hidden_layers": 4}, "missing"),
        ({"num_hidden_layers": 2}, "unexpected"),
        ({"vocab_size": 10**12}, "shape"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"intermediate_size": 49}, "shape"),
        ({"hidden_act": "swoosh"}, "swoosh"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"rope_parameters": {"rope_type": "magic"}}, "magic"),
    ],
)
def test_a_wrong_config_is_one_clear_error(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    directory = saved(tmp_path)
    edit(directory, **change)
    with pytest.raises(TutelageError) as error:
        load_model(directory)
    assert says in f"{error.value.message} {error.value.hint}"


def test_a_config_without_a_key_it_needs(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    path = directory / "config.json"
    data = json.loads(path.read_text())
    del data["hidden_size"]
    path.write_text(json.dumps(data))
    with pytest.raises(DamagedError, match="hidden_size"):
        load_model(directory)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_config_that_is_no_json_object(content: bytes, tmp_path: Path) -> None:
    directory = saved(tmp_path)
    (directory / "config.json").write_bytes(content)
    with pytest.raises(DamagedError):
        load_model(directory)


def test_integers_are_no_weights(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    weights = load_file(directory / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].to(torch.int8)
    save_file(weights, directory / "model.safetensors")
    with pytest.raises(DamagedError, match=r"model\.norm\.weight"):
        load_model(directory)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_a_cut_file_is_damaged(keep: int, tmp_path: Path) -> None:
    path = saved(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedError):
        load_model(tmp_path)


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    (saved(tmp_path) / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match="safetensors") as error:
        load_model(tmp_path)
    assert "pickle" in str(error.value.hint)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "model.bin", "gone.safetensors"])
def test_an_index_names_only_files_beside_it(name: str, tmp_path: Path) -> None:
    directory = saved(tmp_path / "model")
    (tmp_path / "model.safetensors").write_bytes((directory / "model.safetensors").read_bytes())
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(InputError):
        load_model(directory)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"family": "qwen33"}, "qwen3"),
        ({"family": "llama", "attention_sinks": True}, "attention_sinks"),
        ({"family": "gpt2", "num_heads": 4, "num_kv_heads": 2}, "num_kv_heads"),
        ({"family": "qwen3", "layer_types": ("sliding",)}, "sliding_window"),
        ({"family": "custom", "layer_types": ("delta",)}, "delta"),
    ],
)
def test_what_a_family_cannot_be_is_said_before_anything_is_built(given: dict[str, Any], says: str) -> None:
    with pytest.raises(TutelageError) as error:
        FamilyConfig.parse({"vocab_size": 64, **given})
    assert says in f"{error.value.message} {error.value.hint}"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_section_that_names_a_family_is_that_family(family: str) -> None:
    """As in a recipe (`model: {family: gemma2}`): what the default's other parts say does not hold for it."""
    default = FamilyConfig()
    sizes = {"num_kv_heads": default.num_heads}  # gpt2 and gpt_neox group no queries
    changed = FamilyConfig.parse(default.completed({"family": family, **sizes}))
    assert differing(changed, FamilyConfig.parse({"family": family, **sizes})) == []


def test_another_family_brings_its_own_parts() -> None:
    default = FamilyConfig.parse({})
    assert default.qk_norm == "head"
    changed = FamilyConfig.parse(default.completed({"family": "llama"}))
    assert changed.family == "llama" and changed.qk_norm == "none"
