"""A corpus file as ids: every text in its order, whatever the batches, and who encoded is said."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.pretraining import encoding
from tutelage.pretraining.encoding import MistakenEncoderError, encoded_texts
from tutelage.store.events import EventLog
from tutelage.tokenizer import bulk
from tutelage.tokenizer.tokenizer import Tokenizer

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
    monkeypatch.setattr(bulk.Bulk, "_built", lambda self: (None, "fastokens: unsupported"))
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
    monkeypatch.setattr(bulk.Bulk, "_built", lambda self: (Wrong(), None))
    monkeypatch.setattr(bulk.Bulk, "_probes", lambda self: iter(["a"]))
    monkeypatch.setattr(encoding, "_ROWS", 9)
    tok = Tokenizer(tokenizer.definition, tokenizer.settings, tokenizer.chat_template)
    with pytest.raises(MistakenEncoderError, match="texts were encoded by it before"):
        list(encoded_texts(source, tok, EventLog(), "encoding"))
    again = [ids for part in encoded_texts(source, tok, EventLog(), "encoding") for ids in part]
    assert again == [tokenizer.encode(text) for text in TEXTS]
