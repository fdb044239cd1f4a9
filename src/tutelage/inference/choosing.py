"""Choose the next token: the sampling state of each sequence, and the batched choice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.inference import samplers
from tutelage.inference.constraint import Constraint
from tutelage.inference.finite import own_logprobs, require_finite_settings
from tutelage.inference.grammar import Grammar, GrammarState
from tutelage.inference.sampling import BREAKERS, Sampling
from tutelage.store.errors import ConfigError
from tutelage.tokenizer.vocabulary import Vocabulary

TOGETHER = 2**18  # logits per chunk; larger ones do not stay in the processor's cache

_KEPT = 32  # cached sets of DRY breakers


class Chosen(NamedTuple):
    """A token, the model's own log-probability of it, and the likeliest tokens with theirs, if requested."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class TokenTable:
    """Vocabulary data for choosing tokens, shared by all sequences so that grammars are compiled once.

    vocab_size: columns of the logits. stop_ids: ids that end an answer. tokenizer: required for constraints and DRY
    breakers, which are given as text; without one they raise ConfigError.
    """

    def __init__(self, vocab_size: int, stop_ids: Sequence[int] = (), tokenizer: Vocabulary | None = None) -> None:
        self.vocab_size, self.stop_ids, self.tokenizer = vocab_size, tuple(stop_ids), tokenizer
        self._grammar: Grammar | None = None
        self._breakers: dict[tuple[str, ...], NDArray[np.bool_]] = {}

    def grammar(self, sampling: Sampling) -> GrammarState | None:
        """A new state of the constraint, None without one. Raises ConfigError for an inexpressible constraint."""
        if sampling.constraint is None:
            return None
        if self._grammar is None:
            self._grammar = Grammar(self._named_tokenizer("constraint"), self.vocab_size, self.stop_ids)
        return self._grammar.begin(sampling.constraint)

    def breakers(self, texts: tuple[str, ...]) -> NDArray[np.bool_]:
        """Whether each token contains one of the texts, [vocab_size] bool. Raises ConfigError if no token does."""
        if texts not in self._breakers:
            tokenizer = self._named_tokenizer("dry_breakers") if texts else None
            found = np.zeros((len(texts), self.vocab_size), np.bool_)
            for index in range(tokenizer.vocab_size if tokenizer else 0):
                token = tokenizer.token_bytes(index) if tokenizer else b""
                for number, text in enumerate(texts):
                    found[number, index] = text.encode() in token
            for number, text in enumerate(texts):
                if text not in BREAKERS and not found[number].any():
                    raise ConfigError(f"sampling.dry_breakers: no token contains {text!r}", hint="use shorter breakers")
            if len(self._breakers) == _KEPT:
                self._breakers.clear()
            self._breakers[texts] = np.logical_or.reduce(found, axis=0)
        return self._breakers[texts]

    def _named_tokenizer(self, what: str) -> Vocabulary:
        if self.tokenizer is None:
            raise ConfigError(f"sampling.{what} requires the model's tokenizer", hint="generate with a LanguageModel")
        return self.tokenizer


