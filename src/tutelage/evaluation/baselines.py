"""Baselines without a neural network, measured on the same held-out documents as the models."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.evaluation.clusters import ratio_interval, usable
from tutelage.evaluation.compression import compressed_bits_per_byte, joined
from tutelage.evaluation.config import BaselinesConfig
from tutelage.evaluation.ngram import NGram
from tutelage.evaluation.order import Pair, word_order_pairs
from tutelage.evaluation.statistics import Interval
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic, write_json
from tutelage.store.progress import batches, ticker

if TYPE_CHECKING:
    from tutelage.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Document:
    """A document as the corpus stores it; `bytes` is its UTF-8 length, `source` the package or file it is from."""

    id: str
    text: str
    source: str = ""

    @property
    def bytes(self) -> int:
        return len(self.text.encode("utf-8"))


def measure_baselines(
    config: BaselinesConfig, corpus: Path, tokenizer: Path, out: Path, log: EventLog, seed: int
) -> dict[str, Any]:
    """Compressors and the n-gram model on held-out text.

    Fills `out` with baselines.json (bits per byte), documents.jsonl (the documents measured, each with the
    n-gram model's natural-log likelihood) and order.jsonl (the word-order task with the n-gram model's two
    likelihoods). Returns the figures, flat. Raises InputError for a corpus without text.
    """
    heldout, heldout_left = take(read_documents(corpus / "heldout.parquet"), config.max_heldout_bytes)
    train, train_left = take(read_documents(corpus / "train.parquet"), config.max_train_bytes)
    timing: dict[str, float] = {}

    start = time.monotonic()
    rates = compressed_bits_per_byte(joined([d.text for d in train]), joined([d.text for d in heldout]), log)
    figures: dict[str, Interval | float] = dict(rates)
    timing["compressors"] = round(time.monotonic() - start, 3)

    start = time.monotonic()
    tok = _load_tokenizer(tokenizer)
    encoded = [
        np.array(ids, dtype=np.int64)
        for part in batches(log, "tokenizing", [d.text for d in train], 1000, "documents")
        for ids in tok.encode_batch(list(part))
    ]
    tick = ticker(log, f"n-grams of {sum(map(len, encoded)):,} tokens", config.ngram_order, "orders")
    model = NGram.train(encoded, tok.vocab_size, config.ngram_order, tok.eos_id, tick)
    logprobs = _totals(model, tok, [d.text for d in heldout])
    figures["n-gram"] = ratio_interval(
        [-value / math.log(2) for value in logprobs],
        [d.bytes for d in heldout],
        usable([d.source for d in heldout]),
        confidence=config.confidence,
        draws=config.bootstrap,
        seed=seed,
    )
    timing["n-gram"] = round(time.monotonic() - start, 3)

    pairs = word_order_pairs([d.text for d in heldout], config.order_pairs, seed, [d.source for d in heldout])
    real, swapped = (
        _totals(model, tok, [p.real for p in pairs]),
        _totals(model, tok, [p.swapped for p in pairs]),
    )

    _write_lines(
        out / "documents.jsonl",
        [{"id": d.id, "bytes": d.bytes, "ngram": v} for d, v in zip(heldout, logprobs, strict=True)],
    )
    _write_lines(
        out / "order.jsonl",
        [
            {"real": p.real, "swapped": p.swapped, "source": p.source, "ngram": [a, b]}
            for p, a, b in zip(pairs, real, swapped, strict=True)
        ],
    )
    write_json(
        out / "baselines.json",
        {
            "heldout_bytes": sum(d.bytes for d in heldout),
            "documents": len(heldout),
            "documents_left_out": heldout_left,
            "train_bytes": sum(d.bytes for d in train),
            "train_documents": len(train),
            "train_documents_left_out": train_left,
            "train_tokens": int(sum(map(len, encoded))),
            "ngram_order": config.ngram_order,
            "bits_per_byte": {name: _plain(figure) for name, figure in figures.items()},
            "note": NOTE.format(order=config.ngram_order),
        },
    )
    metrics: dict[str, Any] = {
        f"{name.replace(' ', '_').replace('-', '')}_bits_per_byte": _plain(figure)["value"]
        for name, figure in figures.items()
    }
    return {**metrics, "heldout_bytes": sum(d.bytes for d in heldout), "timing": timing}


NOTE = (
    "Held-out documents as they are in the corpus. PPMd: order 8, with memory for all of the text. xz: level 9e, "
    "no integrity check, dictionary over all of the text. zstd: level 19 with long-distance matching, window over "
    "all of the text. Primed: size(train + "
    "held-out) - size(train). Documents are joined by one newline, which the compressors code and which "
    "counts as a byte for them. n-gram: interpolated modified Kneser-Ney of order {order} over the "
    "tokenizer's tokens, trained on the same training text; the document's start is its context, its end is "
    "not counted."
)


def read_documents(path: Path) -> list[Document]:
    """Non-empty documents of one Parquet file of a corpus, in its order."""
    import pyarrow.parquet as parquet

    if not path.is_file():
        raise InputError(f"{path} does not exist", hint="give the directory that the corpus stage wrote")
    there = [name for name in ("id", "text", "source") if name in parquet.read_schema(path).names]
    rows = parquet.read_table(path, columns=there).to_pylist()
    documents = [Document(str(row["id"]), row["text"], row.get("source") or "") for row in rows if row["text"]]
    if not documents:
        raise InputError(f"{path} contains no text", hint="the corpus is too small to split; add documents")
    return documents


def take(documents: Sequence[Document], limit: int) -> tuple[list[Document], int]:
    """The first complete documents with a total of at most `limit` bytes (at least one), and the number left out.

    A corpus is sorted by hash, so its beginning is a random sample.
    """
    total = np.cumsum([document.bytes for document in documents])
    count = max(1, int(np.searchsorted(total, limit, side="right")))
    return list(documents[:count]), len(documents) - count


@dataclass(frozen=True)
class Baselines:
    """The results of `measure_baselines` that the evaluation of models reads."""

    bits_per_byte: dict[str, dict[str, float | None]]
    documents: list[dict[str, Any]]
    order: list[tuple[Pair, tuple[float, float]]]
    note: str


def read_baselines(directory: Path) -> Baselines:
    """Raises InputError if the baselines stage did not write the directory, DamagedError for an unreadable file."""
    try:
        data = json.loads((directory / "baselines.json").read_text(encoding="utf-8"))
        order = [
            (Pair(item["real"], item["swapped"], item.get("source", "")), (item["ngram"][0], item["ngram"][1]))
            for item in read_lines(directory / "order.jsonl")
        ]
        documents = read_lines(directory / "documents.jsonl")
        return Baselines(data["bits_per_byte"], documents, order, data["note"])
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} does not exist", hint="run the baselines stage first") from None
    except (json.JSONDecodeError, KeyError, IndexError) as error:
        raise DamagedError(f"{directory} is damaged: {error}", hint="run the baselines stage again") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def _load_tokenizer(directory: Path) -> Tokenizer:
    from tutelage.tokenizer.tokenizer import Tokenizer

    return Tokenizer.load(directory)


def _totals(model: NGram, tok: Tokenizer, texts: list[str]) -> list[float]:
    return [float(values.sum()) for values in model.logprob(tok.encode_batch(texts))]


def _plain(figure: Interval | float) -> dict[str, float | None]:
    if isinstance(figure, Interval) and figure.low is not None and figure.high is not None:
        return {"value": round(figure.value, 6), "low": round(figure.low, 6), "high": round(figure.high, 6)}
    value = figure.value if isinstance(figure, Interval) else figure
    return {"value": round(value, 6), "low": None, "high": None}


def _write_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
