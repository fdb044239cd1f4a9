"""What every decoder must keep, whatever it is made of: each published family, and parts drawn at random."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from family_configs import CASES, DELTA, EXPERTS, LINEAR, LLAMA3, SIZES, YARN, fields
from tutelage.model.cache import KVCache
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.training.data.packing import Example, PackedRows, Segment, branched, pack
from tutelage.training.objective import target_nll

LENGTH = 21


def drawn(seed: int) -> dict[str, Any]:
    """A combination of parts that no family need have."""
    rng = random.Random(seed)
    pick = rng.choice
    layers = pick([("full",), ("sliding",), ("full", "sliding"), ("delta", "full"), ("delta",), ("sliding", "delta")])
    config: dict[str, Any] = {
        **SIZES,
        "family": "custom",
        "num_layers": pick([1, 2, 3]),
        "num_kv_heads": pick([1, 2, 4]),
        "head_dim": pick([0, 6, 12]),
        "tie_word_embeddings": pick([True, False]),
        "embedding_multiplier": pick([1.0, "sqrt", 3.0]),
        "residual_multiplier": pick([1.0, 0.5]),
        "logit_divisor": pick([1.0, 2.0]),
        "logit_softcap": pick([0.0, 20.0]),
        "norm": pick(["rmsnorm", "layernorm"]),
        "norm_place": pick(["pre", "post", "sandwich"]),
        "positions": pick(["rope", "rope", "rope", "learned", "alibi", "none"]),
        "rope_fraction": pick([1.0, 0.5]),
        "rope_interleaved": pick([True, False]),
        "rope_scaling": pick([None, LINEAR, LLAMA3, YARN, {"kind": "ntk", "factor": 2.0}]),
        "rope_local_theta": pick([None, 100.0]),
        "rope_layers": pick([(True,), (True, False)]),
        "layer_types": layers,
        "sliding_window": pick([1, 3, 8]) if "sliding" in layers else None,
        "delta": DELTA if "delta" in layers else None,
        "qk_norm": pick(["none", "head", "layer"]),
        "attention_bias": pick([True, False]),
        "attention_out_bias": pick([True, False]),
        "attention_scale": pick([None, 0.3]),
        "attention_softcap": pick([0.0, 5.0]),
        "attention_sinks": pick([True, False]),
        "attention_gate": pick([True, False]),
        "activation": pick(["silu", "gelu", "gelu_tanh", "relu2"]),
        "gated": pick([True, False]),
        "mlp_bias": pick([True, False]),
        "experts": pick([None, None, {**EXPERTS, "shared_size": pick([0, 16]), "balance": pick(["none", "bias"])}]),
    }
    config["parallel_residual"] = config["norm_place"] == "pre" and pick([True, False])
    if config["rope_fraction"] == 0.5 and config["head_dim"] == 6:
        config["rope_fraction"] = 1.0  # three dimensions cannot be turned in pairs
    if config["norm"] == "rmsnorm":
        config["norm_offset"] = pick([True, False])
    if pick([False, False, True]):
        config["latent"] = {"kv_rank": 12, "q_rank": pick([0, 10]), "nope_head_dim": 8, "rope_head_dim": 4,
                            "value_head_dim": 6}  # fmt: skip
        config |= {"qk_norm": "none", "attention_sinks": False, "attention_softcap": 0.0, "attention_gate": False,
                   "rope_local_theta": None}  # fmt: skip
        config["positions"] = "rope" if config["positions"] == "alibi" else config["positions"]
    return config


DRAWN = [pytest.param(drawn(seed), id=f"drawn-{seed}") for seed in range(24)]
ALL = [pytest.param(fields(family, index), id=f"{family}-{index}") for family, index in CASES] + DRAWN


def lively(given: dict[str, Any]) -> DecoderLM:
    """A model whose every parameter matters: vectors are moved away from zero and one."""
    model = DecoderLM(FamilyConfig.parse(given), seed=3).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for buffer in model.buffers():
            buffer.add_(0.1 * torch.randn(buffer.shape, generator=generator))
    return model


def tokens(*shape: int, seed: int = 5) -> Tensor:
    return torch.randint(0, SIZES["vocab_size"], shape, generator=torch.Generator().manual_seed(seed))


def close(a: Tensor, b: Tensor, part: float = 2e-5) -> None:
    """Equal but for rounding: to `part` of the largest."""
    torch.testing.assert_close(a, b, rtol=1e-4, atol=part * max(1.0, float(b.abs().max())))


@pytest.fixture(params=ALL)
def model(request: pytest.FixtureRequest) -> DecoderLM:
    return lively(request.param)


@torch.no_grad()
def test_a_token_sees_nothing_after_it(model: DecoderLM) -> None:
    text = tokens(1, LENGTH)
    changed = text.clone()
    changed[0, 12:] = (changed[0, 12:] + 1) % SIZES["vocab_size"]
    before, after = model(text), model(changed)
    close(after[:, :12], before[:, :12])
    assert not torch.allclose(after[:, 12:], before[:, 12:])


def test_packed_documents_are_separate_documents(model: DecoderLM) -> None:
    """Forward and gradient: several documents in one row, and each on its own."""
    lengths = [7, 1, 13]
    text = tokens(1, sum(lengths))
    documents = torch.cat([torch.full((n,), number + 1) for number, n in enumerate(lengths)])[None]
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    weight = torch.randn(SIZES["vocab_size"], generator=torch.Generator().manual_seed(6))
    packed = model(text, positions, documents)
    (packed @ weight).sum().backward()
    together = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    alone = torch.cat([model(part) for part in text.split(lengths, dim=1)], dim=1)
    (alone @ weight).sum().backward()
    # Rounding grows where a norm is nearly zero, and in sums that nearly cancel; a leak is hundreds of times larger.
    close(packed.detach(), alone.detach(), 2e-4)
    for a, b in zip(together, [p.grad for p in model.parameters() if p.grad is not None], strict=True):
        close(a, b, 1e-3)


PAIRS = ((7, 6, 9), (0, 3, 1), (12, 2, 2))  # tokens shared, and of either branch


def pairs(apart: bool) -> PackedRows:
    """Pairs and a plain document in two rows, each weighted token numbered; `apart`: every branch a document."""
    numbers, examples = iter(range(1, 1000)), []
    for place, (shared, *sizes) in enumerate(PAIRS):
        prompt = tokens(shared, seed=20 + place).tolist()
        ends = [tokens(size + 1, seed=30 + 2 * place + side).tolist() for side, size in enumerate(sizes)]
        segments = []
        for end, last in zip(ends, (1, 1 + place), strict=True):  # of the prompt: the same in the first pair alone
            ids = [*prompt, last, *end]
            weights = [0.0] * shared + [1.0] * len(end)
            number = [next(numbers) * weight for weight in weights]
            segments.append(Segment(ids[:-1], ids[1:], weights, {"number": number}))
        examples.append(Example(segments if apart else [branched(segments)]))
    plain = tokens(9, seed=40).tolist()
    number = [float(next(numbers)) for _ in plain[1:]]
    return pack([*examples, Example([Segment(plain[:-1], plain[1:], [1.0] * 8, {"number": number})])], 40)


def weighted(model: DecoderLM, rows: PackedRows) -> Tensor:
    """Negative log-likelihoods of the weighted targets by their numbers."""
    batch = rows.batch(np.arange(len(rows)))
    nll, at = target_nll(model, batch)
    return nll[batch.extras["number"][at].argsort()]


def test_branches_of_a_document_are_documents_of_their_own(model: DecoderLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 throughout, where rounding hides nothing."""
    together, apart = pairs(apart=False), pairs(apart=True)
    if not model.config.can_branch:
        with pytest.raises(ValueError, match="not support branches"):
            weighted(model, together)
        return
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    model.double()
    found = []
    for rows in (together, apart):
        model.zero_grad()
        nll = weighted(model, rows)
        (nll * torch.linspace(-1, 2, len(nll)).double()).sum().backward()
        found.append([nll.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert together.num_tokens == apart.num_tokens - sum(shared for shared, *_ in PAIRS)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10 * max(1.0, float(other.abs().max())))


@torch.no_grad()
def test_a_branch_sees_nothing_of_another(model: DecoderLM) -> None:
    if not model.config.can_branch:
        return
    batch = pairs(apart=False).batch(np.arange(2))
    assert batch.branches is not None

    def hidden() -> Tensor:
        return model.hidden(batch.tokens, batch.positions, batch.documents, branches=batch.branches)

    before = hidden()
    changed = batch.branches == 2
    batch.tokens[changed] = (batch.tokens[changed] + 1) % SIZES["vocab_size"]
    after = hidden()
    if model.config.experts is None:  # experts compute groups of tokens, whose sizes change the order of sums
        assert torch.equal(after[~changed], before[~changed])
    close(after[~changed], before[~changed], 1e-4)
    assert not torch.isclose(after[changed], before[changed]).all(-1).any()


@torch.no_grad()
def test_padding_on_either_side_changes_nothing(model: DecoderLM) -> None:
    text, pad = tokens(1, 9), tokens(1, 4, seed=8)
    plain = model(text)
    ones, zeros = torch.ones(1, 9, dtype=torch.long), torch.zeros(1, 4, dtype=torch.long)
    places = torch.arange(9)[None]
    left = model(torch.cat([pad, text], 1), torch.cat([zeros, places], 1), torch.cat([zeros, ones], 1))
    right = model(torch.cat([text, pad], 1), torch.cat([places, zeros], 1), torch.cat([ones, zeros], 1))
    # As above: padding that leaks is hundreds of times larger than what rounding makes of it.
    close(left[:, 4:], plain, 1e-4)
    close(right[:, :9], plain, 1e-4)


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch(model: DecoderLM) -> None:
    text = tokens(3, LENGTH)
    together = model(text)
    for row in range(3):
        close(together[row : row + 1], model(text[row : row + 1]))


@torch.no_grad()
def test_cached_equals_uncached(model: DecoderLM) -> None:
    """Rows of unequal length, prompt in two pieces, then token by token past every window, room made on the way."""
    text, starts = tokens(2, LENGTH), [5, 9]
    whole = model(text)
    config = model.config
    cache = KVCache.empty(config, 2, 12, torch.float32, torch.device("cpu"))
    for at, end in ((0, 4), (4, 9)):
        places = torch.arange(at, end).expand(2, -1)
        documents = (places < torch.tensor(starts)[:, None]).long()
        out = model.logits(model.hidden(text[:, at:end], places, documents, cache))
        for row, start in enumerate(starts):
            close(out[row, : max(0, min(end, start) - at)], whole[row, at : max(at, min(end, start))], 1e-4)
    cache.grow(LENGTH - 12)
    for step in range(LENGTH - max(starts)):
        places = torch.tensor([[start + step] for start in starts])
        out = model.logits(model.hidden(text.gather(1, places), places, None, cache))
        for row in range(2):
            close(out[row, 0], whole[row, places[row, 0]], 1e-4)


@torch.no_grad()
def test_rows_of_a_cache_can_be_left_out(model: DecoderLM) -> None:
    text = tokens(3, 10)
    cache = KVCache.empty(model.config, 3, 10, torch.float32, torch.device("cpu"))
    model.hidden(text[:, :6], torch.arange(6).expand(3, -1), None, cache)
    cache.select(torch.tensor([2, 0]))
    out = model.logits(model.hidden(text[[2, 0], 6:], torch.arange(6, 10).expand(2, -1), None, cache))
    close(out, model(text[[2, 0]])[:, 6:], 1e-4)


@torch.no_grad()
@pytest.mark.parametrize("given", ALL)
def test_a_fresh_model_knows_nothing(given: dict[str, Any]) -> None:
    """The loss before training is that of guessing, within 2 % of ln V, with the usual scale of the weights."""
    model = DecoderLM(FamilyConfig.parse({**given, "initializer_range": 0.02}), seed=1)
    text = tokens(8, LENGTH)
    loss = torch.nn.functional.cross_entropy(model(text)[:, :-1].flatten(0, 1), text[:, 1:].flatten())
    assert float(loss) == pytest.approx(math.log(SIZES["vocab_size"]), rel=0.02)


def test_every_parameter_gets_a_gradient(model: DecoderLM) -> None:
    """A part that is built but not used would stay as it was drawn, unnoticed."""
    model.train()
    text = tokens(6, LENGTH)
    logits = model(text)
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), text[:, 1:].flatten()).backward()
    one_token_windows = model.config.window(0) == 1
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if not (one_token_windows and (".q_" in name or ".k_" in name)):
            assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_the_delta_rule_over_many_chunks_is_the_recurrence() -> None:
    """Chunks of 64 against one token at a time, over documents whose ends lie anywhere."""
    model = lively({**drawn(1), "layer_types": ("delta",), "delta": DELTA, "positions": "none", "latent": None,
                    "rope_scaling": None, "experts": None, "sliding_window": None})  # fmt: skip
    lengths = [1, 63, 64, 65, 30, 128]
    text = tokens(1, sum(lengths))
    documents = torch.cat([torch.full((n,), number + 1) for number, n in enumerate(lengths)])[None]
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    packed = model(text, positions, documents)
    at = 0
    for length in lengths:
        cache = KVCache.empty(model.config, 1, length, torch.float32, torch.device("cpu"))
        rows = [
            model.logits(model.hidden(text[:, at + i : at + i + 1], torch.tensor([[i]]), None, cache))
            for i in range(length)
        ]
        close(packed[:, at : at + length], torch.cat(rows, 1))
        at += length
