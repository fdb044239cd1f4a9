"""Measures of a tokenizer on texts. None of them predicts the quality of a model trained with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tutelage.tokenizer.tokenizer import Tokenizer

_EXAMPLES, _BATCH = 12, 256


def measure(
    tok: Tokenizer, texts: list[str], progress: Callable[[int, int], None] | None = None
) -> tuple[dict[str, Any], dict[str, float]]:
    """Measures of a tokenizer on texts, and separately the timing, which differs from call to call.

    bytes_per_token; tokens_per_word (fertility; words as split by white space); renyi_efficiency with alpha
    2.5 over all ids (Zouhar et al. 2023, "Tokenization and the Noiseless Channel"); unused_share: ids that
    the texts never use; single_byte_share: tokens that represent a single byte; digits_per_token: of tokens
    with a digit; round_trip_failures: texts that decoding does not reproduce.
    """
    counts = np.zeros(tok.vocab_size, dtype=np.int64)
    size = words = failures = timed = 0
    seconds = 0.0
    failed: list[str] = []
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        begin = time.perf_counter()
        encoded = tok.encode_flat(batch)
        if start or len(texts) <= _BATCH:  # in the first the encoder is chosen (see `bulk`)
            seconds, timed = seconds + time.perf_counter() - begin, timed + sum(len(text.encode()) for text in batch)
        counts += np.bincount(encoded.ids, minlength=tok.vocab_size)
        for text, ids in zip(batch, encoded, strict=True):
            size += len(text.encode())
            words += len(text.split())
            if tok.decode(ids, skip_special=False) != text:
                failures += 1
                failed += [text[:200]] if len(failed) < 3 else []
        if progress is not None:
            progress(min(start + _BATCH, len(texts)), len(texts))
    tokens = int(counts.sum())
    lengths = np.array([len(tok.token_bytes(index)) for index in range(tok.vocab_size)])
    numbers = {
        "vocab_size": tok.vocab_size,
        "texts": len(texts),
        "bytes": size,
        "words": words,
        "tokens": tokens,
        "bytes_per_token": _ratio(size, tokens),
        "tokens_per_word": _ratio(tokens, words),
        "renyi_efficiency": renyi_efficiency(counts),
        "unused_share": round(float((counts == 0).mean()), 6),
        "single_byte_share": _ratio(int(counts[lengths == 1].sum()), tokens),
        "digits_per_token": digits_per_token(tok, counts),
        "round_trip_failures": failures,
        "round_trip_examples": failed,
        "vocabulary": _vocabulary(tok, counts, lengths),
    }
    return numbers, {"encode_mb_per_second": float(f"{timed / 1e6 / seconds:.3g}") if seconds else 0.0}


def renyi_efficiency(counts: np.ndarray[Any, Any], alpha: float = 2.5) -> float:
    """Renyi entropy of the token distribution over log of the vocabulary size; 1 means all ids used alike."""
    if counts.sum() == 0 or len(counts) < 2:
        return 0.0
    share = counts[counts > 0] / counts.sum()
    return round(float(np.log((share**alpha).sum()) / (1 - alpha) / np.log(len(counts))), 6)


def digits_per_token(tok: Tokenizer, counts: np.ndarray[Any, Any]) -> float:
    """Mean number of decimal digits in tokens with a digit, weighted by these counts; 0 without digits."""
    digits = np.array([sum(48 <= byte <= 57 for byte in tok.token_bytes(index)) for index in range(len(counts))])
    digits[list(tok.control_ids)] = 0
    return _ratio(int((digits * counts).sum()), int(counts[digits > 0].sum()))


def pieces(tok: Tokenizer, text: str) -> list[str]:
    """A text as its tokens, for display; bytes that are not a whole character are shown as U+FFFD."""
    return [_shown(tok, index) for index in tok.encode(text)]


def _vocabulary(tok: Tokenizer, counts: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]) -> dict[str, list[str]]:
    ids = np.arange(len(counts))
    # Runs of white space are the longest tokens of any text with code, and uninformative.
    telling = [index not in tok.control_ids and bool(tok.token_bytes(index).strip()) for index in range(len(counts))]
    ordinary = np.array(telling, dtype=bool)
    return {
        "longest": [_shown(tok, int(index)) for index in np.lexsort((ids, -lengths * ordinary))[:_EXAMPLES]],
        "commonest": [_shown(tok, int(index)) for index in np.lexsort((ids, -counts))[:_EXAMPLES]],
        "unused": [_shown(tok, int(index)) for index in ids[ordinary & (counts == 0) & (lengths > 1)][:_EXAMPLES]],
    }


def _shown(tok: Tokenizer, index: int) -> str:
    return tok.token_bytes(index).decode("utf-8", "replace")


def _ratio(above: int, below: int) -> float:
    return round(above / below, 6) if below else 0.0
