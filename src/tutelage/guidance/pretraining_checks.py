"""Checks of the model's shape and of pretraining: facts in, a finding or nothing out."""

from __future__ import annotations

import math

from tutelage.guidance.rule import Facts, Finding, Level

SMALL = 10e6  # parameters; below it an output head of its own was measured to pay (docs/pretraining.md)


def suggested_learning_rate(parameters: float) -> float:
    """Peak learning rate of AdamW: 0.0047 (N / 108M)^(-1/3), halved (OLMo ladder after Porian et al. 2024)."""
    return 0.0047 * (parameters / 108e6) ** (-1 / 3) / 2


def suggested_batch_tokens(parameters: float) -> float:
    """Batch in tokens: 2048 * 160 (N / 108M)^(2/3) (OLMo ladder after Porian et al. 2024)."""
    return 2048 * 160 * (parameters / 108e6) ** (2 / 3)


def too_few_tokens(f: Facts) -> Finding | None:
    ratio = f["tokens_per_parameter"]
    if ratio >= 10:
        return None
    steps = math.ceil(10 * f["model.parameters"] / f["batch_tokens"])
    return (
        "warning",
        f"{ratio:.1f} tokens per parameter; about 20 is compute-optimal, below 10 the model is undertrained: a smaller "
        "model may reach the same loss in the time, more steps a lower one",
        f"--set pretrain.training.steps={steps}",
    )


def many_tokens(f: Facts) -> Finding | None:
    ratio = f["tokens_per_parameter"]
    if ratio <= 40:
        return None
    return (
        "note",
        f"{ratio:.0f} tokens per parameter, more than the 20 that are compute-optimal: right for a model that must be "
        "small in use, else a larger one would learn more in the same time",
        f"--set model.num_layers={2 * f.get('model.num_layers', 5)}",
    )


def repeated_data(f: Facts) -> Finding | None:
    epochs = f["tokens"] / f["train_tokens"]
    if epochs <= 4:
        return None
    level: Level = "warning" if epochs > 16 else "note"
    return (
        level,
        f"the training text is read {epochs:.1f} times; up to 4 passes cost almost nothing, by 16 there is little "
        "left to gain: bring more text or take fewer steps",
        f"--set pretrain.training.steps={max(1, int(4 * f['train_tokens'] / f['batch_tokens']))}",
    )


def learning_rate(f: Facts) -> Finding | None:
    rate, wanted = f["pretrain.training.learning_rate"], suggested_learning_rate(f["model.parameters"])
    if wanted / 3 <= rate <= 3 * wanted:
        return None
    side = "above" if rate > wanted else "below"
    return (
        "warning",
        f"learning rate {rate:g} is more than three times {side} the {wanted:.2g} that suits this size",
        f"--set pretrain.training.learning_rate={wanted:.2g}",
    )


def batch(f: Facts) -> Finding | None:
    batch, wanted = f["batch_tokens"], suggested_batch_tokens(f["model.parameters"])
    rows = max(1, round(wanted / f["context"]))
    fix = f"--set pretrain.training.batch_rows={rows}"
    if batch > 4 * wanted:
        return (
            "warning",
            f"{batch:,} tokens per step, more than four times the {wanted:,.0f} of this size: few updates",
            fix,
        )
    # With few tokens in all, many small updates are the better use of them.
    if batch < wanted / 4 and f["tokens_per_parameter"] >= 10:
        return (
            "note",
            f"{batch:,} tokens per step, less than a quarter of the {wanted:,.0f} of this size: noisy updates",
            fix,
        )
    return None


def beta2(f: Facts) -> Finding | None:
    beta2, batch = f["pretrain.training.beta2"], f["batch_tokens"]
    if batch < 524_288 and beta2 < 0.97:
        return (
            "note",
            f"beta2 {beta2:g} forgets fast; batches below 524,288 tokens want 0.99",
            "--set pretrain.training.beta2=0.99",
        )
    if batch >= 524_288 and beta2 > 0.97:
        return (
            "note",
            f"beta2 {beta2:g} is slow for batches of {batch:,} tokens; 0.95 is usual",
            "--set pretrain.training.beta2=0.95",
        )
    return None


def warmup(f: Facts) -> Finding | None:
    warmup, steps = f["pretrain.training.warmup_steps"], f["steps"]
    if warmup <= 0.1 * steps:
        return None
    return (
        "warning",
        f"warm-up takes {warmup} of {steps} steps; more than a tenth is lost time",
        f"--set pretrain.training.warmup_steps={max(1, steps // 20)}",
    )


