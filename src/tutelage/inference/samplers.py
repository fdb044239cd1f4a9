"""What is done to logits before a token is chosen: pure functions on [rows, vocab_size], each with its source."""

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
"""Tokens of a repetition that DRY looks back over: the penalty of a longer one is that of this length."""

SORTED_FIRST = 512
"""Tokens among which a nucleus is looked for first."""

# -- penalties


def apply_logit_bias(logits: Tensor, ids: Tensor, biases: Tensor) -> Tensor:
    """`biases` [m] added to the logits of `ids` [m], as in OpenAI's API; -inf bans."""
    return logits.index_add(-1, ids, biases.to(logits.dtype).expand(len(logits), -1))


def apply_repetition_penalty(logits: Tensor, penalty: float) -> Tensor:
    """Logits of tokens that were there: positive ones divided by the penalty, negative ones multiplied.

    CTRL (Keskar et al. 2019, section 4.1), with the usual care for the sign.
    """
    return torch.where(logits > 0, logits / penalty, logits * penalty)


def apply_count_penalties(logits: Tensor, counts: Tensor, presence: float, frequency: float) -> Tensor:
    """Logits of tokens that stand `counts` times in the answer (the prompt does not count), less `presence` where that
    is above 0, and less `frequency` for each time. OpenAI's API reference, "frequency and presence penalties"; vLLM.
    """
    return logits - counts * frequency - (counts > 0) * presence


def dry_penalties(
    history: Ids, is_breaker: NDArray[np.bool_], multiplier: float, base: float, allowed_length: int
) -> tuple[Ids, NDArray[np.float64]]:
    """Tokens that would go on with a repetition, and what is to be taken off the logit of each.

    history [L]: prompt and answer. Where the last n tokens stand earlier, too, the token that followed them there loses
    multiplier * base^(n - allowed_length), for n >= allowed_length; n is the longest such match that holds no breaker
    (`is_breaker` [V]). DRY ("Don't repeat yourself", p-e-w 2024, text-generation-webui pull request 5677; llama.cpp).
    """
    end = len(history) - 1
    nothing = np.zeros(0, np.int64), np.zeros(0)
    if end < allowed_length:
        return nothing
    recent = history[: -LONGEST_MATCH - 1 : -1]  # the newest first
    breaks = is_breaker[recent]
    limit = min(int(breaks.argmax()) if breaks.any() else len(recent), end)
    # Ends of earlier matches, kept as long as they go on.
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
    # As in llama.cpp, the power stays within float32.
    most = 88.0 / math.log(base) if base > 1.000001 else math.inf
    return ids, multiplier * base ** np.minimum(longest - allowed_length, most)


def repeated_ngram_ids(history: Ids, n: int) -> Ids:
    """Tokens that would complete an n-gram that stands in `history` [L] already. Paulus et al. 2017, section 2.5."""
    begin = len(history) - n + 1  # the last n - 1 tokens begin here
    if begin < 1:
        return np.zeros(0, np.int64)
    at = np.arange(begin)
    for offset in range(n - 1):
        at = at[history[at + offset] == history[begin + offset]]
    return np.unique(history[at + n - 1])


# -- temperature and filters: -inf for what is left out; the rows are never left empty


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits divided by a temperature above 0. Shifted to a maximum of 0 first, so that nothing overflows."""
    return (logits - logits.amax(-1, keepdim=True)) / temperature


def keep_top_n_sigma(logits: Tensor, n: float) -> Tensor:
    """-inf for logits more than n standard deviations below the highest. n 0 leaves all.

    Tang et al. 2024, "Top-nsigma: not all logits are you need", algorithm 1; of the logits that are finite, as in
    llama.cpp. Temperature changes nothing about it.
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
    """-inf for all but the k highest; those equal to the k-th stay. k 0 or beyond V leaves all."""
    if not 0 < k < logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """-inf outside the nucleus: the fewest most likely tokens whose probabilities sum to at least p.

    Holtzman et al. 2020, section 3.1. The most likely token always stays.
    """
    if p >= 1:
        return logits
    return _keep_mass(logits, logits, logits.softmax(-1), p)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """-inf for tokens less likely than p times the most likely one. Nguyen et al. 2024."""
    if p <= 0:
        return logits
    least = logits.amax(-1, keepdim=True) + math.log(p)
    return logits.masked_fill(logits < least, -math.inf)


