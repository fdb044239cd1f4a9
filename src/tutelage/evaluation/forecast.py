"""Forecast time and memory of the two evaluation stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.evaluation.config import BaselinesConfig
from tutelage.evaluation.spec import Subject, asked_of
from tutelage.store.stage import Facts, Forecast, Machine

# Seconds at a `slowness` of 1.
COMPRESSION_SECONDS = 3.3  # for each MB of training text
NGRAM_SECONDS = 0.5  # for each MB of training text
# Bytes of memory: whatever the text; for each byte of training text (as documents, and the models of the compressors);
# for each token of it and each order of the n-grams (keys, places, counts, discounts).
BASELINE_MEMORY, TEXT_MEMORY, GRAM_MEMORY = 1e8, 34.0, 29.0
FIGURES_MEMORY = 3e8  # draws of the intervals, and the libraries that make them
CLASSIFIER_MEMORY = 1e8  # TF-IDF with logistic regression
CLASSIFIER_SECONDS = 2.5  # TF-IDF with logistic regression, for 5,000 texts
FIGURES_SECONDS = 1.0  # intervals and comparisons, for each model
PAIR_TOKENS = 50  # both sentences of a word-order pair
PROMPT_TOKENS = 40
GENERAL_TOKENS = 120  # of an answer to a general question


def forecast_baselines(config: BaselinesConfig, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    corpus = inputs.get("corpus", {})
    if "train_bytes" not in corpus:
        return Forecast()
    train = min(corpus["train_bytes"], config.max_train_bytes)
    heldout = min(corpus["heldout_bytes"], config.max_heldout_bytes)
    seconds = 0.5 + (COMPRESSION_SECONDS + NGRAM_SECONDS) * train / 1e6 + 3 * heldout / 1e6
    tokens = train / inputs.get("tokenizer", {}).get("bytes_per_token", 4.0)
    memory = machine.process_memory() + BASELINE_MEMORY + TEXT_MEMORY * train
    memory += GRAM_MEMORY * config.ngram_order * tokens
    return Forecast.about(seconds * machine.slowness(), 0.5, 1.7, memory, {"heldout_bytes": heldout})


def baseline_figures(metrics: Mapping[str, Any]) -> Facts:
    return {"heldout_bytes": metrics["heldout_bytes"]}


def forecast(config: Any, inputs: Mapping[str, Facts], machine: Machine) -> Forecast:
    """Forecast of an `Evaluation`: text read, answers generated, and figures computed.

    `seconds` is None while the shape of a model is unknown.
    """
    settings = config.evaluate
    asked = list(asked_of(config.subjects).values())
    text = inputs.get("baselines", {}).get("heldout_bytes", 300_000) if config.text else 0
    text = min(text, settings.heldout_documents * inputs.get("corpus", {}).get("document_bytes", 1e9))
    low = high = 0.0
    largest = 0.0
    for subject in config.subjects:
        facts = inputs.get(subject.name, {})
        if "model" not in facts:
            return Forecast(facts=_facts(asked))
        model = facts["model"]
        largest = max(largest, 4.0 * facts["parameters"])
        scoring = machine.scoring_seconds_per_token(model)
        fixed = FIGURES_SECONDS * machine.slowness() + 4.0 * facts["parameters"] / machine.bytes_per_second()
        low, high = low + 0.5 * fixed, high + 2 * fixed
        if subject.makes == "classifier":
            rows = min(settings.classify_documents, facts.get("heldout_rows", settings.classify_documents))
            read = scoring * rows * facts.get("row_tokens", 64) + CLASSIFIER_SECONDS * machine.slowness()
        elif subject.makes == "reward model":
            read = CLASSIFIER_SECONDS * machine.slowness()  # its rewards are already computed; only TF-IDF is fitted
        else:
            read = scoring * (text / facts["bytes_per_token"] + (settings.order_pairs * PAIR_TOKENS if text else 0))
        read += _further(config.subjects, subject.name, inputs, scoring, machine)
        if subject.makes in ("language model", "chat model"):
            read += scoring * _heldout_tokens(subject, config, inputs)
        low, high = low + 0.5 * read, high + 1.6 * read
        sets = sum(subject.name in askers for askers in asked)
        if sets:
            held = facts.get("heldout_rows", settings.prompts)
            rows, most = min(settings.prompts, held), settings.prompts
            rows, most = rows + min(settings.sampled, rows), most + min(settings.sampled, most)
            decoding = machine.decoding_seconds_per_token(model)
            low += sets * rows * 0.2 * settings.max_tokens * decoding  # most answers end before the last token
            high += sets * most * 1.2 * (settings.max_tokens + PROMPT_TOKENS / 4) * decoding
    rivals = CLASSIFIER_MEMORY if any(one.makes == "classifier" for one in config.subjects) else 0.0
    memory = machine.process_memory() + 1.6 * largest + FIGURES_MEMORY + rivals
    return Forecast((low * high) ** 0.5, low, high, memory, _facts(asked))


def _further(subjects: Any, name: str, inputs: Mapping[str, Facts], scoring: float, machine: Machine) -> float:
    """Seconds for the texts that this model reads and the general questions that it answers, for steps of continued
    pretraining. Texts shared by several steps are read once.
    """
    seconds: dict[tuple[float, float], float] = {}
    for owner, readers in asked_of(subjects, kinds=("texts",)).items():
        facts = inputs.get(owner, {})
        if name in readers and "text_tokens" in facts:
            answers = facts["asked"] * GENERAL_TOKENS * machine.decoding_seconds_per_token(facts["model"])
            seconds[facts["text_tokens"], facts["asked"]] = scoring * facts["text_tokens"] + answers
    return sum(seconds.values())


def _heldout_tokens(subject: Subject, config: Any, inputs: Mapping[str, Facts]) -> float:
    """Tokens of the held-out rows that a model scores: its own, and those of its child steps."""
    total = 0.0
    for step in config.subjects:
        if step.heldout in ("answers", "pairs") and subject.name in (step.name, step.parent):
            facts, most = inputs.get(step.name, {}), config.evaluate.loss_rows
            rows = min(most, facts.get("heldout_rows", most)) * (2 if step.heldout == "pairs" else 1)
            total += rows * facts.get("row_tokens", PROMPT_TOKENS)
    return total


def _facts(asked: list[list[str]]) -> Facts:
    return {"prompt_sets": len(asked)}
