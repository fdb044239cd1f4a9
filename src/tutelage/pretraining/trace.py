"""Find spans of a text that occur verbatim in a model's training text, with their documents.

The corpus is encoded by the model's tokenizer into token shards, with a suffix array over them, both memory-mapped.
Tokens find a span; its ends are then extended byte by byte, because a word at the edge of a span may be tokenized
differently in the corpus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.pretraining.shards import TokenShards, open_shards, write_shards
from tutelage.pretraining.suffixes import DEPTH, Tokens, longest_match, occurrences, suffix_array
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.store.files import new_directory
from tutelage.store.hashing import sha256_file, sha256_json
from tutelage.tokenizer.bulk import Encoded
from tutelage.tokenizer.tokenizer import Tokenizer

SHARDS, SUFFIXES, FLAT = "shards", "suffixes.bin", "tokens.bin"
SHOWN = 3  # documents shown per span
LOOKED_AT = 200  # occurrences of a span that are examined
LARGEST = 200_000_000  # tokens; beyond this, building the array takes more than a laptop's memory
_WORD = re.compile(rb"\S+")


@dataclass(frozen=True)
class Use:
    """A stage that trained on a corpus, without the documents whose column `by` has one of these names
    (`pretrain.mix.weights` of 0); a document without one has the empty name."""

    by: str = "label"
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Found:
    """A document that contains a span: its source and name, and the text around the span."""

    source: str
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Span:
    """A part of the text, stripped, from `begin` to `end` in characters, with `count` occurrences in the corpus;
    `documents`: the first of them."""

    begin: int
    end: int
    text: str
    words: int
    count: int
    documents: tuple[Found, ...]


@dataclass(frozen=True)
class Index:
    """A corpus as one sequence of tokens, with an end token after each document, and its suffix array."""

    corpus: Path
    shards: TokenShards
    tokens: Tokens
    suffixes: Tokens
    starts: Tokens  # of documents in `tokens`
    rows: NDArray[np.int64]  # of the corpus file, of each document


def open_index(corpus: Path, tokenizer: Tokenizer, work: Path, log: EventLog, uses: Sequence[Use] = (Use(),)) -> Index:
    """The index of the documents of a corpus directory that any of the `uses` trained on; cached in `work`.

    Raises InputError if the corpus is too large, DamagedError for a damaged index.
    """
    source = corpus / "train.parquet"
    rows, all_rows = trained_rows(source, uses), pq.ParquetFile(source).metadata.num_rows
    part = [] if len(rows) == all_rows else [rows.tolist()]
    identity = sha256_json([sha256_file(source), tokenizer.definition, *part])
    place = work / f"trace-{identity[:12]}"
    if part:
        log.note(f"{all_rows - len(rows):,} of {all_rows:,} documents have a weight of 0 and were not trained on")
    if not (place / SUFFIXES).is_file():
        _build(source, rows, tokenizer, place, identity, log)
    try:
        shards = open_shards(place / SHARDS, verify=False)
    except DamagedError as error:
        raise DamagedError(error.message, hint=f"remove {place}") from None
    tokens = np.memmap(place / FLAT, dtype=shards.index["dtype"], mode="r")
    suffixes = np.memmap(place / SUFFIXES, dtype="<i4", mode="r")
    if len(tokens) != len(suffixes):
        raise DamagedError(f"{place} is damaged", hint="remove the directory")
    return Index(corpus, shards, tokens, suffixes, shards.starts + np.arange(len(shards.starts)), rows)


def trained_rows(source: Path, uses: Sequence[Use]) -> NDArray[np.int64]:
    """Rows of a corpus file that at least one of the uses trained on, ascending."""
    file = pq.ParquetFile(source)
    if any(not use.left_out for use in uses):
        return np.arange(file.metadata.num_rows)
    kept: list[bool] = []
    for batch in file.iter_batches(2000, columns=sorted({use.by for use in uses})):
        columns = {use.by: [value or "" for value in batch.column(use.by).to_pylist()] for use in uses}
        kept += [any(columns[use.by][at] not in use.left_out for use in uses) for at in range(batch.num_rows)]
    return np.flatnonzero(kept)


def trained_texts(corpus: Path, uses: Sequence[Use]) -> Iterator[str]:
    """The documents of a corpus directory that at least one of the uses trained on."""
    source = corpus / "train.parquet"
    for texts in _trained_batches(source, trained_rows(source, uses)):
        yield from texts


def _trained_batches(source: Path, rows: NDArray[np.int64]) -> Iterator[list[str]]:
    begin = 0
    for batch in pq.ParquetFile(source).iter_batches(2000, columns=["text"]):
        low, high = np.searchsorted(rows, [begin, begin + batch.num_rows])
        yield batch.column("text").take(rows[low:high] - begin).to_pylist()
        begin += batch.num_rows


def trace(text: str, indices: Sequence[Index], tokenizer: Tokenizer, least_words: int) -> list[Span]:
    """The longest spans of the text that occur in one of the corpora, of `least_words` or more, from left to right.

    Spans inside others are omitted; two may overlap.
    """
    data = text.encode("utf-8")
    found = [span for index in indices for span in _spans(data, index, tokenizer)]
    kept = _maximal(
        [(begin, end, index, place) for begin, end, index, place in found if _words(data[begin:end]) >= least_words]
    )
    return [_described(data, begin, end, index, place, tokenizer) for begin, end, index, place in kept]


def covered(spans: Sequence[Span]) -> int:
    """Characters in any of the spans."""
    total = reached = 0
    for span in sorted(spans, key=lambda one: one.begin):
        total += max(0, span.end - max(span.begin, reached))
        reached = max(reached, span.end)
    return total


def _build(
    source: Path, rows: NDArray[np.int64], tokenizer: Tokenizer, place: Path, identity: str, log: EventLog
) -> None:
    def encoded() -> Iterator[Encoded]:
        done = 0
        for texts in _trained_batches(source, rows):
            yield tokenizer.encode_flat(texts)
            done += len(texts)
            log.progress("encoding the corpus", done, len(rows), "documents")

    with new_directory(place) as folder:
        write_shards(encoded(), folder / SHARDS, tokenizer.vocab_size, identity, 1 << 26)
        shards = open_shards(folder / SHARDS)
        total = int(shards.lengths.sum()) + len(shards.lengths)
        if total > LARGEST:
            raise InputError(f"the corpus has {total:,} tokens; at most {LARGEST:,} can be indexed")
        log.note(f"building the index of {total:,} tokens; it is reused later")
        ends = np.array([tokenizer.eos_id])
        pieces = (part for number in range(len(shards.lengths)) for part in (shards.document(number), ends))
        tokens = np.concatenate(list(pieces)).astype(shards.index["dtype"])
        tokens.tofile(folder / FLAT)
        suffix_array(tokens).astype("<i4").tofile(folder / SUFFIXES)


# Begin and end in bytes of the text, the index, and the position in its tokens.
_Place = tuple[int, int, Index, int]


def _spans(data: bytes, index: Index, tokenizer: Tokenizer) -> Iterator[_Place]:
    """Every longest match of tokens that is not inside the previous one, extended at both ends."""
    ids = np.array(tokenizer.encode(data.decode("utf-8")), dtype=np.int64)
    sizes = [len(tokenizer.token_bytes(int(token))) for token in ids]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    if starts[-1] != len(data):
        raise InputError("this tokenizer is not lossless, so verbatim spans cannot be found",
                         hint="use a model with a bpe, unigram or byte tokenizer")  # fmt: skip
    reached = 0
    for at in range(len(ids)):
        length, place = longest_match(index.tokens, index.suffixes, ids[at : at + DEPTH])
        if length and at + length > reached:
            reached = at + length
            yield _widened(data, int(starts[at]), int(starts[at + length]), index, place, tokenizer)


def _widened(data: bytes, begin: int, end: int, index: Index, place: int, tokenizer: Tokenizer) -> _Place:
    """The span with both edges extended as far as the text and this document agree, in whole characters."""
    document, inside = _document_at(index, place)
    whole, offset = _bytes_of(index, document, inside, tokenizer)
    size = end - begin
    left = _alike(data[:begin][::-1], whole[:offset][::-1])
    right = _alike(data[end:], whole[offset + size :])
    begin, end, offset = begin - left, end + right, offset - left
    while begin < end and data[begin] & 0xC0 == 0x80:
        begin, offset = begin + 1, offset + 1
    while end < len(data) and end > begin and data[end] & 0xC0 == 0x80:
        end -= 1
    return begin, end, index, place


def _maximal(spans: list[_Place]) -> list[_Place]:
    """Spans that are not inside another; of equal ones the first."""
    kept: list[_Place] = []
    for span in sorted(spans, key=lambda one: (one[0], -one[1])):
        if not kept or span[1] > max(one[1] for one in kept):
            kept.append(span)
    return kept


def _described(data: bytes, begin: int, end: int, index: Index, place: int, tokenizer: Tokenizer) -> Span:
    """The span with the documents that contain its tokens and all of its bytes."""
    begin += len(data[begin:end]) - len(data[begin:end].lstrip())
    passage = data[begin:end].strip()
    inner = _inner_tokens(passage, index, place, tokenizer)
    places = [place]
    if len(inner):
        first, beyond = occurrences(index.tokens, index.suffixes, inner)
        places = [int(one) for one in index.suffixes[first : min(beyond, first + LOOKED_AT)]]
    documents = dict.fromkeys(_document_at(index, one)[0] for one in places)
    texts = {number: _bytes_of(index, number, 0, tokenizer)[0] for number in documents}
    containing = [number for number in sorted(texts) if passage in texts[number]]
    count = sum(texts[number].count(passage) for number in containing)
    shown = tuple(_found(index, number, texts[number], passage) for number in containing[:SHOWN])
    before = len(data[:begin].decode("utf-8"))
    text = passage.decode("utf-8")
    return Span(before, before + len(text), text, _words(passage), count, shown)


def _inner_tokens(passage: bytes, index: Index, place: int, tokenizer: Tokenizer) -> Tokens:
    """The tokens at the position that are completely inside the passage and equal to it."""
    document, inside = _document_at(index, place)
    whole, offset = _bytes_of(index, document, inside, tokenizer)
    begin = whole.find(passage, max(0, offset - len(passage)))
    ids, at, kept = index.shards.document(document), 0, []
    for token in ids:
        size = len(tokenizer.token_bytes(int(token)))
        if begin <= at and at + size <= begin + len(passage):
            kept.append(int(token))
        at += size
    return np.array(kept[:DEPTH], dtype=np.int64)


def _document_at(index: Index, place: int) -> tuple[int, int]:
    """(number of the document, tokens before the position in it)."""
    number = int(np.searchsorted(index.starts, place, side="right")) - 1
    return number, place - int(index.starts[number])


def _bytes_of(index: Index, number: int, inside: int, tokenizer: Tokenizer) -> tuple[bytes, int]:
    """(text of a document, offset of its token number `inside`), in bytes."""
    pieces = [tokenizer.token_bytes(int(token)) for token in index.shards.document(number)]
    return b"".join(pieces), sum(map(len, pieces[:inside]))


def _found(index: Index, number: int, whole: bytes, passage: bytes, around: int = 40) -> Found:
    begin = whole.find(passage)
    row = _row(index.corpus / "train.parquet", int(index.rows[number]))
    before, after = whole[max(0, begin - around) : begin], whole[begin + len(passage) :][:around]
    return Found(
        row["source"] or "", row["name"] or "", before.decode("utf-8", "ignore"), after.decode("utf-8", "ignore")
    )


def _row(path: Path, number: int) -> dict[str, str | None]:
    """Source and name of a document; only its row group is read."""
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if number < rows:
            table = file.read_row_group(group, columns=["source", "name"])
            return {name: table[name][number].as_py() for name in ("source", "name")}
        number -= rows
    raise DamagedError(f"{path} has fewer documents than its index")


def _alike(one: bytes, other: bytes) -> int:
    """Length of the common prefix of two texts, in bytes."""
    size = min(len(one), len(other))
    differs = np.flatnonzero(np.frombuffer(one[:size], np.uint8) != np.frombuffer(other[:size], np.uint8))
    return int(differs[0]) if len(differs) else size


def _words(passage: bytes) -> int:
    return len(_WORD.findall(passage))
