"""Check a model's capabilities by its head: text, labels, or the reward of an answer."""

from __future__ import annotations

from tutelage.model.config import ModelConfig
from tutelage.store.errors import ConfigError

_RANK = "rank answers with `rank` from Python: tutelage.load(MODEL).rank(prompt, answers)"


def gives_rewards(config: ModelConfig) -> bool:
    """Whether the head returns a single score, the reward of a conversation."""
    return config.num_labels == 1


def require_text(config: ModelConfig) -> None:
    """Raise ConfigError for a classifier, whose language-model head is untrained or missing."""
    if gives_rewards(config):
        raise ConfigError("this model is a reward model: it cannot generate or score text", hint=_RANK)
    if config.num_labels:
        named = ", ".join(config.labels[:5]) + (", ..." if len(config.labels) > 5 else "")
        raise ConfigError(
            f"this model is a classifier{f' ({named})' if named else ''}: it cannot generate or score text",
            hint="use `tutelage classify`, or `classify` from Python",
        )


def require_labels(config: ModelConfig) -> None:
    """Raise ConfigError for a model without a classification head."""
    if gives_rewards(config):
        raise ConfigError("this model is a reward model: it has one score and no labels", hint=_RANK)
    if not config.num_labels:
        raise ConfigError(
            "this model is a language model: it has no classification head",
            hint="`tutelage finetune classify FILE` makes a classifier; talk to this one with `tutelage chat`",
        )


def require_rewards(config: ModelConfig) -> None:
    """Raise ConfigError for a model that is not a reward model."""
    if not gives_rewards(config):
        raise ConfigError("this model is not a reward model", hint="`tutelage finetune reward PAIRS` makes one")
