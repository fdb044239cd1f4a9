"""What a model costs: parameters, FLOPs, bytes and seconds, before anything is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.describe import (
    cache_values_per_token,
    forward_flops,
    multiplied_parameters,
    parameters,
    state_values,
)
from tutelage.model.families import FamilyConfig
from tutelage.training.memory import training_bytes

Plain = Mapping[str, Any]

# Everything that was measured rather than derived. Two cores of a server CPU (AVX-512, no bfloat16 units),
# torch 2.13, the default recipe. Model stages scale with the GEMM rate of the machine at hand; the others are
# taken as they are.
CALIBRATION: dict[str, float] = {
    "train_efficiency": 0.30,  # share of the GEMM rate that a training step reaches
    "adopted_efficiency": 0.55,  # the same where the matrices are those of a model of 100M and more
    "adopted_decode_efficiency": 0.30,
    "write_rate": 2.5e8,  # bytes per second to write a model and read it again
    "score_efficiency": 0.50,  # the same for scoring text
    "decode_efficiency": 0.08,  # the same for generating token by token in batches
    "model_stage_overhead": 3.0,  # s: reading, tokenizing, packing, saving
    "source_megabytes": 20.0,  # MB of the embedded source, where the size is not known
    "corpus_seconds_per_megabyte": 1.8,
    "kept_share": 0.34,  # bytes of a source that are left to train on
    "tokenizer_seconds_per_megabyte": 0.3,
    "baselines_seconds_per_megabyte": 2.0,
    "bytes_per_token": 3.8,
    "labels": 8.0,
    "example_tokens": 60.0,  # prompt and one-line answer
    "heldout_document_tokens": 45.0,
    "classifier_baseline_seconds": 6.0,
}


def model_facts(config: ModelConfig, context: int, rows: int = 16) -> dict[str, Any]:
    """Sizes and costs of a decoder at a context length.

    FLOPs: 2 for each multiply-add (`model.describe.forward_flops`); training costs three times the forward pass.
    Bytes: float32.
    """
    parts = parameters(config)
    total = sum(parts.values())
    return {
        "parameters": total,
        "parameters_by_part": parts,
        "matmul_parameters": multiplied_parameters(config),
        "block_parameters": parts["attention"] + parts["mlp"] + parts["experts"],
        "embedding_share": (parts["embedding"] + parts["output_head"]) / total,
        "training_flops_per_token": 3 * forward_flops(config, context),
        "forward_flops_per_token": forward_flops(config, context),
        "kv_bytes_per_token": 4 * cache_values_per_token(config),
        "state_bytes": 4 * state_values(config),
        "weights_bytes": 4 * total,
        "training_bytes": training_bytes(config, rows, context),
    }


def forecast_training(
    config: ModelConfig,
    tokens: float,
    rate: float,
    *,
    context: int = 256,
    rows: int = 16,
    optimizer: str = "adamw",
    efficiency: float = CALIBRATION["train_efficiency"],
) -> tuple[float, int]:
    """(seconds, peak bytes) of training on `tokens` where matrix products run at `rate` FLOP/s.

    `efficiency` is the share of that rate which a step reaches; it is an empirical constant.
    """
    flops = tokens * model_facts(config, context)["training_flops_per_token"]
    return flops / (rate * efficiency), training_bytes(config, rows, context, optimizer)


def forecast_recipe(recipe: Plain, rate: float, known: Plain | None = None) -> dict[str, float]:
    """Seconds of every stage that the recipe wants, from its plain sections and the machine's GEMM rate.

    `known` may replace guesses by facts: source_bytes, train_bytes, train_tokens, heldout_documents,
    classify_examples, instruct_examples, preference_pairs. The rules are simple on purpose: work = tokens, work
    / rate = seconds, and seconds per megabyte where no model is involved.
    """
    c, known = CALIBRATION, known or {}
    adopted = recipe.get("adopt") is not None
    config = adopted_model(recipe) if adopted else model_of(recipe)
    source = known.get("source_bytes", c["source_megabytes"] * 1e6) / 1e6
    train = known.get("train_bytes", source * 1e6 * c["kept_share"]) / 1e6
    sample = min(train, get(recipe, "tokenizer.sample_megabytes", 20.0))
    out = {
        "corpus": source * c["corpus_seconds_per_megabyte"],
        "tokenizer": 1.0 + sample * c["tokenizer_seconds_per_megabyte"],
        "baselines": 2.0 + train * c["baselines_seconds_per_megabyte"],
    }

    if config is None:  # a model that must be fetched first
        return {name: round(seconds, 1) for name, seconds in out.items()}
    efficiency = c["adopted_efficiency" if adopted else "train_efficiency"]
    if adopted:
        out["pretrain"] = c["model_stage_overhead"] + 4 * model_facts(config, 256)["parameters"] / c["write_rate"]
    for name in ("pretrain", "classify", "instruct", "prefer"):
        if name == "pretrain" and adopted:
            continue
        section = "pretrain" if name == "pretrain" else f"finetune.{name}"
        if get(recipe, section, {}) is not None:
            context = int(get(recipe, f"{section}.context_length", 256))
            tokens = training_tokens(recipe, name, known)
            # Preference training reads every answer with the frozen reference too: one forward for three.
            tokens *= 4 / 3 if name == "prefer" else 1
            # With adapters the frozen weights get no gradient of their own: a third less.
            tokens *= 2 / 3 if get(recipe, f"{section}.lora", None) is not None else 1
            seconds = forecast_training(config, tokens, rate, context=context, efficiency=efficiency)[0]
            out[name] = c["model_stage_overhead"] + seconds
    forward = model_facts(config, int(get(recipe, "pretrain.context_length", 256)))["forward_flops_per_token"]
    decode = forward / (rate * c["adopted_decode_efficiency" if adopted else "decode_efficiency"])
    if "instruct" in out and "prefer" in out:
        generated = get(recipe, "finetune.pairs.prompts", 600) * get(recipe, "finetune.pairs.samples", 4)
        out["pairs"] = c["model_stage_overhead"] + generated * get(recipe, "finetune.pairs.max_tokens", 40) * decode
    if get(recipe, "evaluate", {}) is not None:
        models = 1 + sum(name in out for name in ("instruct", "prefer"))
        read = min(get(recipe, "evaluate.heldout_documents", 2000), known.get("heldout_documents", 2000))
        scored = models * read * c["heldout_document_tokens"] * forward / (rate * c["score_efficiency"])
        prompts = get(recipe, "evaluate.prompts", 150) if "instruct" in out else 0
        written = models * prompts * get(recipe, "evaluate.max_tokens", 48) * decode
        extra = c["classifier_baseline_seconds"] if "classify" in out else 0.0
        out["evaluate"] = c["model_stage_overhead"] + scored + written + extra
    order = ("corpus", "tokenizer", "baselines", "pretrain", "classify", "instruct", "pairs", "prefer", "evaluate")
    return {name: round(out[name], 1) for name in order if name in out}


def training_tokens(recipe: Plain, stage: str, known: Plain | None = None) -> float:
    """Tokens that a training stage reads: its steps if given, else its epochs over what it is likely to have."""
    c, known = CALIBRATION, known or {}
    section = "pretrain" if stage == "pretrain" else f"finetune.{stage}"
    steps = get(recipe, f"{section}.training.steps", 0)
    if steps:
        return float(
            steps * get(recipe, f"{section}.training.batch_rows", 16) * get(recipe, f"{section}.context_length", 256)
        )
    epochs = get(recipe, f"{section}.training.epochs", 1.0)
    if stage == "pretrain":
        source = known.get("source_bytes", c["source_megabytes"] * 1e6)
        bytes_ = known.get("train_bytes", source * c["kept_share"])
        return float(epochs * known.get("train_tokens", bytes_ / c["bytes_per_token"]))
    if stage == "classify":
        guess = c["labels"] * get(recipe, f"{section}.max_per_label", 500)
        length = min(get(recipe, f"{section}.max_tokens", 64), c["heldout_document_tokens"])
        return float(epochs * known.get("classify_examples", guess) * length)
    if stage == "instruct":
        examples = min(get(recipe, f"{section}.max_pairs", 4000), known.get("instruct_examples", 1e12))
        return float(epochs * examples * c["example_tokens"] * (1 + get(recipe, f"{section}.replay", 0.0)))
    pairs = known.get("preference_pairs", get(recipe, "finetune.pairs.prompts", 600))
    return float(epochs * pairs * 2 * c["example_tokens"])


def model_of(recipe: Plain) -> ModelConfig:
    """The recipe's model with its tokenizer's vocabulary (rounded up to 64, as an embedding is)."""
    plain = dict(recipe.get("model") or {})
    if not plain.get("vocab_size"):
        plain["vocab_size"] = -(-int(get(recipe, "tokenizer.vocab_size", 2048)) // 64) * 64
    return FamilyConfig.parse(plain, "model")


def adopted_model(recipe: Plain) -> ModelConfig | None:
    """The model from elsewhere that a recipe takes, if its shape can be told without fetching it."""
    from tutelage.interchange.source import config_at_hand

    config = config_at_hand(str(get(recipe, "adopt.source", "")))
    longest = get(recipe, "adopt.context_length", 0)
    if config is None or not longest:
        return config
    return config.with_(max_position_embeddings=min(longest, config.max_position_embeddings))


def get(recipe: Plain, path: str, default: Any) -> Any:
    """A value of nested plain data by dotted path; the default where it is not written. A null stays None."""
    value: Any = recipe
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value
