"""Ready questions: common questions about training a model, each with the arms that answer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tutelage.ablation.arms import Match
from tutelage.finetuning import method
from tutelage.recipe.config import Recipe
from tutelage.store.errors import ConfigError, nearest

ALL = "all"


@dataclass(frozen=True)
class Ready:
    """A question about a recipe. vary: its `--vary`, made for the recipe; literature: what is commonly reported, and
    where."""

    name: str
    asks: str
    vary: Callable[[Recipe], list[str]]
    literature: str
    match: Match = "steps"


def _optimizer(recipe: Recipe) -> list[str]:
    # Each at three learning rates: with only one, the optimizer that it was chosen for wins.
    assert recipe.pretrain is not None
    rate = recipe.pretrain.training.learning_rate
    rates = ",".join(f"{rate * factor:g}" for factor in (0.5, 1, 0.25))
    return ["pretrain.training.optimizer=adamw,muon", f"pretrain.training.learning_rate={rates}"]


def _attention(recipe: Recipe) -> list[str]:
    heads = recipe.model.num_heads
    shared = [count for count in (heads, heads // 2, 1) if count and heads % count == 0]
    values = ",".join(str(count) for count in dict.fromkeys(shared))
    if "," not in values:
        raise ConfigError("a model with one head has nothing to share", hint="set model.num_heads=4, say")
    return [f"model.num_kv_heads={values}"]


def _finetuning(recipe: Recipe) -> list[str]:
    for name, step in recipe.finetune.items():
        if method(step.method).heldout and "lora" in type(step.settings).model_fields:
            training = step.settings.plain()["training"]
            # What is said of LoRA's rate is said of AdamW's; Muon's is about ten times as large.
            rate = training["learning_rate"] * (0.1 if training["optimizer"] == "muon" else 1)
            lora = ",".join(
                f"{{lora: {{rank: 16}}, training: {{optimizer: adamw, learning_rate: {factor * rate:g}}}}}"
                for factor in (3, 10)
            )
            return [f"finetune.{name}={{lora: null}},{lora}"]
    raise ConfigError(
        "no step of this recipe can be trained by LoRA", hint="--set 'finetune.topics={method: classify, data: F}'"
    )


def _always(*vary: str) -> Callable[[Recipe], list[str]]:
    return lambda recipe: list(vary)


READY = {
    one.name: one
    for one in (
        Ready(
            "tokenizer",
            "Which tokenization method, at equal time?",
            _always("tokenizer.method=bpe,unigram,byte"),
            "Unigram is a little ahead of BPE (Bostrom & Durrett 2020), bytes need more compute (Xue et al. 2022)",
            "seconds",
        ),
        Ready(
            "vocabulary",
            "How large a vocabulary, at equal time?",
            _always("tokenizer.vocab_size=2048,512,8192"),
            "the best vocabulary size grows with the model; small models need a small one (Tao et al. 2024)",
            "seconds",
        ),
        Ready(
            "duplicates",
            "Should near duplicates be removed?",
            _always("corpus.near_duplicate_threshold=0.7,1.0"),
            "deduplicated text trains better models (Lee et al. 2022)",
        ),
        Ready(
            "attention",
            "Can heads share keys and values?",
            _attention,
            "GQA costs next to nothing in quality, MQA a little (Ainslie et al. 2023)",
        ),
        Ready(
            "norm",
            "RMSNorm or LayerNorm, with or without normalised queries and keys?",
            _always("model={family: custom, norm: rmsnorm},{family: custom, qk_norm: head},"
                    "{family: custom, norm: layernorm}"),
            "no difference in a short, stable run; QK-norm rescues runs at high learning rates (Wortsman et al. 2023)",
        ),
        Ready(
            "optimizer",
            "Muon or AdamW, each at its better learning rate?",
            _optimizer,
            "Muon needs about half of AdamW's compute (Liu et al. 2025); less, with both tuned (Wen et al. 2025)",
        ),
        Ready(
            "schedule",
            "How should the learning rate decay?",
            _always("pretrain.training.schedule=linear,cosine,wsd,constant"),
            "linear decay to zero is no worse than cosine (Bergsma et al. 2025), nor is WSD (Hu et al. 2024)",
        ),
        Ready(
            "finetuning",
            "Full finetuning or LoRA?",
            _finetuning,
            "on little data LoRA at ten times the learning rate matches full finetuning (Schulman et al. 2025)",
        ),
    )
}  # fmt: skip


def wanted(names: str) -> list[Ready]:
    """The questions of a list `optimizer,norm`, or `all`. Raises ConfigError naming the existing ones."""
    if names.strip() == ALL:
        return list(READY.values())
    asked = [name.strip() for name in names.split(",")]
    for name in asked:
        if name not in READY:
            raise ConfigError(f"there is no ready question {name!r}", hint=nearest(name, [*READY, ALL]))
    return [READY[name] for name in dict.fromkeys(asked)]


def answer(found: dict[str, Any]) -> str:
    """The answer to a question in one line: the best arm, and the others against the first. found: as from
    `result.plain`."""
    arms = found["arms"]
    measured = [arm for arm in arms if arm["mean"] is not None]
    if not measured:
        return "no arm could be trained"
    best = min(measured, key=lambda arm: arm["mean"])
    outcomes = ", ".join(f"{arm['arm']} {arm['outcome']}" for arm in arms[1:])
    return f"lowest: {best['arm']} ({best['mean']:.4f} {found['measure']}); against {arms[0]['arm']}: {outcomes}"
