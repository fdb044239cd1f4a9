"""Rules of thumb as code: each with its number, its source and the key that mends what it finds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tutelage.guidance import finetuning_checks as finetuning
from tutelage.guidance import pretraining_checks as pretraining
from tutelage.guidance.forecast import CALIBRATION, adopted_model, get, model_facts, model_of, training_tokens
from tutelage.guidance.rule import Advice, Facts, Rule

__all__ = ["RULES", "Advice", "Rule", "advise", "corpus_facts", "facts_of"]


def advise(recipe: Mapping[str, Any], facts: Facts | None = None) -> list[Advice]:
    """All advice on a recipe (plain sections), errors first.

    `facts` adds what only the data can tell: train_tokens, train_bytes, heldout_documents, document_tokens (mean),
    classify_examples, instruct_examples, preference_pairs. Without it the rules that need it are silent.
    """
    known = facts_of(recipe, facts or {})
    found = [advice for rule in RULES if (advice := rule.check(known)) is not None]
    return sorted(found, key=lambda advice: ("error", "warning", "note").index(advice.level))


def corpus_facts(card: Mapping[str, Any], measures: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a finished corpus (card.json) and tokenizer (measures.json) tell the rules and the forecast."""
    train, heldout = card.get("train") or {}, card.get("heldout") or {}
    facts: dict[str, Any] = {}
    if train.get("documents") and train.get("bytes"):
        per_token = (measures or {}).get("bytes_per_token") or CALIBRATION["bytes_per_token"]
        facts["train_bytes"] = train["bytes"]
        facts["train_tokens"] = train["bytes"] / per_token
        facts["document_tokens"] = facts["train_tokens"] / train["documents"]
    if "documents" in heldout:
        facts["heldout_documents"] = heldout["documents"]
    return facts


def facts_of(recipe: Mapping[str, Any], known: Facts) -> dict[str, Any]:
    """The recipe flattened to dotted keys, what follows from it, and what is known beside it."""
    context = int(get(recipe, "pretrain.context_length", 256))
    flat = _flat(recipe)
    if recipe.get("adopt") is not None:
        # What is not done here has no settings either.
        flat = {key: value for key, value in flat.items() if not key.startswith(("pretrain.", "model.", "tokenizer."))}
        config = adopted_model(recipe)
        shape = {} if config is None else {"num_layers": config.num_layers, **model_facts(config, context)}
        return {**flat, **{f"model.{key}": value for key, value in shape.items()}, **known}
    model = model_facts(model_of(recipe), context)
    tokens = training_tokens(recipe, "pretrain", known)
    batch = flat.get("pretrain.training.batch_rows", 16) * context
    return {
        **flat,
        **{f"model.{key}": value for key, value in model.items()},
        "context": context,
        "tokens": tokens,
        "batch_tokens": batch,
        "steps": flat.get("pretrain.training.steps") or math.ceil(tokens / batch),
        "tokens_per_parameter": tokens / model["parameters"],
        **known,
    }


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested plain data; a null section stays as its own key."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out.update(_flat(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out


