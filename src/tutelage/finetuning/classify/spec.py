"""Spec of classification finetuning."""

from __future__ import annotations

from dataclasses import replace

from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.spec import method
from tutelage.store.late import late
from tutelage.store.stage import Headline, Way

FRAME = 'This text: "{text}" means in one word: "'


def suggest(parameters: int, rows: int) -> dict[str, Way]:
    """A head on the frozen model, then training from there, with adapters from 30M parameters on.

    A fitted head prevents the first steps from distorting pretrained features (Kumar et al. 2022).
    """
    epochs = 3 if rows >= 1000 else 5 if rows >= 200 else 10
    if parameters < 30e6:
        return {"head": Way({"frozen": True}), "full": Way({"training": {"epochs": epochs}})}
    read = {"context_length": 256, "max_tokens": 256, "frame": FRAME}
    adamw = {"optimizer": "adamw", "embedding_rate": 1.0, "batch_rows": 4, "epochs": epochs, "warmup_steps": 5}
    return {
        "head": Way({**read, "frozen": True}),
        "lora": Way({**read, "from": "head", "lora": {"rank": 16, "alpha": 32},
                     "training": {**adamw, "learning_rate": 5e-4}}),
        "full": Way({**read, "from": "head", "training": {**adamw, "learning_rate": 3e-5}}, default=False),
    }  # fmt: skip


SPEC = replace(
    method("classify", version=9, title="Classification finetuning", config=ClassifyConfig, makes="classifier"),
    why_not=late("tutelage.finetuning.classify.rows:why_not"),
    suggest=suggest,
    heldout="labels",
    headline=("train_texts", "heldout_texts", "heldout_accuracy"),
    glance=(
        Headline("mean absolute error", "Classification error in steps"),
        Headline("accuracy", "Classification accuracy"),
        Headline("macro-F1", "Classification macro-F1"),
    ),
)
