"""Adapters in PEFT's layout: read by PEFT, read from PEFT, and nothing in a config passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tutelage.interchange.peft import load_adapter, save_adapter
from tutelage.interchange.peft_base import strange_base
from tutelage.interchange.peft_layout import require_sites
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.io import save_model
from tutelage.model.lora import Adapter, LoraConfig, add_lora, lora_layers, lora_state, merge_lora, place_adapters
from tutelage.store.errors import DamagedError, InputError

IDS = torch.arange(3, 27).reshape(2, 12) % 64
Q0, Q1 = "layers.0.attention.q_proj", "layers.1.attention.q_proj"


def make(tiny: ModelConfig, **changes: object) -> DecoderLM:
    return DecoderLM(FamilyConfig.parse({**tiny.completed({"pad_token_id": 0, **changes})}), seed=1).eval()


def shake(model: torch.nn.Module) -> None:
    """Values that a trained adapter could have, so that nothing is hidden by zeros."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "score" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def adapted(tiny: ModelConfig, lora: dict[str, Any] | None = None, **changes: object) -> DecoderLM:
    model = make(tiny, **changes)
    add_lora(model, LoraConfig.parse({"rank": 4, "alpha": 8, **(lora or {})}), seed=2)
    shake(model)
    return model


@pytest.fixture
def written(tiny: ModelConfig, tmp_path: Path) -> Path:
    save_adapter(adapted(tiny), tmp_path / "a", "some-base")
    return tmp_path / "a"


def edit(directory: Path, **changes: object) -> None:
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_layout(written: Path) -> None:
    config = json.loads((written / "adapter_config.json").read_text())
    assert (config["peft_type"], config["task_type"], config["r"], config["lora_alpha"]) == ("LORA", "CAUSAL_LM", 4, 8)
    assert config["target_modules"] == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])  # fmt: skip
    assert config["base_model_name_or_path"] == "some-base" and list(config) == sorted(config)
    state = load_file(written / "adapter_model.safetensors")
    assert state["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"].shape == (4, 32)
    assert state["base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"].shape == (32, 4)
    assert len(state) == 2 * 2 * 7


UNEVEN = {Q0: Adapter(2, 4.0), Q1: Adapter(3, 4.0), "layers.1.mlp.up_proj": Adapter(2, 1.5)}


@pytest.mark.parametrize("kind", [{}, {"rslora": True}, {"dora": True, "dropout": 0.25}, {"layers": [1]}, "uneven"])
@pytest.mark.parametrize("labels", [0, 3])
def test_what_is_written_reads_back_the_same(
    tiny: ModelConfig, tmp_path: Path, kind: dict[str, Any] | str, labels: int
) -> None:
    if isinstance(kind, str):
        model = make(tiny, num_labels=labels)
        place_adapters(model, UNEVEN, seed=0)
        shake(model)
    else:
        model = adapted(tiny, kind, num_labels=labels)
    save_adapter(model, tmp_path / "a", "base")
    again = make(tiny, num_labels=labels)
    found = load_adapter(again, tmp_path / "a")
    assert found.base_model_name_or_path == "base"
    assert {path: layer.adapter for path, layer in lora_layers(again).items()} == {
        path: layer.adapter for path, layer in lora_layers(model).items()}  # fmt: skip
    assert torch.equal(model(IDS), again(IDS)) and not again.training
    assert all(torch.equal(value, lora_state(again)[name]) for name, value in lora_state(model).items())
    save_adapter(again, tmp_path / "b", found.base_model_name_or_path)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "lm_head .modules_to_save.*not supported.*merge_and_unload"),
        ({"modules_to_save": ["score", "embed_tokens"]}, "fully trained modules: embed_tokens"),
        ({"modules_to_save": ["score"]}, "no|none"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"loftq_config": {"loftq_bits": 4}}, "loftq_config.*not supported"),
        ({"trainable_token_indices": [1]}, "rows of the embedding.*trainable_token_indices.*merge_and_unload"),
        ({"lora_bias": True}, "lora_bias.*not supported"),
        ({"use_rslore": True}, "did you mean 'use_rslora'"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"target_parameters": ["mlp.experts.down_proj"]}, "no experts 'mlp.experts.down_proj'"),
        ({"r": 0}, "r:"),
        ({"r": 5}, "shape"),
        ({"use_dora": True}, "missing"),
        ({"rank_pattern": {"q_proj": 0}}, "rank 0"),
        ({"rank_pattern": {"q_proj": 2}}, "shape"),
        ({"target_modules": ["q_proj"]}, "unexpected"),
        ({"target_modules": ["nothing"]}, "names no module"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens is not supported"),
        ({"target_modules": None}, "names no module"),
        ({"target_modules": "(a+)+$"}, "too complex"),
        ({"target_modules": "(q_proj"}, "not a regular expression"),
        ({"layers_to_transform": [0]}, "unexpected"),
        ({"exclude_modules": ["k_proj"]}, "unexpected"),
        ({"lora_alpha": float("nan")}, "lora_alpha"),
    ],
)
def test_a_config_is_honoured_or_refused(tiny: ModelConfig, written: Path, changes: dict[str, Any], said: str) -> None:
    edit(written, **changes)
    model = make(tiny)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=said):
        load_adapter(model, written)
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_alpha_patterns_and_options_that_are_off_are_honoured(tiny: ModelConfig, written: Path) -> None:
    edit(written, alpha_pattern={"^model.layers.0.self_attn.q_proj": 1, r"layers\.1\..*q_proj": 2.5}, a_new_option=None)
    model = make(tiny)
    load_adapter(model, written)
    alphas = {path: layer.adapter.alpha for path, layer in lora_layers(model).items()}
    assert (alphas[Q0], alphas[Q1], alphas["layers.0.attention.k_proj"]) == (1, 2.5, 8)


