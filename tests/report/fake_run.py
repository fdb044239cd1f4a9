"""A made-up run folder with the files that real stages write."""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path
from typing import Any

STAGES = ("corpus", "tokenizer", "baselines", "pretrain", "classify", "instruct", "pairs", "prefer", "evaluate")
SECONDS = dict(zip(STAGES, (58.2, 6.1, 31.0, 241.7, 38.9, 61.2, 27.5, 41.3, 36.6), strict=True))
FORECAST = dict(zip(STAGES, (60.0, 8.0, 35.0, 230.0, 42.0, 55.0, 30.0, 38.0, 40.0), strict=True))
INPUTS = {
    "tokenizer": ("corpus",),
    "baselines": ("corpus", "tokenizer"),
    "pretrain": ("corpus", "tokenizer"),
    "classify": ("corpus", "pretrain"),
    "instruct": ("corpus", "pretrain"),
    "pairs": ("instruct",),
    "prefer": ("instruct", "pairs"),
    "evaluate": ("corpus", "baselines", "pretrain", "classify", "instruct", "prefer"),
}
START = 1_700_000_000.0
RECIPE = """name: quickstart
seed: 1
corpus: {source: environment}
tokenizer: {vocab_size: 4096}
model: {hidden_size: 192, num_layers: 5}
pretrain: {context: 256, training: {steps: 1200, learning_rate: 0.003}}
finetune: {classify: {}, instruct: {}, pairs: {}, prefer: {beta: 0.1}}
evaluate: {}
"""


def identity(stage: str) -> str:
    return f"{sum(map(ord, stage)):04x}" * 16


def build(
    root: Path,
    *,
    upto: str = "evaluate",
    status: str = "done",
    statuses: dict[str, str] | None = None,
    why: dict[str, str] | None = None,
    answer: str = "Return the shortest path between two nodes.",
    prompt: str = "Write a one-line docstring for shortest_path(G, source=None, target=None).",
) -> Path:
    """A run folder under `root`; stages after `upto` are pending, `statuses` override single stages."""
    run = root / "runs" / "quickstart"
    run.mkdir(parents=True)
    last = STAGES.index(upto)
    rows: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = [{"event": "run_start", "time": START, "recipe": "quickstart"}]
    moment = START
    for index, stage in enumerate(STAGES):
        state = (statuses or {}).get(stage, "ran" if index <= last else "pending")
        row: dict[str, Any] = {
            "stage": stage,
            "status": state,
            "identity": identity(stage),
            "why": (why or {}).get(stage),
        }
        if state in ("ran", "cached"):
            artifact = root / "artifacts" / f"{stage}-{identity(stage)[:12]}"
            metrics = fill(artifact, stage, answer, prompt)
            row |= {"artifact": f"../../artifacts/{artifact.name}", "metrics": metrics}
            row["seconds"] = SECONDS[stage]
            write_manifest(artifact, stage, metrics, moment)
            moment += SECONDS[stage]
        rows.append(row)
    look = {"weight_rms": [0.021, 0.022], "grad_rms": [3e-5, 4e-5], "update_ratio": [0.0012, 0.0314],
            "activation_rms": [0.61, 1.4]}  # fmt: skip
    events += [
        {"event": "layers", "time": START + 300, "stage": "pretrain", "step": 1200, **look},
        {"event": "note", "time": START + 1, "stage": "corpus", "message": "2 packages hold no text and are left out"},
        {"event": "warning", "time": START + 2, "message": "12 tokens per parameter: less than the 20 of Chinchilla"},
    ]
    if (statuses or {}).get("pretrain") in ("running", "interrupted", "failed"):
        events.append({"event": "stage_start", "time": START + 95, "stage": "pretrain"})
        events += [
            {"event": "step", "time": START + 100 + r["step"] / 5, "stage": "pretrain", "total": 1200, **r}
            for r in curve(400, 8.3, 2.2)
            if "loss" in r
        ]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"event": "ste')
    (run / "recipe.yaml").write_text(RECIPE)
    record = {"recipe": "quickstart", "status": status, "stages": rows, "forecast": FORECAST, "started": START}
    if status == "done":
        record["ended"] = moment + 3
    (run / "run.json").write_text(json.dumps(record))
    return run


