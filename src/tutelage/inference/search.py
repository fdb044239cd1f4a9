"""Beam, diverse beam and contrastive search over a model with its KV cache."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.inference.finite import own_logprobs
from tutelage.inference.prefill import READ_AT_ONCE, check_prompt, untracked
from tutelage.inference.samplers import repeated_ngram_ids
from tutelage.inference.sequences import StopReason
from tutelage.model.cache import KVCache
from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import ConfigError


@dataclass(frozen=True)
class Beam:
    """Beam search with `num_beams` hypotheses per step.

    Score: log-probability / length ** length_penalty; values above 0 favour longer ones. early_stopping: True stops at
    the first `num_beams` complete hypotheses; False when the best running one, at its current length, is no better than
    the worst complete one; "never" when it cannot become better. As in transformers. groups: diverse beam search
    (Vijayakumar et al. 2018, section 4) with this many groups of beams; at each step a token is penalised by
    `diversity` for each beam of an earlier group that chose it (Hamming diversity). The penalty affects the choice but
    not the score. no_repeat_ngram: as in `Sampling`.
    """

    num_beams: int = 4
    max_tokens: int = 128
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    groups: int = 1
    diversity: float = 0.0
    no_repeat_ngram: int = 0

    def __post_init__(self) -> None:
        _check("beam", self, {
            "num_beams": (self.num_beams >= 1, "at least 1"),
            "max_tokens": (self.max_tokens >= 1, "at least 1"),
            "length_penalty": (math.isfinite(self.length_penalty), "finite"),
            "early_stopping": (self.early_stopping in (True, False, "never"), 'True, False or "never"'),
            "groups": (self.groups >= 1 and self.num_beams % max(1, self.groups) == 0, "a divisor of num_beams"),
            "diversity": (0 <= self.diversity < math.inf, "0 or above, and finite"),
            "no_repeat_ngram": (self.no_repeat_ngram >= 0, "0 (off) or above"),
        })  # fmt: skip
        if (self.groups > 1) != (self.diversity > 0):
            raise ConfigError("beam.groups above 1 and beam.diversity above 0 have no effect alone: set both")


@dataclass(frozen=True)
class Contrastive:
    """Contrastive search: among the `top_k` likeliest tokens, the one that maximises (1 - alpha) * probability - alpha
    * the largest cosine similarity of its hidden state to earlier ones. Su et al. 2022, equation 5; hidden states are
    the head's inputs.
    """

    top_k: int = 4
    alpha: float = 0.6
    max_tokens: int = 128

    def __post_init__(self) -> None:
        _check("contrastive", self, {
            "top_k": (self.top_k >= 1, "at least 1"),
            "alpha": (0 <= self.alpha <= 1, "from 0 to 1"),
            "max_tokens": (self.max_tokens >= 1, "at least 1"),
        })  # fmt: skip


@dataclass(frozen=True)
class Hypothesis:
    """A continuation: ids (final stop id included), the model's log-probability of each, and the score."""

    ids: list[int]
    logprobs: list[float]
    score: float
    stop_reason: StopReason


def search_ids(
    model: DecoderLM, prompt: Sequence[int], how: Beam | Contrastive, stop_ids: Sequence[int]
) -> list[Hypothesis]:
    """Continuations of a prompt, best first: `num_beams` of them, or one by contrastive search.

    Raises InputError for a prompt that is empty or fills the context, or logits that are not finite.
    """
    context = model.config.max_position_embeddings
    check_prompt(prompt, context, model.config.vocab_size)
    limit = min(how.max_tokens, context - len(prompt))
    with untracked(model):
        rows = _Rows(model, prompt, limit)
        if isinstance(how, Beam):
            return _beam_search(rows, prompt, how, limit, frozenset(stop_ids))
        return [_contrastive_search(rows, how, limit, frozenset(stop_ids))]


class _Rows:
    """Continuations of one prompt as cache rows: `hidden` [rows, H] and `logprobs` [rows, V] at the last position."""

    def __init__(self, model: DecoderLM, prompt: Sequence[int], more: int) -> None:
        self._model, self._position = model, len(prompt)
        weight = model.embed_tokens.weight
        self._cache = KVCache.empty(model.config, 1, len(prompt) + more, model.activations, weight.device)
        tokens = torch.tensor([list(prompt)], device=weight.device)
        positions = torch.arange(len(prompt), device=weight.device)[None]
        pieces = [slice(start, start + READ_AT_ONCE) for start in range(0, len(prompt), READ_AT_ONCE)]
        read = [model.hidden(tokens[:, at], positions[:, at], cache=self._cache) for at in pieces]
        self.read = torch.cat(read, 1)[0]  # of the prompt, [T, H]
        self._take(self.read[-1:])

    def _take(self, hidden: Tensor) -> None:
        self.hidden = hidden
        self.logprobs = own_logprobs(self._model.logits(hidden).cpu())

    def keep(self, parents: Sequence[int]) -> None:
        """Select rows in this order; a row may be repeated."""
        self._cache.select(torch.tensor(parents, device=self._cache.device))

    def read_next(self, ids: Sequence[int]) -> None:
        """Feed one token per row."""
        device = self._cache.device
        at = torch.full((len(ids), 1), self._position, device=device)
        hidden = self._model.hidden(torch.tensor(ids, device=device)[:, None], at, cache=self._cache)
        self._position += 1
        self._take(hidden[:, -1])


