"""A corpus file as ids: every text in its order, whatever the batches, and who encoded is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.pretraining import encoding
from tutelage.pretraining.encoding import MistakenEncoderError, encoded_texts
from tutelage.pretraining.shards import open_shards, write_shards
from tutelage.store.events import EventLog
from tutelage.tokenizer import bulk
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.numbering import ByteNumbers, CharacterNumbers, PieceNumbers
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import train

TEXTS = [f"Text {number} " + "word " * (number % 7) for number in range(50)] + ["", "学習"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    labels = [None if at % 3 else "b" for at in range(len(TEXTS))]
    pq.write_table(pa.table({"text": TEXTS, "label": labels}), tmp_path / "a.parquet", row_group_size=9)
    return tmp_path / "a.parquet"


@pytest.mark.parametrize(("rows", "size"), [(1000, 10**6), (7, 60), (1, 1)])
def test_every_text_in_its_order(
    source: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, rows: int, size: int
) -> None:
    monkeypatch.setattr(encoding, "_ROWS", rows)
    monkeypatch.setattr(encoding, "_BYTES", size)
    found = [ids for part in encoded_texts(source, tokenizer, EventLog(), "encoding") for ids in part]
    assert found == [tokenizer.encode(text) for text in TEXTS]
    some = [ids for part in encoded_texts(source, tokenizer, EventLog(), "encoding", ("label", "b")) for ids in part]
    assert some == [tokenizer.encode(text) for text in TEXTS[::3]]
    rest = [ids for part in encoded_texts(source, tokenizer, EventLog(), "encoding", ("label", "")) for ids in part]
    assert len(rest) == len(TEXTS) - len(some)


def test_a_slow_encoder_is_said(source: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ENOUGH", 0)

    def unsupported() -> Any:
        raise ValueError("unsupported")

    monkeypatch.setattr(bulk.Bulk, "_ways", lambda self: {"fastokens": unsupported})
    events: list[dict[str, object]] = []
    tok = Tokenizer(tokenizer.definition, tokenizer.settings, tokenizer.chat_template)
    list(encoded_texts(source, tok, EventLog(listeners=(events.append,)), "encoding the corpus"))
    said = [event for event in events if event["event"] in ("encoder", "note")]
    assert [event["event"] for event in said] == ["encoder", "note"]
    assert "fastokens: unsupported" in str(said[0]["library"]) and "fastokens: unsupported" in str(said[1]["message"])


def test_an_encoder_found_wrong_later_encodes_nothing(
    source: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        def encode(self, texts: list[str]) -> bulk.Encoded:
            return bulk.Encoded.of([0] if "学" in text else tokenizer.encode(text) for text in texts)

    monkeypatch.setattr(bulk, "ENOUGH", 0)
    monkeypatch.setattr(bulk.Bulk, "_ways", lambda self: {"fastokens": Wrong})
    monkeypatch.setattr(bulk.Bulk, "_probes", lambda self: iter(["a"]))
    monkeypatch.setattr(encoding, "_ROWS", 9)
    tok = Tokenizer(tokenizer.definition, tokenizer.settings, tokenizer.chat_template)
    with pytest.raises(MistakenEncoderError, match="texts were encoded by it before"):
        list(encoded_texts(source, tok, EventLog(), "encoding"))
    again = [ids for part in encoded_texts(source, tok, EventLog(), "encoding") for ids in part]
    assert again == [tokenizer.encode(text) for text in TEXTS]


@pytest.mark.parametrize("method", ["bpe", "unigram", "wordpiece", "word", "byte", "char", "bpe_fallback", "superbpe"])
def test_shards_of_every_method_are_those_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """From Parquet to shards, the same bytes whoever encodes, however many threads there are, whatever the batches."""
    texts = [*TEXTS, "It's <|im_end|> 12\r\n\n x" + "é" * 900, " ", "naïve 日本語、a\u0301 \U0001f600"] * 3
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=9)
    plain = train(TokenizerConfig(method=method, vocab_size=0 if method == "byte" else 300), texts, EventLog())
    files = []
    for enough, threads, rows in ((10**9, "1", 1000), (0, "1", 1000), (0, "3", 1000), (0, "2", 7)):
        monkeypatch.setattr(bulk, "ENOUGH", enough)
        monkeypatch.setenv("RAYON_NUM_THREADS", threads)
        monkeypatch.setattr(encoding, "_ROWS", rows)
        for source in (PieceNumbers, CharacterNumbers, ByteNumbers):
            monkeypatch.setattr(source, "at_once", 400)
        tok = Tokenizer(plain.definition, plain.settings, plain.chat_template)
        batches = encoded_texts(tmp_path / "a.parquet", tok, EventLog(), "encoding")
        write_shards(batches, tmp_path / f"{len(files)}", tok.vocab_size, "", 500)
        files.append(open_shards(tmp_path / f"{len(files)}").index["files"])
        assert tok.encoder.endswith("(few texts)") == (enough > 0) and tok.slow_because is None
    assert files == files[:1] * 4