@pytest.mark.parametrize("targets", ["all-linear", r".*\.(q|k|v|o|gate|up|down)_proj"])
def test_targets_in_one_string(tiny: ModelConfig, written: Path, targets: str) -> None:
    edit(written, target_modules=targets)
    model = make(tiny, tie_word_embeddings=False)
    load_adapter(model, written)
    assert len(lora_layers(model)) == 14


def test_damaged_and_odd_files(tiny: ModelConfig, written: Path, tmp_path: Path) -> None:
    weights = written / "adapter_model.safetensors"
    whole, state = weights.read_bytes(), load_file(weights)
    first = next(iter(state))
    faults: list[tuple[dict[str, torch.Tensor], type[Exception], str]] = [
        ({**state, "extra": torch.zeros(1)}, InputError, "extra"),
        ({key: value for key, value in state.items() if key != first}, InputError, "missing"),
        ({**state, first: state[first][:, :-1].contiguous()}, InputError, "shape"),
        ({**state, first: state[first].to(torch.int32)}, InputError, "dtype"),
        ({**state, first: state[first] * float("inf")}, InputError, "non-finite"),
    ]
    for content, error, said in faults:
        save_file(content, weights)
        with pytest.raises(error, match=said):
            load_adapter(make(tiny), written)
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match="cannot be read"):
        load_adapter(make(tiny), written)
    weights.rename(written / "adapter_model.bin")
    with pytest.raises(InputError, match="never opened"):
        load_adapter(make(tiny), written)
    (written / "adapter_config.json").write_text("{")
    with pytest.raises(DamagedError, match="not valid JSON"):
        load_adapter(make(tiny), written)
    with pytest.raises(InputError, match="no adapter"):
        load_adapter(make(tiny), tmp_path)


def test_an_adapter_of_another_shape_is_refused(tiny: ModelConfig, written: Path) -> None:
    with pytest.raises(InputError, match="shape"):
        load_adapter(make(tiny, intermediate_size=64), written)
    with pytest.raises(InputError, match="missing"):
        load_adapter(make(tiny, num_layers=3), written)
    model = adapted(tiny)
    with pytest.raises(InputError, match="already has"):
        load_adapter(model, written)
    merge_lora(model)
    with pytest.raises(InputError, match="no adapters"):
        save_adapter(model, written)


def test_what_is_not_rows_of_a_module_is_refused(tiny: ModelConfig) -> None:
    config = make(tiny, family="phi3").config
    assert require_sites(config, [Q0])[Q0].name == "model.layers.0.self_attn.qkv_proj"
    with pytest.raises(InputError, match="does not correspond to a module, or rows of one"):
        require_sites(config, ["layers.0.attention_norm.x"])


KINDS: list[dict[str, Any]] = [
    {},
    {"use_rslora": True, "target_modules": "all-linear"},
    {"use_dora": True, "layers_to_transform": [1]},
    {"rank_pattern": {"q_proj": 2, "model.layers.1.mlp.up_proj": 3}, "alpha_pattern": {"up_proj": 3},
     "target_modules": ["q_proj", "up_proj"]},
    {"target_modules": r".*\.layers\.1\..*(v|o)_proj"},
    {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": 0,
     "exclude_modules": ["layers.0.self_attn.q_proj"]},
]  # fmt: skip


