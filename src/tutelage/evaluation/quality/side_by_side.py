"""Measures of the texts that several decoding strategies generated from one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tutelage.evaluation.endings import loop_of
from tutelage.evaluation.metrics import repetition, words
from tutelage.evaluation.quality.measures import DISTINCT, LOOPS, PERPLEXITY, REPETITION, bits, blocks, distinct

if TYPE_CHECKING:
    from tutelage.inference.results import Generation

SHOWN = ("greedy", "temperature=0.8", "top_p=0.9", "min_p=0.1", "beam=4", "contrastive=0.6")


def common_size(parties: Sequence[Sequence[Generation]]) -> int:
    """Block size in words of which every strategy has one block: the total of the strategy with the fewest words."""
    return max(1, min(sum(len(words(one.text)) for one in made) for made in parties))


def measured(made: Sequence[Generation], size: int) -> dict[str, float | None]:
    """Means over the texts of one strategy, by measure; None if there is nothing to measure.

    size: block size in words for `distinct-2`, the same for all strategies compared.
    """
    texts = [one.text for one in made]
    found = [distinct(block) for block in blocks(texts, size)]
    length = sum(len(text.encode("utf-8")) for text in texts)
    likely = sum(bits([sum(one.logprobs) for one in made]))
    return {
        REPETITION.name: sum(repetition(text, 4) for text in texts) / len(texts),
        LOOPS.name: sum(loop_of(text) is not None for text in texts) / len(texts),
        DISTINCT.name: sum(found) / len(found) if found else None,
        PERPLEXITY.name: likely / length if length else None,
    }