def final_rate(f: Facts) -> Finding | None:
    if f["pretrain.training.schedule"] == "constant":
        return (
            "warning",
            "a constant learning rate leaves loss on the table; let it fall at the end",
            "--set pretrain.training.schedule=linear",
        )
    final = f["pretrain.training.final_fraction"]
    if final <= 0.1:
        return None
    return (
        "warning",
        f"the learning rate ends at {final:.0%} of its peak; at most 10 % is usual",
        "--set pretrain.training.final_fraction=0.05",
    )


def decay(f: Facts) -> Finding | None:
    share = f["pretrain.training.decay_fraction"]
    if f["pretrain.training.schedule"] != "wsd" or share >= 0.1:
        return None
    return (
        "note",
        f"only {share:.0%} of the run decays; 10 to 20 % is what it takes",
        "--set pretrain.training.decay_fraction=0.2",
    )


def weight_decay(f: Facts) -> Finding | None:
    decay = f["pretrain.training.weight_decay"]
    if 0.01 <= decay <= 0.3:
        return None
    return "note", f"weight decay {decay:g}; pretraining usually has 0.1", "--set pretrain.training.weight_decay=0.1"


def grad_clip(f: Facts) -> Finding | None:
    clip = f["pretrain.training.grad_clip"]
    return (
        ("note", f"gradients are clipped at {clip:g}; 1.0 is usual", "--set pretrain.training.grad_clip=1.0")
        if clip > 1
        else None
    )


def embedding_share(f: Facts) -> Finding | None:
    share = f["model.embedding_share"]
    if f["model.parameters"] >= 50e6 or share <= 0.4:
        return None
    return (
        "warning",
        f"{share:.0%} of the parameters are embeddings, more than 40 %: little is left to think with",
        f"--set tokenizer.vocab_size={smaller_vocabulary(f)}",
    )


def vocabulary(f: Facts) -> Finding | None:
    share = f["model.parameters_by_part"]["embedding"] / f["model.parameters"]
    if share <= 1 / 3 or embedding_share(f) is not None:
        return None
    return (
        "note",
        f"vocabulary times width is {share:.0%} of the parameters, more than a third",
        f"--set tokenizer.vocab_size={smaller_vocabulary(f)}",
    )


def smaller_vocabulary(f: Facts) -> int:
    """The power of two that brings the embedding to about a quarter of the model."""
    rest = f["model.block_parameters"] / 3
    width = f["model.parameters_by_part"]["embedding"] / max(
        1, f.get("model.vocab_size") or f.get("tokenizer.vocab_size", 2048)
    )
    return max(512, int(2 ** math.floor(math.log2(max(512.0, rest / width)))))


def tying(f: Facts) -> Finding | None:
    parameters, tied = f["model.parameters"], f["model.tie_word_embeddings"]
    if not tied and SMALL <= parameters < 1e9:
        return (
            "warning",
            "an output head of its own costs parameters and gains nothing below about 1 B",
            "--set model.tie_word_embeddings=true",
        )
    head = f["model.parameters_by_part"]["embedding"]
    if tied and parameters < SMALL and 2 * head / (parameters + head) <= 0.4:
        return (
            "note",
            "the output head is the token embedding; so small a model learns faster with a head of its own and "
            "an embedding that learns faster than the rest (pretrain.training.embedding_rate)",
            "--set model.tie_word_embeddings=false",
        )
    return None


def aspect(f: Facts) -> Finding | None:
    width, depth = f["model.hidden_size"], f["model.num_layers"]
    ratio = width / depth
    if 32 <= ratio <= 128:
        return None
    layers = max(1, round(width / 64))
    shape = "wide and shallow" if ratio > 128 else "narrow and deep"
    return (
        "note",
        f"width / depth is {ratio:.0f}: {shape}; about 64 does best at equal cost",
        f"--set model.num_layers={layers}",
    )


def grouped_queries(f: Facts) -> Finding | None:
    heads, groups = f["model.num_heads"], f["model.num_kv_heads"]
    if heads < 8 or groups < heads:
        return None
    return (
        "note",
        f"{heads} heads with keys and values of their own; 2 to 8 groups are as good with a fraction of the cache",
        f"--set model.num_kv_heads={heads // 4 if heads % 4 == 0 else 1}",
    )


def context(f: Facts) -> Finding | None:
    context, length = f["context"], f["document_tokens"]
    if length > context:
        return (
            "warning",
            f"documents have {length:.0f} tokens on average and the context {context}: most are cut",
            f"--set pretrain.context_length={2 ** math.ceil(math.log2(length))}",
        )
    if context > 16 * length and context > 256:
        return (
            "note",
            f"the context of {context} holds {context / length:.0f} mean documents: attention costs more and learns "
            "nothing from it, as documents do not see each other",
            f"--set pretrain.context_length={max(64, 2 ** math.ceil(math.log2(4 * length)))}",
        )
    return None
