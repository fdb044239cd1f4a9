"""Models in several GGUF files, as llama.cpp names and numbers them: read as one, and a missing part is named."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf_samples as samples
import pytest
import torch
from gguf_samples import LLAMA, describe, entry, gguf, random_weights

from tutelage.interchange.gguf.load import read_gguf
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.writer import write_gguf
from tutelage.loading import load
from tutelage.store.errors import DamagedError, InputError


def part(number: int, count: int, names: Iterable[str], total: int, **other: Any) -> bytes:
    """A file with one row of numbers for each name, each its own."""
    said = {"split.no": number, "split.count": count, **other}
    entries = [entry(key, 2, struct.pack("<H", value)) for key, value in said.items()]
    entries.append(entry("split.tensors.count", 5, struct.pack("<i", total)))
    names = list(names)
    rows = b"".join(struct.pack("<8f", *range(ord(name), ord(name) + 8)) for name in names)
    return gguf(entries, [describe(name, (8,), 0, 32 * index) for index, name in enumerate(names)], rows)


def written(tmp_path: Path, *parts: bytes, names: str = "m-{:05d}-of-{:05d}.gguf") -> list[Path]:
    paths = [tmp_path / names.format(number, len(parts)) for number in range(1, len(parts) + 1)]
    for path, content in zip(paths, parts, strict=True):
        path.write_bytes(content)
    return paths


@pytest.mark.parametrize("opened", [0, 1, 2])
def test_any_part_opens_the_whole(opened: int, tmp_path: Path) -> None:
    paths = written(tmp_path, part(0, 3, "", 3), part(1, 3, "ab", 3), part(2, 3, "c", 3))
    file = GGUFFile.open(paths[opened])
    assert list(file.tensors) == ["a", "b", "c"] and file.paths == tuple(paths) and file.path == paths[0]
    for name in "abc":
        assert file.tensor(name).tolist() == list(map(float, range(ord(name), ord(name) + 8)))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    paths = written(tmp_path, part(0, 3, "a", 3), part(1, 3, "b", 3), part(2, 3, "c", 3))
    paths[1].unlink()
    with pytest.raises(InputError, match=r"lacks m-00002-of-00003\.gguf") as refused:
        GGUFFile.open(paths[0])
    assert "all 3 parts" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ([part(0, 2, "a", 2), part(0, 2, "b", 2)], "says that it is part 0 of 2"),
        ([part(0, 2, "a", 2), part(1, 3, "b", 2)], "says that it is part 1 of 3"),
        ([part(0, 2, "a", 2), part(1, 2, "a", 2)], "'a' is in another part too"),
        ([part(0, 2, "a", 3), part(1, 2, "b", 3)], "3 tensors are to be in all parts, 2 are"),
    ],
)
def test_parts_that_do_not_belong_together(parts: list[bytes], what: str, tmp_path: Path) -> None:
    paths = written(tmp_path, *parts)
    with pytest.raises(DamagedError, match=what):
        GGUFFile.open(paths[0])


@pytest.mark.parametrize("name", ["m.gguf", "m-00001-of-00003.gguf", "m-1-of-2.gguf"])
def test_a_part_under_another_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(part(0, 2, "a", 2))
    with pytest.raises(InputError, match="one of 2 parts of a model, but is not named as one"):
        GGUFFile.open(tmp_path / name)


@pytest.mark.parity
def test_a_model_split_by_the_reference_writer_is_the_model(tmp_path: Path) -> None:
    reference = pytest.importorskip("gguf")
    whole = tmp_path / "whole.gguf"
    write_gguf(whole, LLAMA, random_weights(LLAMA), samples.bpe_tokenizer(), "f32")
    split_by_reference(reference, whole, tmp_path / "m.gguf")
    paths = sorted(tmp_path.glob("m-*-of-*.gguf"))
    assert len(paths) > 2
    ours, again = read_gguf(whole), read_gguf(paths[0])
    for name, value in ours[0].state_dict().items():
        assert torch.equal(again[0].state_dict()[name], value)
    assert again[1].encode("a b") == ours[1].encode("a b")
    prompt = [[1, 2, 3]]
    assert torch.equal(load(paths[-1], device="cpu").logits(prompt), load(whole, device="cpu").logits(prompt))
    shutil.move(paths[1], tmp_path / "elsewhere")
    with pytest.raises(InputError, match=paths[1].name):
        load(paths[0])


def split_by_reference(reference: Any, whole: Path, out: Path) -> None:
    """As gguf-split does: the metadata in the first file, four tensors in each."""
    source = reference.GGUFReader(whole)
    writer = reference.GGUFWriter(out, "llama", split_max_tensors=4)
    for field in source.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for tensor in source.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
