"""Reading GGUF: what a file says, and that nothing a file says is believed."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from pathlib import Path

import gguf_samples as samples
import pytest
import torch
from gguf_samples import array, describe, entry, gguf, text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.interchange.gguf.models import model_of
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.tokenizer import read_tokenizer
from tutelage.interchange.gguf.writer import write_gguf
from tutelage.store.errors import DamagedError, InputError

NUMBERS = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
GOOD = gguf(
    [
        entry("a.string", 8, text("größe")),
        entry("a.bool", 7, b"\1"),
        entry("a.u8", 0, b"\xff"),
        entry("a.i8", 1, b"\xff"),
        entry("a.i64", 11, struct.pack("<q", -(2**40))),
        entry("a.u64", 10, struct.pack("<Q", 2**63)),
        entry("a.f64", 12, struct.pack("<d", 0.1)),
        entry("a.words", 9, array(8, 2, text("x") + text(""))),
        entry("a.numbers", 9, array(5, 3, struct.pack("<3i", 1, -2, 3))),
        entry("a.truths", 9, array(7, 2, b"\0\1")),
        entry("a.nothing", 9, array(8, 0, b"")),
    ],
    [describe("rows", (3, 2), 0, 0), describe("halves", (2,), 1, 32)],
    NUMBERS + bytes(8) + struct.pack("<2e", 0.5, -2),
)


def opened(tmp_path: Path, content: bytes) -> GGUFFile:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    return GGUFFile.open(path)


@pytest.mark.parametrize("version", [2, 3])
def test_reads_every_type_of_metadata(tmp_path: Path, version: int) -> None:
    file = opened(tmp_path, GOOD[:4] + struct.pack("<I", version) + GOOD[8:])
    assert file.version == version
    assert file.metadata == {
        "a.string": "größe",
        "a.bool": True,
        "a.u8": 255,
        "a.i8": -1,
        "a.i64": -(2**40),
        "a.u64": 2**63,
        "a.f64": 0.1,
        "a.words": ["x", ""],
        "a.numbers": [1, -2, 3],
        "a.truths": [False, True],
        "a.nothing": [],
    }


def test_reads_tensors_in_torch_order(tmp_path: Path) -> None:
    file = opened(tmp_path, GOOD)
    info = file.tensors["rows"]
    assert (info.shape, info.kind.name, info.size, info.offset % 32) == ((2, 3), "F32", 24, 0)
    assert file.tensor("rows").tolist() == [[1, 2, 3], [4, 5, 6]]
    assert file.tensor("halves").tolist() == [0.5, -2]
    assert file.tensor("halves").dtype == torch.float32
    with pytest.raises(DamagedError, match="'other' is missing"):
        file.tensor("other")


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    for length in range(len(GOOD)):
        with pytest.raises((DamagedError, InputError)):
            opened(tmp_path, GOOD[:length])


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\3\4 something else", b"GGML" + bytes(100)])
def test_other_files_are_named_as_such(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="not a GGUF file"):
        opened(tmp_path, content)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            GGUFFile.open(path)


def test_other_versions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="version 1"):
        opened(tmp_path, gguf([], version=1))
    with pytest.raises(InputError, match="big endian"):
        opened(tmp_path, gguf([], version=3 << 24))


HUGE = 2**63 + 5
HOSTILE: dict[str, tuple[bytes, str]] = {
    "many entries": (gguf([], n_entries=HUGE), "metadata entries do not fit"),
    "many tensors": (gguf([], n_tensors=2**40), "tensor descriptions do not fit"),
    "long key": (gguf([struct.pack("<Q", HUGE) + b"key"]), "needs 9223372036854775813 bytes"),
    "long string": (gguf([entry("k", 8, struct.pack("<Q", 2**62))]), "metadata 'k' needs"),
    "long array": (gguf([entry("k", 9, array(6, 2**61, b""))]), "metadata 'k' needs"),
    "long array of strings": (gguf([entry("k", 9, array(8, 2**61, b""))]), "strings of metadata 'k' do not fit"),
    "array of arrays": (gguf([entry("k", 9, array(9, 1, array(0, 1, b"x")))]), "array of arrays"),
    "unknown type": (gguf([entry("k", 13, bytes(8))]), "unknown type 13"),
    "unknown element type": (gguf([entry("k", 9, array(99, 1, bytes(8)))]), "unknown type 99"),
    "truth 2": (gguf([entry("k", 7, b"\2")]), "boolean"),
    "key twice": (gguf([entry("k", 7, b"\1"), entry("k", 7, b"\1")]), "duplicate metadata key 'k'"),
    "key not UTF-8": (gguf([entry(b"\xff\xfe", 7, b"\1")]), "not UTF-8"),
    "value not UTF-8": (gguf([entry("k", 8, text(b"\xc3"))]), "not UTF-8"),
    "alignment 0": (gguf([entry("general.alignment", 4, struct.pack("<I", 0))]), "power of two"),
    "alignment 24": (gguf([entry("general.alignment", 4, struct.pack("<I", 24))]), "power of two"),
    "alignment text": (gguf([entry("general.alignment", 8, text("32"))]), "power of two"),
    "five dimensions": (gguf([], [describe("t", (1,) * 5, 0, 0)], bytes(32)), "5 dimensions"),
    "many dimensions": (gguf([], [text("t") + struct.pack("<I", 2**32 - 1)], bytes(99)), "4294967295 dimensions"),
    "empty dimension": (gguf([], [describe("t", (4, 0), 0, 0)], bytes(32)), "empty dimension"),
    "product overflows": (gguf([], [describe("t", (2**32, 2**32, 4), 0, 0)], bytes(32)), "ends after"),
    "unknown tensor type": (gguf([], [describe("t", (4,), 4, 0)], bytes(32)), "unknown type 4"),
    "ragged rows": (gguf([], [describe("t", (33,), 8, 0)], bytes(64)), "not a multiple of Q8_0's block of 32"),
    "misaligned": (gguf([], [describe("t", (4,), 0, 8)], bytes(64)), "not a multiple of the alignment"),
    "outside": (gguf([], [describe("t", (4,), 0, 64)], bytes(64)), "ends after"),
    "far outside": (gguf([], [describe("t", (4,), 0, 2**64 - 32)], bytes(64)), "ends after"),
    "too long": (gguf([], [describe("t", (17,), 0, 0)], bytes(64)), "ends after"),
    "overlap": (gguf([], [describe("a", (16,), 0, 0), describe("b", (4,), 0, 32)], bytes(64)), "'a' and 'b' overlap"),
    "tensor twice": (
        gguf([], [describe("t", (4,), 0, 0), describe("t", (4,), 0, 32)], bytes(64)),
        "duplicate tensor 't'",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_nothing(tmp_path: Path, name: str) -> None:
    content, message = HOSTILE[name]
    tracemalloc.start()
    with pytest.raises(DamagedError, match=message):
        opened(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def test_a_kind_that_exists_but_is_not_supported_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'t' is stored as Q2_K"):
        opened(tmp_path, gguf([], [describe("t", (256,), 10, 0)], bytes(84)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "model.gguf"
    config = {**samples.CONFIGS["llama3"], "num_hidden_layers": 1}
    write_gguf(path, config, samples.random_weights(config), samples.bpe_tokenizer(), "q8_0")
    return path.read_bytes()


def read_everything(path: Path) -> None:
    file = GGUFFile.open(path)
    _, weights = model_of(file)
    for _, tensor in weights.items():
        assert tensor.dtype == torch.float32
    read_tokenizer(file.metadata).build()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=3), head=st.booleans())
def test_flipped_bytes_end_in_clear_errors(
    whole: bytes, tmp_path: Path, flips: list[tuple[float, int]], head: bool
) -> None:
    # Half of the flips fall on the first and last entries of the header, where the counts and shapes are.
    broken = bytearray(whole)
    first = whole.index(b"tokenizer.ggml.tokens")
    places = [*range(first), *range(whole.index(b"token_embd.weight") - 8, whole.index(b"output.weight") + 400)]
    for share, mask in flips:
        place = places[int(share * (len(places) - 1))] if head else int(share * (len(broken) - 1))
        broken[place] ^= mask
    path = tmp_path / "broken.gguf"
    path.write_bytes(broken)
    with contextlib.suppress(DamagedError, InputError):
        read_everything(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_models_are_noticed(whole: bytes, tmp_path: Path, share: float) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(whole[: int(share * (len(whole) - 32))])
    with pytest.raises((DamagedError, InputError)):
        read_everything(path)


def test_the_whole_file_is_good(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "good.gguf"
    path.write_bytes(whole)
    read_everything(path)
