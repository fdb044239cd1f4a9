"""A whole life of a few seconds, for tests of how the rooms work together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.recipe.config import Recipe

LABELS = {"graphs": ["node", "edge", "path"], "files": ["folder", "link", "name"], "text": ["word", "line", "letter"]}
VERBS = ["Return", "Remove", "Count", "Sort", "Merge", "Compute"]
PLACES = ["first table", "second table", "given list", "open store", "old index"]
TEXTS_PER_LABEL = len(VERBS) * 3 * len(PLACES)


def write_texts(folder: Path) -> Path:
    """Small documents in three folders; the folder's name is the label."""
    for label, things in LABELS.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for verb in VERBS:
            for thing in things:
                for place in PLACES:
                    text = f"{verb} every {thing} of the {place}, and nothing else that {label} may hold there."
                    (folder / label / f"{verb}-{thing}-{place.replace(' ', '-')}.txt").write_text(text + "\n")
    return folder


def miniature(texts: Path, finetune: dict[str, Any], **more: Any) -> Recipe:
    """The smallest recipe that runs every stage on these texts, in float32 on one thread."""
    quick = {"steps": 4, "batch_rows": 4, "precision": "float32", "threads": 1, "log_every": 1, "validate_every": 0,
             "layers_every": 2}  # fmt: skip
    return Recipe.parse(
        {
            "name": "tiny",
            "corpus": {"source": str(texts), "prose": False, "heldout": 0.1, "near_duplicate_threshold": 1.0,
                       "max_overlap": 1.0, "measure_selection": False},
            "tokenizer": {"vocab_size": 320},
            "model": {"hidden_size": 32, "intermediate_size": 64, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1,
                      "max_position_embeddings": 128},
            "pretrain": {"context_length": 64, "training": {**quick, "spike_sigma": 0.0}},
            "finetune": {
                name: {**step, "training": {**quick, **step.get("training", {})}} for name, step in finetune.items()
            },
            "baselines": {"order_pairs": 10, "bootstrap": 100},
            "evaluate": {"prompts": 8, "max_tokens": 8, "samples": 2, "continuations": 1, "bootstrap": 100,
                         "order_pairs": 10, "heldout_documents": 20},
            **more,
        }
    )  # fmt: skip


def write_documented(path: Path) -> Path:
    """The same texts as documented callables: JSON lines with name, signature, one-line summary and label."""
    import json

    rows = []
    for label, things in LABELS.items():
        for verb in VERBS:
            for thing in things:
                for place in PLACES:
                    first = f"{verb} the {thing} of the {place}."
                    text = f"{first} Nothing else that {label} may hold there is touched by it."
                    name = f"{label}.{verb.lower()}_{thing}_{place.split()[0]}"
                    signature = f"{verb.lower()}_{thing}({place.split()[1]}, limit=None)"
                    rows.append({"text": text, "name": name, "kind": "function", "signature": signature,
                                 "summary": first, "label": label})  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"text": "cut\n')
    return path


ALL_STEPS: dict[str, Any] = {
    "topics": {"method": "classify", "task": "labels", "context_length": 64, "max_tokens": 32,
               "training": {"steps": 3}},
    "chat": {"method": "instruct", "task": "docstrings", "context_length": 96,
             "training": {"steps": 120, "learning_rate": 1e-2, "batch_rows": 8}},
    "better": {"method": "prefer", "from": "chat", "task": "docstrings", "context_length": 96, "drift_prompts": 2,
               "pairs": {"prompts": 24, "samples": 3, "max_tokens": 20}, "training": {"steps": 2}},
}  # fmt: skip
