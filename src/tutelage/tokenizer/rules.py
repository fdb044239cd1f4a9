"""Rules of thumb for a tokenizer."""

from __future__ import annotations

import math

from tutelage.store.stage import Facts, Finding, Rule
from tutelage.tokenizer.config import OCCURRENCES, SMALLEST_CHOSEN


def vocabulary_text(f: Facts) -> Finding | None:
    tokens, vocabulary = f["corpus.train_bytes"] / f["result.bytes_per_token"], f["result.vocab_size"]
    if f["method"] in ("byte", "char") or tokens >= OCCURRENCES * vocabulary:
        return None
    wanted = max(SMALLEST_CHOSEN, int(2 ** math.floor(math.log2(max(2.0, tokens / OCCURRENCES)))))
    if wanted >= f["vocab_size"]:
        return None
    return (
        "warning",
        f"{vocabulary:,} tokens for a text of {tokens:,.0f}: each occurs {tokens / vocabulary:.0f} times on average, "
        f"and with fewer than {OCCURRENCES} occurrences a token is hardly learned",
        f"--set {f['key']}.vocab_size={wanted}",
    )


RULES = (
    Rule(
        "vocabulary-text",
        "At least 100 occurrences of a token in the training text on average",
        "Gowda & May 2020: 100 of each of 95 % of the tokens",
        ("key", "method", "vocab_size", "corpus.train_bytes", "result.bytes_per_token", "result.vocab_size"),
        vocabulary_text,
    ),
)


def rules() -> tuple[Rule, ...]:
    return RULES
