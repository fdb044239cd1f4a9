"""From how many texts of a target does `corpus.select.target` find more of their kind?

    python benchmarks/target_size.py BOOKS/ REVIEWS/ STORIES/ ... [--sizes 1 5 10 20 50 200] [--draws 5]

Each argument is a folder or file of text of one kind. Of each kind in turn some texts are the target, up to 300 others
are hidden among those of all other kinds, and the weights of `corpus.selection.relevance` rank them. Printed are, in
the mean of several draws: how often a hidden text outranks another (0.5 is chance), which share of as many texts as are
hidden would be taken rightly (by chance the share of the kind), and what the check on unseen target texts says of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import finish
from planted_junk import passages

from tutelage.corpus.selection.area import area
from tutelage.corpus.selection.relevance import CHECKED, FEWEST, log_ratios, relevance, told_apart

HIDDEN, MOST = 300, 1500


def draw(kind: list[str], others: list[str], size: int, chance: np.random.Generator) -> dict[str, float]:
    """One target of so many texts of a kind, and what it finds."""
    order = [kind[at] for at in chance.permutation(len(kind))]
    target, hidden = order[:size], order[size : size + HIDDEN]
    corpus = [*hidden, *others]
    rank = relevance(corpus, log_ratios(target, corpus)).shrunk
    best = np.argsort(-rank)[: len(hidden)]
    found = {
        "auc": area(rank[: len(hidden)], rank[len(hidden) :]).value,
        "right": float((best < len(hidden)).mean()),
        "by_chance": len(hidden) / len(corpus),
    }
    if size >= FEWEST:
        check = told_apart(target, [corpus[at] for at in chance.permutation(len(corpus))[:CHECKED]])
        found |= {"check": check.value, "passes": float(check.low > 0.5)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 5, 10, 20, 50, 200])
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    texts = {}
    for place in options.kinds:
        found = [one.text for one in passages(place)]
        texts[Path(place).stem] = [found[at] for at in np.random.default_rng(0).permutation(len(found))[:MOST]]
    result: dict[str, Any] = {}
    for name, kind in texts.items():
        others = [text for other, some in texts.items() if other != name for text in some]
        for size in options.sizes:
            if size + 50 > len(kind):
                continue
            draws = [draw(kind, others, size, np.random.default_rng(number)) for number in range(options.draws)]
            means = {key: round(float(np.mean([one[key] for one in draws])), 3) for key in draws[0]}
            result.setdefault(name, {})[size] = means
            print(f"{name:<24} {size:>4} texts  {means}", flush=True)
    finish("target_size", result)


if __name__ == "__main__":
    main()
