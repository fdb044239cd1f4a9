"""Checks of held-out data, evaluation and finetuning: facts in, a finding or nothing out."""

from __future__ import annotations

import math

from tutelage.guidance.rule import Facts, Finding


def heldout(f: Facts) -> Finding | None:
    count = f["heldout_documents"]
    if count >= 300:
        return None
    share = min(0.5, f["corpus.heldout"] * 300 / max(1, count))
    return (
        "warning",
        f"{count} held-out documents; below 300 the intervals are too wide to compare by",
        f"--set corpus.heldout={share:.2g}",
    )


def prompts(f: Facts) -> Finding | None:
    count = f["evaluate.prompts"]
    if count >= 100 or f.get("finetune.instruct", {}) is None:
        return None
    return (
        "warning",
        f"{count} prompts are asked; a share near one half is then known to ±{98 / math.sqrt(count):.0f} points",
        "--set evaluate.prompts=150",
    )


def classify_baseline(f: Facts) -> Finding | None:
    if f.get("finetune.classify", {}) is None or f.get("evaluate", {}) is not None:
        return None
    return (
        "warning",
        "a classifier without evaluation: TF-IDF with logistic regression is often as good, measure it",
        "--set evaluate={}",
    )


def classify_epochs(f: Facts) -> Finding | None:
    epochs = f["finetune.classify.training.epochs"]
    if epochs <= 5 or f.get("finetune.classify.training.steps"):
        return None
    return (
        "warning",
        f"{epochs:g} epochs of classification; beyond 5 a classifier learns its examples by heart",
        "--set finetune.classify.training.epochs=3",
    )


def freeze(f: Facts) -> Finding | None:
    if f["model.parameters"] < 100e6 or f["classify_examples"] >= 5000 or f["finetune.classify.training.freeze_blocks"]:
        return None
    if f.get("finetune.classify.lora.rank"):
        return None  # adapters leave the blocks as they are
    blocks = f["model.num_layers"] - 2
    return (
        "note",
        "few labels for a large model: the last two blocks alone do as well",
        f"--set finetune.classify.training.freeze_blocks={blocks}",
    )


def instruct_epochs(f: Facts) -> Finding | None:
    epochs = f["finetune.instruct.training.epochs"]
    if epochs <= 3 or f.get("finetune.instruct.training.steps"):
        return None
    return (
        "warning",
        f"{epochs:g} epochs of instruction finetuning; 1 to 3 are usual, repeats hurt",
        "--set finetune.instruct.training.epochs=3",
    )


def instruct_rate(f: Facts) -> Finding | None:
    rate, before = f["finetune.instruct.training.learning_rate"], f["pretrain.training.learning_rate"]
    if rate <= before:
        return None
    return (
        "warning",
        f"instruction finetuning at {rate:g}, above the {before:g} of pretraining: what was learned is overwritten",
        f"--set finetune.instruct.training.learning_rate={before / 4:.2g}",
    )


def instruct_examples(f: Facts) -> Finding | None:
    count = f["instruct_examples"]
    if count >= 500:
        return None
    return "note", f"{count} instruction pairs; some hundreds teach the form of an answer, not its content", ""


def prefer_rate(f: Facts) -> Finding | None:
    rate, sft = f["finetune.prefer.training.learning_rate"], f["finetune.instruct.training.learning_rate"]
    if rate <= 0.2 * sft:
        return None
    return (
        "warning",
        f"preference finetuning at {rate:g}, more than a fifth of the {sft:g} of instruction finetuning: text falls "
        "apart while the loss still falls",
        f"--set finetune.prefer.training.learning_rate={sft / 10:.2g}",
    )


def beta(f: Facts) -> Finding | None:
    beta = f["finetune.prefer.beta"]
    low, high, usual = (1.0, 10.0, 5.0) if f.get("finetune.prefer.loss") == "sigmoid_norm" else (0.01, 0.5, 0.1)
    if low <= beta <= high:
        return None
    effect = "holds the model to the reference" if beta > high else "lets the model run away from the reference"
    return (
        "warning",
        f"beta {beta:g} {effect}; {low:g} to {high:g} is usual with this loss",
        f"--set finetune.prefer.beta={usual:g}",
    )


def prefer_epochs(f: Facts) -> Finding | None:
    epochs = f["finetune.prefer.training.epochs"]
    if epochs <= 3 or f.get("finetune.prefer.training.steps"):
        return None
    return (
        "warning",
        f"{epochs:g} epochs of preference finetuning; 1 is usual, 3 the most",
        "--set finetune.prefer.training.epochs=1",
    )


def drift(f: Facts) -> Finding | None:
    if f["finetune.prefer.drift_prompts"] > 0:
        return None
    return "note", "nobody watches whether answers grow longer", "--set finetune.prefer.drift_prompts=48"


def preference_pairs(f: Facts) -> Finding | None:
    count = f["preference_pairs"]
    if count >= 200:
        return None
    return (
        "warning",
        f"{count} preference pairs are few to learn from and to measure by",
        f"--set finetune.pairs.prompts={4 * f.get('finetune.pairs.prompts', 600)}",
    )
