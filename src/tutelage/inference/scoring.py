"""Log-probabilities of given tokens, in batches of similar length with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tutelage.inference.finite import not_finite, own_logprobs
from tutelage.model.decoder import DecoderLM
from tutelage.model.pooling import pooled

BATCH_TOKENS = 8192  # tokens per batch, padding included
FAST_TOKENS = 1024  # tokens per batch from which a CPU gets no faster
LOGITS_AT_ONCE = 2**24  # logit values in memory at once


@dataclass(frozen=True)
class Window:
    """Input ids, of which the last `count` are scored, each given all ids before it."""

    ids: Sequence[int]
    count: int


class TokenScore(NamedTuple):
    """Natural-log probability of a token, and the likeliest ones at its place: (id, log-probability) each."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@torch.inference_mode()
def target_logprobs(model: DecoderLM, windows: Sequence[Window]) -> list[tuple[Tensor, Tensor]]:
    """For each window (logprobs [count] float32, greedy [count] bool), on the CPU.

    greedy: whether the token is the most likely one. The last id of a window is predicted but not read, so a window may
    be one id longer than the context. Raises InputError for non-finite logits.
    """
    results: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0, dtype=torch.bool))] * len(windows)
    device = model.embed_tokens.weight.device
    wanted = [index for index, window in enumerate(windows) if window.count]
    for batch in length_batches([len(windows[index].ids) - 1 for index in wanted]):
        members = [windows[wanted[at]] for at in batch]
        hidden = model.hidden(padded([window.ids[:-1] for window in members]).to(device))
        # Logits are computed only for scored tokens, not for the context.
        rows = torch.cat([torch.full((window.count,), row) for row, window in enumerate(members)])
        places = torch.cat([torch.arange(len(w.ids) - 1 - w.count, len(w.ids) - 1) for w in members])
        targets = torch.tensor([token for w in members for token in w.ids[len(w.ids) - w.count :]])
        logprobs, greedy = _score(model, hidden[rows.to(device), places.to(device)], targets.to(device))
        start = 0
        for at, window in zip(batch, members, strict=True):
            mine = slice(start, start + window.count)
            results[wanted[at]] = (logprobs[mine], greedy[mine])
            start += window.count
    return results


@torch.inference_mode()
def token_scores(
    model: DecoderLM, rows: Sequence[Sequence[int]], top: int = 0, going: Callable[[], bool] = lambda: True
) -> list[list[TokenScore]]:
    """For each row of ids what the model says of each but the first, given all before it.

    top: so many of the likeliest tokens at each place. going: asked before every batch; once it says no, the rows that
    are left stay empty. Raises InputError where the model's logits are not finite.
    """
    made: list[list[TokenScore]] = [[] for _ in rows]
    device = model.embed_tokens.weight.device
    wanted = [index for index, ids in enumerate(rows) if len(ids) > 1]
    for batch in length_batches([len(rows[index]) - 1 for index in wanted]):
        if not going():
            break
        members = [wanted[at] for at in batch]
        hidden = model.hidden(padded([rows[index][:-1] for index in members]).to(device))
        for place, index in enumerate(members):
            made[index] = scores_of(model, hidden[place], rows[index][1:], top)
    return made


def scores_of(model: DecoderLM, hidden: Tensor, targets: Sequence[int], top: int) -> list[TokenScore]:
    """What the model says of each target, given the state before it; hidden [targets or more, hidden_size]. Raises
    InputError where the logits are not finite."""
    made: list[TokenScore] = []
    step = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for start in range(0, len(targets), step):
        end = min(start + step, len(targets))
        own = own_logprobs(model.logits(hidden[start:end]).cpu())
        given = own.gather(-1, torch.tensor(targets[start:end])[:, None]).squeeze(-1).tolist()
        best = own.topk(min(top, own.shape[-1]), dim=-1)
        likeliest = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        made += map(TokenScore, given, [tuple(zip(*one, strict=True)) for one in likeliest])
    return made


def last_scores(model: DecoderLM, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
    """Class logits [num_labels] float32 of each sequence, on the CPU."""
    return _of_each(model, sequences, model.scores)


def last_states(model: DecoderLM, sequences: Sequence[Sequence[int]]) -> Tensor:
    """The head's input states [sequences, hidden_size] float32, on the CPU."""
    return torch.stack(_of_each(model, sequences, Tensor.float))


@torch.inference_mode()
def _of_each(model: DecoderLM, sequences: Sequence[Sequence[int]], of: Callable[[Tensor], Tensor]) -> list[Tensor]:
    results = [torch.empty(0)] * len(sequences)
    device = model.embed_tokens.weight.device
    for batch in length_batches([len(ids) for ids in sequences]):
        members = [sequences[index] for index in batch]
        hidden = model.hidden(padded(members).to(device))
        length = torch.tensor([len(ids) for ids in members], device=device)
        row = torch.arange(len(members), device=device)
        scores = of(pooled(hidden, row, length - 1, length, model.config)).cpu()
        if not bool(scores.isfinite().all()):
            raise not_finite("the scores of a text", scores)
        for index, score in zip(batch, scores, strict=True):
            results[index] = score
    return results


def length_batches(lengths: Sequence[int], tokens: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first, with at most `tokens` padded tokens (or one row).

    Once a batch is large enough to be fast, it takes no row that would be padded by more than a quarter.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    while order:
        longest = max(1, lengths[order[0]])
        most, enough = max(1, tokens // longest), -(-FAST_TOKENS // longest)
        count = min(most, len(order))
        if enough < count:
            alike = sum(4 * lengths[index] >= 3 * longest for index in order[:count])
            count = max(enough, alike)
        yield order[:count]
        order = order[count:]


def padded(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Right-pad with zeros to [rows, longest] int64; under a causal mask padding does not affect earlier positions."""
    tokens = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.int64)
    for row, ids in enumerate(sequences):
        tokens[row, : len(ids)] = torch.tensor(ids)
    return tokens


def rolling_windows(ids: Sequence[int], start_id: int, context: int) -> list[Window]:
    """Windows that score every id of a text exactly once, each with at most `context` input tokens.

    A text that fits is one window, starting with `start_id`. For a longer one, each further window scores at most half
    a context of new tokens, so that each has at least half a context before it.
    """
    stream = [start_id, *ids]
    end = min(context, len(ids))
    windows = [Window(stream[: end + 1], end)]
    while end < len(ids):
        new_end = min(end + context // 2, len(ids))
        windows.append(Window(stream[new_end - context : new_end + 1], new_end - end))
        end = new_end
    return windows


def _score(model: DecoderLM, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logprobs, greedy = [], []
    step = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for start in range(0, len(targets), step):
        logits, wanted = model.logits(hidden[start : start + step]), targets[start : start + step]
        norms = logits.logsumexp(-1)
        if not bool(norms.isfinite().all()):
            raise not_finite("the logits of a scored token", logits[~norms.isfinite()])
        logprobs.append(logits.gather(-1, wanted[:, None]).squeeze(-1) - norms)
        greedy.append(logits.argmax(-1) == wanted)
    return torch.cat(logprobs).cpu(), torch.cat(greedy).cpu()
