"""config.json and generation_config.json of the Hugging Face layout, to and from a `ModelConfig`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import FAMILIES, FamilyConfig, check_expressible
from tutelage.store.errors import ConfigError, DamagedError, InputError, nearest

_MAX_BYTES = 16 << 20
# Pooling of a classifier's head, if not the last token; transformers preserves these keys but ignores them for decoders
# (its ModernBERT uses the first for its own head).
POOLING, POOL_TOKENS = "classifier_pooling", "classifier_pool_tokens"
ORDINAL = "classifier_ordinal"  # ordinal labels: probabilities as in transformers, the prediction is the median label


def load_config(directory: Path) -> ModelConfig:
    """The config of a model directory of a known family. Raises InputError or DamagedError."""
    path = directory / "config.json"
    if not path.is_file():
        raise InputError(f"{directory} is not a model directory: it has no config.json")
    data = read_json(path)
    generation = directory / "generation_config.json"
    if generation.is_file():
        ids = {key: value for key, value in read_json(generation).items() if key.endswith("_token_id")}
        data |= {key: value for key, value in ids.items() if value is not None}
    return from_hf_config(data, str(path))


def from_hf_config(data: dict[str, Any], where: str = "config.json") -> ModelConfig:
    """The `ModelConfig` that a config.json describes.

    Raises InputError for an unknown family and for unsupported settings that would change the computation, DamagedError
    for a missing key or a value of the wrong type.
    """
    if not data.get("model_type"):
        raise DamagedError(f"{where} lacks 'model_type'", hint='it names the model\'s family, such as "llama"')
    model_type = str(data["model_type"])
    by_type = {family.model_type: name for name, family in FAMILIES.items()}
    heads = _heads(data)
    if model_type not in by_type:
        made = f" ({', '.join(heads)})" if heads else ""
        raise InputError(
            f"{where}: model_type {model_type!r}{made} is not supported; only decoders can be loaded",
            hint=nearest(model_type, by_type),
        )
    if data.get("quantization_config"):
        raise InputError(f"{where}: quantised weights are not supported", hint="use the unquantised checkpoint")
    name = by_type[model_type]
    try:
        fields: dict[str, Any] = {**FAMILIES[name].from_config(data), "family": name, **_token_ids_from(data)}
        fields |= _classes_from(data, heads, where)
        return FamilyConfig.parse(fields, where=where)
    except KeyError as error:
        raise DamagedError(f"{where} lacks {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DamagedError(f"{where} has a value of the wrong type: {error}") from None
    except ConfigError as error:
        raise InputError(error.message, hint=error.hint) from None


# Class names in transformers: language model, classifier, or bare model.
_HEADS = re.compile(
    r"\w+(ForCausalLM|LMHeadModel|ForConditionalGeneration|ForSequenceClassification)|((?!For)\w)+Model"
)


def _heads(data: dict[str, Any]) -> list[str]:
    named = data.get("architectures")
    return [str(each) for each in named] if isinstance(named, list) else []


def _classes_from(data: dict[str, Any], heads: list[str], where: str) -> dict[str, Any]:
    """The config fields of a classifier or reward model; empty for a language model.

    Raises InputError for any other head.

    transformers omits `id2label` if it is the default: two classes, LABEL_0 and LABEL_1.
    """
    if heads and not any(_HEADS.fullmatch(each) for each in heads):
        raise InputError(
            f"{where}: {', '.join(heads)} has an unsupported head",
            hint="language models (ForCausalLM) and classifiers (ForSequenceClassification) can be loaded",
        )
    if not any(each.endswith("ForSequenceClassification") for each in heads):
        return {}
    kind = data.get("problem_type")
    labels = data.get("id2label") or {index: f"LABEL_{index}" for index in range(int(data.get("num_labels") or 2))}
    if kind == "regression" or not labels:
        raise InputError(
            f"{where}: a classifier for {kind or 'no label'} is not supported",
            hint="supported: single-label, multi-label, or one score (a reward model)",
        )
    names = tuple(str(labels[key]) for key in sorted(labels, key=int))
    pooling = {"pooling": data.get(POOLING, "last"), "pool_tokens": data.get(POOL_TOKENS, 0)}
    kinds = {"multi_label": kind == "multi_label_classification", "ordinal": data.get(ORDINAL, False)}
    return {"labels": names, "num_labels": len(names), **kinds, **pooling}


def to_hf_config(config: ModelConfig) -> dict[str, Any]:
    """The equivalent config.json of transformers. Raises InputError if the family cannot express it."""
    if not isinstance(config, FamilyConfig):
        try:
            check_expressible(config)
        except ValueError as error:
            raise InputError(str(error)) from None
    family = FAMILIES[config.family]
    head = "ForSequenceClassification" if config.num_labels else family.head
    data = {
        "architectures": [family.architecture + head],
        "model_type": family.model_type,
        "dtype": "float32",
        **family.to_config(config),
        **token_ids(config),
    }
    if config.num_labels:
        names = config.labels or tuple(f"LABEL_{index}" for index in range(config.num_labels))
        data["id2label"] = {str(index): name for index, name in enumerate(names)}
        data["label2id"] = {name: index for index, name in enumerate(names)}
        if config.multi_label:
            data["problem_type"] = "multi_label_classification"
        if config.ordinal:
            data[ORDINAL] = True
        if config.pooling != "last":
            data[POOLING] = config.pooling
        if config.pool_tokens:
            data[POOL_TOKENS] = config.pool_tokens
    return data


def token_ids(config: ModelConfig) -> dict[str, Any]:
    """bos, eos and pad ids in Hugging Face format."""
    eos: int | list[int] | None = list(config.eos_token_id) or None
    if isinstance(eos, list) and len(eos) == 1:
        eos = eos[0]
    # Missing keys would be replaced by the family's default ids, so null is written explicitly.
    return {"bos_token_id": config.bos_token_id, "eos_token_id": eos, "pad_token_id": config.pad_token_id}


def read_json(path: Path, most: int = _MAX_BYTES) -> dict[str, Any]:
    """A JSON object of at most `most` bytes. Raises InputError for a larger file, DamagedError for anything else."""
    if path.stat().st_size > most:
        raise InputError(f"{path} is larger than {most} bytes")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise DamagedError(f"{path} is not valid JSON") from None
    if not isinstance(data, dict):
        raise DamagedError(f"{path} is not a JSON object")
    return data


def _token_ids_from(data: dict[str, Any]) -> dict[str, Any]:
    eos = data.get("eos_token_id")
    return {
        "eos_token_id": () if eos is None else tuple(eos) if isinstance(eos, list) else (eos,),
        "bos_token_id": data.get("bos_token_id"),
        "pad_token_id": data.get("pad_token_id"),
    }