def write_manifest(artifact: Path, stage: str, metrics: dict[str, Any], moment: float) -> None:
    files = {p.name: {"sha256": "0" * 64, "bytes": p.stat().st_size} for p in sorted(artifact.iterdir()) if p.is_file()}
    manifest = {
        "stage": stage,
        "version": 1,
        "identity": identity(stage),
        "config": {},
        "inputs": {name: identity(name) for name in INPUTS.get(stage, ())},
        "files": files,
        "metrics": metrics,
        "packages": {"tutelage": "0.1.0", "torch": "2.13.0", "numpy": "2.3.1"},
        "git_commit": "0123456789ab",
        "machine": {
            "processor": "Example CPU @ 2.50GHz",
            "cpus": 2,
            "threads": 2,
            "memory_gb": 23.4,
            "gpu": None,
            "python": "3.11.2",
            "system": "Linux",
        },
        "started": moment,
        "seconds": SECONDS[stage],
    }
    (artifact / "manifest.json").write_text(json.dumps(manifest))


def fill(out: Path, stage: str, answer: str, prompt: str) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    timing: dict[str, Any] = {"timing": {"seconds": SECONDS[stage]}, "peak_memory_mb": 812}
    if stage == "corpus":
        (out / "card.json").write_text(json.dumps(card()))
        return {"documents": 14210, **timing}
    if stage == "tokenizer":
        measures = {
            "vocab_size": 4096,
            "bytes_per_token": 3.871,
            "tokens_per_word": 1.402,
            "single_byte_tokens": 0.031,
            "round_trip_failures": 0,
            "unused_share": 0.003,
            "vocabulary": {"longest": [" representation", "\n    "], "unused": []},
            "sample": {"documents": 13510},
        }
        (out / "measures.json").write_text(json.dumps(measures))
        return {**measures, **timing}
    if stage == "baselines":
        rates = {"xz": 2.703, "xz primed": 1.772, "zstd": 2.791, "zstd primed": 1.829}
        table = {name: {"value": value, "low": None, "high": None} for name, value in rates.items()}
        table["n-gram"] = {"value": 1.842, "low": 1.809, "high": 1.874}
        (out / "baselines.json").write_text(json.dumps({"bits_per_byte": table, "note": "xz: level 9e."}))
        return {"xz_primed_bits_per_byte": 1.772, **timing}
    if stage == "pairs":
        (out / "train.jsonl").write_text("{}\n")
        return {"pairs": 812, "heldout_pairs": 143, "chosen_words": 7.4, "rejected_words": 7.9, **timing}
    if stage == "evaluate":
        (out / "evaluation.json").write_text(json.dumps(evaluation()))
        (out / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples(answer, prompt)))
        return {"base_bits_per_byte": 1.583, **timing}
    model(out)
    lines = {
        "pretrain": curve(1200, 8.3, 2.2),
        "classify": curve(240, 2.3, 0.6),
        "instruct": curve(400, 4.4, 2.0),
        "prefer": preference_curve(160),
    }[stage]
    (out / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    timing["timing"] |= {"tokens_per_second": 10873, "gemm_share": 0.4271, "ceiling_gflops": 268.4,
                         "forecast_seconds": 251.7, "forecast_memory_mb": 301, "memory_mb": 356}  # fmt: skip
    return {"steps": lines[-1]["step"], "tokens_seen": 9_830_400, "loss": lines[-2].get("loss"), **timing}


def curve(steps: int, first: float, last: float) -> list[dict[str, Any]]:
    noise, out = random.Random(steps), []
    for step in range(1, steps + 1, max(1, steps // 300)):
        loss = last + (first - last) * math.exp(-step / steps * 6) + 0.5 * (1 - step / steps) * last / 3
        out.append({"step": step, "loss": loss + noise.gauss(0, 0.09), "lr": 3e-3, "grad_norm": 0.8})
        if len(out) % 30 == 0:
            out.append({"step": step, "validation": {"loss": loss + 0.04}})
    return [
        *out,
        {"step": steps, "loss": last, "lr": 0.0, "grad_norm": 0.7},
        {"step": steps, "validation": {"loss": last + 0.05}},
    ]


def preference_curve(steps: int) -> list[dict[str, Any]]:
    noise, out = random.Random(7), []
    for step in range(1, steps + 1):
        part = step / steps
        out.append(
            {
                "step": step,
                "loss": 0.69 - 0.35 * part + noise.gauss(0, 0.03),
                "lr": 1e-4,
                "grad_norm": 1.0,
                "reward_accuracy": min(1.0, 0.5 + 0.4 * part + noise.gauss(0, 0.05)),
                "margin": 1.2 * part,
                "chosen_logp": -1.4 - 0.1 * part,
            }
        )
        if step % 40 == 0:
            held = {
                "loss": 0.69 - 0.3 * part,
                "reward_accuracy": 0.5 + 0.35 * part,
                "margin": part,
                "chosen_logp": -1.45,
            }
            out.append({"step": step, "validation": held})
    return out


def model(out: Path) -> None:
    """config.json and the header of a safetensors file, without the weights."""
    shapes = {"model.embed_tokens.weight": [4096, 192], "model.norm.weight": [192]}
    for layer in range(5):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.self_attn.q_proj.weight": [192, 192],
            f"{name}.self_attn.k_proj.weight": [96, 192],
            f"{name}.self_attn.v_proj.weight": [96, 192],
            f"{name}.self_attn.o_proj.weight": [192, 192],
            f"{name}.mlp.gate_proj.weight": [512, 192],
            f"{name}.mlp.up_proj.weight": [512, 192],
            f"{name}.mlp.down_proj.weight": [192, 512],
            f"{name}.input_layernorm.weight": [192],
        }
    header = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    body = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    (out / "model.safetensors").write_bytes(struct.pack("<Q", len(body)) + body)
    (out / "config.json").write_text(
        json.dumps(
            {
                "model_type": "qwen3",
                "hidden_size": 192,
                "intermediate_size": 512,
                "num_hidden_layers": 5,
                "vocab_size": 4096,
                "num_attention_heads": 6,
                "num_key_value_heads": 3,
                "max_position_embeddings": 512,
            }
        )
    )


def card() -> dict[str, Any]:
    flow = [
        ("read", "Documents that are text", 31204, 30911, {"not_utf8": 12, "empty": 281}),
        ("clean", "Markup, tables and code taken out", 30911, 28342, {"only_code": 1803, "too_short": 766}),
        (
            "quality",
            "Prose by rules of length, symbols and repetition",
            28342,
            19873,
            {"too_few_words": 4210, "too_many_symbols": 2650, "repeated_lines": 1609},
        ),
        ("exact_duplicates", "Same text twice", 19873, 17120, {"duplicate": 2753}),
        (
            "near_duplicates",
            "Same words in nearly the same order, also across the split",
            17120,
            14210,
            {"near_duplicate": 2910},
        ),
    ]
    steps, size = [], 17_400_000
    for name, what, before, after, removed in flow:
        left = int(size * after / before)
        examples = [
            {"reason": reason, "id": "00ff00ff00ff00ff", "name": f"package.module.{reason}", "text": ">>> x = 1\n>>> y"}
            for reason in removed
        ]
        steps.append(
            {
                "name": name,
                "what": what,
                "documents_in": before,
                "documents_out": after,
                "bytes_in": size,
                "bytes_out": left,
                "removed": removed,
                "examples": examples,
            }
        )
        size = left
    return {
        "source": "environment",
        "seed": 1,
        "documents": 14210,
        "bytes": size,
        "train": {"documents": 13510, "bytes": int(size * 0.95), "words": 1_021_332},
        "heldout": {"documents": 700, "bytes": int(size * 0.05), "words": 53_751},
        "steps": steps,
        "labels": {"text": 3120, "network": 2544, "mathematics": 2210, "files": 1905, "graphs": 1480, "time": 611},
        "sources": {"python": 4011, "networkx": 2213, "torch": 1907, "numpy": 1500},
        "diversity": {"distinct_2": 0.412, "type_token_ratio": 0.061},
        "selection": [
            {"level": "read", "documents": 30911, "alone_bits_per_byte": 2.412, "primed_bits_per_byte": 1.291},
            {"level": "prose", "documents": 19873, "alone_bits_per_byte": 2.688, "primed_bits_per_byte": 1.402},
            {
                "level": "exact-deduplicated",
                "documents": 17120,
                "alone_bits_per_byte": 2.731,
                "primed_bits_per_byte": 1.655,
            },
            {"level": "selected", "documents": 14210, "alone_bits_per_byte": 2.791, "primed_bits_per_byte": 1.829},
        ],
        "malformed": [{"file": "notes.jsonl", "line": 17, "why": "not JSON"}],
    }


def evaluation() -> dict[str, Any]:
    def figure(task: str, measure: str, unit: str, higher: bool, *rows: tuple[Any, ...]) -> dict[str, Any]:
        keys = ("who", "value", "low", "high", "n", "kind")
        return {
            "task": task,
            "measure": measure,
            "unit": unit,
            "higher_is_better": higher,
            "note": f"How {measure} works.",
            "rows": [dict(zip(keys, row, strict=True)) for row in rows],
        }

    m, b = "model", "baseline"
    bits = figure(
        "held-out text",
        "bits per byte",
        "bits per byte",
        False,
        ("base", 1.583, 1.556, 1.611, 700, m),
        ("instruct", 1.702, 1.673, 1.731, 700, m),
        ("prefer", 1.744, 1.715, 1.774, 700, m),
        ("n-gram", 1.842, 1.809, 1.874, 700, b),
        ("xz", 2.703, None, None, 700, b),
        ("xz primed", 1.772, None, None, 700, b),
        ("zstd", 2.791, None, None, 700, b),
        ("zstd primed", 1.829, None, None, 700, b),
    )
    order = figure(
        "word order",
        "word order",
        "share right",
        True,
        ("base", 0.871, 0.839, 0.897, 500, m),
        ("n-gram", 0.842, 0.807, 0.871, 500, b),
        ("chance", 0.5, None, None, 500, b),
    )
    accuracy = figure(
        "classification",
        "accuracy",
        "share right",
        True,
        ("classify", 0.761, 0.738, 0.782, 1500, m),
        ("TF-IDF + logistic regression", 0.792, 0.771, 0.812, 1500, b),
        ("majority class", 0.231, 0.21, 0.253, 1500, b),
    )
    f1 = figure(
        "classification",
        "macro-F1",
        "0-1",
        True,
        ("classify", 0.702, 0.676, 0.727, 1500, m),
        ("TF-IDF + logistic regression", 0.711, 0.684, 0.737, 1500, b),
        ("majority class", 0.063, 0.058, 0.067, 1500, b),
    )
    writing = "docstring writing"
    chrf = figure(
        writing,
        "chrF",
        "0-100",
        True,
        ("base", 12.1, 11.0, 13.2, 150, m),
        ("instruct", 31.4, 28.9, 34.0, 150, m),
        ("prefer", 31.9, 29.4, 34.5, 150, m),
        ("nearest neighbour", 28.2, 25.5, 31.1, 150, b),
        ("constant", 14.9, 13.9, 16.0, 150, b),
    )
    rouge = figure(
        writing,
        "ROUGE-L",
        "0-100",
        True,
        ("base", 8.3, 7.1, 9.6, 150, m),
        ("instruct", 27.7, 24.9, 30.6, 150, m),
        ("prefer", 27.9, 25.1, 30.9, 150, m),
        ("nearest neighbour", 22.6, 19.6, 25.8, 150, b),
    )
    rule = figure(
        writing,
        "PEP 257 rule passed",
        "share",
        True,
        ("base", 0.113, 0.07, 0.17, 150, m),
        ("instruct", 0.733, 0.657, 0.797, 150, m),
        ("prefer", 0.907, 0.85, 0.944, 150, m),
        ("the true docstrings", 0.813, 0.743, 0.867, 150, b),
    )
    ends = figure(
        writing,
        "ends by itself",
        "share",
        True,
        ("base", 0.21, 0.15, 0.28, 150, m),
        ("instruct", 0.987, 0.953, 0.996, 150, m),
        ("prefer", 0.993, 0.963, 0.999, 150, m),
    )
    wins = figure(
        writing,
        "win rate by the PEP 257 rule",
        "share",
        True,
        ("prefer", 0.613, 0.557, 0.67, 150, m),
        ("instruct", 0.5, None, None, 150, b),
    )

    def paired(
        a: str, b: str, measure: str, difference: float, low: float, high: float, p: float, verdict: str
    ) -> dict[str, Any]:
        return {
            "a": a,
            "b": b,
            "measure": measure,
            "difference": difference,
            "low": low,
            "high": high,
            "p": p,
            "n": 150,
            "verdict": verdict,
        }

    comparisons = [
        paired(
            "base",
            "xz primed",
            "bits per byte",
            -0.189,
            -0.216,
            -0.161,
            0.0005,
            "base is better than xz primed by 0.189 bits per byte [0.161, 0.216], p < 0.001, n = 700",
        ),
        paired(
            "classify",
            "TF-IDF + logistic regression",
            "accuracy",
            -3.1,
            -5.0,
            -1.2,
            0.002,
            "TF-IDF + logistic regression is better than classify by 3.1 points [1.2, 5.0], p = 0.002, n = 1500",
        ),
        paired(
            "instruct",
            "nearest neighbour",
            "chrF",
            3.2,
            0.9,
            5.6,
            0.006,
            "instruct is better than nearest neighbour by 3.20 chrF [0.90, 5.60], p = 0.006, n = 150",
        ),
        paired(
            "prefer",
            "instruct",
            "chrF",
            0.5,
            -0.6,
            1.5,
            0.4,
            "prefer did not suffer against instruct: +0.50 chrF [-0.60, +1.50], "
            "the lower bound is above the margin of -1",
        ),
    ]
    return {
        "confidence": 0.95,
        "figures": [bits, order, accuracy, f1, chrf, rouge, rule, ends, wins],
        "comparisons": comparisons,
        "results": {},
    }


def samples(answer: str, prompt: str) -> list[dict[str, Any]]:
    return [
        {
            "kind": "answer",
            "prompt": prompt,
            "reference": "Compute shortest paths in the graph.",
            "outputs": {
                "base": "The function returns the the number of nodes in the\nthe the graph",
                "instruct": answer,
                "prefer": answer,
            },
        },
        {
            "kind": "answer",
            "prompt": "Describe in one line: read_text(self, encoding=None)",
            "reference": "Open the file in text mode, read it, and close the file.",
            "outputs": {
                "base": "",
                "instruct": "Read the text of the file.",
                "prefer": "Return the contents of the file as a string.",
            },
        },
        {
            "kind": "continuation",
            "prompt": "A graph is connected if",
            "reference": "there is a path between every pair of nodes.",
            "outputs": {"base": "the nodes of the graph are in the same component, and the edges are not."},
        },
    ]
