"""Settings of the two evaluation stages: baselines and models."""

from __future__ import annotations

from pydantic import Field

from tutelage.store.config import Config


class BaselinesConfig(Config):
    """How compressors and the n-gram model are measured, and how much held-out text all systems are measured on."""

    ngram_order: int = Field(5, ge=1, le=9)
    """Tokens per n-gram, the predicted one included."""
    max_heldout_bytes: int = Field(300_000, ge=1_000)
    """Complete held-out documents are used up to this total size; the models are measured on the same ones."""
    max_train_bytes: int = Field(24_000_000, ge=1_000)
    """Training text that primes the compressors and trains the n-gram model; the rest is not used."""
    order_pairs: int = Field(500, ge=0)
    """Sentences of the word-order task, at most one from a document."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    bootstrap: int = Field(1000, ge=100)


class EvaluateConfig(Config):
    """Which models are measured on which data, with how many items, and at what confidence."""

    models: tuple[str, ...] = ()
    """Names: `base` and steps of `finetune`; empty: all of them."""
    tasks: tuple[str, ...] = ()
    """`text` (the corpus's held-out text) and names of steps whose held-out rows are used; empty: all."""
    heldout_documents: int = Field(4000, ge=1)
    """Held-out documents for bits per byte (at most those that the baselines were measured on)."""
    order_pairs: int = Field(500, ge=0)
    classify_documents: int = Field(1500, ge=1)
    loss_rows: int = Field(400, ge=1)
    """Held-out rows of a step whose answers are scored by the step's model and by its parent."""
    prompts: int = Field(400, ge=1)
    """Held-out prompts per prompt set."""
    max_tokens: int = Field(48, ge=1)
    sampled: int = Field(50, ge=0)
    """Number of these prompts that are also answered by sampling at temperature 1, to see whether answers end."""
    samples: int = Field(12, ge=0)
    """Number of prompts whose answers are written to samples.jsonl."""
    continuations: int = Field(4, ge=0)
    """Number of held-out document openings that the base model continues for samples.jsonl."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    bootstrap: int = Field(1000, ge=100)
    chrf_margin: float = Field(1.0, ge=0)
    """Non-inferiority margin: chrF points that preference finetuning may lose and still count as "did not suffer"."""
    batch: int = Field(50, ge=1)
    """Texts or prompts per batch; progress is reported between batches."""
