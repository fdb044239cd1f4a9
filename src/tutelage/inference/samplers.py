"""Logit processors and drawing: pure functions on [rows, vocab_size], each with its source."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from tutelage.inference.sampling import Sampling

Ids = NDArray[np.int64]
LONGEST_MATCH = 256
"""Longest repetition that DRY measures, in tokens; longer ones get the same penalty."""

SORTED_FIRST = 512
"""Top tokens among which a nucleus is searched first."""

# -- penalties


def apply_logit_bias(logits: Tensor, ids: Tensor, biases: Tensor) -> Tensor:
    """`biases` [m] added to the logits of `ids` [m], as in OpenAI's API; -inf bans."""
    return logits.index_add(-1, ids, biases.to(logits.dtype).expand(len(logits), -1))


def apply_repetition_penalty(logits: Tensor, penalty: float) -> Tensor:
    """Repetition penalty: divide positive logits of past tokens by the penalty, multiply negative ones.

    CTRL (Keskar et al. 2019, section 4.1), with the usual handling of the sign.
    """
    return torch.where(logits > 0, logits / penalty, logits * penalty)


def apply_count_penalties(logits: Tensor, counts: Tensor, presence: float, frequency: float) -> Tensor:
    """Subtract `presence` from tokens that occur in the answer (not the prompt), and `frequency` for each occurrence
    (`counts`). OpenAI's API reference, "frequency and presence penalties"; vLLM.
    """
    return logits - counts * frequency - (counts > 0) * presence


def dry_penalties(
    history: Ids, is_breaker: NDArray[np.bool_], multiplier: float, base: float, allowed_length: int
) -> tuple[Ids, NDArray[np.float64]]:
    """DRY: tokens that would continue a repetition, and the penalty on the logit of each.

    history [L]: prompt and answer. If the last n tokens also occur earlier, the token that followed them there is
    penalised by multiplier * base^(n - allowed_length), for n >= allowed_length; n is the longest such match without a
    breaker (`is_breaker` [V]). DRY ("Don't repeat yourself", p-e-w 2024, text-generation-webui pull request 5677;
    llama.cpp).
    """
    end = len(history) - 1
    nothing = np.zeros(0, np.int64), np.zeros(0)
    if end < allowed_length:
        return nothing
    recent = history[: -LONGEST_MATCH - 1 : -1]  # newest first
    breaks = is_breaker[recent]
    limit = min(int(breaks.argmax()) if breaks.any() else len(recent), end)
    # Ends of earlier matches that can still be extended.
    at = np.arange(end)
    matched = np.zeros(end, np.int64)
    for length in range(limit):
        at = at[at >= length]
        at = at[history[at - length] == recent[length]]
        if not len(at):
            break
        matched[at] = length + 1
    found = np.flatnonzero(matched >= allowed_length)
    if not len(found):
        return nothing
    ids, which = np.unique(history[found + 1], return_inverse=True)
    longest = np.zeros(len(ids), np.int64)
    np.maximum.at(longest, which, matched[found])
    # As in llama.cpp, the power is capped to fit float32.
    most = 88.0 / math.log(base) if base > 1.000001 else math.inf
    return ids, multiplier * base ** np.minimum(longest - allowed_length, most)


def repeated_ngram_ids(history: Ids, n: int) -> Ids:
    """Tokens that would complete an n-gram already in `history` [L]. Paulus et al. 2017, section 2.5."""
    begin = len(history) - n + 1  # the last n - 1 tokens begin here
    if begin < 1:
        return np.zeros(0, np.int64)
    at = np.arange(begin)
    for offset in range(n - 1):
        at = at[history[at + offset] == history[begin + offset]]
    return np.unique(history[at + n - 1])


