"""The default settings scaled to other sizes and lengths: shape, learning rate, batch size, warm-up.

The defaults were measured at one size (docs/pretraining.md); everything else here is that point and a published
exponent.
"""

from __future__ import annotations

from typing import Any

WIDTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
WIDTH, LAYERS = 128, 5  # the default shape
DEPTH_GROWS = 0.75  # width / depth grows slowly: 21 at 64, 26 at 128, 37 at 512 (MobileLLM: 18 at 125M, nanochat: 64)
HEAD_PAYS = 10e6  # parameters; below it an untied output head was measured to pay off
TIED_RATE, OWN_RATE = 1.0, 6.0  # of the embedding's learning rate
PARAMETERS, RATE = 1.45e6, 6e-3  # where the learning rate was measured
TOKENS, BATCH = 1.5e6, 1536  # where the batch was measured
BATCH_GROWS, RATE_FALLS = 0.383, 1 / 3
WARMUP, LONGEST_WARMUP = 30, 0.1  # steps at least; share of the run at most


def shape_of(width: int) -> dict[str, int]:
    """Keys of `model` for a width: the default shape's proportions, heads of 64 from 128 on."""
    heads = max(2, width // 64)
    return {
        "hidden_size": width,
        "intermediate_size": 16 * round(2.75 * width / 16),
        "num_layers": max(1, round(LAYERS * (width / WIDTH) ** DEPTH_GROWS)),
        "num_heads": heads,
        "num_kv_heads": heads // 4 if heads >= 8 and heads % 4 == 0 else max(1, heads // 2),
    }


def model_of(width: int, vocab_size: int) -> dict[str, Any]:
    """Keys of `model` for a width. Below 10M parameters the output head is untied."""
    from tutelage.model.config import ModelConfig
    from tutelage.model.describe import parameters

    keys: dict[str, Any] = shape_of(width)
    own = ModelConfig(**keys, vocab_size=vocab_size, tie_word_embeddings=False)
    return {**keys, "tie_word_embeddings": sum(parameters(own).values()) >= HEAD_PAYS}


def embedding_rate(tied: bool) -> float:
    """A tied embedding cannot have its own learning rate."""
    return TIED_RATE if tied else OWN_RATE


def learning_rate(parameters: float) -> float:
    """Peak rate of Muon: the default's, falling with the cube root of the parameters (Porian et al. 2024); smaller
    models take the default's."""
    return RATE * min(1.0, (parameters / PARAMETERS) ** -RATE_FALLS)


def batch_tokens(tokens: float) -> float:
    """Tokens per step for a run of this many: the default's, growing as D^0.383 (Bergsma et al. 2025, "Power
    Lines")."""
    return BATCH * max(1.0, tokens / TOKENS) ** BATCH_GROWS


def warmup_steps(parameters: float, step_tokens: float, steps: int) -> int:
    """About one token per parameter (OLMo ladder), at least 30 steps and at most a tenth of the run."""
    return max(1, min(int(LONGEST_WARMUP * steps), max(WARMUP, round(parameters / step_tokens))))
