"""Does training faster change what is learned? Loss curves of Tutelage beside a plain GPT's, over several seeds.

    python benchmarks/loss_curves.py [--seeds 3] [--steps 80]

The GPT-2 of `train_cpu.py` on real text (Python's language reference, as bytes), AdamW at the same settings, the same
rows in the same order, the same first weights of each seed; in float32 and in bfloat16 (autocast). Printed are both
curves at the end (mean of the last quarter), the largest distance of the two smoothed curves of one seed, and how far
two seeds are apart: the noise that a difference has to be seen against.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from itertools import combinations
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

import tutelage  # noqa: F401  first: it sets what torch's libraries read when they are loaded

# isort: split
import torch
from common import finish
from train_cpu import HEADS, LAYERS, LENGTH, RATE, VOCABULARY, WIDTH, plain_from

from tutelage.model.io import load_model
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.data.position import DataState, microbatches
from tutelage.training.loop import train

ROWS = 4
SMOOTHED = 10  # steps


def text_rows() -> Any:
    text = "".join(topics[name] for name in sorted(topics)).encode()
    documents = [[byte + 1 for byte in text[at : at + LENGTH - 1]] for at in range(0, len(text) - LENGTH, LENGTH - 1)]
    return pack_documents(documents, 0, LENGTH)


def ours(source: Path, rows: Any, steps: int, precision: str, seed: int) -> list[float]:
    objective = NextToken({"train": rows}, torch.ones(VOCABULARY, dtype=torch.int64), 0)
    config = TrainingConfig(
        steps=steps, batch_rows=ROWS, learning_rate=RATE, log_every=1, precision=precision, weight_decay=0.0,
        layers_every=0, checkpoint_seconds=1e9, schedule="constant", warmup_steps=0,
    )  # fmt: skip
    losses: list[float] = []
    log = EventLog(listeners=(lambda event: losses.append(event["loss"]) if event["event"] == "step" else None,))
    with tempfile.TemporaryDirectory() as work:
        train(load_model(source), objective, config, Path(work), log, seed)
    return losses


def plainly(hf: Any, rows: Any, steps: int, precision: str, seed: int) -> list[float]:
    model = plain_from(hf)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0)
    losses = []
    for step in range(steps):
        (batch,) = microbatches(rows, DataState(seed, step * ROWS), ROWS, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(batch.tokens, batch.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


def smoothed(losses: list[float]) -> Any:
    return np.convolve(losses, np.ones(SMOOTHED) / SMOOTHED, "valid")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be 2 or more: without a second seed there is no noise to compare with")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from transformers import GPT2Config, GPT2LMHeadModel

    rows, curves = text_rows(), dict[str, list[list[float]]]()
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        hf = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS,
                                        n_head=HEADS, tie_word_embeddings=False, resid_pdrop=0.0, embd_pdrop=0.0,
                                        attn_pdrop=0.0, bos_token_id=0, eos_token_id=0))  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            hf.save_pretrained(folder)
            for precision in ("float32", "bfloat16"):
                for side, made in (
                    ("plain", plainly(hf, rows, options.steps, precision, seed)),
                    ("tutelage", ours(Path(folder), rows, options.steps, precision, seed)),
                ):
                    curves.setdefault(f"{side} {precision}", []).append(made)
                    print(f"  seed {seed} {side} {precision}: {np.mean(made[-len(made) // 4 :]):.4f}", flush=True)
    ends = {name: [round(float(np.mean(one[-len(one) // 4 :])), 4) for one in of] for name, of in curves.items()}
    apart = {
        precision: max(
            float(np.abs(smoothed(a) - smoothed(b)).max())
            for a, b in zip(curves[f"plain {precision}"], curves[f"tutelage {precision}"], strict=True)
        )
        for precision in ("float32", "bfloat16")
    }
    seeds = [float(np.abs(smoothed(a) - smoothed(b)).max()) for a, b in combinations(curves["plain float32"], 2)]
    print(f"largest distance of the two sides' curves: {apart}; of two seeds: {min(seeds):.4f} to {max(seeds):.4f}")
    finish("loss_curves", {"end": ends, "apart": apart, "seeds_apart": seeds, "steps": options.steps})


if __name__ == "__main__":
    main()
