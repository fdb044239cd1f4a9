"""Spec of continued pretraining, and of the stages that make its texts."""

from __future__ import annotations

from dataclasses import replace

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.spec import SPEC as CORPUS
from tutelage.finetuning.further.config import FurtherConfig, SamplingConfig
from tutelage.store.late import late
from tutelage.store.stage import Headline, Part, StageSpec, Way

LARGE = 30e6  # parameters; from here on the default learning rate is lower
ROW_TOKENS = 500  # of a document of 2,000 characters
CHARACTERS = 4  # per token, roughly: pieces of text must be long enough to fill a row
PASSES = 3  # over the sampled text
MOST_SAMPLED = 100_000  # tokens; more is not worth the time to sample


def _needs(config: FurtherConfig) -> tuple[str, ...]:
    return ("model",) if config.data is not None else ("model", "corpus")


def _parts(config: FurtherConfig) -> tuple[Part, ...]:
    """A corpus for each of the user's texts, and the text sampled from the model before training."""
    texts = replace(CORPUS, rules=tuple)  # its rule asks for more held-out rows than likelihoods need
    parts = [
        Part(role, texts, corpus_of(source, config))
        for role, source in (("texts", config.data), ("replay", config.replay.source), ("general", config.general))
        if source is not None
    ]
    replayed = config.replay.share > 0 and config.replay.source is None
    sampled = config.sampled if replayed else config.sampled.with_(tokens=0, chats=0)
    return (*parts, Part("sampled", SAMPLED, sampled))


def corpus_of(source: str, config: FurtherConfig) -> CorpusConfig:
    length = max(CorpusConfig().max_characters, CHARACTERS * (config.context_length or 0))
    return CorpusConfig(
        source=source, prose=config.prose, heldout=config.heldout, measure_selection=False, max_characters=length
    )


def _suggest(parameters: int, rows: int) -> dict[str, Way]:
    """Full finetuning; for comparison also adapters, and full finetuning with a longer vocabulary."""
    small = parameters < LARGE
    replayed = rows * ROW_TOKENS / 4  # of the tokens of the text, at a share of a fifth
    sampled = {"tokens": int(min(MOST_SAMPLED, max(16_000, replayed / PASSES)))}
    full = {"optimizer": "adamw", "learning_rate": 5e-4 if small else 3e-4, "batch_rows": 8 if small else 4}
    lora = {"optimizer": "adamw", "learning_rate": 1e-3, "batch_rows": 4}
    return {
        "full": Way({"training": full, "sampled": sampled}),
        "lora": Way({"training": lora, "lora": {"rank": 32, "alpha": 64}, "sampled": sampled}, default=False),
        "vocabulary": Way({"training": full, "sampled": sampled, "extend_vocabulary": 2000}, default=False),
    }


SAMPLED = StageSpec(
    kind="sampled",
    version=3,
    title="The model’s own text",
    config=SamplingConfig,
    run=late("tutelage.finetuning.further.sampled:make_samples"),
    makes="data",
    needs=lambda config: ("model",),
    seeds=("training",),
    headline=("documents", "heldout_documents", "conversations", "questions"),
    section=late("tutelage.finetuning.further.report:sampled_section"),
    sentence=late("tutelage.finetuning.further.report:sampled_sentence"),
    forecast=late("tutelage.finetuning.further.forecast:forecast_sampled"),
)

SPEC = StageSpec(
    kind="further",
    version=3,
    title="Continued pretraining",
    config=FurtherConfig,
    run=late("tutelage.finetuning.further.stage:further"),
    makes="language model",
    needs=_needs,
    seeds=("training", "data"),
    audit=late("tutelage.finetuning.further.stage:audit"),
    preflight=late("tutelage.finetuning.further.preflight:preflight"),
    parts=_parts,
    trains=True,
    suggest=_suggest,
    heldout="texts",
    headline=("new_tokens", "replayed_tokens", "heldout_bits_per_byte"),
    glance=(
        Headline("bits per byte, new text", "Bits/byte, new text", ("base",)),
        Headline("bits per byte, general text", "Bits/byte, general text", ("base",)),
        Headline("bits per byte, own text", "Bits/byte, own text", ("base",)),
        Headline("general answers end", "General answers that end", ("base",)),
    ),
    section=late("tutelage.finetuning.further.report:section"),
    sentence=late("tutelage.finetuning.further.report:sentence"),
    forecast=late("tutelage.finetuning.further.forecast:forecast"),
    result_facts=late("tutelage.finetuning.further.forecast:figures"),
    rules=late("tutelage.finetuning.further.rules:rules"),
)
