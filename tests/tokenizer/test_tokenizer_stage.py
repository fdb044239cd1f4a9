from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tokenizers import corpus_texts

from tutelage.store.errors import DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.measures import measure, pieces, renyi_efficiency
from tutelage.tokenizer.stage import sample, train_tokenizer
from tutelage.tokenizer.tokenizer import Tokenizer


def corpus(directory: Path, train: list[str | None], heldout: list[str] | None) -> Path:
    directory.mkdir(exist_ok=True)
    for name, texts in (("train", train), ("heldout", heldout)):
        if texts is not None:
            table = pa.table({"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.string())})
            pq.write_table(table, directory / f"{name}.parquet")
    return directory


@pytest.fixture
def small_corpus(tmp_path: Path) -> Path:
    texts = corpus_texts()
    return corpus(tmp_path / "corpus", [*texts[:250], None, ""], texts[250:])


CONFIG = TokenizerConfig.parse({"vocab_size": 320})


def test_stage_fills_the_directory(small_corpus: Path, tmp_path: Path) -> None:
    events: list[dict[str, object]] = []
    metrics = train_tokenizer(CONFIG, small_corpus, tmp_path / "out", EventLog(listeners=(events.append,)), seed=1)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["chat_template.jinja", "measures.json", "tokenizer.json", "tokenizer_config.json"]
    measures = json.loads((tmp_path / "out" / "measures.json").read_text())
    held = corpus_texts()[250:]
    size = sum(len(text.encode()) for text in held)
    tokens = sum(map(len, Tokenizer.load(tmp_path / "out").encode_batch(held)))
    assert (measures["bytes"], measures["tokens"], measures["texts"]) == (size, tokens, 50)
    assert measures["bytes_per_token"] == pytest.approx(size / tokens, abs=1e-6)
    assert measures["round_trip_failures"] == 0 and measures["lossless"] and measures["measured_on"] == "heldout"
    assert measures["trained_on"]["documents"] == 252 and measures["split"] == "qwen2"
    assert metrics["vocab_size"] == 320 and set(metrics["timing"]) == {"train_seconds", "encode_mb_per_second"}
    assert {"reading text", "measuring"} <= {event.get("what") for event in events}


def test_same_files_twice_and_no_times_in_them(small_corpus: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "a", tmp_path / "b"]
    for out in outs:
        train_tokenizer(CONFIG, small_corpus, out, EventLog(), seed=1)
    first, second = ({path.name: path.read_bytes() for path in out.iterdir()} for out in outs)
    assert first == second
    assert b"second" not in first["measures.json"] and str(tmp_path).encode() not in b"".join(first.values())


def test_sample_is_bounded_random_and_repeatable(tmp_path: Path) -> None:
    directory = corpus(tmp_path / "c", ["x" * 1000] * 1000, None)
    chosen, facts = sample(directory / "train.parquet", 0.1, seed=3)
    again, _ = sample(directory / "train.parquet", 0.1, seed=3)
    other, _ = sample(directory / "train.parquet", 0.1, seed=4)
    assert facts == {"documents": 100, "bytes": 100_000, "of_documents": 1000, "of_bytes": 1_000_000}
    assert (chosen == again).all() and (chosen != other).any()
    assert 20 < chosen[:500].sum() < 80  # not a prefix


def test_without_held_out_text_the_training_text_is_measured(tmp_path: Path) -> None:
    for name, heldout in (("none", None), ("empty", [])):
        directory = corpus(tmp_path / name, list(corpus_texts(50)), heldout)
        train_tokenizer(CONFIG, directory, tmp_path / f"{name}-out", EventLog(), seed=1)
        measures = json.loads((tmp_path / f"{name}-out" / "measures.json").read_text())
        assert measures["measured_on"] == "train" and measures["texts"] == 50


def test_lossy_method_counts_its_losses(small_corpus: Path, tmp_path: Path) -> None:
    config = TokenizerConfig.parse({"method": "wordpiece", "vocab_size": 200})
    metrics = train_tokenizer(config, small_corpus, tmp_path / "out", EventLog(), seed=1)
    measures = json.loads((tmp_path / "out" / "measures.json").read_text())
    assert metrics["lossless"] is measures["lossless"] is False
    assert measures["round_trip_failures"] == 50 and len(measures["round_trip_examples"]) == 3


def test_bad_corpora_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.parquet is missing"):
        train_tokenizer(CONFIG, tmp_path, tmp_path / "out", EventLog(), seed=1)
    with pytest.raises(InputError, match="no text"):
        train_tokenizer(CONFIG, corpus(tmp_path / "empty", [], []), tmp_path / "out", EventLog(), seed=1)
    damaged = corpus(tmp_path / "damaged", ["text"] * 50, None)
    whole = (damaged / "train.parquet").read_bytes()
    (damaged / "train.parquet").write_bytes(whole[:-40])
    with pytest.raises(DamagedError, match=r"train\.parquet"):
        train_tokenizer(CONFIG, damaged, tmp_path / "out", EventLog(), seed=1)
    pq.write_table(pa.table({"body": ["x"]}), damaged / "train.parquet")
    with pytest.raises(InputError, match="no column 'text'"):
        train_tokenizer(CONFIG, damaged, tmp_path / "out", EventLog(), seed=1)
    assert not (tmp_path / "out").exists()


def test_renyi_efficiency_by_hand() -> None:
    assert renyi_efficiency(np.array([5, 5, 5, 5])) == 1.0
    assert renyi_efficiency(np.array([9, 0, 0, 0])) == 0.0
    # p = (3/4, 1/4): log((3/4)^2.5 + (1/4)^2.5) / (1 - 2.5) / log(2)
    wanted = np.log(0.75**2.5 + 0.25**2.5) / -1.5 / np.log(2)
    assert renyi_efficiency(np.array([3, 1])) == pytest.approx(wanted, abs=1e-6)
    assert renyi_efficiency(np.array([0, 0])) == 0.0


def test_measures_of_pure_bytes(trained: dict[str, Tokenizer]) -> None:
    numbers, timing = measure(trained["byte"], ["abc abc", "é"])
    assert (numbers["tokens"], numbers["bytes"], numbers["words"]) == (9, 9, 3)
    assert (numbers["bytes_per_token"], numbers["single_byte_share"], numbers["tokens_per_word"]) == (1.0, 1.0, 3.0)
    assert numbers["unused_share"] == pytest.approx(1 - 6 / 259, abs=1e-6)
    assert timing["encode_mb_per_second"] > 0


def test_pieces_join_to_the_text(bpe: Tokenizer) -> None:
    assert "".join(pieces(bpe, "return the list")) == "return the list"
