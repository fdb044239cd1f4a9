"""Which tokenizer is better? A small model trained with each at equal compute, judged by bits per byte.

No measure of a tokenizer alone predicts the quality of a model trained with it, and losses for each token cannot be
compared between vocabularies; bits for each byte of held-out text can (docs/tokenizer.md).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.ablation.arms import Arm
from tutelage.ablation.bench import Question
from tutelage.recipe.config import BASE, Recipe, override, read_yaml
from tutelage.store.errors import ConfigError, nearest
from tutelage.tokenizer.config import Method

METHODS: tuple[str, ...] = Method.__args__  # type: ignore[attr-defined]
PROXY: dict[str, Any] = {
    "name": "tokenizers",
    "model": {"hidden_size": 96, "intermediate_size": 256, "num_layers": 3, "num_heads": 4, "num_kv_heads": 2,
              "max_position_embeddings": 256},
    "pretrain": {"context_length": 256, "training": {"steps": 300, "batch_rows": 8, "warmup_steps": 20}},
    "finetune": {},
    "evaluate": {"heldout_documents": 300},
}  # fmt: skip
"""The model that tokenizers are tried with, where no recipe is given."""
_FORM = "METHOD:SIZE, METHOD:SIZE:SPLIT, or a vocabulary file or folder; e.g. bpe:2048 unigram:4096:cl100k my.model"


def tokenizer_question(
    specs: Sequence[str], recipe: Path | None, sets: Sequence[str], seeds: int, effect: float = 0.01
) -> Question:
    """Arms that differ in nothing but the tokenizer. `specs`: two or more of the form `METHOD:SIZE[:SPLIT]`, or files.

    Raises ConfigError for a spec that is none, before anything runs.
    """
    if len(specs) < 2:
        raise ConfigError("two or more tokenizers are needed", hint=_FORM)
    if twice := next((spec for spec in specs if specs.count(spec) > 1), None):
        raise ConfigError(f"{twice} is given twice")
    data = read_yaml(recipe) if recipe else copy.deepcopy(PROXY)
    data["finetune"] = {}
    for item in sets:
        override(data, item)
    name = f"{data.get('name', 'recipe')}-tokenizers" if recipe else "tokenizers"
    return Question(name, tuple(_arm(data, spec) for spec in specs), BASE, seeds, "compute", effect)


def settings_of(spec: str) -> dict[str, Any]:
    """The section `tokenizer` of a recipe that a spec stands for. Raises ConfigError."""
    if Path(spec).expanduser().exists():
        return {"source": spec}
    found = re.fullmatch(r"(?P<method>[a-z_0-9]+)(?::(?P<size>\d+))?(?::(?P<split>[a-z_0-9]+))?", spec)
    if found is None:
        raise ConfigError(f"{spec!r} is neither a tokenizer to train nor a file", hint=_FORM)
    method = found["method"]
    if method not in METHODS:
        raise ConfigError(f"{spec!r}: there is no method {method!r}", hint=nearest(method, METHODS))
    settings: dict[str, Any] = {"method": method}
    if found["size"]:
        settings["vocab_size"] = int(found["size"])
    if found["split"]:
        settings["split"] = found["split"]
    return settings


def _arm(data: dict[str, Any], spec: str) -> Arm:
    mine = copy.deepcopy(data)
    settings = settings_of(spec)
    kept = {"sample_megabytes": (mine.get("tokenizer") or {}).get("sample_megabytes", 20.0)}
    mine["tokenizer"] = kept | settings
    sets = tuple(f"tokenizer.{key}={value}" for key, value in settings.items())
    name = Path(spec).name if "source" in settings else spec
    return Arm(name, sets, Recipe.parse(mine))