# -- temperature and filters: removed tokens become -inf; at least one token per row is kept


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits divided by a temperature above 0. Shifted to a maximum of 0 first, so that nothing overflows."""
    return (logits - logits.amax(-1, keepdim=True)) / temperature


def keep_top_n_sigma(logits: Tensor, n: float) -> Tensor:
    """Top-n-sigma: -inf for logits more than n standard deviations below the highest. n 0 keeps all.

    Tang et al. 2024, "Top-nsigma: not all logits are you need", algorithm 1; over finite logits, as in llama.cpp.
    Independent of temperature.
    """
    if n <= 0:
        return logits
    there = logits.isfinite()
    count = there.sum(-1, keepdim=True)
    zeroed = logits.masked_fill(~there, 0)
    mean = zeroed.sum(-1, keepdim=True) / count
    sigma = (((logits - mean) ** 2).masked_fill(~there, 0).sum(-1, keepdim=True) / count).sqrt()
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) - n * sigma, -math.inf)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Top-k: -inf for all but the k highest; ties with the k-th are kept. k 0 or above V keeps all."""
    if not 0 < k < logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """-inf outside the nucleus: the fewest most likely tokens whose probabilities sum to at least p.

    Holtzman et al. 2020, section 3.1. The most likely token is always kept.
    """
    if p >= 1:
        return logits
    return _keep_mass(logits, logits, logits.softmax(-1), p)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Min-p: -inf for tokens less likely than p times the most likely one. Nguyen et al. 2024."""
    if p <= 0:
        return logits
    least = logits.amax(-1, keepdim=True) + math.log(p)
    return logits.masked_fill(logits < least, -math.inf)


def keep_typical(logits: Tensor, p: float) -> Tensor:
    """Typical-p: -inf outside the smallest set of mass p or more whose surprisal is nearest to the entropy.

    Meister et al. 2023, "Locally typical sampling", section 4. Ties go to the lower id.
    """
    if p >= 1:
        return logits
    logprobs = logits.log_softmax(-1)
    surprise = -logprobs
    probabilities = logits.softmax(-1)
    entropy = (probabilities * surprise).nan_to_num(0.0).sum(-1, keepdim=True)  # 0 * inf is 0 here
    return _keep_mass(logits, -(surprise - entropy).abs(), probabilities, p)


def drop_top_choices(logits: Tensor, threshold: float) -> Tensor:
    """XTC: -inf for all tokens of probability `threshold` or more except the least likely of them.

    XTC, "exclude top choices" (p-e-w 2024, text-generation-webui pull request 6335; llama.cpp). In a tie the highest id
    is kept.
    """
    likely = logits.softmax(-1) >= threshold
    least = logits.masked_fill(~likely, math.inf).amin(-1, keepdim=True)
    last = logits.shape[-1] - 1 - (likely & (logits == least)).flip(-1).byte().argmax(-1, keepdim=True)
    return logits.masked_fill(likely.scatter(-1, last, False), -math.inf)


def keep_below_surprise(logits: Tensor, most: Tensor) -> Tensor:
    """Mirostat 2: -inf for tokens with more than `most` [rows] bits of surprisal; the most likely one is kept.

    Mirostat 2 (Basu et al. 2021, algorithm 2), with llama.cpp's `mu` as `most`.
    """
    bits = -logits.log_softmax(-1) / math.log(2)
    outside = bits > most.to(bits.dtype)[:, None]
    outside.scatter_(-1, logits.argmax(-1, keepdim=True), False)
    return logits.masked_fill(outside, -math.inf)


def _keep_mass(logits: Tensor, key: Tensor, probabilities: Tensor, p: float) -> Tensor:
    """-inf outside the smallest set of tokens with the highest keys whose probabilities sum to at least p; ties go to
    lower ids. All [rows, V]. At least one token is kept."""
    return logits.masked_fill(~_fewest(key, probabilities, p, SORTED_FIRST), -math.inf)


def _fewest(key: Tensor, probabilities: Tensor, p: float, first: int) -> Tensor:
    """Mask [rows, V] of that set. It is usually small, and sorting the full vocabulary would dominate the cost, so only
    rows whose `first` tokens do not suffice are sorted further."""
    first = min(first, key.shape[-1])
    values, ids = key.topk(first, dim=-1)
    mass = probabilities.gather(-1, ids).cumsum(-1)
    kept = _best(key, values, mass, p)
    more = mass[:, -1] < p
    if first < key.shape[-1] and bool(more.any()):
        kept[more] = _fewest(key[more], probabilities[more], p, 16 * first)
    return kept


def _best(key: Tensor, values: Tensor, mass: Tensor, p: float) -> Tensor:
    """Mask [rows, V] of the first tokens of the sorted `values` [rows, k] until `mass` reaches p."""
    count = ((mass < p).sum(-1, keepdim=True) + 1).clamp(max=values.shape[-1])
    least = values.gather(-1, count - 1)
    left = count - (values > least).sum(-1, keepdim=True)  # number of ties with the last value to keep
    equal = key == least
    if bool((equal.sum(-1, keepdim=True) > left).any()):
        equal &= equal.cumsum(-1) <= left
    return (key > least) | equal


def filter_logits(logits: Tensor, sampling: Sampling) -> Tensor:
    """Top-n-sigma, temperature, top-k, top-p, min-p, typical, in this order (that of transformers)."""
    logits = keep_top_n_sigma(logits, sampling.top_n_sigma)
    logits = apply_temperature(logits, sampling.temperature)
    logits = keep_top_k(logits, sampling.top_k)
    logits = keep_top_p(logits, sampling.top_p)
    logits = keep_min_p(logits, sampling.min_p)
    return keep_typical(logits, sampling.typical_p)


# -- drawing


def row_generator(seed: int, row: int) -> torch.Generator:
    """A CPU generator seeded only from (seed, row)."""
    state = np.random.SeedSequence([seed, row]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Sample ids [rows] from softmax(logits [rows, V]), given `uniform` [rows] in [0, 1).

    By inverting the cumulative distribution, so that a row's id depends only on its own number and logits.
    """
    mass = logits.softmax(-1).cumsum(-1)
    # 1 - u is in (0, 1]: the first index whose cumulative mass reaches it exists and has a positive probability.
    wanted = (1 - uniform)[:, None] * mass[:, -1:]
    return torch.searchsorted(mass, wanted).squeeze(-1)
