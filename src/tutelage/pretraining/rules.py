"""Rules of thumb for pretraining: length, learning rate, batch size. Those for the shape are in `shape_rules`."""

from __future__ import annotations

import math

from tutelage.pretraining.shape_rules import RULES as SHAPE
from tutelage.store.stage import Facts, Finding, Level, Rule

COMPUTE_OPTIMAL, TOO_FEW, MANY = 20, 10, 40  # tokens per parameter
FREE_PASSES, USELESS_PASSES = 4, 16  # over the same text
SMALLEST_FITTED = 1e6  # parameters; the scaling rules are not extrapolated below this
ROOM = 1.02  # tolerance, so that rounding does not trigger the rule again


def suggested_learning_rate(parameters: float) -> float:
    """Peak learning rate of AdamW: 0.0047 (N / 108M)^(-1/3), halved (OLMo ladder after Porian et al. 2024)."""
    return 0.0047 * (max(parameters, SMALLEST_FITTED) / 108e6) ** (-1 / 3) / 2


def suggested_batch_tokens(parameters: float) -> float:
    """Batch in tokens: 2048 * 160 (N / 108M)^(2/3) (OLMo ladder after Porian et al. 2024)."""
    return 2048 * 160 * (max(parameters, SMALLEST_FITTED) / 108e6) ** (2 / 3)


def too_few_tokens(f: Facts) -> Finding | None:
    parameters, tokens, train = f["result.parameters"], f["result.tokens"], f["result.train_tokens"]
    ratio = tokens / parameters
    if ratio >= TOO_FEW / ROOM:
        return None
    said = f"{ratio:.1f} tokens per parameter; {COMPUTE_OPTIMAL} are compute-optimal, below {TOO_FEW} is undertrained"
    affordable = min(TOO_FEW * parameters, FREE_PASSES * train)
    if affordable <= ROOM * tokens:
        passes = f"more than {FREE_PASSES} passes over this text help little"
        more = f"{said}, and {passes}: use more text, or a smaller model"
        return "note", more, ""
    steps = math.ceil(affordable / f["result.step_tokens"])
    return (
        "note",
        f"{said}: train longer if there is time, or make the model smaller",
        f"--set {f['key']}.training.steps={steps}",
    )


def many_tokens(f: Facts) -> Finding | None:
    ratio = f["result.tokens"] / f["result.parameters"]
    if ratio <= MANY:
        return None
    said = (
        f"{ratio:.0f} tokens per parameter, more than the compute-optimal {COMPUTE_OPTIMAL}: right for a model that "
        "must be small for inference; otherwise a larger one learns more in the same time"
    )
    layers = 2 * f["model.num_layers"]
    deep = f["model.hidden_size"] / layers < 32  # then more width is needed instead
    return "note", said, "" if deep else f"--set model.num_layers={layers}"


def repeated_data(f: Facts) -> Finding | None:
    passes = f["result.tokens"] / f["result.train_tokens"]
    steps = max(1, int(FREE_PASSES * f["result.train_tokens"] / f["result.step_tokens"]))
    if passes <= FREE_PASSES * ROOM or steps + 1 >= f["result.steps"]:  # a difference of one step is rounding
        return None
    level: Level = "warning" if passes > USELESS_PASSES else "note"
    return (
        level,
        f"{passes:.1f} passes over the training text; up to {FREE_PASSES} are almost as good as new text, beyond "
        f"{USELESS_PASSES} there is little gain: use more text or fewer steps",
        f"--set {f['key']}.training.steps={steps}",
    )


def learning_rate(f: Facts) -> Finding | None:
    rate, wanted = f["pretrain.training.learning_rate"], suggested_learning_rate(f["result.parameters"])
    if wanted / 3 <= rate <= 3 * wanted:
        return None
    side = "above" if rate > wanted else "below"
    return (
        "warning",
        f"learning rate {rate:g} is more than three times {side} the {wanted:.2g} that suits "
        f"{f['result.parameters']:,} parameters",
        f"--set {f['key']}.training.learning_rate={wanted:.2g}",
    )


def batch(f: Facts) -> Finding | None:
    tokens, wanted = f["result.step_tokens"], suggested_batch_tokens(f["result.parameters"])
    parts = f["pretrain.training.accumulation"]
    rows = parts * max(1, round(wanted / f["pretrain.context_length"] / parts))
    steps = max(1, round(f["result.tokens"] / (rows * f["pretrain.context_length"])))
    if rows == f["pretrain.training.batch_rows"]:
        return None
    fix = f"--set {f['key']}.training.batch_rows={rows} --set {f['key']}.training.steps={steps}"
    if tokens > 4 * wanted and rows < f["pretrain.training.batch_rows"]:
        return (
            "warning",
            f"{tokens:,} tokens per step are over four times the {wanted:,.0f} that suit this size: too few updates",
            fix,
        )
    # With few tokens in total, many small updates use them better.
    if tokens < wanted / 4 and f["result.tokens"] >= TOO_FEW * f["result.parameters"]:
        return (
            "note",
            f"{tokens:,} tokens per step are under a quarter of the {wanted:,.0f} that suit this size: noisy updates",
            fix,
        )
    return None


