"""A page for blind voting by people, and the reader of their votes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from tutelage.evaluation.judging.answers import Matched
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.hashing import sha256_json

_CODES = {"left": 1.0, "right": 0.0, "tie": 0.5}
Votes = dict[tuple[int, int], dict[int, float]]
"""(a, b), indices of the systems -> index of the item -> outcome of a against b."""


@dataclass(frozen=True)
class _Shown:
    key: str
    prompt: str
    left: str
    right: str


def annotation_page(matched: Matched, sample: int = 50, seed: int = 0) -> str:
    """A self-contained HTML file that works offline: a random sample of the pairs, with randomised sides.

    It does not name the systems. A vote is keyed by a hash of the three texts in order, so only someone with the answer
    files can tell which system was on which side. Pairs with equal answers are left out.
    """
    generator = np.random.default_rng(seed)
    pairs = [
        (item, a, b)
        for item in matched.items
        for a, b in combinations(range(len(matched.names)), 2)
        if item.answers[a] != item.answers[b]
    ]
    if not pairs:
        raise InputError("all answers are equal: there is nothing to vote on")
    shown = []
    for at in generator.permutation(len(pairs))[:sample]:
        item, a, b = pairs[at]
        left, right = (a, b) if generator.random() < 0.5 else (b, a)
        texts = (item.prompt, item.answers[left], item.answers[right])
        shown.append(_Shown(_key(*texts), *texts))
    data = {"page": sha256_json([one.key for one in shown])[:16], "items": [one.__dict__ for one in shown]}
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return Path(__file__).with_name("annotate.html").read_text(encoding="utf-8").replace("DATA", text, 1)


def read_votes(path: Path, matched: Matched) -> Votes:
    """Votes saved by the page, for the same answer files. Raises InputError if none of them matches."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        votes = {str(key): _CODES[side] for key, side in given["votes"].items()}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", hint="the page saves votes.json") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError(f"{path} contains no votes of an annotation page") from None
    found: Votes = {}
    for a, b in combinations(range(len(matched.names)), 2):
        for at, item in enumerate(matched.items):
            first, second = item.answers[a], item.answers[b]
            if first == second:
                continue
            if (key := _key(item.prompt, first, second)) in votes:
                found.setdefault((a, b), {})[at] = votes[key]
            elif (key := _key(item.prompt, second, first)) in votes:
                found.setdefault((a, b), {})[at] = 1 - votes[key]
    if not found:
        raise InputError(f"no vote in {path} matches these answers", hint="give the files that the page was made from")
    return found


def _key(prompt: str, left: str, right: str) -> str:
    return sha256_json([prompt, left, right])[:16]
