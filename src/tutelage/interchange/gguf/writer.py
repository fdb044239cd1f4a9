"""Write a GGUF file for llama.cpp: the header from the config, then the tensors one by one."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from tutelage.interchange.gguf.configs import config_to_gguf, rope_of
from tutelage.interchange.gguf.quants import BF16, F16, F32, Q4_0, Q4_1, Q8_0, Kind, quantize
from tutelage.interchange.gguf.reader import DEFAULT_ALIGNMENT, MAGIC
from tutelage.interchange.gguf.rope import FACTORS, llama3_factors
from tutelage.interchange.gguf.tokenizer_writer import write_tokenizer
from tutelage.interchange.gguf.weights import Weight, plan, to_gguf
from tutelage.store.errors import ConfigError, InputError, nearest
from tutelage.store.files import new_file
from tutelage.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

KindName = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"]
KINDS: dict[str, Kind] = {"f32": F32, "f16": F16, "bf16": BF16, "q8_0": Q8_0, "q4_0": Q4_0, "q4_1": Q4_1}
_FILE_TYPE = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "bf16": 32}
_QUANTIZATION_VERSION = 2
_VERSION = 3
WRITER = "general.quantized_by"  # identifies files written by an export


def write_gguf(
    path: Path | str,
    hf_config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]],
    tokenizer: Tokenizer,
    kind: KindName = "f16",
    name: str = "model",
) -> dict[str, Any]:
    """Write `weights` (Hugging Face names, any order, any float dtype) to `path`, atomically.

    One-dimensional tensors stay float32; the output head of a 4-bit file (or the tied embedding) is q8_0; rows whose
    length is not a multiple of 32 are f16. Returns {"bytes", "tensors": {kind: count}, "fallback": names stored in f16
    because of their length}. Raises ConfigError for an unknown kind, InputError for a model or tokenizer that llama.cpp
    cannot run and for missing, unknown or non-finite weights.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind {kind!r}", hint=nearest(kind, KINDS))
    path = Path(path)
    architecture, metadata, config = config_to_gguf(hf_config)
    wanted = plan(architecture, config)
    metadata = {
        "general.architecture": architecture,
        "general.type": "model",
        "general.name": name,
        WRITER: "tutelage",
        "general.file_type": _FILE_TYPE[kind],
        "general.quantization_version": _QUANTIZATION_VERSION,
        **metadata,
        **write_tokenizer(tokenizer, int(config["vocab_size"])),
    }
    kinds = {weight.gguf: _kind_of(weight, kind, bool(config["tie_word_embeddings"])) for weight in wanted}
    extra = _rope_factors(config, architecture)
    shapes = {weight.gguf: weight.shape for weight in wanted} | {name: (len(each),) for name, each in extra.items()}
    kinds |= dict.fromkeys(extra, F32)
    offsets, total = _layout(shapes, kinds)

    with new_file(path) as file:
        _write_header(file, metadata, shapes, kinds, offsets)
        start = file.tell()
        file.truncate(start + total)
        for gguf, values in extra.items():
            _write_at(file, start + offsets[gguf], np.array(values, np.float32), F32, gguf)
        for weight, tensor in _matched(wanted, weights, config):
            array = to_gguf(weight, tensor.detach().float()).cpu().contiguous().numpy()
            _write_at(file, start + offsets[weight.gguf], array, kinds[weight.gguf], weight.hf)
    counts = {each.name.lower(): list(kinds.values()).count(each) for each in dict.fromkeys(kinds.values())}
    fallback = [weight.hf for weight in wanted if KINDS[kind].block > 1 and kinds[weight.gguf] is F16]
    return {"bytes": path.stat().st_size, "tensors": counts, "fallback": fallback}


def _kind_of(weight: Weight, kind: str, tied: bool) -> Kind:
    if len(weight.shape) == 1:
        return F32
    chosen = KINDS[kind]
    if weight.shape[-1] % chosen.block:
        return F16
    # Errors in the head affect every logit; llama.cpp's own files also use more bits for it.
    head = weight.gguf == ("token_embd.weight" if tied else "output.weight")
    return Q8_0 if head and chosen in (Q4_0, Q4_1) else chosen


def _rope_factors(config: Mapping[str, Any], architecture: str) -> dict[str, list[float]]:
    rope = rope_of(config)
    if rope.get("rope_type", rope.get("type")) != "llama3":
        return {}
    if architecture != "llama":
        raise InputError(f"llama3 rope scaling in a {architecture} cannot be written as GGUF")
    return {FACTORS: llama3_factors(rope, int(config["head_dim"]))}


def _layout(shapes: Mapping[str, tuple[int, ...]], kinds: Mapping[str, Kind]) -> tuple[dict[str, int], int]:
    """Offset of each tensor from the start of the data, and total size."""
    offsets, at = {}, 0
    for name, shape in shapes.items():
        offsets[name] = at
        size = int(np.prod(shape)) // kinds[name].block * kinds[name].size
        at += -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT
    return offsets, at


def _matched(
    wanted: list[Weight],
    weights: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]],
    config: Mapping[str, Any],
) -> Iterator[tuple[Weight, torch.Tensor]]:
    """Each wanted weight with its tensor; the copy of a tied embedding is skipped."""
    missing = {weight.hf: weight for weight in wanted}
    for name, tensor in weights.items() if isinstance(weights, Mapping) else weights:
        if name == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        weight = missing.pop(name, None)
        if weight is None:
            raise InputError(f"weight {name!r} is unknown for this model as GGUF, or duplicate")
        if tuple(tensor.shape) != weight.shape:
            raise InputError(
                f"weight {name!r} has shape {list(tensor.shape)}, the config requires {list(weight.shape)}"
            )
        yield weight, tensor
    if missing:
        raise InputError(f"weight {next(iter(missing))!r} is missing")


def _write_at(file: BinaryIO, offset: int, array: np.ndarray[Any, Any], kind: Kind, name: str) -> None:
    file.seek(offset)
    try:
        file.write(quantize(array, kind).data)
    except InputError as error:
        raise InputError(f"weight {name!r} cannot be written as {kind.name}: {error.message}") from None


def _write_header(
    file: BinaryIO,
    metadata: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    kinds: Mapping[str, Kind],
    offsets: Mapping[str, int],
) -> None:
    file.write(MAGIC + struct.pack("<IQQ", _VERSION, len(shapes), len(metadata)))
    for key, value in metadata.items():
        file.write(_text(key) + encode_value(value))
    for name, shape in shapes.items():
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        file.write(_text(name) + dims + struct.pack("<IQ", kinds[name].code, offsets[name]))
    file.write(bytes(-file.tell() % DEFAULT_ALIGNMENT))


def _text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def encode_value(value: Any) -> bytes:
    """A metadata value with its type: bool, int (32 bits), float (float32), str, or a list of one of these."""
    code, write = _FORMS[type(value[0] if isinstance(value, list) and value else "" if value == [] else value)]
    if isinstance(value, list):
        code = 5 if code == 4 else code  # lists of integers are signed, as token types must be
        return struct.pack("<IIQ", 9, code, len(value)) + b"".join(map(write, value))
    return struct.pack("<I", code) + write(value)


_FORMS: dict[type, tuple[int, Any]] = {
    bool: (7, lambda value: struct.pack("<?", value)),
    int: (4, lambda value: struct.pack("<I", value)),
    float: (6, lambda value: struct.pack("<f", value)),
    str: (8, _text),
}
