"""Speculative decoding: cheap draft tokens that the model verifies in one forward pass.

At every position the model makes its own choice with the answer's settings and random numbers; a draft is accepted
while it equals that choice. The answer, sampled or not, is therefore identical to one without speculation. (Leviathan
et al. 2023 accept stochastically instead: equal in distribution, but a different text for the same seed.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from tutelage.inference.prefill import READ_AT_ONCE
from tutelage.model.cache import KVCache
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.lean import LeanDecoder, is_plain
from tutelage.store.errors import ConfigError

MOST = 7  # maximum draft length: eight with the token before them, two blocks of the CPU kernels
# Tokens per step, drafts included, above which verifying one costs as much as a step of its own.
ROWS = {"cpu": 8, "cuda": 64}
_FIRST, _LONGEST_PAUSE = 3, 15
_LONGEST, _SHORTEST = 4, 2  # n-gram lengths for prompt lookup
_GROWTH = 256  # positions by which the draft model's cache grows


class Source(Protocol):
    """Source of drafts for one answer."""

    def take(self, token: int) -> None:
        """The answer goes on with this token."""

    def draft(self, most: int) -> list[int]:
        """At most `most` draft tokens; none without a match."""


Begin = Callable[[Sequence[int]], Source]


class Speculation:
    """The draft source for all answers of an engine, with statistics: `drafted` tokens, of which `accepted` matched the
    model's choice."""

    def __init__(self, begin: Begin) -> None:
        """begin: creates the draft source of an answer from its prompt ids."""
        self._begin = begin
        self.drafted = self.accepted = 0

    @classmethod
    def lookup(cls) -> Speculation:
        """Prompt lookup: drafts are the tokens that followed an earlier occurrence of the last tokens."""
        return cls(Lookup)

    @classmethod
    def by(cls, draft: DecoderLM, vocab_size: int) -> Speculation:
        """Draft model: greedy tokens of a smaller model over the shared `vocab_size` tokens. Raises ConfigError for one
        whose state cannot be rolled back (`cannot`)."""
        reason = cannot(draft.config)
        if reason is not None:
            raise ConfigError(f"this model cannot draft: {reason}")
        step = LeanDecoder(draft) if is_plain(draft) else None
        return cls(lambda prompt: _ModelDrafts(draft, step, vocab_size, prompt))

    def of(self, prompt: Sequence[int]) -> Drafting:
        """The drafting state for an answer to a prompt."""
        return Drafting(self, self._begin(prompt))


class Drafting:
    """Drafting for one answer with adaptive length: it grows with accepted drafts; after a fully rejected draft it
    pauses, with exponential backoff."""

    def __init__(self, whole: Speculation, source: Source) -> None:
        self._whole, self._source, self._reach = whole, source, _FIRST
        self._rest = self._pause = 0  # steps without drafts: remaining, and the length of the last pause

    def take(self, token: int) -> None:
        """The answer goes on with this token."""
        self._source.take(token)

    def draft(self, most: int) -> list[int]:
        """At most `most` draft tokens."""
        most = min(most, self._reach)
        if most <= 0 or self._rest:
            self._rest = max(0, self._rest - 1)
            return []
        return self._source.draft(most)

    def judged(self, drafted: int, agreed: int) -> None:
        """Record the number of accepted draft tokens."""
        self._whole.drafted += drafted
        self._whole.accepted += agreed
        self._reach = min(MOST, max(self._reach, 2 * drafted + 1)) if agreed == drafted else agreed + 1
        self._rest = self._pause = 0 if agreed else min(_LONGEST_PAUSE, 2 * self._pause + 1)


def cannot(config: ModelConfig) -> str | None:
    """Why a model cannot roll back rejected tokens; None if it can."""
    return None if config.delta is None else "the recurrent state of its delta layers cannot be rolled back"


class Lookup:
    """Prompt lookup (Saxena 2023, "Prompt lookup decoding"): search the text so far for the last four tokens, then
    fewer, at least two; the latest match is used."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # n-gram -> position of its latest continuation
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
    """Greedy drafts of a smaller model with its own KV cache."""

    def __init__(self, model: DecoderLM, step: LeanDecoder | None, vocab_size: int, prompt: Sequence[int]) -> None:
        self._model, self._step, self._vocab_size, self._ids = model, step, vocab_size, list(prompt)
        self._read: list[int] = []  # tokens in the cache
        weight = model.embed_tokens.weight
        self._cache = KVCache.empty(model.config, 1, _GROWTH, model.activations, weight.device)

    def take(self, token: int) -> None:
        self._ids.append(token)

    def draft(self, most: int) -> list[int]:
        """Draft tokens; none beyond the draft model's context, or while its prompt is still being prefilled in
        chunks."""
        most = min(most, self._model.config.max_position_embeddings - len(self._ids))
        if most <= 0:
            return []
        self._forget()
        unread = self._ids[len(self._read) :]
        piece = unread[:READ_AT_ONCE]
        token = self._next(piece)
        if len(piece) < len(unread):
            return []
        made = [token]
        while len(made) < most:
            made.append(self._next(made[-1:]))
        return made

    def _forget(self) -> None:
        """Roll back rejected drafts; the last token is always recomputed."""
        limit = min(len(self._read), len(self._ids) - 1)
        wrong = (at for at in range(self._sure(limit), limit) if self._read[at] != self._ids[at])
        del self._read[next(wrong, limit) :]

    def _sure(self, limit: int) -> int:
        """Tokens known to match; only the last few can be drafts."""
        return max(0, limit - MOST - 1)

    def _next(self, tokens: Sequence[int]) -> int:
        """Feed tokens and return the likeliest next one."""
        start, end = len(self._read), len(self._read) + len(tokens)
        if end > self._cache.length:
            self._cache.grow(-(-(end - self._cache.length) // _GROWTH) * _GROWTH)
        device = self._cache.device
        view = self._cache.view(0, 1, -(-end // 64) * 64, start)
        ids = torch.tensor([list(tokens)], device=device)
        positions = torch.arange(start, end, device=device)[None]
        if self._step is not None and len(tokens) == 1:
            logits = self._step.logits(ids, positions, view)
        else:
            logits = self._model.logits(self._model.hidden(ids, positions, cache=view)[:, -1])
        self._read += tokens
        return int(logits[0, : self._vocab_size].argmax())