def beta2(f: Facts) -> Finding | None:
    beta2, tokens = f["pretrain.training.beta2"], f["result.step_tokens"]
    if tokens < 524_288 and beta2 < 0.97:
        return (
            "note",
            f"beta2 {beta2:g} averages over few steps; below 524,288 tokens per step 0.99 is better",
            f"--set {f['key']}.training.beta2=0.99",
        )
    if tokens >= 524_288 and beta2 > 0.97:
        return (
            "note",
            f"beta2 {beta2:g} averages over many steps; with {tokens:,} tokens per step 0.95 is usual",
            f"--set {f['key']}.training.beta2=0.95",
        )
    return None


def warmup(f: Facts) -> Finding | None:
    warmup, steps = f["pretrain.training.warmup_steps"], f["result.steps"]
    wanted = max(1, steps // 20)
    if warmup <= 0.1 * steps or wanted >= warmup:
        return None
    return (
        "warning",
        f"warm-up takes {warmup} of {steps:,} steps"
        + (": the learning rate never reaches its peak" if warmup >= steps else "; more than a tenth is lost time"),
        f"--set {f['key']}.training.warmup_steps={wanted}",
    )


def final_rate(f: Facts) -> Finding | None:
    if f["pretrain.training.schedule"] == "constant":
        if f["pretrain.training.optimizer"] == "schedule_free" or f["pretrain.training.average"] != "none":
            return None  # averaged weights replace the decay
        return (
            "warning",
            "with a constant learning rate the loss stays higher than necessary; decay it at the end",
            f"--set {f['key']}.training.schedule=linear",
        )
    final = f["pretrain.training.final_fraction"]
    if final <= 0.1:
        return None
    return (
        "warning",
        f"the learning rate ends at {final:.0%} of its peak; at most 10 % is usual",
        f"--set {f['key']}.training.final_fraction=0.05",
    )


def decay(f: Facts) -> Finding | None:
    share = f["pretrain.training.decay_fraction"]
    if f["pretrain.training.schedule"] != "wsd" or share >= 0.1:
        return None
    return (
        "note",
        f"the learning rate decays over only {share:.0%} of the run; 10 to 20 % is usual",
        f"--set {f['key']}.training.decay_fraction=0.2",
    )


def weight_decay(f: Facts) -> Finding | None:
    decay = f["pretrain.training.weight_decay"]
    if 0.01 <= decay <= 0.3:
        return None
    return "note", f"weight decay {decay:g}; 0.1 is usual", f"--set {f['key']}.training.weight_decay=0.1"


def grad_clip(f: Facts) -> Finding | None:
    clip = f["pretrain.training.grad_clip"]
    if clip <= 1:
        return None
    return "note", f"gradients are clipped at {clip:g}; 1.0 is usual", f"--set {f['key']}.training.grad_clip=1.0"


LENGTH = ("key", "result.parameters", "result.tokens", "result.train_tokens", "result.step_tokens", "result.steps")


def _settings(*names: str) -> tuple[str, ...]:
    return ("key", *(f"pretrain.training.{name}" for name in names))


RULES = (
    Rule(
        "tokens-per-parameter",
        "At least 10, about 20 tokens per parameter, within 4 passes over the text",
        "Hoffmann et al. 2022 (Chinchilla), table 3; nanochat: 10.5",
        LENGTH,
        too_few_tokens,
    ),
    Rule(
        "overtraining",
        "More than 40 tokens per parameter only for a model that must be small",
        "Hoffmann et al. 2022; SmolLM2 does it on purpose",
        (*LENGTH, "model.num_layers", "model.hidden_size"),
        many_tokens,
    ),
    Rule(
        "repetition",
        "Up to 4 passes over the data are almost as good as new data",
        "Muennighoff et al. 2023",
        LENGTH,
        repeated_data,
    ),
    Rule(
        "learning-rate",
        "Peak rate 0.0047 (N/108M)^(-1/3) / 2 within a factor of 3, for a fresh model",
        "Porian et al. 2024, as in the OLMo ladder",
        (*_settings("learning_rate"), "result.parameters", "model.hidden_size"),
        learning_rate,
    ),
    Rule(
        "batch",
        "2048 * 160 (N/108M)^(2/3) tokens per step within a factor of 4",
        "Porian et al. 2024, as in the OLMo ladder",
        (*_settings("batch_rows", "accumulation"), "pretrain.context_length", *LENGTH[1:]),
        batch,
    ),
    Rule(
        "beta2",
        "beta2 0.99 below 524,288 tokens per step, else 0.95",
        "OLMo ladder",
        (*_settings("beta2"), "result.step_tokens"),
        beta2,
    ),
    Rule(
        "warmup",
        "Warm-up takes at most a tenth of the run",
        "OLMo ladder: about a token per parameter",
        (*_settings("warmup_steps"), "result.steps"),
        warmup,
    ),
    Rule(
        "final-learning-rate",
        "The learning rate ends at a tenth of its peak or less",
        "Hägele et al. 2024; SmolLM3",
        _settings("schedule", "final_fraction", "optimizer", "average"),
        final_rate,
    ),
    Rule(
        "decay",
        "The learning rate decays over 10 to 20 % of the run",
        "Hägele et al. 2024; SmolLM 17 %, SmolLM3 11 %",
        _settings("schedule", "decay_fraction"),
        decay,
    ),
    Rule("weight-decay", "Weight decay about 0.1", "OLMo 2, SmolLM3", _settings("weight_decay"), weight_decay),
    Rule("grad-clip", "Gradients clipped at 1.0", "OLMo 2", _settings("grad_clip"), grad_clip),
    *SHAPE,
)


def rules() -> tuple[Rule, ...]:
    return RULES
