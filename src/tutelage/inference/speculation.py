"""Speculation: tokens that are drafted cheaply, and read by the model together to see which it would have said.

At every place the model's own choice is made, by the settings and the random numbers of the answer; a draft is kept as
long as it is that choice. So the answer, sampled or not, is the very same as without, and only the drafts that agree
save time. (Leviathan et al. 2023 accept by chance instead: equal in distribution, but another text for the same seed.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from tutelage.model.cache import KVCache
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.lean import LeanDecoder, is_plain
from tutelage.store.errors import ConfigError

MOST = 7  # tokens drafted at once for one answer: with the token before them eight, two blocks of the CPU's kernels
# Tokens read in one step, drafts included: from there on each costs what a step of its own does.
ROWS = {"cpu": 8, "cuda": 64}
_FIRST, _LONGEST_PAUSE = 3, 15
_LONGEST, _SHORTEST = 4, 2  # tokens of the end of a text that are looked for in what stands before it
_READ_AT_ONCE = 512
_GROWTH = 256  # positions by which the cache of a draft model grows


class Source(Protocol):
    """What drafts for one answer."""

    def take(self, token: int) -> None:
        """The answer goes on with this token."""

    def draft(self, most: int) -> list[int]:
        """The tokens that may follow, at most so many; none where there is nothing to go by."""


Begin = Callable[[Sequence[int]], Source]


class Speculation:
    """Where drafts come from, for every answer of an engine, and what has become of them: `drafted` tokens, of which
    `accepted` were what the model would have said."""

    def __init__(self, begin: Begin) -> None:
        """begin: what drafts for an answer, from the ids of its prompt."""
        self._begin = begin
        self.drafted = self.accepted = 0

    @classmethod
    def lookup(cls) -> Speculation:
        """Drafts are what followed the last tokens where they stood before, in prompt or answer."""
        return cls(Lookup)

    @classmethod
    def by(cls, draft: DecoderLM, vocab_size: int) -> Speculation:
        """Drafts are what a smaller model finds likeliest of the `vocab_size` tokens that both have. Raises ConfigError
        for one that cannot go back (`cannot`)."""
        reason = cannot(draft.config)
        if reason is not None:
            raise ConfigError(f"this model cannot draft: {reason}")
        step = LeanDecoder(draft) if is_plain(draft) else None
        return cls(lambda prompt: _ModelDrafts(draft, step, vocab_size, prompt))

    def of(self, prompt: Sequence[int]) -> Drafting:
        """The drafts of an answer to a prompt."""
        return Drafting(self, self._begin(prompt))


class Drafting:
    """The drafts of one answer: the more of them were right, the more come next; after one that was all wrong none come
    for a while, and for longer the more such there are in a row."""

    def __init__(self, whole: Speculation, source: Source) -> None:
        self._whole, self._source, self._reach = whole, source, _FIRST
        self._rest = self._pause = 0  # steps without drafts: still to come, and after the last failure

    def take(self, token: int) -> None:
        """The answer goes on with this token."""
        self._source.take(token)

    def draft(self, most: int) -> list[int]:
        """Tokens that may follow, at most so many."""
        most = min(most, self._reach)
        if most <= 0 or self._rest:
            self._rest = max(0, self._rest - 1)
            return []
        return self._source.draft(most)

    def judged(self, drafted: int, agreed: int) -> None:
        """So many of them were what the model said."""
        self._whole.drafted += drafted
        self._whole.accepted += agreed
        self._reach = min(MOST, max(self._reach, 2 * drafted + 1)) if agreed == drafted else agreed + 1
        self._rest = self._pause = 0 if agreed else min(_LONGEST_PAUSE, 2 * self._pause + 1)


def cannot(config: ModelConfig) -> str | None:
    """Why a model cannot go without its last tokens again, which drafts that fail ask of it; None if it can."""
    return None if config.delta is None else "the state of its delta layers cannot be taken back by a token"


class Lookup:
    """Prompt lookup (Saxena 2023, "Prompt lookup decoding"): the last tokens are looked for in the text so far, four
    first and two at least, and of several places the last is taken."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # n-gram -> where it was last followed by a token
        for token in ids:
            self.take(token)

    def take(self, token: int) -> None:
        end = len(self._ids)
        for length in range(_SHORTEST, min(_LONGEST, end) + 1):
            self._after[tuple(self._ids[end - length :])] = end
        self._ids.append(token)

    def draft(self, most: int) -> list[int]:
        for length in range(min(_LONGEST, len(self._ids)), _SHORTEST - 1, -1):
            at = self._after.get(tuple(self._ids[-length:]))
            if at is not None:
                return self._ids[at : at + most]
        return []


class _ModelDrafts:
    """Greedy continuations by a draft model, which keeps its keys and values of the text so far."""

    def __init__(self, model: DecoderLM, step: LeanDecoder | None, vocab_size: int, prompt: Sequence[int]) -> None:
        self._model, self._step, self._vocab_size, self._ids = model, step, vocab_size, list(prompt)
        self._read: list[int] = []  # the tokens of which there are keys and values
        weight = model.embed_tokens.weight
        self._cache = KVCache.empty(model.config, 1, _GROWTH, model.activations, weight.device)

    def take(self, token: int) -> None:
        self._ids.append(token)

    def draft(self, most: int) -> list[int]:
        """None in a text longer than the context of the draft model, and while its prompt is still being read, which
        goes on piece by piece."""
        most = min(most, self._model.config.max_position_embeddings - len(self._ids))
        if most <= 0:
            return []
        self._forget()
        unread = self._ids[len(self._read) :]
        piece = unread[:_READ_AT_ONCE]
        token = self._next(piece)
        if len(piece) < len(unread):
            return []
        made = [token]
        while len(made) < most:
            made.append(self._next(made[-1:]))
        return made

    def _forget(self) -> None:
        """Drafts that were not kept; the last token is read again in any case, for what follows it."""
        limit = min(len(self._read), len(self._ids) - 1)
        wrong = (at for at in range(self._sure(limit), limit) if self._read[at] != self._ids[at])
        del self._read[next(wrong, limit) :]

    def _sure(self, limit: int) -> int:
        """Tokens that need not be compared again: drafts are at most the last few."""
        return max(0, limit - MOST - 1)

    def _next(self, tokens: Sequence[int]) -> int:
        """Read tokens, and the likeliest one to follow."""
        start, end = len(self._read), len(self._read) + len(tokens)
        if end > self._cache.length:
            self._cache.grow(-(-(end - self._cache.length) // _GROWTH) * _GROWTH)
        device = self._cache.device
        view = self._cache.view(0, 1, -(-end // 64) * 64, start)
        ids = torch.tensor([list(tokens)], device=device)
        positions = torch.arange(start, end, device=device)[None]
        if self._step is not None and len(tokens) == 1:
            hidden = self._step.hidden(ids, positions, view)
        else:
            hidden = self._model.hidden(ids, positions, cache=view)[:, -1]
        self._read += tokens
        return int(self._model.logits(hidden)[0, : self._vocab_size].argmax())
