"""Save and load a model in the Hugging Face directory layout: config.json and safetensors, in one file or in shards."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tutelage.model.adaptable import is_quantised, store_quantised
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FAMILIES
from tutelage.model.families.weights import parameter_shapes
from tutelage.model.hf_config import load_config, read_json, to_hf_config, token_ids
from tutelage.model.lora_config import Quantisation
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.files import finish_save, replaced_files, write_json
from tutelage.store.hashing import sha256_files
from tutelage.store.text import FETCH_LFS, LFS_POINTER, is_lfs_pointer

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_SHARD_BYTES = 4_000_000_000
_GENERATION = (
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "no_repeat_ngram_size",
    "max_new_tokens", "max_length",
)  # fmt: skip
_DTYPES = {"F64", "F32", "F16", "BF16"}

Shape = tuple[int, ...]


def save_model(
    model: DecoderLM,
    directory: Path,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write config.json, generation_config.json and the weights (float32), loadable by transformers.

    Weights above `max_shard_bytes` are split into several files with an index. Superseded files of an existing model
    are removed, other files are not touched, and a kill leaves either the old or the new model complete. `state`:
    written instead of the model's own weights, one at a time (`MergedState`). Raises InputError for a model with
    adapters or 4-bit weights without it, and if `config.json` does not belong to a model.
    """
    config = model.config
    if state is None and any(name.endswith(".lora_A") for name in model.state_dict()):
        raise InputError("the model has adapters", hint="merge them first, or save them as an adapter")
    if state is None and is_quantised(model):
        raise InputError("the model's weights are in 4 bits", hint="convert them to float32 with merge_lora")
    refuse_other_config(directory)
    with replaced_files(directory, lambda: superseded(directory)) as out:
        shards = _shards(config, max_shard_bytes)
        places = {name: file for file, names in shards.items() for name in names}
        for file, weights in groupby(hf_weights(model, state), key=lambda weight: places[weight[0]]):
            save_file(dict(weights), out / file, metadata={"format": "pt"})
        if len(shards) > 1:
            total = 4 * sum(shape.numel() for shape in parameter_shapes(config).values())
            write_json(out / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
        write_json(out / "config.json", to_hf_config(config))
        ids = {key: value for key, value in token_ids(config).items() if value is not None}
        write_json(out / "generation_config.json", ids)
        for file in shards:  # safetensors creates files readable only by their owner
            (out / file).chmod((out / "config.json").stat().st_mode)


def refuse_other_config(directory: Path) -> None:
    """Raise InputError if saving would overwrite another program's config or an adapter."""
    path = directory / "config.json"
    if path.is_file():
        try:
            there = read_json(path)
        except (DamagedError, InputError):
            there = {}
        if not {"model_type", "architectures"} & set(there):
            raise InputError(f"{path} is not a model config", hint="save to a new folder; nothing was changed")
    elif (directory / _ADAPTER[0]).is_file():
        raise InputError(f"{directory} contains an adapter", hint="save to a new folder; nothing was changed")


_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
# Files that a reader would take for part of the new model: weights, and adapters on the old ones.
_USUAL = re.compile(
    r"(model(-\d{5}-of-\d{5})?\.safetensors|pytorch_model(-\d{5}-of-\d{5})?\.bin|pytorch_model\.bin\.index\.json)"
)


def superseded(directory: Path) -> set[str]:
    """Names of the existing model's files in `directory` that a new model supersedes."""
    if not (directory / "config.json").is_file():
        return {name for name in (INDEX,) if (directory / name).is_file()}  # no other file belongs to a model
    found = {path.name for path in directory.iterdir() if _USUAL.fullmatch(path.name)}
    if (directory / INDEX).is_file():
        named = read_json(directory / INDEX).get("weight_map")
        names = named.values() if isinstance(named, dict) else ()
        found |= {INDEX} | {
            name
            for name in map(str, names)
            if Path(name).name == name and name.endswith(".safetensors") and (directory / name).is_file()
        }
    return found | {name for name in _ADAPTER if (directory / name).is_file()}


def weights_identity(directory: Path) -> str:
    """Hash of all weight files of a model directory, whether one or many."""
    return sha256_files([(name, directory / name) for name in weight_files(directory)])


def hf_weights(model: DecoderLM, state: Mapping[str, Tensor] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights (of `state`, if given) under their Hugging Face names, float32 on the CPU, one at a time."""
    state = model.state_dict() if state is None else state
    for weight in FAMILIES[model.config.family].weights(model.config):
        packed = weight.pack([state[name].detach().to("cpu", torch.float32) for name in weight.ours])
        for name, tensor in zip(weight.theirs, packed, strict=True):
            yield name, tensor.clone(memory_format=torch.contiguous_format)


def keep_generation_settings(source: Path, out: Path) -> None:
    """Copy the sampling defaults of `source/generation_config.json` to `out`, keeping `out`'s token ids."""
    path = source / "generation_config.json"
    if not path.is_file():
        return
    settings = {key: value for key, value in read_json(path).items() if key in _GENERATION}
    if settings:
        own = out / "generation_config.json"
        write_json(own, {**(read_json(own) if own.is_file() else {}), **settings})


def load_model(
    directory: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    quantisation: Quantisation = "none",
) -> DecoderLM:
    """Build the decoder described by config.json and load its weights; nothing but safetensors is opened.

    quantisation: the matrices inside the blocks are stored in 4 bits as they are read, and frozen.

    Raises InputError for a directory that is not a model or an unknown family, DamagedError for weights that cannot be
    read or do not fit the config. Names and shapes are checked before a weight is read.
    """
    finish_save(directory)
    config = load_config(directory)
    with contextlib.ExitStack() as stack:
        try:
            files = {name: stack.enter_context(safe_open(directory / name, "pt")) for name in weight_files(directory)}
            places = {key: file for file in files.values() for key in _names(file)}
            for key, file in places.items():
                if file.get_slice(key).get_dtype() not in _DTYPES and not _ignored(config, key):
                    raise DamagedError(f"{directory}: {key} has unsupported dtype {file.get_slice(key).get_dtype()}")
            return build_model(
                config,
                places,
                lambda key: tuple(places[key].get_slice(key).get_shape()),
                lambda key: places[key].get_tensor(key),
                str(directory),
                dtype,
                quantisation,
            ).to(device)
        except SafetensorError as error:
            for path in sorted(directory.glob("*.safetensors")):
                with path.open("rb") as file:
                    if is_lfs_pointer(file.read(64)):
                        raise InputError(f"{path} {LFS_POINTER}", hint=FETCH_LFS) from None
            hint = "a file is cut short or damaged: get it again"
            raise DamagedError(f"{directory}: weights cannot be read: {error}", hint=hint) from None


def build_model(
    config: ModelConfig,
    present: Collection[str],
    shape: Callable[[str], Shape],
    read: Callable[[str], Tensor],
    where: str,
    dtype: torch.dtype = torch.float32,
    quantisation: Quantisation = "none",
    elsewhere: Callable[[str, str], bool] | None = None,
) -> DecoderLM:
    """Build a decoder in evaluation mode from weights that `read` returns by Hugging Face name.

    present: available names; shape: shape by name, checked before any weight is read. Weights are read one at a time,
    so peak memory is the model plus one weight; with `quantisation` matrices are quantised while loading. elsewhere:
    for a weight that is only renamed, by our name and theirs, whether the caller provides it; it is then not read and
    stays on the meta device. Raises DamagedError if names or shapes do not fit.
    """
    family = FAMILIES[config.family]
    with torch.device("meta"):
        model = DecoderLM(config, seed=None)
    wanted = list(family.weights(config))
    present = set(present)
    found = {name: _found(name, present, family.base_prefix) for weight in wanted for name in weight.theirs}
    # A classifier saved by transformers has no language-model head.
    heads = (weight.theirs for weight in wanted if weight.ours == ("lm_head.weight",))
    optional = {name for names in heads for name in names} if config.num_labels else set()
    if "score.weight" in present and not config.num_labels:
        raise InputError(
            f"{where}: the weights have a classification head (score.weight), but config.json is not a classifier's",
            hint=f'set "architectures": ["{family.architecture}ForSequenceClassification"] and id2label in config.json',
        )
    missing = sorted(name for name, there in found.items() if there is None and name not in optional)
    unexpected = sorted(name for name in present - set(found.values()) if not _ignored(config, name))
    if missing or unexpected:
        raise DamagedError(
            f"{where}: weights do not fit config.json",
            hint=f"missing {missing[:3] or 'none'}, unexpected {unexpected[:3] or 'none'}{_what_to_do(missing)}",
        )
    shapes = parameter_shapes(config)
    for weight in wanted:
        packed = weight.pack([torch.empty(shapes[name], device="meta") for name in weight.ours])
        for name, expected in zip(weight.theirs, packed, strict=True):
            there = found[name]
            if there is not None and shape(there) != tuple(expected.shape):
                raise DamagedError(
                    f"{where}: {there} has shape {list(shape(there))}, config.json requires {list(expected.shape)}"
                )
    state: dict[str, Tensor] = {}
    for weight in wanted:
        keys = [found[name] for name in weight.theirs]
        if None in keys:
            state |= {name: torch.zeros(shapes[name], dtype=dtype) for name in weight.ours}
            continue
        if elsewhere is not None and weight.only_renamed and elsewhere(weight.ours[0], str(keys[0])):
            state[weight.ours[0]] = torch.empty(shapes[weight.ours[0]], device="meta")
            continue
        parts = weight.unpack([read(key) for key in keys if key is not None])
        for ours, part in zip(weight.ours, parts, strict=True):
            packed_part = None if quantisation == "none" else store_quantised(model, ours, part, quantisation)
            state |= packed_part or {ours: part.to(dtype, copy=True, memory_format=torch.contiguous_format)}
    model.load_state_dict(state, assign=True)
    return model.eval()


def _what_to_do(missing: list[str]) -> str:
    if missing == ["lm_head.weight"]:
        return '; where the model shares it with its embeddings, "tie_word_embeddings": true belongs in config.json'
    return ""


def _names(file: Any) -> list[str]:
    return list(file.keys())


def _found(name: str, present: set[str], base_prefix: str) -> str | None:
    """The stored name of a weight: checkpoints of a bare model lack the prefix."""
    return next((each for each in (name, name.removeprefix(base_prefix)) if each in present), None)


def _ignored(config: ModelConfig, name: str) -> bool:
    if name == "lm_head.weight" and config.tie_word_embeddings:
        return True
    return any(re.search(pattern, name) for pattern in FAMILIES[config.family].ignored)


def weight_files(directory: Path) -> list[str]:
    """Names of the safetensors files; an index may only name files in the same directory."""
    names = [ONE_FILE]
    if (directory / INDEX).is_file():
        weight_map = read_json(directory / INDEX).get("weight_map")
        if not isinstance(weight_map, dict):
            raise DamagedError(f"{directory / INDEX} has no weight_map")
        names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors") or not (directory / name).is_file():
            raise InputError(f"{directory} has no weights file {name!r}", hint=_where_weights_are(directory))
    return names


def _where_weights_are(directory: Path) -> str | None:
    there = sorted(path.name for path in directory.glob("*.safetensors"))
    if there and not (directory / INDEX).is_file():
        return f"{there[0]} is there, and belongs to {INDEX}, which is missing: get it, too"
    if there:
        return f"{INDEX} names it: get the files of the model again"
    if any(directory.glob("*.bin")) or any(directory.glob("*.pth")):
        return "weights in pickle format are never opened; convert them to safetensors"
    return None


def _shards(config: ModelConfig, limit: int) -> dict[str, list[str]]:
    """Weight names per file, in order; a file exceeds `limit` bytes only for a single larger weight."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, count in _their_sizes(config):
        if groups[-1] and size + 4 * count > limit:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += 4 * count
    if len(groups) == 1:
        return {ONE_FILE: groups[0]}
    return {f"model-{i:05d}-of-{len(groups):05d}.safetensors": names for i, names in enumerate(groups, 1)}


def _their_sizes(config: ModelConfig) -> Iterator[tuple[str, Any]]:
    shapes = parameter_shapes(config)
    for weight in FAMILIES[config.family].weights(config):
        packed = weight.pack([torch.empty(shapes[name], device="meta") for name in weight.ours])
        for name, tensor in zip(weight.theirs, packed, strict=True):
            yield name, tensor.numel()
