"""Measures of a set of texts, each with its definition and known limits. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.metrics import words

Floats = NDArray[np.float64]
BLOCK = 1000
"""Maximum words per block: diversity falls with the amount of text, so only equal amounts are comparable."""
GROUP = 20
"""Number of texts per self-BLEU group."""


@dataclass(frozen=True)
class Measure:
    """A measure's name, unit, definition, and its known biases, which are always printed with it."""

    name: str
    unit: str
    definition: str
    cautions: tuple[str, ...]


DISTINCT = Measure(
    "distinct-2", "share",
    "Share of distinct word pairs in a block of {block} words (Li et al. 2016); mean over the blocks.",
    ("Noise has the highest diversity: compare with the references; higher is not always better.",
     "Falls with the size of the block and with the domain's vocabulary; compare at the same size only."),
)  # fmt: skip
ENTROPY = Measure(
    "entropy", "bits",
    "Word entropy of a block of {block} words; mean over the blocks.",
    ("The estimate from a block is far below the true entropy; compare at the same size only.",
     "Rises with temperature regardless of quality."),
)  # fmt: skip
REPETITION = Measure(
    "repetition",
    "share",
    "Share of word 4-grams that occurred earlier in the text (after Holtzman et al. 2020); mean over the texts.",
    ("Long texts repeat more than short ones; so do lists and code.",),
)
LOOPS = Measure(
    "loops",
    "share",
    "Share of texts that end in a word sequence repeated three times or more, over 40 % of the text or more.",
    ("Texts are truncated at the token limit, so a loop longer than a third of it is not detected.",),
)
SELF_BLEU = Measure(
    "self-BLEU", "0-100",
    "BLEU of a text against the {others} others of its group (Zhu et al. 2018); mean over texts. High: uniform.",
    ("Answers to one kind of prompt are naturally similar; the references show how much.",
     "Depends on the number of texts in a group and on their length."),
)  # fmt: skip
DIVERGENCE = Measure(
    "closeness", "0-1",
    "Area under the divergence frontier between clusters of the texts and of the references (Pillutla et al. 2021, "
    "MAUVE), on {features}; mean of five draws of {size} texts each. 1: the same distribution. For the references: "
    "one random part against another.",
    ("Depends on features, clusters and number of texts: not equal to published MAUVE scores, comparable "
     "within one table only. Compare with the references' own score.",
     "Limited by the features: n-grams capture topic and style, not truth."),
)  # fmt: skip
SURPRISE = Measure(
    "surprise", "bits per word",
    "Under a word 3-gram model (interpolated Kneser-Ney) of one half of the references; for the references: the "
    "other half.",
    ("Good text is as surprising as the references: random words are more so, loops of common words less.",
     "A different topic also raises it, and so does every word that is not in the references."),
)  # fmt: skip
PERPLEXITY = Measure(
    "bits per byte", "bits per byte",
    "Bits per byte of the texts under {reader}.",
    ("Lower is not better: loops are the likeliest text (Holtzman et al. 2020). Good text is as likely as the "
     "references.",
     "A model assigns high likelihood to its own text; use another model as the reader."),
)  # fmt: skip


def block_size(parties: Sequence[Sequence[str]]) -> int:
    """The largest block size up to `BLOCK` words for which every system has five blocks; at least one word."""
    return max(1, min(BLOCK, *(sum(len(words(text)) for text in texts) // 5 for texts in parties)))


def blocks(texts: Sequence[str], size: int) -> list[list[list[str]]]:
    """Full blocks of `size` words, each a list of word runs of single texts; leftover words are dropped."""
    found: list[list[list[str]]] = []
    block: list[list[str]] = []
    room = size
    for text in texts:
        rest = words(text)
        while rest:
            block.append(rest[:room])
            taken = len(block[-1])
            rest, room = rest[taken:], room - taken
            if room == 0:
                found.append(block)
                block, room = [], size
    return found


def distinct(block: Sequence[Sequence[str]], n: int = 2) -> float:
    """Share of distinct n-grams in the runs; 0 if there are none."""
    grams = [gram for run in block for gram in _grams(run, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def entropy(block: Sequence[Sequence[str]]) -> float:
    """Bits per word, by the word frequencies in the block."""
    counts = np.array(list(Counter(word for run in block for word in run).values()), dtype=np.float64)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0


def self_bleu(texts: Sequence[str], group: int = GROUP) -> list[float]:
    """BLEU-4 of each text against all others of its group of consecutive texts, 0 to 100.

    Sentence BLEU with several references (Papineni et al. 2002): clipped by the largest count in any of them, the
    reference nearest in length, exponential smoothing as in sacrebleu. Groups differ by one in size at most; empty for
    fewer than two texts.
    """
    count = max(1, round(len(texts) / group))
    if len(texts) < 2:
        return []
    found: list[float] = []
    for part in np.array_split(np.arange(len(texts)), count):
        found += _bleu_of_each([words(texts[at]) for at in part])
    return found


def _bleu_of_each(group: Sequence[Sequence[str]]) -> list[float]:
    counts = [[Counter(_grams(text, n)) for n in range(1, 5)] for text in group]
    # For each n-gram the largest count, its text, and the largest count among the others, to clip without the text
    # itself.
    best: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for at, mine in enumerate(counts):
        for grams in mine:
            for gram, times in grams.items():
                most, owner, second = best.get(gram, (0, -1, 0))
                if times > most:
                    best[gram] = (times, at, most)
                elif times > second:
                    best[gram] = (most, owner, times)
    lengths = [len(text) for text in group]
    found = []
    for at, mine in enumerate(counts):
        others = lengths[:at] + lengths[at + 1 :]
        nearest = min(others, key=lambda length: (abs(length - lengths[at]), length))
        matches, totals = [], []
        for grams in mine:
            clipped = (
                min(times, best[gram][2] if best[gram][1] == at else best[gram][0]) for gram, times in grams.items()
            )
            matches.append(sum(clipped))
            totals.append(sum(grams.values()))
        found.append(_bleu(lengths[at], nearest, matches, totals))
    return found


def _bleu(length: int, reference: int, matches: Sequence[int], totals: Sequence[int]) -> float:
    from tutelage.evaluation.metrics import bleu

    return bleu([length, reference, *matches, *totals])


def _grams(run: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(run[i : i + n]) for i in range(len(run) - n + 1)]


def bits(logprobs: Sequence[float]) -> list[float]:
    """Natural-log likelihoods as bits."""
    return [-one / math.log(2) for one in logprobs]
