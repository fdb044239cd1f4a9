"""Membership inference for an unknown corpus: Min-K% of benchmark items against texts the model cannot have read.

A hint, not a proof: it separates members from non-members little better than chance (Duan et al. 2024), and other kinds
of text differ in likelihood for other reasons. The texts to compare with must therefore be of the same kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tutelage.corpus.selection.area import area
from tutelage.evaluation.bench.contamination import documents_of
from tutelage.evaluation.bench.items import Item
from tutelage.store.errors import ConfigError, InputError

SHARE = 0.2  # share of a text's tokens that counts: the least likely ones (Shi et al. 2024)
FEWEST = 20  # minimum number of texts per side
_SHORTEST = 8  # minimum length of a text in tokens


class TellsTokens(Protocol):
    """A measured model that can return the log-probability of each token of a text."""

    name: str

    def token_logprobs(self, texts: Sequence[str]) -> list[list[float]]: ...


def min_k(logprobs: Sequence[float], share: float = SHARE) -> float:
    """Mean log-probability of the least likely `share` of the tokens, at least one (Shi et al. 2024, equation 2)."""
    count = max(1, math.ceil(share * len(logprobs)))
    return float(np.sort(np.asarray(logprobs))[:count].mean())


def unseen_texts(model: Any, path: Path) -> list[str]:
    """The texts of a file or folder to compare with.

    Raises ConfigError for a model without token log-probabilities, InputError for too few texts.
    """
    if not hasattr(model, "token_logprobs"):
        raise ConfigError(
            f"{model.name} does not return token log-probabilities, which --unseen requires",
            hint="use a model directory, a run, a .gguf file or hf:DIR",
        )
    texts = [text for text in documents_of(path) if text.strip()]
    if len(texts) < FEWEST:
        raise InputError(
            f"{path} contains {len(texts)} texts, too few to compare items with",
            hint=f'give at least {FEWEST}, better 100 to 500: one per JSON line ({{"text": ...}}) or per file',
        )
    return texts


def familiarity(model: Any, items: Sequence[Item], unseen: Sequence[str]) -> dict[str, Any]:
    """How often an item is more familiar than one of `unseen`: area under the ROC curve, interval, counts.

    An item is read as in its prompt, with the right answer. The area and its interval are None for fewer than 20 texts
    on a side.
    """
    mine, skipped = _scores(model, [_text(item) for item in items])
    others, skipped_others = _scores(model, unseen)
    found = area(mine, others) if min(len(mine), len(others)) >= FEWEST else None
    return {
        "auc": found and found.value, "low": found and found.low, "high": found and found.high, "share": SHARE,
        "items": len(mine), "unseen": len(others), "too_short": skipped + skipped_others,
    }  # fmt: skip


def sentence(found: dict[str, Any]) -> str:
    """The result of a comparison in one line."""
    low, high = found["low"], found["high"]
    if low is None:
        return (
            f"Min-K%: {found['items']:,} items and {found['unseen']:,} unseen texts of {_SHORTEST} tokens or more are "
            f"too few to compare; at least {FEWEST} of each are required"
        )
    said = "more familiar than" if low > 0.5 else "less familiar than" if high < 0.5 else "not distinguishable from"
    return (
        f"Min-K%: items are {said} the unseen texts: an item is the more familiar one in {found['auc']:.0%} of pairs "
        f"[{low:.0%}, {high:.0%}] (50% if neither was read; {found['items']:,} items, {found['unseen']:,} texts). A "
        "hint, not a proof: other kinds of text differ too"
    )


def _text(item: Item) -> str:
    if item.pairs:
        pair = item.pairs[item.gold[0] if item.gold else 0]
        return pair.context + pair.continuation
    if item.roll is not None:
        return item.roll.text
    assert item.ask is not None
    return item.ask.prompt + "".join(item.targets[:1])


def _scores(model: TellsTokens, texts: Sequence[str]) -> tuple[list[float], int]:
    """(Min-K% of each text that is long enough, number of texts that are not)."""
    told = [logprobs for logprobs in model.token_logprobs(texts) if len(logprobs) >= _SHORTEST]
    return [min_k(logprobs) for logprobs in told], len(texts) - len(told)