def their_base(model: DecoderLM, directory: Path) -> Any:
    transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")
    save_model(model, directory)
    kind = "AutoModelForSequenceClassification" if model.config.num_labels else "AutoModelForCausalLM"
    return getattr(transformers, kind).from_pretrained(directory).eval()


@torch.no_grad()
def outputs(model: DecoderLM) -> torch.Tensor:
    return model.scores(model.hidden(IDS)[:, -1]) if model.config.num_labels else model(IDS)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, theirs.abs().max().item()))


@pytest.mark.parity
@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize(("family", "labels"), [("qwen3", 0), ("llama", 0), ("qwen3", 3)])
def test_adapters_made_by_peft(tiny: ModelConfig, tmp_path: Path, family: str, labels: int, kind: int) -> None:
    peft = pytest.importorskip("peft", reason="parity needs peft")
    model = make(tiny, family=family, num_labels=labels)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "down_proj"], **KINDS[kind]}
    theirs = peft.get_peft_model(
        their_base(model, tmp_path / "base"),
        peft.LoraConfig(task_type="SEQ_CLS" if labels else "CAUSAL_LM", **settings),
    ).eval()
    shake(theirs)
    theirs.save_pretrained(tmp_path / "adapter")
    before = outputs(model)
    found = load_adapter(model, tmp_path / "adapter")
    assert found.base_model_name_or_path == str(tmp_path / "base")
    with torch.no_grad():
        expected = theirs(IDS).logits
    assert close(outputs(model), expected) and not close(before, expected)
    merge_lora(model)
    assert close(outputs(model), expected)


@pytest.mark.parity
@pytest.mark.parametrize("kind", [{}, {"rslora": True, "layers": [1]}, {"dora": True}, "uneven"])
@pytest.mark.parametrize(("family", "labels"), [("qwen3", 0), ("llama", 0), ("llama", 3)])
def test_adapters_read_by_peft(
    tiny: ModelConfig, tmp_path: Path, family: str, labels: int, kind: dict[str, Any] | str
) -> None:
    peft = pytest.importorskip("peft", reason="parity needs peft")
    model = make(tiny, family=family, num_labels=labels)
    base = their_base(model, tmp_path / "base")
    if isinstance(kind, str):
        place_adapters(model, UNEVEN, seed=0)
    else:
        add_lora(model, LoraConfig.parse({"rank": 4, "alpha": 8, **kind}), seed=2)
    shake(model)
    save_adapter(model, tmp_path / "adapter", str(tmp_path / "base"))
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        assert close(outputs(model), theirs(IDS).logits)
    theirs.save_pretrained(tmp_path / "again")
    ours, again = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "again"))
    assert ours.keys() == again.keys() and all(torch.equal(ours[key], again[key]) for key in ours)
    one, two = (json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("adapter", "again"))
    for config in (one, two):  # PEFT keeps these without order, and names heads again at each load
        for key in ("target_modules", "modules_to_save"):
            config[key] = sorted(set(config[key] or ()))
    assert one == {key: two[key] for key in one}


def test_an_adapter_knows_the_weights_it_learned_beside(tiny: ModelConfig, written: Path) -> None:
    same = make(tiny)
    load_adapter(same, written)
    assert strange_base(same, written) is None
    rounded = make(tiny).to(torch.bfloat16)
    load_adapter(rounded, written)
    assert strange_base(rounded, written) is None
    other = DecoderLM(same.config, seed=7).eval()
    load_adapter(other, written)
    said = strange_base(other, written)
    assert said is not None and "was trained on other base weights" in said
    (written / "tutelage.json").unlink()  # an adapter from elsewhere does not say
    assert strange_base(other, written) is None


@pytest.mark.parametrize("lora", [{"init": "pissa"}, {"dora": True}, {"quantisation": "nf4"}])
def test_every_kind_of_adapter_knows_its_base(tiny: ModelConfig, lora: dict[str, Any], tmp_path: Path) -> None:
    save_adapter(adapted(tiny, lora), tmp_path / "a")
    same = make(tiny)
    load_adapter(same, tmp_path / "a")
    assert strange_base(same, tmp_path / "a") is None
