"""GGUF files in several parts: read as one; what is missing or does not belong is named."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf_samples as samples
import pytest
import torch

from tutelage.interchange.config import AdoptConfig
from tutelage.interchange.gguf.load import read_gguf
from tutelage.interchange.gguf.parity import check_gguf
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.writer import encode_value, write_gguf
from tutelage.interchange.spec import SPEC
from tutelage.loading import load
from tutelage.model.io import hf_weights
from tutelage.store.errors import DamagedError, InputError


@pytest.fixture
def one(tmp_path: Path) -> Path:
    config = samples.CONFIGS["llama"]
    path = tmp_path / "one.gguf"
    write_gguf(path, config, samples.random_weights(config), samples.bpe_tokenizer(), "f32")
    return path


def split(path: Path, count: int, tensors: int | None = None, stem: str = "many") -> list[Path]:
    """What `gguf-split` makes of a file: the metadata go into the first part, the tensors are dealt out."""
    file, content = GGUFFile.open(path), path.read_bytes()
    names = list(file.tensors)
    made = []
    for number in range(count):
        entries = [samples.text(key) + encode_value(value) for key, value in file.metadata.items() if number == 0]
        entries += [
            samples.entry("split.no", 2, struct.pack("<H", number)),
            samples.entry("split.count", 2, struct.pack("<H", count)),
            samples.entry("split.tensors.count", 5, struct.pack("<i", tensors or len(names))),
        ]
        described, data = [], b""
        for name in names[number::count]:
            info = file.tensors[name]
            described.append(samples.describe(name, info.shape[::-1], info.kind.code, len(data)))
            data += content[info.offset : info.offset + info.size]
            data += bytes(-len(data) % 32)
        made.append(path.with_name(f"{stem}-{number + 1:05d}-of-{count:05d}.gguf"))
        made[-1].write_bytes(samples.gguf(entries, described, data))
    return made


@pytest.mark.parametrize("given", [0, 1, 2])
def test_the_parts_are_one_model(given: int, one: Path) -> None:
    model, tok = read_gguf(split(one, 3)[given])
    whole, _ = read_gguf(one)
    assert model.config == whole.config and tok.encode("naïve") == samples.bpe_tokenizer().encode("naïve")
    for (name, ours), (_, theirs) in zip(hf_weights(model), hf_weights(whole), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parity
def test_llama_cpp_reads_the_same(one: Path) -> None:
    pytest.importorskip("xllamacpp")
    first = split(one, 2)[0]
    parity = check_gguf(first, *read_gguf(first))
    assert parity.passed and parity.prompts, parity.why


def test_what_is_missing_is_named(one: Path) -> None:
    parts = split(one, 3)
    parts[1].unlink()
    with pytest.raises(InputError, match=r"one of 3 parts; missing: many-00002-of-00003\.gguf"):
        load(parts[0])
    with pytest.raises(InputError, match=r"missing: many-00002-of-00003\.gguf"):
        load(parts[2])


def test_a_part_under_another_name(one: Path) -> None:
    part = split(one, 2)[0].rename(one.with_name("model.gguf"))
    with pytest.raises(InputError, match="one of 2 parts, but is not named as one"):
        load(part)


def test_parts_that_do_not_belong_together(one: Path) -> None:
    parts = split(one, 2)
    parts[1].write_bytes(parts[0].read_bytes())
    with pytest.raises(DamagedError, match=r"many-00002-of-00002\.gguf is not part 2 of 2"):
        read_gguf(parts[0])
    with pytest.raises(DamagedError, match="do not contain as many tensors"):
        read_gguf(split(one, 2, tensors=99, stem="few")[0])


def test_one_file_with_such_a_name_is_one_file(one: Path) -> None:
    path = one.rename(one.with_name("a-00001-of-00002.gguf"))
    assert read_gguf(path)[0].num_parameters() > 0


def test_every_part_counts_in_what_was_adopted(one: Path) -> None:
    parts = [str(part) for part in split(one, 3)]
    assert list(SPEC.files(AdoptConfig(source=parts[0])).values()) == parts
    assert SPEC.files(AdoptConfig(source=str(one))) == {"source": str(one)}