class Chooser:
    """The sampling state of one sequence: its settings, random generator, and the history that the settings require.

    A sequence starts with the ids of its prompt and its row number; row i draws from (seed, i) only. `choose` adds the
    ids that it returns to the history. Raises ConfigError for settings that this vocabulary or the constraint does not
    allow.
    """

    __slots__ = (
        "_history", "_length", "alike", "breakers", "counts", "generator", "grammar", "made", "mu", "remembers",
        "sampling", "seen", "table",
    )  # fmt: skip

    def __init__(self, sampling: Sampling, prompt: Sequence[int], table: TokenTable, row: int = 0) -> None:
        size = table.vocab_size
        for name, ids in (("logit_bias", [i for i, _ in sampling.biases]), ("stop_ids", sampling.stop_ids)):
            if ids and max(ids) >= size:
                raise ConfigError(f"sampling.{name} names id {max(ids)}, the ids go from 0 to {size - 1}")
        self.sampling, self.table = sampling, table
        self.generator = samplers.row_generator(sampling.seed, row) if sampling.temperature else None
        self.made, self.mu = 0, 2 * sampling.mirostat_tau
        self.grammar = table.grammar(sampling)
        # State is kept only if a setting requires it.
        self.seen: dict[int, int] | None = None
        self.counts: dict[int, int] | None = None
        self.breakers: NDArray[np.bool_] | None = None
        self._history: NDArray[np.int64] | None = None
        self._length = len(prompt)
        if sampling.repetition_penalty != 1:
            self.seen = dict.fromkeys(prompt, 0)
        if sampling.presence_penalty or sampling.frequency_penalty:
            self.counts = {}
        if sampling.dry_multiplier:
            self.breakers = table.breakers(sampling.dry_breakers)
        if sampling.dry_multiplier or sampling.no_repeat_ngram:
            self._history = np.zeros(2 * len(prompt) + 64, np.int64)
            self._history[: self._length] = prompt
        self.alike = _what_matters(sampling)
        kept = (self.seen, self.counts, self._history, self.grammar)
        self.remembers = any(one is not None for one in kept) or sampling.min_tokens > 0

    @property
    def history(self) -> NDArray[np.int64]:
        """Ids of prompt and answer so far, if a setting requires them."""
        assert self._history is not None
        return self._history[: self._length]

    def take(self, token: int) -> None:
        """Add a token of the answer to the history; only needed for tokens that `choose` did not return."""
        self.made += 1
        if self.seen is not None:
            self.seen[token] = 0
        if self.counts is not None:
            self.counts[token] = self.counts.get(token, 0) + 1
        if self._history is not None:
            if self._length == len(self._history):
                self._history = np.concatenate([self._history, np.zeros_like(self._history)])
            self._history[self._length] = token
            self._length += 1
        if self.grammar is not None:
            self.grammar.take(token)

    def forbidden_stops(self) -> tuple[int, ...]:
        """Stop tokens that are banned at this position."""
        sampling = self.sampling
        if sampling.ignore_eos or self.made < sampling.min_tokens:
            return (*self.table.stop_ids, *sampling.stop_ids)
        return ()


