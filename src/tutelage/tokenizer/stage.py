"""The tokenizer stage: corpus in, tokenizer directory and measures out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.store.errors import DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_json
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.imported import import_vocabulary
from tutelage.tokenizer.measures import measure, pieces
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import is_lossless, train

_ROWS = 4096


def train_tokenizer(config: TokenizerConfig, corpus: Path, out: Path, log: EventLog, seed: int) -> dict[str, Any]:
    """Train on `corpus/train.parquet` (or read `config.source`), measure on `heldout.parquet`, fill `out`, and return
    the main figures.

    Writes tokenizer.json, tokenizer_config.json, chat_template.jinja and measures.json. A corpus larger than
    `sample_megabytes` is sampled by document; so is the held-out text. Raises InputError without text.
    """
    begin = time.perf_counter()
    if config.source:
        made = import_vocabulary(config)
        sampled: dict[str, int] = {}
    else:
        chosen, sampled = sample(corpus / "train.parquet", config.sample_megabytes, seed)
        config = config.sized(sampled["of_bytes"])
        made = train(config, texts(corpus / "train.parquet", chosen), log, sampled["bytes"])
    train_seconds = time.perf_counter() - begin
    out.mkdir(parents=True, exist_ok=True)
    made.save(out)

    lossless = is_lossless(config)
    facts = {"method": config.method, "split": config.chosen_split, "lossless": lossless, "trained_on": sampled}
    if config.source:
        facts = {"method": "imported", "source": Path(config.source).name, "trained_on": sampled}
    numbers, timing = measure_tokenizer(made, corpus, out, log, seed, facts, config.sample_megabytes)
    failures = numbers["round_trip_failures"]
    if config.source:
        lossless = failures == 0
        if failures:
            log.warn(f"{failures} of {numbers['texts']} held-out texts do not come back from this vocabulary unchanged")
    elif failures and lossless:
        raise InputError(f"{failures} held-out texts do not survive encoding and decoding")
    figures = ("vocab_size", "bytes_per_token", "tokens_per_word", "renyi_efficiency", "unused_share")
    return {
        **{key: numbers[key] for key in figures},
        "lossless": lossless,
        "timing": {"train_seconds": round(train_seconds, 2), **timing},
    }


def measure_tokenizer(
    made: Tokenizer,
    corpus: Path,
    out: Path,
    log: EventLog,
    seed: int,
    facts: dict[str, Any],
    megabytes: float = 20.0,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Measure on the corpus's held-out text and write `out/measures.json`, with `facts`; returns figures and times."""
    measured_on, held = "heldout", corpus / "heldout.parquet"
    if not held.exists() or pq.read_metadata(held).num_rows == 0:
        measured_on, held = "train", corpus / "train.parquet"
        log.warn("the corpus has no held-out text; the tokenizer is measured on its training text")
    part, _ = sample(held, megabytes, seed)
    some = list(texts(held, part))
    numbers, timing = measure(made, some, lambda done, total: log.progress("measuring", done, total, "texts"))
    example = next((text[:300] for text in some if len(text) >= 80), some[0][:300] if some else "")
    shown = {**facts, "measured_on": measured_on, **numbers, "example": pieces(made, example)}
    write_json(out / "measures.json", shown)
    return numbers, timing


def sample(path: Path, megabytes: float, seed: int) -> tuple[np.ndarray[Any, Any], dict[str, int]]:
    """A mask of rows with about `megabytes` of text (all, or a random sample by the seed), and the counts."""
    sizes = np.concatenate([np.zeros(0, np.int64), *(_sizes(column) for column in _columns(path))])
    chosen = np.ones(len(sizes), dtype=bool)
    if sizes.sum() > megabytes * 1e6:
        order = np.random.default_rng(seed).permutation(len(sizes))
        before = np.cumsum(sizes[order]) - sizes[order]
        chosen[order] = before < megabytes * 1e6
    return chosen, {
        "documents": int(chosen.sum()),
        "bytes": int(sizes[chosen].sum()),
        "of_documents": len(sizes),
        "of_bytes": int(sizes.sum()),
    }


def texts(path: Path, chosen: np.ndarray[Any, Any]) -> Iterator[str]:
    """Texts of the chosen rows, in order, without loading the whole file."""
    row = 0
    for column in _columns(path):
        mask = chosen[row : row + len(column)]
        row += len(column)
        yield from (text for text in column.filter(pa.array(mask)).to_pylist() if text)


def _columns(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing", hint="the corpus stage writes it")
    try:
        file = pq.ParquetFile(path)
        if "text" not in file.schema_arrow.names:
            raise InputError(f"{path} has no column 'text'", hint=f"columns: {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(batch_size=_ROWS, columns=["text"]):
            yield batch.column(0)
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from None


def _sizes(column: Any) -> np.ndarray[Any, Any]:
    lengths = pc.fill_null(pc.binary_length(column.cast(pa.binary())), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)
