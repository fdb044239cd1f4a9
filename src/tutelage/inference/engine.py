"""The engine: batched prefill and decoding with a key-value cache, ids in and ids out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.inference.choice import Chooser, TokenTable, choose
from tutelage.inference.sampling import Sampling
from tutelage.model.cache import KVCache
from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import InputError

StopReason = Literal["stop", "length"]

TOKEN_BUDGET = 32768  # positions of all caches of a batch together: bounds the memory, not the results
PREFILL_CHUNK = 512  # tokens of a prompt read at once: bounds the attention mask
CACHE_STEP = 64  # positions by which a cache grows: short answers do not pay for long ones


@dataclass(frozen=True)
class Token:
    """One generated token of one row. `stop_reason` is set on the row's last; `top`: see `Sampling.top_logprobs`."""

    row: int
    id: int
    logprob: float
    stop_reason: StopReason | None
    top: tuple[tuple[int, float], ...] = ()


@dataclass
class Output:
    """What was generated for one prompt: the ids (a stop id that ended it included), a log-probability each."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: StopReason = "length"


def generate_ids(
    model: DecoderLM,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    stop_ids: Sequence[int],
    on_token: Callable[[Token], bool] | None = None,
    token_budget: int = TOKEN_BUDGET,
) -> list[Output]:
    """Generate for every prompt; outputs in the order of the prompts. Errors as `decode`.

    `on_token` sees each token as it is made; if it returns True the row ends there, with reason "stop".
    """
    outputs = [Output() for _ in prompts]
    ended: set[int] = set()
    for token in decode(model, prompts, sampling, stop_ids, ended, token_budget):
        output = outputs[token.row]
        output.ids.append(token.id)
        output.logprobs.append(token.logprob)
        if token.stop_reason is not None:
            output.stop_reason = token.stop_reason
        if on_token is not None and on_token(token):
            output.stop_reason = "stop"
            ended.add(token.row)
    return outputs


def decode(
    model: DecoderLM,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    stop_ids: Sequence[int],
    ended: set[int] | None = None,
    token_budget: int = TOKEN_BUDGET,
    table: TokenTable | None = None,
) -> Iterator[Token]:
    """Tokens of all rows as they are made, step by step; a row that ends leaves its batch.

    The log-probability is the model's own, before temperature, penalty and filters. A row ends with "stop" at
    a stop id, and with "length" after `max_tokens` or where the context is full. A caller may put a row into
    `ended` to end it early. `table`: what choosing knows of the tokens; one with a tokenizer is needed for constraints.
    Raises InputError for a prompt that is empty or leaves no room in the context.
    """
    context = model.config.max_position_embeddings
    for row, prompt in enumerate(prompts):
        _check_prompt(row, prompt, context, model.config.vocab_size)
    ended = set() if ended is None else ended
    table = TokenTable(model.config.vocab_size, stop_ids) if table is None else table
    # Longest first: those that are read together are alike, and a lack of memory shows at once.
    order = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row))
    while order:
        needed = min(len(prompts[order[0]]) + sampling.max_tokens, context)
        count = max(1, token_budget // needed)
        rows, order = [row for row in order[:count] if row not in ended], order[count:]
        if rows:
            stops = frozenset((*stop_ids, *sampling.stop_ids))
            yield from _decode_batch(model, prompts, rows, sampling, stops, ended, table)


def _decode_batch(
    model: DecoderLM,
    prompts: Sequence[Sequence[int]],
    rows: list[int],
    sampling: Sampling,
    stop_ids: frozenset[int],
    ended: set[int],
    table: TokenTable,
) -> Iterator[Token]:
    context = model.config.max_position_embeddings
    choosers = [Chooser(sampling, prompts[row], table, row) for row in rows]
    lengths = [len(prompts[row]) for row in rows]  # tokens of each row that stand in the cache or are about to
    limits = [min(length + sampling.max_tokens, context) for length in lengths]
    cache, logits = _prefill(model, [prompts[row] for row in rows])
    while True:
        chosen = choose(logits, choosers)
        going = []
        for index, row in enumerate(rows):
            token_id = chosen[index].id
            lengths[index] += 1
            reason: StopReason | None = None
            if token_id in stop_ids:
                reason = "stop"
            elif lengths[index] >= limits[index]:
                reason = "length"
            yield Token(row, token_id, chosen[index].logprob, reason, chosen[index].top)
            if reason is None and row not in ended:
                going.append(index)
        if not going:
            return
        if len(going) < len(rows):
            rows, choosers = [rows[i] for i in going], [choosers[i] for i in going]
            lengths, limits = [lengths[i] for i in going], [limits[i] for i in going]
            chosen = [chosen[i] for i in going]
            _keep_rows(model, cache, going)
        ids = torch.tensor([one.id for one in chosen])
        logits = _step(model, cache, ids, [length - 1 for length in lengths])


def _untracked(model: DecoderLM) -> AbstractContextManager[Any]:
    """Inference mode; but the buffers of a sharded model serve its training too, which that mode would not let them."""
    return torch.inference_mode() if type(model.embed_tokens.weight) is torch.nn.Parameter else torch.no_grad()


def _prefill(model: DecoderLM, prompts: list[Sequence[int]]) -> tuple[KVCache, Tensor]:
    """Read the prompts, padded on the right. Returns the cache and the logits [rows, V] after each, on the CPU."""
    with _untracked(model):
        return _read(model, prompts)


def _read(model: DecoderLM, prompts: list[Sequence[int]]) -> tuple[KVCache, Tensor]:
    weight = model.embed_tokens.weight
    longest = max(map(len, prompts))
    tokens = torch.zeros(len(prompts), longest, dtype=torch.int64)
    for index, prompt in enumerate(prompts):
        tokens[index, : len(prompt)] = torch.tensor(prompt)
    tokens = tokens.to(weight.device)
    positions = torch.arange(longest, device=weight.device).expand_as(tokens)
    last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=weight.device)
    documents = (positions <= last[:, None]).long()  # 0 is padding
    cache = KVCache.empty(model.config, len(prompts), longest, weight.dtype, weight.device)
    final = torch.empty(len(prompts), model.config.hidden_size, dtype=weight.dtype, device=weight.device)
    for start in range(0, longest, PREFILL_CHUNK):
        piece = slice(start, start + PREFILL_CHUNK)
        hidden = model.hidden(tokens[:, piece], positions[:, piece], documents[:, piece], cache)
        here = ((last >= start) & (last < start + PREFILL_CHUNK)).nonzero().squeeze(-1)
        final[here] = hidden[here, last[here] - start]
    return cache, model.logits(final).cpu()


def _step(model: DecoderLM, cache: KVCache, chosen: Tensor, positions: list[int]) -> Tensor:
    """Read one token per row at its position; logits [rows, V] on the CPU."""
    with _untracked(model):
        if max(positions) >= cache.length:
            more = min(CACHE_STEP, model.config.max_position_embeddings - cache.length)
            cache.grow(more)
        device = cache.device
        at = torch.tensor(positions, device=device)[:, None]
        return model.logits(model.hidden(chosen.to(device)[:, None], at, cache=cache)[:, -1]).cpu()


def _keep_rows(model: DecoderLM, cache: KVCache, rows: list[int]) -> None:
    with _untracked(model):
        cache.select(torch.tensor(rows, device=cache.device))


def _check_prompt(row: int, prompt: Sequence[int], context: int, vocab_size: int) -> None:
    if not prompt:
        raise InputError(f"prompt {row} has no tokens", hint="begin with the end-of-text token")
    if len(prompt) >= context:
        raise InputError(
            f"prompt {row} has {len(prompt)} tokens, but the context of the model holds {context}, "
            "of which one at least must be left for the answer",
            hint="shorten the prompt",
        )
    if not 0 <= min(prompt) <= max(prompt) < vocab_size:
        raise InputError(f"prompt {row} has ids outside 0 to {vocab_size - 1}", hint="is it the model's tokenizer?")
