"""Save and load a model in the Hugging Face directory layout: config.json and model.safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FAMILIES, FamilyMap
from tutelage.store.errors import DamagedError, InputError, nearest
from tutelage.store.files import write_json


def save_model(model: DecoderLM, directory: Path) -> None:
    """Write config.json, generation_config.json and model.safetensors (float32), loadable by transformers."""
    config = model.config
    family = FAMILIES[config.family]
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "config.json", _to_hf_config(config, family))
    write_json(directory / "generation_config.json", _token_ids(config))
    weights = {
        _theirs(name, family): value.detach().to("cpu", torch.float32).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def load_model(directory: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> DecoderLM:
    """Build the decoder described by config.json and load its weights; nothing but safetensors is opened.

    Raises InputError for a directory that is no model or a family that is not known, DamagedError for weights
    that cannot be read or do not fit the config.
    """
    config = load_config(directory)
    model = DecoderLM(config, seed=None)
    state = _read_weights(directory)
    family = FAMILIES[config.family]
    ours = {_ours(name, family): value for name, value in state.items()}
    if config.tie_word_embeddings:
        ours.pop("lm_head.weight", None)
    if not config.num_labels:
        ours.pop("score.weight", None)
    missing, unexpected = model.load_state_dict(ours, strict=False)
    # A classifier saved by transformers carries no language-model head.
    missing = [name for name in missing if not (config.num_labels and name == "lm_head.weight")]
    if missing or unexpected:
        raise DamagedError(
            f"{directory}: weights do not fit config.json",
            hint=f"missing {missing[:3] or 'none'}, unexpected {unexpected[:3] or 'none'}",
        )
    return model.to(device=device, dtype=dtype).eval()


def load_config(directory: Path) -> ModelConfig:
    """Read config.json of a known family."""
    path = directory / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{directory} is not a model directory: it has no config.json") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise DamagedError(f"{path} is not valid JSON") from None
    model_type = str(data.get("model_type"))
    by_type = {family.model_type: name for name, family in FAMILIES.items()}
    if model_type not in by_type:
        raise InputError(f"{path}: model_type {model_type!r} is not known", hint=nearest(model_type, by_type))
    name = by_type[model_type]
    fields: dict[str, Any] = {"family": name, **FAMILIES[name].from_config(data)}
    generation = directory / "generation_config.json"
    if generation.exists():
        data |= {
            key: value
            for key, value in json.loads(generation.read_text(encoding="utf-8")).items()
            if key.endswith("_token_id") and value is not None
        }
    eos = data.get("eos_token_id")
    fields["eos_token_id"] = () if eos is None else tuple(eos) if isinstance(eos, list) else (eos,)
    fields["bos_token_id"], fields["pad_token_id"] = data.get("bos_token_id"), data.get("pad_token_id")
    if any("SequenceClassification" in name for name in data.get("architectures") or ()):
        labels = data.get("id2label", {})
        fields["labels"] = tuple(labels[key] for key in sorted(labels, key=int))
        fields["num_labels"] = len(labels)
    return ModelConfig.parse(fields, where=str(path))


def _to_hf_config(config: ModelConfig, family: FamilyMap) -> dict[str, Any]:
    head = "ForSequenceClassification" if config.num_labels else "ForCausalLM"
    data = {
        "architectures": [family.architecture + head],
        "model_type": family.model_type,
        "dtype": "float32",
        **family.to_config(config),
        **_token_ids(config),
    }
    if config.num_labels:
        names = config.labels or tuple(f"LABEL_{index}" for index in range(config.num_labels))
        data["id2label"] = {str(index): name for index, name in enumerate(names)}
        data["label2id"] = {name: index for index, name in enumerate(names)}
    return data


def _token_ids(config: ModelConfig) -> dict[str, Any]:
    eos: int | list[int] | None = list(config.eos_token_id) or None
    if isinstance(eos, list) and len(eos) == 1:
        eos = eos[0]
    ids = {"bos_token_id": config.bos_token_id, "eos_token_id": eos, "pad_token_id": config.pad_token_id}
    return {key: value for key, value in ids.items() if value is not None}


def _read_weights(directory: Path) -> dict[str, Tensor]:
    index = directory / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    state: dict[str, Tensor] = {}
    for name in names:
        path = directory / name
        if Path(name).name != name or not path.is_file():
            raise InputError(f"{directory} has no weights file {name!r}")
        try:
            state |= load_file(path)
        except SafetensorError as error:
            raise DamagedError(f"{path} cannot be read: {error}") from None
    return state


def _theirs(name: str, family: FamilyMap) -> str:
    for ours, theirs in family.names:
        if ours.startswith("."):
            name = name.replace(ours, theirs)
        elif name.startswith(ours):
            name = theirs + name[len(ours) :]
    return name


def _ours(name: str, family: FamilyMap) -> str:
    for ours, theirs in family.names:
        if ours.startswith("."):
            name = name.replace(theirs, ours)
        elif name.startswith(theirs):
            name = ours + name[len(theirs) :]
    return name
