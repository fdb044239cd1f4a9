"""Extend an existing tokenizer: byte pairs learned on new text, appended after its own merges.

The old merges keep their order and come first, so every text is first encoded exactly as before; only then are
neighbours merged. Replacing each new token by its old ids (`Extended.pieces`) gives the former ids of the text. Old ids
and control tokens are unchanged, and a text without the new pairs is encoded as before.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import tokenizers

from tutelage.store.errors import InputError
from tutelage.tokenizer.tokenizer import Tokenizer

MIN_COUNT = 20  # occurrences that a pair must have in the text: the embedding of a rare token is hardly trained
Pair = tuple[int, int]


@dataclass(frozen=True)
class Extended:
    """The extended tokenizer, and the sequence of old ids that each new id replaces."""

    tokenizer: Tokenizer
    pieces: dict[int, tuple[int, ...]]


def extend_tokenizer(tok: Tokenizer, texts: Iterable[str], count: int, min_count: int = MIN_COUNT) -> Extended:
    """Learn up to `count` further tokens by byte-pair encoding (Sennrich et al. 2016) on the texts, and append them.

    Deterministic. Fewer tokens are added if no further pair occurs `min_count` times. Raises InputError for a tokenizer
    that is not byte-level BPE, and if no pair is that frequent.
    """
    data = json.loads(tok.definition)
    _refuse_other_methods(data)
    library = tokenizers.Tokenizer.from_str(tok.definition)
    words = _words(library, texts)
    known = dict(data["model"]["vocab"]) | {token["content"]: token["id"] for token in data["added_tokens"]}
    names = {index: token for token, index in known.items()}
    spelled = [[token.id for token in library.model.tokenize(word)] for word in words]
    merges: list[Pair] = []
    pieces: dict[int, tuple[int, ...]] = {}
    # Some tokenizers use a whole word that is a token as it is, regardless of merges (Llama 3).
    whole_words = library.model if data["model"].get("ignore_merges") else None
    pairs = Pairs(spelled, list(words.values()))
    while len(merges) < count and (pair := pairs.most_frequent(min_count)) is not None:
        name = names[pair[0]] + names[pair[1]]
        made_of = (*pieces.get(pair[0], pair[:1]), *pieces.get(pair[1], pair[1:]))
        if name in known or (whole_words and tuple(t.id for t in whole_words.tokenize(name)) != made_of):
            pairs.leave_out(pair)
            continue
        index = tok.vocab_size + len(merges)
        known[name], names[index], pieces[index] = index, name, made_of
        merges.append(pair)
        pairs.join(pair, index)
    if not merges:
        raise InputError(
            f"no pair of tokens occurs {min_count} times in this text, so no token can be added",
            hint="give more text, or keep the vocabulary as it is",
        )
    data["model"]["vocab"] = known
    old = data["model"]["merges"]
    as_text = bool(old) and isinstance(old[0], str)
    data["model"]["merges"] = old + [
        f"{names[a]} {names[b]}" if as_text else [names[a], names[b]] for a, b in merges
    ]  # fmt: skip
    definition = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    return Extended(Tokenizer(definition, tok.settings, tok.chat_template, tok.stop_ids), pieces)


def _refuse_other_methods(data: dict[str, Any]) -> None:
    decoder = data.get("decoder") or {}
    kinds = {step.get("type") for step in decoder.get("decoders", [decoder])}
    if data["model"].get("type") != "BPE" or "ByteLevel" not in kinds or not data.get("pre_tokenizer"):
        raise InputError(
            f"this tokenizer ({data['model'].get('type')}) cannot be given more tokens: only byte-level BPE can",
            hint="leave extend_vocabulary at 0",
        )


def _words(library: Any, texts: Iterable[str]) -> Counter[str]:
    """The pieces that merges never cross, with how often each stands in the texts; most frequent first."""
    counts: Counter[str] = Counter()
    for text in texts:
        plain = library.normalizer.normalize_str(text) if library.normalizer else text
        counts.update(word for word, _ in library.pre_tokenizer.pre_tokenize_str(plain))
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


class Pairs:
    """Neighbours in words that are written as ids, counted; kept up to date while pairs are joined."""

    def __init__(self, spelled: Sequence[list[int]], counts: Sequence[int]) -> None:
        self.spelled, self.counts = list(spelled), list(counts)
        self.total: Counter[Pair] = Counter()
        self.places: defaultdict[Pair, set[int]] = defaultdict(set)
        for place in range(len(self.spelled)):
            self._count(place, 1)
        self.heap = [(-count, pair) for pair, count in self.total.items()]
        heapq.heapify(self.heap)

    def most_frequent(self, least: int) -> Pair | None:
        """Of equally frequent ones the one with the lowest ids; None below `least`."""
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            if -count != self.total[pair]:  # outdated entry of the heap
                continue
            return pair if -count >= least else None
        return None

    def leave_out(self, pair: Pair) -> None:
        """It stays as two tokens. Its count may change by others that are joined; 0 never comes up again."""
        self.total[pair] = 0
        self.places.pop(pair, None)

    def join(self, pair: Pair, index: int) -> None:
        changed: set[Pair] = set()
        for place in sorted(self.places.pop(pair)):
            changed |= self._count(place, -1)
            self.spelled[place] = _joined(self.spelled[place], pair, index)
            changed |= self._count(place, 1)
        for other in changed:
            if self.total[other] > 0:
                heapq.heappush(self.heap, (-self.total[other], other))

    def _count(self, place: int, sign: int) -> set[Pair]:
        ids, count = self.spelled[place], self.counts[place]
        neighbours = list(pairwise(ids))
        for pair in neighbours:
            self.total[pair] += sign * count
            if sign > 0:
                self.places[pair].add(place)
        return set(neighbours)


def _joined(ids: Sequence[int], pair: Pair, index: int) -> list[int]:
    """Every occurrence of the pair as one id, from the left."""
    out: list[int] = []
    at = 0
    while at < len(ids):
        if tuple(ids[at : at + 2]) == pair:
            out.append(index)
            at += 2
        else:
            out.append(ids[at])
            at += 1
    return out
