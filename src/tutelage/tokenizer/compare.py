"""Tokenizers side by side on the same texts: what they do to each kind of text, and how fast. This ranks none."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.tokenizer.measures import measure
from tutelage.tokenizer.tokenizer import Tokenizer

MOST_DOMAINS = 8
FEWEST_BYTES = 2000  # of a domain, below which its figure is chance
_SHOWN = ("bytes_per_token", "tokens_per_word", "renyi_efficiency", "unused_share", "single_byte_share",
          "digits_per_token", "round_trip_failures", "vocab_size")  # fmt: skip
_ROUNDS = 3


@dataclass(frozen=True)
class Sample:
    """A text and the domain (language, label, source) that it is of."""

    text: str
    domain: str


def compare(tokenizers: Mapping[str, Tokenizer], samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """Measures of each tokenizer (see `measure`), its bytes per token in each domain, and their disparity.

    `parity`: tokens per byte in the most expensive domain over those in the cheapest (Petrov et al. 2023, who compare
    translations; domains with different content differ for other reasons too). Speed: rounds alternate between the
    tokenizers, and the fastest of each counts, in CPU seconds of all threads.
    """
    texts = [sample.text for sample in samples]
    found: dict[str, dict[str, Any]] = {}
    for name, tok in tokenizers.items():
        numbers, _ = measure(tok, texts)
        domains = _by_domain(tok, samples)
        costs = [1 / value for value in domains.values() if value]
        found[name] = {
            **{key: numbers[key] for key in _SHOWN},
            "domains": domains,
            "parity": round(max(costs) / min(costs), 4) if len(costs) > 1 else None,
        }
    for name, speed in _speeds(tokenizers, texts).items():
        found[name]["encode_mb_per_cpu_second"] = speed
    return found


def rows(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """What `compare` found as a table: the name of each measure and its value for each tokenizer, for people."""
    first, *_ = found.values()
    plain = [
        (key.replace("_", " "), [_shown(one[key]) for one in found.values()])
        for key in first
        if key != "domains" and any(one[key] is not None for one in found.values())
    ]
    several = first["domains"] if len(first["domains"]) > 1 else ()
    domains = [
        (
            f"bytes per token: {name}",
            [_shown(one["domains"].get(name)) for one in found.values()],
        )
        for name in several
    ]
    return plain + domains


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _by_domain(tok: Tokenizer, samples: Sequence[Sample]) -> dict[str, float]:
    """Bytes per token of the largest domains, by name."""
    size: defaultdict[str, int] = defaultdict(int)
    tokens: defaultdict[str, int] = defaultdict(int)
    counts = np.diff(tok.encode_flat([one.text for one in samples]).ends, prepend=0).tolist()
    for sample, count in zip(samples, counts, strict=True):
        size[sample.domain] += len(sample.text.encode("utf-8"))
        tokens[sample.domain] += count
    largest = sorted(size, key=lambda domain: (-size[domain], domain))[:MOST_DOMAINS]
    kept = [domain for domain in sorted(largest) if size[domain] >= FEWEST_BYTES]
    return {domain: round(size[domain] / max(1, tokens[domain]), 4) for domain in kept}


def _speeds(tokenizers: Mapping[str, Tokenizer], texts: Sequence[str]) -> dict[str, float]:
    size = sum(len(text.encode("utf-8")) for text in texts) / 1e6
    fastest = dict.fromkeys(tokenizers, float("inf"))
    for _ in range(_ROUNDS):
        for name, tok in tokenizers.items():
            begin = time.process_time()
            tok.encode_flat(texts)
            fastest[name] = min(fastest[name], time.process_time() - begin)
    return {name: float(f"{size / seconds:.3g}") if seconds else 0.0 for name, seconds in fastest.items()}
