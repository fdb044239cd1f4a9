"""What selection is judged by: examples that the user gives, imported scores, or the likelihood under a small model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.corpus.readers import read_file
from tutelage.corpus.rows import InputFile
from tutelage.corpus.selection.config import SelectConfig
from tutelage.corpus.selection.features import Floats
from tutelage.corpus.shelf import Shelf
from tutelage.corpus.sources import files_identity, input_files
from tutelage.corpus.steps import reduced
from tutelage.corpus.words import hash_text, text_batches
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.hashing import sha256_files

if TYPE_CHECKING:
    from torch import nn

    from tutelage.corpus.config import CorpusConfig
    from tutelage.tokenizer.tokenizer import Tokenizer

_SCORED_TOKENS = 256  # of a text that a model reads
_ROWS = 16  # texts that a model reads at once ...
_SORTED = 1024  # ... chosen by length among so many
_MATCHED = 0.5  # of the documents, that a table of scores must know


def evidence_identity(settings: SelectConfig) -> dict[str, str]:
    """Hashes of the files that are judged by, by their keys. Raises ConfigError for one that is not there."""
    given = {key: getattr(settings, key) for key in ("good", "target", "scores")}
    found = {f"select.{key}": files_identity(_files(path, key)) for key, path in given.items() if path}
    if settings.model:
        files = [path for path in sorted(_model_directory(settings.model).iterdir()) if path.is_file()]
        found["select.model"] = sha256_files([(path.name, path) for path in files])
    return found


def read_examples(source: str, config: CorpusConfig, key: str) -> list[str]:
    """Texts of a file or folder of examples, read and reduced to prose as the corpus is, so that only what they say
    differs.

    Raises ConfigError where nothing is there, InputError where it holds no text.
    """
    documents = (document for file in _files(source, key) for document in read_file(file, config).documents)
    without = frozenset(config.skip_rules)
    found = (reduced(one, without, english=False).text if config.prose else one.text for one in documents)
    texts = [text for text in found if text.strip()]
    if not texts:
        raise InputError(f"corpus.select.{key}: {source} holds no text" + (" of prose" if config.prose else ""))
    return texts


def imported_scores(path: str, documents: Shelf) -> tuple[Floats, int]:
    """(score of each document, how many have none and got the median). Raises InputError where the table is none, or
    knows less than half of the documents."""
    table = _table(Path(path).expanduser())
    columns = table.column_names
    key = next((name for name in ("id", "text") if name in columns), None)
    if key is None or "score" not in columns:
        raise InputError(
            f"corpus.select.scores: {path} has the columns {', '.join(columns)}; 'score' and 'id' or 'text' are needed",
            hint="ids are those of train.parquet and heldout.parquet of a corpus",
        )
    found: dict[int, float] = {}
    for name, score in zip(table[key].to_pylist(), table["score"].to_pylist(), strict=True):
        if isinstance(score, (int, float)) and math.isfinite(score):
            found[_key(str(name))] = float(score)
    ids = (one.decode("utf-8") for one in documents.kept.ids.tolist())
    keys = [_key(one) for one in (ids if key == "id" else documents.texts())]
    missing = sum(one not in found for one in keys)
    if len(keys) - missing < _MATCHED * len(keys) or not keys:
        raise InputError(
            f"corpus.select.scores: {path} knows {len(keys) - missing:,} of {len(keys):,} documents by their {key}",
            hint="score the documents of a corpus made with the same settings, without `select`",
        )
    usual = float(np.median([found[one] for one in keys if one in found]))
    return np.array([found.get(one, usual) for one in keys]), missing


def likelihood(texts: Iterable[str], model: str, tick: Callable[[int], None]) -> Floats:
    """Minus the bits per byte of each text's first tokens under a small model; 0 tokens: the worst.

    Likely text is usual text: repetition is likely too, and is for the deduplication and the rules to take away.
    """
    from tutelage.model.io import load_model
    from tutelage.tokenizer.tokenizer import Tokenizer

    path = _model_directory(model)
    tok, decoder = Tokenizer.load(path), load_model(path).eval()
    longest = min(_SCORED_TOKENS, decoder.config.max_position_embeddings - 1)
    found: list[Floats] = [np.zeros(0)]
    done = 0
    for batch in text_batches(texts):
        for begin in range(0, len(batch), _SORTED):
            some = batch.slice(begin, _SORTED).to_pylist()
            found.append(_bits([ids[:longest] for ids in tok.encode_batch(some)], tok, decoder))
            done += len(some)
            tick(done)
    bits = np.concatenate(found)
    worst = float(bits[np.isfinite(bits)].max(initial=0.0))
    return -np.where(np.isfinite(bits), bits, worst)


def _bits(encoded: Sequence[Sequence[int]], tok: Tokenizer, decoder: nn.Module) -> Floats:
    """Bits per byte of each encoded text; infinite where it has no token."""
    import torch
    from torch.nn.functional import cross_entropy

    order = sorted((at for at in range(len(encoded)) if encoded[at]), key=lambda at: len(encoded[at]))
    bits = np.full(len(encoded), np.inf)
    for begin in range(0, len(order), _ROWS):
        chosen = order[begin : begin + _ROWS]
        width = max(len(encoded[at]) for at in chosen)
        rows = torch.full((len(chosen), width + 1), tok.pad_id)
        for row, at in enumerate(chosen):
            rows[row, : len(encoded[at]) + 1] = torch.tensor([tok.start_id, *encoded[at]])
        with torch.inference_mode():
            logits = decoder(rows[:, :-1]).float()
        nats = cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
        for row, at in enumerate(chosen):
            size = sum(len(tok.token_bytes(index)) for index in encoded[at])
            bits[at] = float(nats[row, : len(encoded[at])].sum()) / math.log(2) / max(1, size)
    return bits


def _files(source: str, key: str) -> list[InputFile]:
    try:
        return input_files(source)
    except ConfigError as error:
        raise ConfigError(f"corpus.select.{key}: {error.message.removesuffix('.')}") from None


def _model_directory(model: str) -> Path:
    path = Path(model).expanduser()
    if not (path / "config.json").is_file():
        raise ConfigError(
            f"corpus.select.model: {model} is no model directory",
            hint="one with config.json, as `tutelage export` writes it",
        )
    return path


def _table(path: Path) -> Any:
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    readers = {
        ".parquet": pyarrow.parquet.read_table,
        ".csv": pyarrow.csv.read_csv,
        ".jsonl": pyarrow.json.read_json,
        ".ndjson": pyarrow.json.read_json,
    }
    if path.suffix not in readers:
        raise ConfigError(f"corpus.select.scores: {path.name} is no table", hint=f"one of {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except (OSError, ValueError) as error:
        raise InputError(f"corpus.select.scores: {path.name} cannot be read: {str(error).splitlines()[0]}") from None


def _key(text: str) -> int:
    return hash_text(" ".join(text.split()))