# -- beam search


@dataclass
class _Running:
    """A running hypothesis: its cache row, ids, their log-probabilities and the sum of these."""

    row: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    total: float = 0.0


@dataclass
class _Group:
    """A group of competing beams."""

    running: list[_Running]
    complete: list[Hypothesis] = field(default_factory=list)
    done: bool = False


def _beam_search(
    rows: _Rows, prompt: Sequence[int], how: Beam, limit: int, stop_ids: frozenset[int]
) -> list[Hypothesis]:
    groups = [_Group([_Running(0)]) for _ in range(how.groups)]
    for length in range(1, limit + 1):
        taken: Counter[int] = Counter()
        for group in groups:
            if not group.done:
                _extend(group, rows.logprobs, taken, prompt, how, length, limit, stop_ids)
        going = [beam for group in groups if not group.done for beam in group.running]
        if not going:
            break
        rows.keep([beam.row for beam in going])
        rows.read_next([beam.ids[-1] for beam in going])
        for row, beam in enumerate(going):
            beam.row = row
    found = [one for group in groups for one in group.complete]
    return sorted(found, key=lambda one: -one.score)


def _extend(
    group: _Group, logprobs: Tensor, taken: Counter[int], prompt: Sequence[int], how: Beam, length: int, limit: int,
    stop_ids: frozenset[int],
) -> None:  # fmt: skip
    """One step of a group of beams. `taken`: counts of tokens chosen by earlier groups at this step; updated."""
    width = how.num_beams // how.groups
    # Enough candidates for `width` to continue even if all others end.
    wanted = max(2, 1 + len(stop_ids)) * width
    own = logprobs[[beam.row for beam in group.running]]
    totals = own + torch.tensor([beam.total for beam in group.running])[:, None]
    if how.no_repeat_ngram:
        for number, beam in enumerate(group.running):
            banned = repeated_ngram_ids(np.array([*prompt, *beam.ids]), how.no_repeat_ngram)
            totals[number, torch.from_numpy(banned)] = -math.inf
    rank = totals
    if taken:
        rank = totals.clone()
        rank[:, list(taken)] -= how.diversity * torch.tensor(list(taken.values()), dtype=torch.float32)
    best = rank.flatten().topk(min(wanted, rank.numel())).indices
    running: list[_Running] = []
    for place, index in enumerate(best.tolist()):
        parent, token = divmod(index, own.shape[-1])
        total = float(totals[parent, token])
        if total == -math.inf:
            continue
        before = group.running[parent]
        beam = _Running(before.row, [*before.ids, token], [*before.logprobs, float(own[parent, token])], total)
        if token not in stop_ids and length < limit:
            running.append(beam)
        elif place < width:
            reason: StopReason = "stop" if token in stop_ids else "length"
            score = total / length**how.length_penalty
            group.complete.append(Hypothesis(beam.ids, beam.logprobs, score, reason))
    group.complete = sorted(group.complete, key=lambda one: -one.score)[:width]
    group.running = running[:width]
    taken.update(beam.ids[-1] for beam in group.running)
    group.done = not group.running or (len(group.complete) >= width and _no_better(group, how, length, limit))


def _no_better(group: _Group, how: Beam, length: int, limit: int) -> bool:
    """Whether a full set of complete hypotheses is final; a single beam is greedy and stops at its first."""
    if how.early_stopping is True or how.num_beams == 1:
        return True
    at = limit if how.early_stopping == "never" and how.length_penalty > 0 else length
    return group.running[0].total / at**how.length_penalty <= group.complete[-1].score


# -- contrastive search


def _contrastive_search(rows: _Rows, how: Contrastive, limit: int, stop_ids: frozenset[int]) -> Hypothesis:
    ids: list[int] = []
    logprobs: list[float] = []
    scores: list[float] = []
    before = F.normalize(rows.read.float(), dim=-1)  # [so far, H]
    width = min(how.top_k, rows.logprobs.shape[-1])
    parent = 0
    while len(ids) < limit:
        own, tokens = rows.logprobs[parent].topk(width)
        rows.keep([parent] * width)
        rows.read_next(tokens.tolist())
        states = F.normalize(rows.hidden.float(), dim=-1)  # [width, H]
        likeness = (states @ before.T).amax(-1).cpu()
        rating = (1 - how.alpha) * own.exp() - how.alpha * likeness
        parent = int(rating.argmax())
        ids.append(int(tokens[parent]))
        logprobs.append(float(own[parent]))
        scores.append(float(rating[parent]))
        if ids[-1] in stop_ids:
            return Hypothesis(ids, logprobs, sum(scores) / len(scores), "stop")
        before = torch.cat([before, states[parent : parent + 1]])
    return Hypothesis(ids, logprobs, sum(scores) / len(scores), "length")


def _check(what: str, settings: object, rules: dict[str, tuple[bool, str]]) -> None:
    for name, (good, wanted) in rules.items():
        if not good:
            raise ConfigError(f"{what}.{name} must be {wanted}, got {getattr(settings, name)!r}")
