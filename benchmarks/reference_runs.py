"""The small runs that forecasts of bits per byte go by: made here, written into the package.

    python benchmarks/reference_runs.py python my_books/ stories.txt [--runs 64x150,128x600] [--out runs/reference]
                                        [--write src/tutelage/pretraining/reference_runs.json]

Each run pretrains a fresh model (width x steps, and optionally x vocabulary) with the settings of
`pretraining/sizing.py` on each text and notes what it was given and what it came to. Cached: run again, only what is
new is run. `--write` adds the runs to the file (one of the same text and settings is replaced), and fits their law.

    python benchmarks/reference_runs.py --check

says how far off the law is: around its own runs, of each text by the law of all others, and of runs that are in
neither.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import finish

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.forecast import figures
from tutelage.corpus.sample import ppmd_bits
from tutelage.model.config import ModelConfig
from tutelage.model.describe import parameters
from tutelage.pretraining.expected import LAW, Reference, fitted, reference, reference_runs
from tutelage.pretraining.scaling import effective_data, predict
from tutelage.pretraining.sizing import batch_tokens, embedding_rate, learning_rate, model_of, warmup_steps
from tutelage.recipe.config import Recipe
from tutelage.recipe.run import run_recipe
from tutelage.store.files import write_json

CONTEXT, VOCABULARY = 256, 2048
# Of the default shape on the documentation of Python, by vocabulary and steps (docs/pretraining.md); none of the fit.
DOCUMENTED = {(2048, 2000): 1.485, (4096, 1800): 1.455, (8192, 1500): 1.441,
              (2048, 500): 1.690, (4096, 500): 1.635, (8192, 500): 1.590}  # fmt: skip


def recipe_of(source: str, width: int, steps: int, vocabulary: int, threads: int) -> Recipe:
    rows = max(1, round(batch_tokens(steps * 6 * CONTEXT) / CONTEXT))
    model = model_of(width, vocabulary)
    size = sum(parameters(ModelConfig(**model, vocab_size=vocabulary)).values())
    training = {
        "steps": steps, "batch_rows": rows, "optimizer": "muon", "learning_rate": learning_rate(size),
        "embedding_rate": embedding_rate(model["tie_word_embeddings"]), "schedule": "linear", "final_fraction": 0.02,
        "warmup_steps": warmup_steps(size, rows * CONTEXT, steps), "spike_sigma": 6.0, "layers_every": 0,
        "threads": threads,
    }  # fmt: skip
    return Recipe.parse({
        "name": "reference",
        "corpus": {"source": source, "measure_selection": False},
        "tokenizer": {"vocab_size": vocabulary},
        "model": model,
        "pretrain": {"context_length": CONTEXT, "training": training},
    })  # fmt: skip


def measured(source: str, width: int, steps: int, vocabulary: int, out: Path, threads: int) -> dict[str, Any]:
    recipe = recipe_of(source, width, steps, vocabulary, threads)
    name = Path(source).stem
    run = run_recipe(recipe, out, targets=("base",), folder=out / f"{name}-{width}-{steps}-{vocabulary}")
    corpus, made = figures(run.stage("corpus")["metrics"]), run.stage("base")["metrics"]
    parts = parameters(ModelConfig(**model_of(width, vocabulary), vocab_size=vocabulary))
    assert recipe.pretrain is not None
    return {
        "text": name,
        "ppmd_bits": round(ppmd_bits(CorpusConfig(source=source)) or 0.0, 4),
        "width": width,
        "vocab_size": vocabulary,
        "steps": steps,
        "step_tokens": recipe.pretrain.training.batch_rows * CONTEXT,
        "parameters": made["parameters"],
        "block_parameters": parts["attention"] + parts["mlp"] + parts["experts"],
        "train_bytes": round(corpus["train_bytes"]),
        "passes": made["epochs"],
        "bits_per_byte": round(made["heldout_bits_per_byte"], 5),
    }


def check() -> dict[str, Any]:
    """Ratio of fact to expectation, and whether it lies in its range, of every run three ways."""
    runs = reference_runs()
    own = [judged(run, reference(), str(run["text"])) for run in runs]
    others = [judged(run, fitted([one for one in runs if one["text"] != run["text"]]), "") for run in runs]
    python = {run["vocab_size"]: run for run in runs if run["text"] == "python" and run["width"] >= 64}
    documented = []
    for (vocabulary, steps), bits in DOCUMENTED.items():
        like = python[vocabulary]
        passes = like["passes"] / like["steps"] * steps
        blocks = max(run["block_parameters"] for run in runs if run["width"] == 128)
        run = {**like, "block_parameters": blocks, "passes": passes, "bits_per_byte": bits}
        documented.append(judged(run, reference(), "python"))
    return {"own": told(own), "by_the_other_texts": told(others), "documented": told(documented),
            "scatter": reference().law.scatter, "between": reference().between}  # fmt: skip


def judged(run: dict[str, Any], known: Reference, text: str) -> tuple[float, bool]:
    seen = effective_data(run["train_bytes"], run["passes"] * run["train_bytes"])
    sizes = (run["block_parameters"], run["vocab_size"], seen)
    beside = 0.0 if text in known.offsets else known.between
    expected = predict(known.law, known.drawn, sizes, beside=beside)
    fact = run["bits_per_byte"] / run["ppmd_bits"] / math.exp(known.offsets.get(text, 0.0))
    return fact / expected.middle - 1, expected.holds(fact)


def told(found: list[tuple[float, bool]]) -> dict[str, Any]:
    off = [one for one, _ in found]
    return {"off": [round(min(off), 4), round(max(off), 4)], "held": sum(held for _, held in found), "of": len(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("texts", nargs="*")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--runs", default="64x150,64x600,128x300")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/reference"))
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    if given.check:
        finish("reference_runs", check())
        return
    runs: list[dict[str, Any]] = []
    for source in given.texts:
        for one in given.runs.split(","):
            width, steps, *vocabulary = map(int, one.split("x"))
            runs.append(
                measured(source, width, steps, vocabulary[0] if vocabulary else VOCABULARY, given.out, given.threads)
            )
            print(json.dumps(runs[-1]), flush=True)
    if given.write:
        add(given.write, runs)
    finish("reference_runs", {"runs": runs})


def add(path: Path, runs: list[dict[str, Any]]) -> None:
    """Put runs into the file, and their law beside it; of two with the same text and settings the later stays."""
    keys = ("text", "width", "vocab_size", "steps")
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    by_key = {tuple(run[key] for key in keys): run for run in [*kept, *runs]}
    every = sorted(by_key.values(), key=lambda run: tuple(run[key] for key in keys))
    write_json(path, every)
    write_json(path.with_name(LAW), asdict(fitted(every)))


if __name__ == "__main__":
    main()
