"""Steps to a fixed validation loss: Muon with AdamW for the rest, against AdamW alone, each at its best learning rate.

    python benchmarks/optimizers.py [--quick] [--out runs/benchmarks]

A small decoder on the documentation of this Python (corpus and tokenizer are made once and kept under --out). The
learning rate of each is tuned on a grid with a seed that is not used again; then three seeds each. The target is the
mean final validation loss of AdamW; the steps that Muon takes to reach it are read off its curve.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import tutelage  # noqa: F401  first: it sets what torch's libraries read when they are loaded

# isort: split
import torch
from common import finish

from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.pretraining.stage import read_texts
from tutelage.recipe.config import load_recipe
from tutelage.recipe.run import run_recipe
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import train

LENGTH, ROWS = 128, 16
RATES = {"adamw": (1e-3, 2e-3, 4e-3, 8e-3), "muon": (2e-3, 4e-3, 8e-3, 1.6e-2)}
SHAPE = {"hidden_size": 96, "intermediate_size": 256, "num_layers": 4, "num_heads": 4, "num_kv_heads": 2,
         "max_position_embeddings": LENGTH}  # fmt: skip


def data(out: Path) -> tuple[NextToken, int]:
    recipe = load_recipe(None, ["tokenizer.vocab_size=2048", "name=benchmark"])
    run = run_recipe(recipe, out, targets=("tokenizer",))
    corpus, tokenizer = (run.path / run.stage(name)["artifact"] for name in ("corpus", "tokenizer"))
    tok = Tokenizer.load(tokenizer)
    rows = {
        split: pack_documents(tok.encode_batch(read_texts(corpus / f"{name}.parquet")), tok.eos_id, LENGTH)
        for split, name in (("train", "train"), ("validation", "heldout"))
    }
    return NextToken(rows, torch.ones(tok.vocab_size, dtype=torch.int64), tok.eos_id), tok.vocab_size


def curve(
    objective: NextToken, vocabulary: int, optimizer: str, rate: float, steps: int, seed: int
) -> dict[int, float]:
    """Validation loss by step."""
    model = DecoderLM(FamilyConfig.parse({**SHAPE, "vocab_size": vocabulary}), seed=seed)
    config = TrainingConfig(
        steps=steps, batch_rows=ROWS, learning_rate=rate, optimizer=optimizer, schedule="linear", final_fraction=0.05,
        warmup_steps=max(1, steps // 20), beta2=0.95, log_every=steps, checkpoint_seconds=1e9,
        validate_every=max(1, steps // 40), validation_rows=192,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as work:
        result = train(model, objective, config, Path(work), EventLog(), seed)
    losses = {point["step"]: point["validation"]["loss"] for point in result.curve if "validation" in point}
    print(f"  {optimizer:<6} rate {rate:<7g} seed {seed}: {losses[steps]:.4f} after {steps} steps", flush=True)
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args()
    steps, seeds = (8, 1) if options.quick else (600, 3)
    objective, vocabulary = data(options.out)
    best: dict[str, float] = {}
    for optimizer, rates in RATES.items():
        tried = {rate: curve(objective, vocabulary, optimizer, rate, steps, 0)[steps] for rate in rates}
        best[optimizer] = min(tried, key=tried.__getitem__)
        if best[optimizer] in (rates[0], rates[-1]):
            print(f"  note: the best rate of {optimizer} lies at the edge of its grid")
    finals = [curve(objective, vocabulary, "adamw", best["adamw"], steps, seed) for seed in range(1, seeds + 1)]
    target = statistics.mean(losses[steps] for losses in finals)
    # Muon's schedule must end where it is measured: runs shortened until they no longer reach the target.
    ratios: list[float] = []
    reached: dict[str, Any] = {}
    for share in (1.0, 0.85, 0.75, 0.65, 0.55):
        short = max(2, round(steps * share))
        losses = [
            curve(objective, vocabulary, "muon", best["muon"], short, seed)[short] for seed in range(1, seeds + 1)
        ]
        reached[str(short)] = {"losses": losses, "mean": statistics.mean(losses)}
        if statistics.mean(losses) > target:
            break
        ratios.append(steps / short)
    finish("optimizers", {
        "best_rates": best, "target": target, "adamw_steps": steps,
        "adamw_finals": [losses[steps] for losses in finals],
        "muon": reached, "fewer_steps": max(ratios, default=0.0), "seeds": seeds,
    })  # fmt: skip


if __name__ == "__main__":
    main()
