"""Whether a model seems to have read a benchmark whose corpus is not known: Min-K% beside texts it cannot have read.

A hint, no proof: it tells members of a corpus from strangers little better than chance (Duan et al. 2024), and texts of
another kind differ in likelihood for other reasons. So the texts to compare with must be of the same kind.
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

SHARE = 0.2  # of a text's tokens, the least likely ones (Shi et al. 2024)
FEWEST = 20  # texts of each side
_SHORTEST = 8  # tokens of a text


class TellsTokens(Protocol):
    """A measured model that can say the log-probability of each token of a text."""

    name: str

    def token_logprobs(self, texts: Sequence[str]) -> list[list[float]]: ...


def min_k(logprobs: Sequence[float], share: float = SHARE) -> float:
    """Mean log-probability of the least likely `share` of the tokens, at least one (Shi et al. 2024, equation 2)."""
    count = max(1, math.ceil(share * len(logprobs)))
    return float(np.sort(np.asarray(logprobs))[:count].mean())


def unseen_texts(model: Any, path: Path) -> list[str]:
    """The texts of a file or folder to compare with.

    Raises ConfigError for a model that does not tell the probabilities of tokens, InputError for too few texts.
    """
    if not hasattr(model, "token_logprobs"):
        raise ConfigError(
            f"{model.name} does not tell how likely each token of a text is, which --unseen needs",
            hint="a model directory, a run, a .gguf file or hf:DIR does",
        )
    texts = [text for text in documents_of(path) if text.strip()]
    if len(texts) < FEWEST:
        raise InputError(
            f"{path} holds {len(texts)} texts, too few to compare items with",
            hint=f'at least {FEWEST}, one to a line of JSON ({{"text": ...}}) or to a file; 100 to 500 tell more',
        )
    return texts


def familiarity(model: Any, items: Sequence[Item], unseen: Sequence[str]) -> dict[str, Any]:
    """How often an item is more familiar than one of `unseen`: area, interval, how many of each, how many too short.

    An item is read as it is asked, with its right answer. The area and its interval are None for fewer than 20 texts
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
    """What a comparison says, in one line."""
    low, high = found["low"], found["high"]
    if low is None:
        return (
            f"Min-K%: {found['items']:,} items and {found['unseen']:,} unseen texts of {_SHORTEST} tokens or more are "
            f"too few to compare; at least {FEWEST} of each are needed"
        )
    said = "more familiar than" if low > 0.5 else "less familiar than" if high < 0.5 else "not told apart from"
    return (
        f"Min-K%: items are {said} the unseen texts: an item is the more familiar one in {found['auc']:.0%} of pairs "
        f"[{low:.0%}, {high:.0%}] (50% if neither was read; {found['items']:,} items, {found['unseen']:,} texts). A "
        "hint, no proof: texts of another kind differ too"
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
    """(Min-K% of each text that is long enough, how many are not)."""
    told = [logprobs for logprobs in model.token_logprobs(texts) if len(logprobs) >= _SHORTEST]
    return [min_k(logprobs) for logprobs in told], len(texts) - len(told)