def choose(logits: Tensor, rows: Sequence[Chooser]) -> list[Chosen]:
    """The next token of each sequence, from logits [rows, V] float32 on the CPU.

    Sequences with equal settings are batched; the result of a sequence depends only on its own logits and history, bit
    for bit. Raises InputError naming a row with non-finite logits, before or after its settings are applied.
    """
    own = own_logprobs(logits)
    if all(row.alike == "" for row in rows):  # plain greedy: no per-row work
        chosen = logits.argmax(-1)
    else:
        chosen = torch.empty(len(rows), dtype=torch.int64)
        most = max(1, TOGETHER // logits.shape[-1])
        groups = _groups([row.alike for row in rows])
        for members in [group[at : at + most] for group in groups for at in range(0, len(group), most)]:
            theirs = logits if len(members) == len(rows) else logits[members]
            chosen[members] = _choose_alike(theirs, [rows[member] for member in members], members)
    ids: list[int] = chosen.tolist()
    for row, token in zip(rows, ids, strict=True):
        if row.remembers:
            row.take(token)
    logprobs = own[torch.arange(len(rows)), chosen].tolist()
    if not any(row.sampling.top_logprobs for row in rows):
        return [Chosen(token, logprob) for token, logprob in zip(ids, logprobs, strict=True)]
    tops = _top_logprobs(own, [row.sampling.top_logprobs for row in rows])
    return [Chosen(*one) for one in zip(ids, logprobs, tops, strict=True)]


def _choose_alike(logits: Tensor, rows: Sequence[Chooser], numbers: Sequence[int]) -> Tensor:
    sampling = rows[0].sampling
    logits = processed(logits, rows)
    require_finite_settings(logits, sampling, numbers)
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = samplers.filter_logits(logits.double(), sampling)
    if sampling.xtc_probability:
        applied = _uniform(rows) < sampling.xtc_probability
        logits = torch.where(applied[:, None], samplers.drop_top_choices(logits, sampling.xtc_threshold), logits)
    if not sampling.mirostat_tau:
        return samplers.draw(logits, _uniform(rows))
    logits = samplers.keep_below_surprise(logits, torch.tensor([row.mu for row in rows], dtype=torch.float64))
    chosen = samplers.draw(logits, _uniform(rows))
    bits = -logits.log_softmax(-1).gather(-1, chosen[:, None]).squeeze(-1) / np.log(2)
    for row, surprise in zip(rows, bits.tolist(), strict=True):
        row.mu -= sampling.mirostat_eta * (surprise - sampling.mirostat_tau)
    return chosen


def processed(logits: Tensor, rows: Sequence[Chooser]) -> Tensor:
    """Logits [rows, V] after bias, penalties and bans, in the order documented in `Sampling`, for sequences with equal
    settings; not in place."""
    sampling = rows[0].sampling
    if sampling.biases:
        biased, biases = zip(*sampling.biases, strict=True)
        logits = samplers.apply_logit_bias(logits, torch.tensor(biased), torch.tensor(biases))
    if sampling.repetition_penalty != 1:
        logits = logits.clone()
        for index, row in enumerate(rows):
            ids = _tensor(row.seen or ())
            logits[index, ids] = samplers.apply_repetition_penalty(logits[index, ids], sampling.repetition_penalty)
    if sampling.presence_penalty or sampling.frequency_penalty:
        logits, how = logits.clone(), (sampling.presence_penalty, sampling.frequency_penalty)
        for index, row in enumerate(rows):
            ids, counts = _tensor(row.counts or ()), _tensor((row.counts or {}).values())
            logits[index, ids] = samplers.apply_count_penalties(logits[index, ids], counts, *how)
    if sampling.dry_multiplier:
        logits = logits.clone()
        for index, row in enumerate(rows):
            assert row.breakers is not None
            reach = (sampling.dry_base, sampling.dry_allowed_length)
            dry, penalties = samplers.dry_penalties(row.history, row.breakers, sampling.dry_multiplier, *reach)
            logits[index, torch.from_numpy(dry)] -= torch.from_numpy(penalties).to(logits.dtype)
    if sampling.constraint is not None:
        allowed = np.stack([row.grammar.allowed() for row in rows if row.grammar is not None])
        logits = logits.masked_fill(torch.from_numpy(~allowed), -torch.inf)
    elif any(row.forbidden_stops() for row in rows):
        logits = logits.clone()
        for index, row in enumerate(rows):
            logits[index, list(row.forbidden_stops())] = -torch.inf
    if sampling.no_repeat_ngram:
        logits = logits.clone()
        for index, row in enumerate(rows):
            banned = torch.from_numpy(samplers.repeated_ngram_ids(row.history, sampling.no_repeat_ngram))
            left = logits[index].index_fill(-1, banned, -torch.inf)
            # A constraint or a small vocabulary may allow nothing else; then the repetition is accepted.
            if left.amax() > -torch.inf:
                logits[index] = left
    return logits


def _tensor(numbers: Collection[int]) -> Tensor:
    return torch.from_numpy(np.fromiter(numbers, np.int64, len(numbers)))


def _uniform(rows: Sequence[Chooser]) -> Tensor:
    """One number in [0, 1) of each sequence's own generator, [rows] float64."""
    drawn = [torch.rand(1, dtype=torch.float64, generator=row.generator) for row in rows]
    return torch.cat(drawn)


@lru_cache(maxsize=256)  # a batch of sequences mostly shares its settings
def _what_matters(sampling: Sampling) -> str:
    """The key by which sequences are batched; empty for plain greedy."""
    # Stop ids, breakers and the content of the constraint are looked up per row.
    same = replace(
        sampling, seed=0, max_tokens=max(1, sampling.min_tokens), stop=(), top_logprobs=0, stop_ids=(), dry_breakers=(),
        constraint=None if sampling.constraint is None else Constraint.regex("any"),
    )  # fmt: skip
    if sampling.temperature == 0:  # these keep the likeliest token
        same = replace(same, top_k=0, top_p=1.0, min_p=0.0, top_n_sigma=0.0)
    return "" if same == Sampling(max_tokens=1, dry_breakers=()) else repr(same)


def _groups(keys: Sequence[str]) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    return list(found.values())


def _top_logprobs(own: Tensor, wanted: Sequence[int]) -> list[tuple[tuple[int, float], ...]]:
    """The `wanted` likeliest tokens of each row; rows with equal k are batched, so that ties break the same way."""
    tops: list[tuple[tuple[int, float], ...]] = [()] * len(wanted)
    for members in _groups([str(k) for k in wanted]):
        k = min(wanted[members[0]], own.shape[-1])
        if not k:
            continue
        found = own[members].topk(k, dim=-1)
        for member, ids, logprobs in zip(members, found.indices.tolist(), found.values.tolist(), strict=True):
            tops[member] = tuple(zip(ids, logprobs, strict=True))
    return tops