def keep_typical(logits: Tensor, p: float) -> Tensor:
    """-inf outside the fewest tokens of mass p or more whose surprise is nearest to the entropy.

    Meister et al. 2023, "Locally typical sampling", section 4. Of equally near ones the lower id comes first.
    """
    if p >= 1:
        return logits
    logprobs = logits.log_softmax(-1)
    surprise = -logprobs
    probabilities = logits.softmax(-1)
    entropy = (probabilities * surprise).nan_to_num(0.0).sum(-1, keepdim=True)  # 0 * inf is 0 here
    return _keep_mass(logits, -(surprise - entropy).abs(), probabilities, p)


def drop_top_choices(logits: Tensor, threshold: float) -> Tensor:
    """-inf for all tokens of probability `threshold` or more but the least likely of them.

    XTC, "exclude top choices" (p-e-w 2024, text-generation-webui pull request 6335; llama.cpp). Of equally likely ones
    the highest id stays.
    """
    likely = logits.softmax(-1) >= threshold
    least = logits.masked_fill(~likely, math.inf).amin(-1, keepdim=True)
    last = logits.shape[-1] - 1 - (likely & (logits == least)).flip(-1).byte().argmax(-1, keepdim=True)
    return logits.masked_fill(likely.scatter(-1, last, False), -math.inf)


def keep_below_surprise(logits: Tensor, most: Tensor) -> Tensor:
    """-inf for tokens of more than `most` [rows] bits of surprise; the most likely one stays.

    Mirostat 2 (Basu et al. 2021, algorithm 2), with llama.cpp's `mu` as `most`.
    """
    bits = -logits.log_softmax(-1) / math.log(2)
    outside = bits > most.to(bits.dtype)[:, None]
    outside.scatter_(-1, logits.argmax(-1, keepdim=True), False)
    return logits.masked_fill(outside, -math.inf)


def _keep_mass(logits: Tensor, key: Tensor, probabilities: Tensor, p: float) -> Tensor:
    """-inf outside the fewest tokens of the highest keys whose probabilities sum to at least p; of equal keys the lower
    ids come first. All [rows, V]. One token always stays."""
    return logits.masked_fill(~_fewest(key, probabilities, p, SORTED_FIRST), -math.inf)


def _fewest(key: Tensor, probabilities: Tensor, p: float, first: int) -> Tensor:
    """Which tokens [rows, V] these are. Most often they are few, and sorting the whole vocabulary would cost more than
    all else together: only rows whose `first` do not suffice are sorted further."""
    first = min(first, key.shape[-1])
    values, ids = key.topk(first, dim=-1)
    mass = probabilities.gather(-1, ids).cumsum(-1)
    kept = _best(key, values, mass, p)
    more = mass[:, -1] < p
    if first < key.shape[-1] and bool(more.any()):
        kept[more] = _fewest(key[more], probabilities[more], p, 16 * first)
    return kept


def _best(key: Tensor, values: Tensor, mass: Tensor, p: float) -> Tensor:
    """Which tokens [rows, V] are among the first of the sorted `values` [rows, k], up to where `mass` reaches p."""
    count = ((mass < p).sum(-1, keepdim=True) + 1).clamp(max=values.shape[-1])
    least = values.gather(-1, count - 1)
    left = count - (values > least).sum(-1, keepdim=True)  # of those equal to the last, so many
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
    """A CPU generator seeded from (seed, row) and nothing else."""
    state = np.random.SeedSequence([seed, row]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Ids [rows] with the probabilities of softmax(logits [rows, V]), by numbers `uniform` [rows] in [0, 1).

    By inverting the cumulative distribution, so that a row's id depends on its own number and logits alone.
    """
    mass = logits.softmax(-1).cumsum(-1)
    # 1 - u lies in (0, 1]: the first index whose mass reaches it has a probability above 0, and one always does.
    wanted = (1 - uniform)[:, None] * mass[:, -1:]
    return torch.searchsorted(mass, wanted).squeeze(-1)