RULES: tuple[Rule, ...] = (
    Rule(
        "tokens-per-parameter",
        "pretrain",
        "At least 10, about 20 tokens per parameter",
        "Hoffmann et al. 2022 (Chinchilla), table 3; nanochat: 10.5",
        pretraining.too_few_tokens,
    ),
    Rule(
        "overtraining",
        "pretrain",
        "More than 40 tokens per parameter only for a model that must be small",
        "Hoffmann et al. 2022; SmolLM2 does it on purpose",
        pretraining.many_tokens,
    ),
    Rule(
        "repetition",
        "pretrain",
        "Up to 4 passes over the data are almost free",
        "Muennighoff et al. 2023",
        pretraining.repeated_data,
    ),
    Rule(
        "learning-rate",
        "pretrain",
        "Peak rate 0.0047 (N/108M)^(-1/3) / 2 within a factor of 3",
        "Porian et al. 2024, as in the OLMo ladder",
        pretraining.learning_rate,
    ),
    Rule(
        "batch",
        "pretrain",
        "2048 * 160 (N/108M)^(2/3) tokens per step within a factor of 4",
        "Porian et al. 2024, as in the OLMo ladder",
        pretraining.batch,
    ),
    Rule("beta2", "pretrain", "beta2 0.99 below 524,288 tokens per step, else 0.95", "OLMo ladder", pretraining.beta2),
    Rule(
        "warmup",
        "pretrain",
        "Warm-up takes at most a tenth of the run",
        "OLMo ladder: about a token per parameter",
        pretraining.warmup,
    ),
    Rule(
        "final-learning-rate",
        "pretrain",
        "The learning rate ends at a tenth of its peak or less",
        "Hägele et al. 2024; SmolLM3",
        pretraining.final_rate,
    ),
    Rule(
        "decay",
        "pretrain",
        "10 to 20 % of a run decays",
        "Hägele et al. 2024; SmolLM 17 %, SmolLM3 11 %",
        pretraining.decay,
    ),
    Rule("weight-decay", "pretrain", "Weight decay about 0.1", "OLMo 2, SmolLM3", pretraining.weight_decay),
    Rule("grad-clip", "pretrain", "Gradients clipped at 1.0", "OLMo 2", pretraining.grad_clip),
    Rule(
        "embedding-share",
        "model",
        "Embeddings below 40 % of a model under 50M",
        "Kaplan et al. 2020, nanochat: count what multiplies",
        pretraining.embedding_share,
    ),
    Rule(
        "vocabulary",
        "model",
        "Vocabulary times width below a third of the parameters",
        "minimind: 6,400 tokens for 64M parameters",
        pretraining.vocabulary,
    ),
    Rule(
        "tying",
        "model",
        "Tied embeddings from 10M to about 1B parameters",
        "SmolLM playbook: 17 % of 1.2B for no gain; below 10M our own measurement (docs/pretraining.md)",
        pretraining.tying,
    ),
    Rule(
        "aspect",
        "model",
        "Width / depth between 32 and 128",
        "nanochat: 64 beats 128 at equal FLOPs",
        pretraining.aspect,
    ),
    Rule(
        "grouped-queries",
        "model",
        "Grouped queries from 8 heads on",
        "Ainslie et al. 2023; SmolLM playbook",
        pretraining.grouped_queries,
    ),
    Rule(
        "context",
        "pretrain",
        "A context that holds a document, not dozens",
        "SmolLM playbook: intra-document masking",
        pretraining.context,
    ),
    Rule(
        "heldout",
        "corpus",
        "At least 300 held-out documents",
        "standard error of a share: 2.9 points at n = 300",
        finetuning.heldout,
    ),
    Rule("prompts", "evaluate", "At least 100 prompts", "Wilson interval of a share", finetuning.prompts),
    Rule(
        "classifier-baseline",
        "classify",
        "A classifier is judged beside TF-IDF and logistic regression",
        "Raschka 2024: 88.9 % against 91.9 % on IMDb",
        finetuning.classify_baseline,
    ),
    Rule(
        "classifier-epochs",
        "classify",
        "At most 5 epochs of classification",
        "Raschka 2024, chapter 6",
        finetuning.classify_epochs,
    ),
    Rule(
        "freeze",
        "classify",
        "With few labels, the last two blocks of a large model suffice",
        "Raschka 2024: 98.3 % against 96.7 % for all",
        finetuning.freeze,
    ),
    Rule(
        "instruct-epochs",
        "instruct",
        "1 to 3 epochs of instruction finetuning",
        "Raschka; Tulu 3: 2, Olmo 3: 3",
        finetuning.instruct_epochs,
    ),
    Rule(
        "instruct-learning-rate",
        "instruct",
        "Finetuning not above the rate of pretraining",
        "Tulu 3, SmolLM3: 2e-5 after 2e-4",
        finetuning.instruct_rate,
    ),
    Rule(
        "instruct-examples",
        "instruct",
        "Some hundreds of pairs at least",
        "Zhou et al. 2023 (LIMA): 1,000 good ones",
        finetuning.instruct_examples,
    ),
    Rule(
        "preference-learning-rate",
        "prefer",
        "At most a fifth of the instruction rate, about a tenth",
        "Tulu 3: 5e-7 after 5e-6; SmolLM3",
        finetuning.prefer_rate,
    ),
    Rule(
        "beta",
        "prefer",
        "beta 0.01 to 0.5 (summed), 1 to 10 (length-normalised)",
        "Rafailov et al. 2023; Tulu 3: 5, normalised",
        finetuning.beta,
    ),
    Rule(
        "preference-epochs",
        "prefer",
        "One epoch of preference finetuning, three at most",
        "Tulu 3, SmolLM3: 1",
        finetuning.prefer_epochs,
    ),
    Rule(
        "drift",
        "prefer",
        "Watch the length of the answers",
        "Park et al. 2024; Raschka 2024, chapter 7",
        finetuning.drift,
    ),
    Rule(
        "preference-pairs",
        "prefer",
        "Some hundreds of preference pairs at least",
        "Zhou et al. 2023, by analogy",
        finetuning.preference_pairs,
    ),
)
