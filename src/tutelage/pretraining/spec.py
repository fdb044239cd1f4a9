"""Spec of pretraining, of a fresh or an existing model."""

from __future__ import annotations

from tutelage.model.config import ModelConfig
from tutelage.pretraining.config import PretrainConfig
from tutelage.store.config import Config
from tutelage.store.late import late
from tutelage.store.stage import Headline, StageSpec


class Pretraining(Config):
    """`model` None: continue training the input `model`, with its tokenizer."""

    model: ModelConfig | None
    pretrain: PretrainConfig


def _needs(config: Pretraining) -> tuple[str, ...]:
    return ("corpus", "model") if config.model is None else ("corpus", "tokenizer")


def _files(config: Pretraining) -> dict[str, str]:
    return {
        f"mixture.{number}": f"{one.corpus}/train.parquet" for number, one in enumerate(config.pretrain.mixture)
    }  # fmt: skip


SPEC = StageSpec(
    kind="pretrain",
    version=5,
    title="Pretraining",
    config=Pretraining,
    run=late("tutelage.pretraining.stage:pretrain"),
    makes="language model",
    needs=_needs,
    seeds=("training", "data"),
    files=_files,
    trains=True,
    headline=("parameters", "tokens_seen", "heldout_bits_per_byte"),
    glance=(Headline("bits per byte", "Bits per byte, held out"), Headline("word order", "Word order accuracy")),
    section=late("tutelage.pretraining.report:section"),
    sentence=late("tutelage.pretraining.report:sentence"),
    forecast=late("tutelage.pretraining.forecast:forecast"),
    result_facts=late("tutelage.pretraining.forecast:figures"),
    rules=late("tutelage.pretraining.rules:rules"),
)
