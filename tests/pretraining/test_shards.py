"""Token shards and mixtures: the rows of memory, damage found, shares kept."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.pretraining.config import PretrainConfig
from tutelage.pretraining.objective import pack_documents
from tutelage.pretraining.shards import Mixture, ShardRows, TokenShards, open_shards, write_shards
from tutelage.pretraining.stage import encoded
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.bulk import Encoded
from tutelage.tokenizer.template import CHATML
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import best_fit
from tutelage.training.data.position import BLOCK, DataState, drawn, epochs, row_numbers


def texts(count: int, seed: int = 0, longest: int = 90) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(1, 300, draw.integers(0, longest)).tolist() for _ in range(count)]


def batched(documents: list[list[int]], size: int = 7) -> Iterator[Encoded]:
    return (Encoded.of(documents[start : start + size]) for start in range(0, len(documents), size))


def shards(path: Path, documents: list[list[int]], shard_tokens: int = 500, vocab_size: int = 300) -> TokenShards:
    write_shards(batched(documents), path, vocab_size, "id", shard_tokens)
    return open_shards(path)


@pytest.mark.parametrize("length", [16, 37, 128])
def test_rows_from_disk_are_the_rows_from_memory(length: int, tmp_path: Path) -> None:
    documents = texts(150)
    disk, memory = ShardRows(shards(tmp_path / "a", documents), 0, length), pack_documents(documents, 0, length)
    assert (len(disk), disk.num_tokens, disk.length) == (len(memory), memory.num_tokens, memory.length)
    index = np.random.default_rng(1).permutation(len(memory))
    one, two = disk.batch(index), memory.batch(index)
    for name in ("tokens", "positions", "documents", "targets", "weights"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_bytes_depend_on_the_documents_alone_and_vocabulary_decides_the_width(tmp_path: Path) -> None:
    documents = texts(60)
    one, two = shards(tmp_path / "a", documents), shards(tmp_path / "b", documents)
    assert one.index == two.index and len(one.shards) > 2
    assert [one.document(number).tolist() for number in range(60)] == documents
    wide = shards(tmp_path / "c", [[70_000, 1]], vocab_size=100_000)
    assert wide.document(0).tolist() == [70_000, 1] and wide.index["dtype"] == "<u4"
    narrow = shards(tmp_path / "d", [[65_535]], vocab_size=1 << 16)
    assert narrow.document(0).tolist() == [65_535] and narrow.index["dtype"] == "<u2"


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 9), st.integers(1, 70))
@settings(max_examples=25, deadline=None)
def test_shards_end_with_the_document_that_fills_them_however_they_are_batched(
    lengths: list[int], size: int, shard_tokens: int
) -> None:
    documents = [[number % 300] * length for number, length in enumerate(lengths)]
    wanted: list[list[int]] = []
    for document in documents:
        if not wanted or len(wanted[-1]) >= shard_tokens:
            wanted.append([])
        wanted[-1] += document
    with tempfile.TemporaryDirectory() as folder:
        write_shards(batched(documents, size), Path(folder) / "a", 300, "id", shard_tokens)
        made = open_shards(Path(folder) / "a")
        assert [shard.tolist() for shard in made.shards] == wanted
        assert [made.document(number).tolist() for number in range(len(documents))] == documents


@pytest.mark.parametrize("damage", ["flip", "cut", "vanish"])
@pytest.mark.parametrize("name", ["tokens-00001.bin", "lengths.bin", "index.json"])
def test_damage_is_found_and_named(name: str, damage: str, tmp_path: Path) -> None:
    shards(tmp_path / "a", texts(60))
    file = tmp_path / "a" / name
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[0] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-7])
    else:
        file.unlink()
    with pytest.raises(DamagedError, match=name):
        open_shards(tmp_path / "a")


def test_a_kill_in_writing_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    def endless():  # type: ignore[no-untyped-def]
        for number, document in enumerate(texts(100)):
            if number == 50:
                os.kill(os.getpid(), signal.SIGKILL)
            yield Encoded.of([document])

    child = os.fork()
    if child == 0:
        write_shards(endless(), tmp_path / "a", 300, "id", 500)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    with pytest.raises(DamagedError):
        open_shards(tmp_path / "a")
    assert len(shards(tmp_path / "a", texts(100)).lengths) == 100


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        ShardRows(shards(tmp_path / "a", []), 0, 16)


def test_a_row_names_its_documents(tmp_path: Path) -> None:
    documents = texts(40)
    rows = ShardRows(shards(tmp_path / "a", documents), 0, 64)
    for row in range(len(rows)):
        batch = rows.batch(np.array([row]))
        for order, number in enumerate(rows.documents_of(row), start=1):
            inside = batch.documents[0] == order
            told = [token for token in batch.targets[0][inside].tolist() if token]
            assert set(told) <= set(documents[number])


def test_a_document_is_no_turn_of_a_chat(tokenizer: Tokenizer, tmp_path: Path, log: EventLog) -> None:
    """A chat model, pretrained further, names the end of a turn as its end-of-text token; a document ends otherwise."""
    chat = Tokenizer(tokenizer.definition, {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"}, CHATML)
    pq.write_table(pa.table({"text": ["Sort the lines."]}), tmp_path / "train.parquet")
    batch = encoded(tmp_path, "train", chat, PretrainConfig(context_length=32), tmp_path, log).batch(np.array([0]))
    last = len(chat.encode("Sort the lines."))
    assert batch.tokens[0, 0] == batch.targets[0, last] == chat.token_to_id("<|endoftext|>") != chat.eos_id


def slow_best_fit(sizes: list[int], capacity: int) -> list[list[int]]:
    bins: list[list[int]] = []
    rooms: list[int] = []
    for item in sorted(range(len(sizes)), key=lambda item: (-sizes[item], item)):
        fitting = [(room, number) for number, room in enumerate(rooms) if room >= sizes[item]]
        if fitting:
            number = min(fitting)[1]
            bins[number].append(item)
            rooms[number] -= sizes[item]
        else:
            bins.append([item])
            rooms.append(capacity - sizes[item])
    return bins


@given(st.lists(st.integers(1, 24), max_size=60), st.integers(24, 40))
@settings(max_examples=150, deadline=None)
def test_best_fit_is_what_its_name_says(sizes: list[int], capacity: int) -> None:
    assert best_fit(sizes, capacity) == slow_best_fit(sizes, capacity)


WEIGHTS = st.lists(st.floats(0.02, 10), min_size=2, max_size=5)


@given(WEIGHTS, st.integers(0, 10**9), st.integers(1, 3000))
@settings(max_examples=60, deadline=None)
def test_a_mixture_keeps_its_shares_in_every_window(weights: list[float], start: int, count: int) -> None:
    source, taken = drawn(tuple(weights), np.arange(start, start + count))
    for which, weight in enumerate(weights):
        mine = taken[source == which]
        assert np.array_equal(mine, np.arange(len(mine)) + (mine[0] if len(mine) else 0))  # none left out, none twice
        assert abs(len(mine) - count * weight / sum(weights)) <= 3 + 2 * len(weights) * count / BLOCK


@given(WEIGHTS, st.integers(0, 5000), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_mixture_resumes_anywhere_on_any_number_of_processes(
    weights: list[float], start: int, processes: int, seed: int
) -> None:
    sources = tuple((7 + 5 * number, weight) for number, weight in enumerate(weights))
    whole = row_numbers(sources, DataState(seed), start + 24)
    assert np.array_equal(row_numbers(sources, DataState(seed, start), 24), whole[start:])
    shares = [row_numbers(sources, DataState(seed, start), 24)[rank::processes] for rank in range(processes)]
    assert sorted(np.concatenate(shares)) == sorted(whole[start:])


def test_a_source_is_gone_through_once_before_any_row_comes_again() -> None:
    sources = ((10, 3.0), (50, 1.0))
    numbers = row_numbers(sources, DataState(3), 400)
    first = numbers[numbers < 10]
    for at in range(0, len(first) - 10, 10):
        assert sorted(first[at : at + 10]) == list(range(10))
    assert epochs(sources, 400) == pytest.approx([30.0, 2.0], abs=0.1)


def test_a_mixture_of_shards_hands_out_the_rows_of_its_parts(tmp_path: Path) -> None:
    parts = [ShardRows(shards(tmp_path / name, texts(30, seed)), 0, 32) for seed, name in enumerate("ab")]
    mixture = Mixture(parts, [1.0, 2.0])
    batch = mixture.batch(np.array([2, len(parts[0]) + 3]))
    assert torch.equal(batch.tokens[0], parts[0].batch(np.array([2])).tokens[0])
    assert torch.equal(batch.targets[1], parts[1].batch(np.array([3])).targets[0])
    assert len(mixture) == sum(map(len, parts)) and mixture.num_tokens == sum(part.num_tokens for part in parts)
    assert mixture.digest() != Mixture(parts, [1.0, 3.0]).digest()
    assert json.loads((tmp_path / "a" / "index.json").read_text())["documents"] == 30
