"""Measures of a set of texts, each with its definition and with what it does not say. Pure functions."""

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
"""Words of one block, where there are that many: variety falls with the amount of text, so that only equal amounts can
be compared."""
GROUP = 20
"""Texts that self-BLEU compares with each other."""


@dataclass(frozen=True)
class Measure:
    """A measure's name, unit, definition, and its known biases, which are printed wherever it is."""

    name: str
    unit: str
    definition: str
    cautions: tuple[str, ...]


DISTINCT = Measure(
    "distinct-2", "share",
    "Different pairs of words among all of a block of {block} words (Li et al. 2016); mean of the blocks.",
    ("Noise is the most various text of all: read it beside the references, never as the more the better.",
     "Falls with the size of the block and with the domain's vocabulary; compare at the same size only."),
)  # fmt: skip
ENTROPY = Measure(
    "entropy", "bits",
    "Entropy of the words of a block of {block} words; mean of the blocks.",
    ("Estimated from a block, it is below the true one by far; compare at the same size only.",
     "Rises with temperature whether the text is good or not."),
)  # fmt: skip
REPETITION = Measure(
    "repetition",
    "share",
    "Word 4-grams of a text that it had used before (after Holtzman et al. 2020); mean of the texts.",
    ("Long texts repeat more than short ones; lists and code do by nature.",),
)
LOOPS = Measure(
    "loops",
    "share",
    "Texts that end in one run of words said three times or more, 40 % of the text or more.",
    ("Cut by the limit of tokens, a loop longer than a third of it is not seen.",),
)
SELF_BLEU = Measure(
    "self-BLEU", "0-100",
    "BLEU of a text against the {others} others of its group (Zhu et al. 2018); mean of texts. High: all alike.",
    ("Answers to one kind of prompt are alike by right; the references show how much.",
     "Depends on the number of texts in a group and on their length."),
)  # fmt: skip
DIVERGENCE = Measure(
    "closeness", "0-1",
    "Area under the divergence frontier between clusters of the texts and of the references (Pillutla et al. 2021, "
    "MAUVE), of {features}; mean of five draws of {size} texts of either. 1: the same distribution. Of the references: "
    "one random part against another.",
    ("Depends on the features, the number of clusters and the number of texts: not MAUVE's own numbers, comparable "
     "within one table only. Read it beside what the references reach among themselves.",
     "Sees what the features see: n-grams see topic and style, not whether a sentence is true."),
)  # fmt: skip
SURPRISE = Measure(
    "surprise", "bits per word",
    "Under a 3-gram model of words (interpolated Kneser-Ney) of one half of the references; the references' own: the "
    "other half.",
    ("Good text is as surprising as the references: word salad is more so, loops of common words less.",
     "Another topic is a surprise, too, and so is every word that the references do not have."),
)  # fmt: skip
PERPLEXITY = Measure(
    "bits per byte", "bits per byte",
    "Of the texts under {reader}.",
    ("Less is not better: loops are the likeliest text there is (Holtzman et al. 2020). Good text is as likely as the "
     "references.",
     "A model finds its own text likely; take another one as the reader."),
)  # fmt: skip


def block_size(parties: Sequence[Sequence[str]]) -> int:
    """The largest size up to `BLOCK` words of which every party has five blocks, and one word at least."""
    return max(1, min(BLOCK, *(sum(len(words(text)) for text in texts) // 5 for texts in parties)))


def blocks(texts: Sequence[str], size: int) -> list[list[list[str]]]:
    """Whole blocks of `size` words: each is a list of runs of words of one text. Words left over make no block."""
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
    """Share of the n-grams of the runs that are different; 0 where there is none."""
    grams = [gram for run in block for gram in _grams(run, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def entropy(block: Sequence[Sequence[str]]) -> float:
    """Bits for each word, by the words' own frequencies in the block."""
    counts = np.array(list(Counter(word for run in block for word in run).values()), dtype=np.float64)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0


def self_bleu(texts: Sequence[str], group: int = GROUP) -> list[float]:
    """BLEU-4 of each text against all others of its group of texts in their order, 0 to 100.

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
    # Of every n-gram the largest count, whose it is, and the largest of the others: clipping without one's own.
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
