"""Settings of the two evaluation stages: which comparisons need no model, what is asked of the models."""

from __future__ import annotations

from pydantic import Field

from tutelage.store.config import Config


class BaselinesConfig(Config):
    """How compressors and the n-gram model are measured, and which held-out text everyone is measured on."""

    ngram_order: int = Field(5, ge=1, le=9)
    """Tokens per n-gram, the predicted one included."""
    max_heldout_bytes: int = Field(300_000, ge=1_000)
    """Whole held-out documents are taken up to this size; the models are measured on the same ones."""
    max_train_bytes: int = Field(24_000_000, ge=1_000)
    """Training text that primes the compressors and trains the n-gram model; the rest is left out."""
    order_pairs: int = Field(500, ge=0)
    """Sentences of the word-order task, at most one from a document."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    bootstrap: int = Field(1000, ge=100)


class EvaluateConfig(Config):
    """Which models are measured on what, how much is asked of each, and how sure the answer has to be."""

    models: tuple[str, ...] = ()
    """Names: `base` and steps of `finetune`; none: all of them."""
    tasks: tuple[str, ...] = ()
    """`text` (the corpus's held-out text) and names of steps, whose held-out rows are asked about; none: all."""
    heldout_documents: int = Field(4000, ge=1)
    """Held-out documents for bits per byte (at most those the baselines were measured on)."""
    order_pairs: int = Field(500, ge=0)
    classify_documents: int = Field(1500, ge=1)
    loss_rows: int = Field(400, ge=1)
    """Held-out rows of a step whose answers are scored by it and by the model it begins with."""
    prompts: int = Field(400, ge=1)
    """Held-out prompts of each set of them."""
    max_tokens: int = Field(48, ge=1)
    sampled: int = Field(50, ge=0)
    """Of these prompts so many are also answered by sampling at temperature 1, to see whether answers end."""
    samples: int = Field(12, ge=0)
    """Prompts whose answers go into samples.jsonl."""
    continuations: int = Field(4, ge=0)
    """Held-out openings that the base model continues for samples.jsonl."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    bootstrap: int = Field(1000, ge=100)
    chrf_margin: float = Field(1.0, ge=0)
    """chrF points that preference finetuning may cost and still count as "did not suffer"."""
    batch: int = Field(50, ge=1)
    """Texts or prompts handed to a model at once; progress is reported between batches."""
