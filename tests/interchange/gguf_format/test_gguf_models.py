"""Models in and out: config and weights come back, and what llama.cpp could not run is refused."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import gguf_samples as samples
import pytest
import torch
from gguf_samples import CONFIGS, LLAMA, array, describe, entry, gguf, random_weights, text

from tutelage.interchange.gguf.models import read_gguf_model
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.rope import llama3_factors, llama3_parameters
from tutelage.interchange.gguf.weights import Weight, to_gguf, to_hf
from tutelage.interchange.gguf.writer import write_gguf
from tutelage.store.errors import ConfigError, DamagedError, InputError


def written(tmp_path: Path, config: dict[str, Any], kind: Any = "f32") -> tuple[Path, dict[str, torch.Tensor], Any]:
    weights = random_weights(config)
    path = tmp_path / "model.gguf"
    summary = write_gguf(path, config, weights, samples.bpe_tokenizer(), kind)
    return path, weights, summary


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_comes_back(tmp_path: Path, name: str) -> None:
    path, weights, summary = written(tmp_path, CONFIGS[name])
    config, found = read_gguf_model(path)
    assert set(found) == set(weights) and len(found) == len(weights)
    exact = "gemma" not in name  # adding 1 to a norm weight rounds it
    for key, tensor in found.items():
        torch.testing.assert_close(tensor, weights[key], rtol=0, atol=0 if exact else 1e-6)
    for key, value in CONFIGS[name].items():
        if key == "rope_parameters":
            assert config[key] == pytest.approx(value) if "full_attention" not in value else config[key] == value
        else:
            assert config[key] == value, key
    assert config["eos_token_id"] == config["pad_token_id"] == 0
    assert summary["tensors"] == {"f32": len(GGUFFile.open(path).tensors)}
    assert summary["bytes"] == path.stat().st_size


def test_gemma_layer_types_default_to_the_published_pattern(tmp_path: Path) -> None:
    path, *_ = written(tmp_path, CONFIGS["gemma2"])
    assert read_gguf_model(path)[0]["layer_types"] == ["sliding_attention", "full_attention"]


def test_rows_of_a_head_are_reordered_as_llama_cpp_wants_them() -> None:
    # Two heads of four rows: row 1 of the file is row 2 of the head's first half's partner.
    weight = Weight("q", "attn_q", (8, 1), "rope", 2)
    rows = torch.arange(8.0)[:, None]
    assert to_gguf(weight, rows).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    wide = Weight("q", "attn_q", (6,), "rope", 1)
    assert to_gguf(wide, torch.arange(6.0)).tolist() == [0, 3, 1, 4, 2, 5]
    assert to_hf(wide, to_gguf(wide, torch.arange(6.0))).tolist() == [0, 1, 2, 3, 4, 5]


def test_gemma_norms_are_stored_with_one_added(tmp_path: Path) -> None:
    path, weights, _ = written(tmp_path, CONFIGS["gemma3"])
    stored = GGUFFile.open(path)
    torch.testing.assert_close(
        stored.tensor("blk.1.attn_k_norm.weight"), weights["model.layers.1.self_attn.k_norm.weight"] + 1
    )
    torch.testing.assert_close(stored.tensor("output_norm.weight"), weights["model.norm.weight"] + 1)


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0", "q4_0", "q4_1"])
def test_kinds(tmp_path: Path, kind: str) -> None:
    path, weights, summary = written(tmp_path, LLAMA, kind)
    stored = GGUFFile.open(path).tensors
    assert stored["blk.0.attn_q.weight"].kind.name.lower() == kind
    assert stored["blk.0.attn_norm.weight"].kind.name == "F32"
    assert stored["output.weight"].kind.name.lower() == ("q8_0" if kind.startswith("q4") else kind)
    assert summary["fallback"] == []
    found = read_gguf_model(path)[1]
    error = (found["lm_head.weight"] - weights["lm_head.weight"]).abs().max()
    assert 0 < error < 0.02
    attention = "model.layers.1.self_attn.k_proj.weight"
    assert 0 < (found[attention] - weights[attention]).abs().mean() < 0.04


def test_rows_that_fill_no_block_fall_back_to_f16_and_it_is_said(tmp_path: Path) -> None:
    config = {**LLAMA, "hidden_size": 40, "num_attention_heads": 4}
    path, _, summary = written(tmp_path, config, "q4_0")
    assert "model.layers.0.self_attn.q_proj.weight" in summary["fallback"]
    assert "model.layers.0.mlp.down_proj.weight" not in summary["fallback"]
    assert GGUFFile.open(path).tensors["blk.0.attn_q.weight"].kind.name == "F16"
    assert summary["tensors"]["q4_0"] == 4  # the two layers' down and output projections


def test_the_head_of_tied_embeddings_is_finer(tmp_path: Path) -> None:
    path, *_ = written(tmp_path, CONFIGS["qwen2"], "q4_1")
    tensors = GGUFFile.open(path).tensors
    assert "output.weight" not in tensors
    assert tensors["token_embd.weight"].kind.name == "Q8_0"


def test_metadata_llama_cpp_needs(tmp_path: Path) -> None:
    path, *_ = written(tmp_path, CONFIGS["llama-yarn"], "q8_0")
    metadata = GGUFFile.open(path).metadata
    expected = {
        "general.architecture": "llama",
        "general.file_type": 7,
        "general.quantization_version": 2,
        "llama.block_count": 2,
        "llama.context_length": 128,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 10000.0,
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 32,
    }
    assert {key: metadata.get(key) for key in expected} == expected


def test_equal_input_gives_equal_files(tmp_path: Path) -> None:
    digests = set()
    for turn in range(2):
        weights = list(random_weights(LLAMA).items())
        path = tmp_path / f"{turn}.gguf"
        write_gguf(path, LLAMA, weights[:: 1 if turn else -1], samples.bpe_tokenizer(), "q4_0")
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "'gpt2' cannot be written"),
        ({"model_type": None}, "None cannot be written"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope scaling"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial RoPE"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "beta_fast": 16}}, "rope scaling"),
        ({"model_type": "qwen2", "head_dim": 16}, "heads do not add up to hidden_size"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "classifier"),
        ({"model_type": "qwen2", "head_dim": 8, "use_sliding_window": True}, "sliding windows"),
        ({"model_type": "mistral", "sliding_window": 16}, "'mistral' cannot be written"),
        ({"model_type": "gemma", "hidden_activation": "gelu_pytorch_tanh"}, "tied"),
        ({**CONFIGS["gemma3"], "final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({**CONFIGS["gemma3"], "query_pre_attn_scalar": 99}, "query_pre_attn_scalar=99"),
        ({**CONFIGS["gemma3"], "layer_types": ["full_attention", *["sliding_attention"] * 3]}, "no regular pattern"),
        ({"vocab_size": 300}, "310 tokens, the model's vocabulary 300"),
    ],
)
def test_what_llama_cpp_would_not_run_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_gguf(tmp_path / "x.gguf", {**LLAMA, **change}, random_weights(LLAMA), samples.bpe_tokenizer())
    assert not list(tmp_path.iterdir())


def test_wrong_weights_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"what was there")
    good = random_weights(LLAMA)
    wrong = [
        ({k: v for k, v in good.items() if "norm" not in k}, "is missing"),
        ({**good, "model.layers.7.mlp.up_proj.weight": torch.zeros(1)}, "is unknown for this model"),
        ({**good, "model.norm.weight": torch.zeros(31)}, "has shape \\[31\\]"),
        ({**good, "lm_head.weight": good["lm_head.weight"] * torch.nan}, "'lm_head.weight' cannot be written as Q8_0"),
    ]
    for weights, message in wrong:
        with pytest.raises(InputError, match=message):
            write_gguf(path, LLAMA, weights, samples.bpe_tokenizer(), "q8_0")
    with pytest.raises(ConfigError, match="q4_k"):
        write_gguf(path, LLAMA, good, samples.bpe_tokenizer(), "q4_k")  # type: ignore[arg-type]
    assert [each.name for each in tmp_path.iterdir()] == ["x.gguf"]
    assert path.read_bytes() == b"what was there"


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "context": 8192},
        {"rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "context": 64},
        {"rope_theta": 1e6, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 8.0, "context": 4096},
    ],
)
def test_llama3_scaling_is_found_again(parameters: dict[str, Any]) -> None:
    rope = {"rope_type": "llama3", "original_max_position_embeddings": parameters.pop("context"), **parameters}
    stored = torch.tensor(llama3_factors(rope, 128), dtype=torch.float32).tolist()
    assert llama3_parameters(stored, parameters["rope_theta"]) == pytest.approx(rope)


def test_llama3_scaling_agrees_with_published_numbers() -> None:
    # Llama 3.2 1B (head of 64, theta 500000, factor 32): the last frequency is divided by 32, the first by 1.
    rope = {"rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    factors = llama3_factors({**rope, "original_max_position_embeddings": 8192}, 64)
    assert factors[0] == 1 and factors[-1] == 32 and sorted(factors) == factors
    assert 3 <= sum(1 < factor < 32 for factor in factors) <= 4


@pytest.mark.parametrize("factors", [[0.5, 2.0], [1.0, float("nan")], [3.0, 1.0, 7.0, 2.0], [1.0, float("inf")]])
def test_frequencies_without_a_rule_are_refused(factors: list[float]) -> None:
    with pytest.raises(InputError, match="follow no known scaling rule"):
        llama3_parameters(factors, 10000.0)


def edited(tmp_path: Path, **changes: bytes | None) -> Path:
    """A tiny hand-made llama file with some metadata replaced or left out."""
    entries = {
        "general.architecture": entry("general.architecture", 8, text("llama")),
        **{
            key: entry(f"llama.{key}", 4, struct.pack("<I", value))
            for key, value in {
                "embedding_length": 4, "block_count": 1, "feed_forward_length": 2, "context_length": 9,
                "attention.head_count": 2, "attention.head_count_kv": 1,
            }.items()
        },
        "eps": entry("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)),
    }  # fmt: skip
    entries |= changes  # type: ignore[arg-type]
    shapes = {
        "token_embd": (4, 3), "output_norm": (4,), "blk.0.attn_norm": (4,), "blk.0.ffn_norm": (4,),
        "blk.0.attn_q": (4, 4), "blk.0.attn_k": (4, 2), "blk.0.attn_v": (4, 2), "blk.0.attn_output": (4, 4),
        "blk.0.ffn_gate": (4, 2), "blk.0.ffn_up": (4, 2), "blk.0.ffn_down": (2, 4),
    }  # fmt: skip
    tensors = [describe(f"{name}.weight", dims, 0, 64 * place) for place, (name, dims) in enumerate(shapes.items())]
    path = tmp_path / "edited.gguf"
    path.write_bytes(gguf([value for value in entries.values() if value], tensors, bytes(64 * len(shapes))))
    return path


def u32(key: str, value: int) -> bytes:
    return entry(f"llama.{key}", 4, struct.pack("<I", value))


def test_defaults_of_a_sparse_file(tmp_path: Path) -> None:
    config, weights = read_gguf_model(edited(tmp_path))
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 10000.0}
    assert (config["head_dim"], config["vocab_size"], config["rms_norm_eps"]) == (2, 3, 1e-5)
    assert config["tie_word_embeddings"] is True
    assert weights["model.layers.0.self_attn.k_proj.weight"].shape == (2, 4)


CHANGES: list[tuple[dict[str, bytes | None], type[Exception], str]] = [
    ({"general.architecture": entry("general.architecture", 8, text("mamba"))}, InputError, "'mamba' is not supported"),
    ({"general.architecture": None}, InputError, "None is not supported"),
    ({"block_count": u32("block_count", 2**31)}, DamagedError, "2147483648 layers but 11 tensors"),
    ({"block_count": u32("block_count", 2)}, DamagedError, "'blk.1.attn_norm.weight' is missing"),
    ({"block_count": None}, DamagedError, "block_count is missing or 0"),
    ({"block_count": entry("llama.block_count", 8, text("one"))}, DamagedError, "'one', not a count"),
    ({"embedding_length": u32("embedding_length", 8)}, DamagedError, "has shape"),
    ({"attention.head_count_kv": u32("attention.head_count_kv", 0)}, DamagedError, "cannot share 0"),
    ({"attention.head_count": u32("attention.head_count", 8)}, InputError, "partial RoPE"),
    ({"more": u32("rope.dimension_count", 1)}, InputError, "partial RoPE"),
    ({"more": u32("expert_count", 8)}, InputError, "experts"),
    ({"eps": None}, DamagedError, "epsilon is None"),
    ({"eps": entry("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", float("nan")))}, DamagedError, "nan"),
    ({"more": entry("llama.rope.scaling.type", 8, text("longrope"))}, InputError, "'longrope' is not supported"),
    ({"more": entry("llama.rope.scaling.factor", 8, text("four"))}, DamagedError, "'four', not a positive number"),
    (
        {"attention.head_count": entry("llama.attention.head_count", 9, array(5, 2, struct.pack("<2i", 2, 4)))},
        InputError,
        "differs from layer to layer",
    ),
]


@pytest.mark.parametrize(("changes", "error", "message"), CHANGES)
def test_metadata_are_checked(
    tmp_path: Path, changes: dict[str, bytes | None], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_gguf_model(edited(tmp_path, **changes))


def test_unknown_tensors_are_refused(tmp_path: Path) -> None:
    path = edited(tmp_path)
    content = path.read_bytes().replace(b"blk.0.ffn_up.weight", b"blk.0.ffn_xx.weight")
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"ffn_up.weight' is missing"):
        read_gguf_model(path)
