"""Read a model from GGUF lazily: metadata as a Hugging Face config, weights under Hugging Face names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.rope import FACTORS, llama3_parameters, scaling_to_hf
from tutelage.interchange.gguf.weights import ARCHITECTURES, GEMMAS, Weight, plan, to_hf
from tutelage.store.errors import DamagedError, InputError

if TYPE_CHECKING:
    import torch

    from tutelage.model.packed import Blocks

_CLASSES = {
    "llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3",
    "gemma": "Gemma", "gemma2": "Gemma2", "gemma3": "Gemma3",
}  # fmt: skip
PERIOD = {"gemma2": 2, "gemma3": 6}  # one layer in this many has full attention, the others a sliding window
_LARGEST = {"gemma2": 46, "gemma3": 62}  # layers of the 27B models, which scale attention differently
LOCAL_THETA = 10000.0
_IDS = (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))  # (Hugging Face, GGUF)


def read_gguf_model(path: Path | str) -> tuple[dict[str, Any], GGUFWeights]:
    """The Hugging Face config of a GGUF file and its weights under Hugging Face names, each read on access.

    Raises InputError for an unsupported architecture or feature, DamagedError for a broken file.
    """
    return model_of(GGUFFile.open(path))


def model_of(file: GGUFFile) -> tuple[dict[str, Any], GGUFWeights]:
    """`read_gguf_model` for an open file."""
    config = config_to_hf(file)
    return config, GGUFWeights(file, plan(file.metadata["general.architecture"], config))


class GGUFWeights(Mapping[str, "torch.Tensor"]):
    """Hugging Face name -> float32 tensor. Nothing is cached: every access reads and dequantises again."""

    def __init__(self, file: GGUFFile, weights: list[Weight]) -> None:
        self._file = file
        self._weights = {weight.hf: weight for weight in weights}
        for weight in weights:
            info = file.tensors.get(weight.gguf)
            if info is None:
                raise DamagedError(f"{file.path}: tensor {weight.gguf!r} is missing")
            if info.shape != weight.shape:
                raise DamagedError(
                    f"{file.path}: tensor {weight.gguf!r} has shape {list(info.shape)}, "
                    f"the metadata require {list(weight.shape)}"
                )
        known = {weight.gguf for weight in weights} | {FACTORS}
        unknown = [name for name in file.tensors if name not in known and not name.endswith(".rope_freqs")]
        if unknown:
            raise InputError(f"{file.path}: tensor {unknown[0]!r} is unknown for this architecture")

    def __getitem__(self, name: str) -> torch.Tensor:
        weight = self._weights[name]
        return to_hf(weight, self._file.tensor(weight.gguf))

    def blocks(self, name: str) -> Blocks | None:
        """A 4-bit matrix in its stored form, rows in Hugging Face order; None if it is stored in another form."""
        import torch

        weight = self._weights[name]
        stored = self._file.blocks(weight.gguf) if weight.change in ("none", "rope") else None
        if stored is None or weight.change == "none":
            return stored
        return stored.rows(to_hf(weight, torch.arange(stored.shape[0])))

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._weights[name].shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def config_to_hf(file: GGUFFile) -> dict[str, Any]:
    """The content of a config.json for transformers 5, with `rope_theta` also at the top level for older versions."""
    metadata, tensors = file.metadata, file.tensors
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"{file.path}: architecture {architecture!r} is not supported",
            hint="supported: " + ", ".join(ARCHITECTURES),
        )
    get = _Getter(file, architecture)
    if get.optional("expert_count", 0):
        raise InputError(f"{file.path}: GGUF files with mixture of experts are not supported")
    if "token_embd.weight" not in tensors:
        raise DamagedError(f"{file.path}: tensor 'token_embd.weight' is missing")
    width, heads = get.count("embedding_length"), get.count("attention.head_count")
    layers = get.count("block_count")
    if layers > len(tensors):
        raise DamagedError(f"{file.path}: {layers} layers but {len(tensors)} tensors")
    head_dim = get.optional("attention.key_length", width // heads)
    if head_dim != get.optional("attention.value_length", head_dim):
        raise InputError(f"{file.path}: different head sizes of keys and values are not supported")
    if head_dim < 2 or head_dim % 2 or head_dim != get.optional("rope.dimension_count", head_dim):
        raise InputError(f"{file.path}: partial RoPE is not supported")
    kv_heads = get.optional("attention.head_count_kv", heads)
    if kv_heads < 1 or heads % kv_heads:
        raise DamagedError(f"{file.path}: {heads} heads cannot share {kv_heads} key-value heads")
    gemma = architecture in GEMMAS
    config: dict[str, Any] = {
        "architectures": [f"{_CLASSES[architecture]}ForCausalLM"],
        "model_type": "gemma3_text" if architecture == "gemma3" else architecture,
        "vocab_size": tensors["token_embd.weight"].shape[0],
        "hidden_size": width,
        "intermediate_size": get.count("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": get.count("context_length"),
        "rms_norm_eps": get.real("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in tensors,
        "dtype": "float32",
    }
    config |= {"hidden_activation": "gelu_pytorch_tanh"} if gemma else {"hidden_act": "silu"}
    if architecture in ("llama", "qwen3"):
        config["attention_bias"] = "blk.0.attn_q.bias" in tensors
    if architecture == "llama":
        config["mlp_bias"] = "blk.0.ffn_gate.bias" in tensors
    config |= _rope_to_hf(file, get, architecture, head_dim)
    if architecture in ("gemma2", "gemma3"):
        config |= _gemma_to_hf(get, architecture, config)
    return config | _ids_to_hf(metadata)


class _Getter:
    """Type-checked access to the metadata of one architecture."""

    def __init__(self, file: GGUFFile, architecture: str) -> None:
        self.file, self.prefix = file, architecture

    def optional(self, key: str, default: int) -> int:
        value = self.file.metadata.get(f"{self.prefix}.{key}", default)
        if isinstance(value, list):
            if len(set(value)) != 1:
                raise InputError(f"{self.file.path}: {self.prefix}.{key} differs from layer to layer: not supported")
            value = value[0]
        if type(value) is not int or value < 0:
            raise DamagedError(f"{self.file.path}: metadata {self.prefix}.{key} is {value!r}, not a count")
        return value

    def count(self, key: str) -> int:
        value = self.optional(key, 0)
        if value < 1:
            raise DamagedError(f"{self.file.path}: metadata {self.prefix}.{key} is missing or 0")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.file.metadata.get(f"{self.prefix}.{key}", default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value) or value <= 0:
            raise DamagedError(f"{self.file.path}: metadata {self.prefix}.{key} is {value!r}, not a positive number")
        return float(str(np.float32(value)))  # 1e-05, not 9.999999747378752e-06


def _rope_to_hf(file: GGUFFile, get: _Getter, architecture: str, head_dim: int) -> dict[str, Any]:
    default = 1e6 if architecture == "gemma3" else 10000.0
    theta = get.real("rope.freq_base", default)
    rope = {"rope_theta": theta, **scaling_to_hf(file.metadata, f"{architecture}.rope.scaling")}
    old = get.real("rope.scale_linear", 1.0)  # key of older files
    if rope["rope_type"] == "default" and old != 1.0:
        rope |= {"rope_type": "linear", "factor": old}
    if FACTORS in file.tensors:
        if file.tensors[FACTORS].shape != (head_dim // 2,):
            raise DamagedError(f"{file.path}: {FACTORS} has shape {list(file.tensors[FACTORS].shape)}")
        divisors = file.tensor(FACTORS).tolist()
        if any(divisor != 1.0 for divisor in divisors):
            rope = llama3_parameters(divisors, theta)
    if architecture == "gemma3":
        local = get.real("rope.freq_base_swa", LOCAL_THETA)
        sliding = {"rope_type": "default", "rope_theta": local}
        return {
            "rope_theta": theta,
            "rope_local_base_freq": local,
            "rope_parameters": {"full_attention": rope, "sliding_attention": sliding},
        }
    return {"rope_theta": theta, "rope_parameters": rope}


def _gemma_to_hf(get: _Getter, architecture: str, config: dict[str, Any]) -> dict[str, Any]:
    metadata, layers = get.file.metadata, config["num_hidden_layers"]
    windowed = f"{architecture}.attention.sliding_window" in metadata or architecture == "gemma2"
    pattern = metadata.get(f"{architecture}.attention.sliding_window_pattern")
    if isinstance(pattern, list) and len(pattern) == layers:
        types = ["sliding_attention" if slides else "full_attention" for slides in pattern]
    else:
        period = get.optional("attention.sliding_window_pattern", PERIOD[architecture])
        types = layer_types_of(layers, period if windowed else 1)
    caps = {
        f"{key}_logit_softcapping": get.real(f"{key}_logit_softcapping")
        if f"{architecture}.{key}_logit_softcapping" in metadata
        else (default if architecture == "gemma2" else None)
        for key, default in (("attn", 50.0), ("final", 30.0))
    }
    return {
        **caps,
        "query_pre_attn_scalar": attention_scalar(architecture, config),
        "sliding_window": get.optional("attention.sliding_window", 4096),
        "layer_types": types,
    }


def layer_types_of(layers: int, period: int) -> list[str]:
    return [
        "sliding_attention" if period and index % period < period - 1 else "full_attention" for index in range(layers)
    ]


def attention_scalar(architecture: str, config: Mapping[str, Any]) -> int:
    """The square of llama.cpp's attention scale divisor: not in the metadata, but fixed for each published size."""
    if config["num_hidden_layers"] == _LARGEST[architecture]:
        return int(config["hidden_size"] // config["num_attention_heads"])
    return int(config["head_dim"])


def _ids_to_hf(metadata: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in _IDS}
    return {f"{name}_token_id": index for name, index in named.items() if type(index) is int}
