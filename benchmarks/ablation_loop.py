"""An agent that tries changes: keeping what a single run likes, against keeping what `tutelage ablate` finds better.

    python benchmarks/ablation_loop.py [--proposals 12] [--out runs/benchmarks/loop]

The same proposals in the same order, from the same recipe (a tiny decoder on the documentation of this Python). Greedy:
one run of each, kept if its held-out bits per byte are lower; either under one seed for all (which only a deterministic
program can do), or each run under a seed of its own, as where runs cannot be repeated. Verdict: kept if the bench, with
its ledger, says better.
Then every change that was kept is run again with and without, under fresh seeds that decided nothing. A win *survives*
if it is better there at 5 %, and is *reversed* if it is worse in the mean. Everything is cached.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from common import finish

from tutelage.ablation.arms import Arm, arms_of
from tutelage.ablation.bench import FOLDER, Question, ask
from tutelage.ablation.judge import Scores, paired, scores_of
from tutelage.ablation.ledger import NAME
from tutelage.ablation.measure import Items, corpus_items, measured
from tutelage.ablation.runs import Runner
from tutelage.evaluation.config import EvaluateConfig
from tutelage.store.artifacts import ArtifactStore
from tutelage.store.events import EventLog

FRESH, FRESH_SEEDS = 100, 6
RECIPE: dict[str, Any] = {
    "name": "loop",
    "tokenizer": {"vocab_size": 512},
    "model": {"hidden_size": 48, "intermediate_size": 128, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1,
              "max_position_embeddings": 64},
    "pretrain": {"context_length": 64, "training": {
        "steps": 80, "batch_rows": 8, "warmup_steps": 8, "threads": 1, "precision": "float32", "log_every": 40,
        "layers_every": 0, "validate_every": 0, "checkpoint_seconds": 1000}},
    "evaluate": {"heldout_documents": 300},
    "finetune": {},
}  # fmt: skip
T, M = "pretrain.training", "model"
PROPOSALS = (
    f"{T}.beta2=0.99", f"{T}.weight_decay=0.05", f"{M}.rope_theta=1000.0", f"{T}.grad_clip=0.8",
    f"{T}.learning_rate=0.0066", f"{M}.initializer_range=0.021", f"{T}.warmup_steps=9", f"{T}.final_fraction=0.03",
    f"{T}.schedule=cosine", f"{T}.weight_decay=0.12", f"{M}.intermediate_size=136", f"{T}.beta1=0.88",
    f"{T}.embedding_rate=5.5", f"{M}.rope_theta=20000.0", f"{T}.beta2=0.97", f"{M}.norm_eps=1.0e-5",
)  # fmt: skip


class Loop:
    """One recipe file, and arms made of it by lists of changes."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.file, self.out = out / "loop.yaml", out
        self.file.write_text(yaml.safe_dump(RECIPE))
        self.runner = Runner(out, out / "loop", "base")
        self.items: Items = corpus_items([self.runner.corpus(self.arm([]))], RECIPE["evaluate"]["heldout_documents"])

    def arm(self, sets: Sequence[str]) -> Arm:
        """The recipe with these changes (the varied key is set to what it is anyway)."""
        arm, _ = arms_of(self.file, sets, ["seed=1,2"])
        return Arm(", ".join(one.split(".")[-2] + "." + one.split(".")[-1] for one in sets) or "recipe", (), arm.recipe)

    def bits(self, sets: Sequence[str], seeds: Sequence[int]) -> Scores:
        arm, store = self.arm(sets), ArtifactStore(self.out)
        runs = [
            measured(self.items, self.runner.model(arm, seed), store, EvaluateConfig(), EventLog()) for seed in seeds
        ]
        return scores_of(runs, self.items.sizes, self.items.clusters)


def greedy(loop: Loop, proposals: Sequence[str], same_seed: bool) -> list[tuple[list[str], str]]:
    """What one run of each would keep: (recipe before, change)."""
    now: list[str] = []
    kept, best = [], float(loop.bits([], [0]).per_byte[0])
    for number, change in enumerate(proposals):
        found = float(loop.bits([*now, change], [0 if same_seed else 11 + number]).per_byte[0])
        print(f"  greedy   {change:<44} {found:.4f} {'kept' if found < best else ''}", flush=True)
        if found < best:
            kept.append((list(now), change))
            now, best = [*now, change], found
    return kept


def by_verdict(loop: Loop, proposals: Sequence[str]) -> list[tuple[list[str], str]]:
    """What the bench says is better, three seeds at most, the ledger counting every try."""
    (loop.out / FOLDER / "loop" / NAME).unlink(missing_ok=True)  # of an agent that was here before
    now: list[str] = []
    kept = []
    for change in proposals:
        question = Question("loop", (loop.arm(now), loop.arm([*now, change])), seeds=3)
        one = ask(question, loop.out).trials[1].paired
        assert one is not None
        print(f"  verdict  {change:<44} {one.difference:+.4f} p {one.p_adjusted:.3f} {one.outcome}", flush=True)
        if one.outcome == "better":
            kept.append((list(now), change))
            now = [*now, change]
    return kept


def confirmed(loop: Loop, kept: Sequence[tuple[list[str], str]]) -> dict[str, Any]:
    """Each win again, with and without, under fresh seeds."""
    wins = []
    for before, change in kept:
        seeds = range(FRESH, FRESH + FRESH_SEEDS)
        first, other = loop.bits(before, seeds), loop.bits([*before, change], seeds)
        one = paired(other, first, FRESH_SEEDS, 0.01 * float(first.per_byte.mean()))
        fate = "survives" if one.outcome == "better" else "reversed" if one.difference > 0 else "not confirmed"
        wins.append({"change": change, "difference": round(one.difference, 5), "p": round(one.p, 4), "fate": fate})
        print(f"  fresh    {change:<44} {one.difference:+.4f} p {one.p:.3f} {fate}", flush=True)
    final = [*kept[-1][0], kept[-1][1]] if kept else []
    seeds = range(FRESH, FRESH + FRESH_SEEDS)
    gain = float(loop.bits([], seeds).per_byte.mean() - loop.bits(final, seeds).per_byte.mean())
    fates = [one["fate"] for one in wins]
    return {
        "kept": len(wins),
        "survive": fates.count("survives"),
        "reversed": fates.count("reversed"),
        "gain_in_all": round(gain, 5),
        "wins": wins,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proposals", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/loop"))
    chosen = parser.parse_args()
    loop, proposals = Loop(chosen.out), PROPOSALS[: chosen.proposals]
    found = {
        "greedy, one seed": confirmed(loop, greedy(loop, proposals, True)),
        "verdict": confirmed(loop, by_verdict(loop, proposals)),
        "greedy, a seed for each run": confirmed(loop, greedy(loop, proposals, False)),
    }
    finish("ablation_loop", {"proposals": len(proposals), "fresh_seeds": FRESH_SEEDS, **found})


if __name__ == "__main__":
    main()
