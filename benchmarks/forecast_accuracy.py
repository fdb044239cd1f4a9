"""How far off are forecasts? Five recipes, each forecast, run in a process of its own, and compared with what came.

    python benchmarks/forecast_accuracy.py [--text my_texts/ other.txt] [--set others] [--scale 1.0]

What little is fitted of memory was fitted to the first five; `--set fresh` and `--set others` run five others each. The
recipes differ in width, depth, vocabulary, context, batch, optimizer, length and stages; those with a text of their own
take it from `--text` in turn (default: all the documentation of this Python). Aims: time within 20 %, memory within
15 %, bits per byte in the stated range for four of five. `--scale` shortens every training; memory peaks early. For
times the machine should be quiet: a forecast is made from what it does in a second. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import finish

TIME, MEMORY, HELD = 0.20, 0.15, 4  # the aims: largest median error of time, of memory, and of five how many in range
CORPUS, EVALUATED = {"measure_selection": False}, {"prompts": 40, "bootstrap": 200}
RECIPES: tuple[dict[str, Any], ...] = (
    {"tokenizer": {"vocab_size": 2048}, "pretrain": {"training": {"steps": 500}}, "evaluate": EVALUATED},
    {"tokenizer": {"vocab_size": 1024}, "model": {"width": 64},
     "pretrain": {"context_length": 128, "training": {"steps": 900, "batch_rows": 16}}},
    {"tokenizer": {"vocab_size": 4096}, "model": {"width": 96},
     "pretrain": {"training": {"steps": 500, "batch_rows": 8}}},
    {"tokenizer": {"vocab_size": 2048}, "model": {"width": 192},
     "pretrain": {"training": {"steps": 250, "learning_rate": 4.5e-3}}},
    {"tokenizer": {"vocab_size": 8192}, "model": {"width": 64}, "pretrain": {"training": {"steps": 400}},
     "evaluate": EVALUATED,
     "finetune": {"classify": {"method": "classify", "task": "labels", "min_per_label": 40, "min_heldout": 5,
                               "max_per_label": 100},
                  "instruct": {"method": "instruct", "task": "docstrings", "max_rows": 1500}}},
)  # fmt: skip
FRESH: tuple[dict[str, Any], ...] = (
    {"tokenizer": {"vocab_size": 3000}, "model": {"width": 160},
     "pretrain": {"context_length": 128, "training": {"steps": 300, "batch_rows": 12}}, "evaluate": EVALUATED},
    {"tokenizer": {"vocab_size": 512}, "model": {"width": 48},
     "pretrain": {"context_length": 512, "training": {"steps": 500, "batch_rows": 4}}},
    {"tokenizer": {"vocab_size": 1500}, "model": {"width": 112},
     "pretrain": {"context_length": 256, "training": {"steps": 400, "batch_rows": 16, "optimizer": "adamw"}}},
    {"tokenizer": {"vocab_size": 6000, "method": "unigram"}, "model": {"width": 256},
     "pretrain": {"context_length": 256, "training": {"steps": 120, "batch_rows": 4, "learning_rate": 3e-3}}},
    {"tokenizer": {"vocab_size": 1024}, "model": {"width": 80},
     "pretrain": {"context_length": 384, "training": {"steps": 300}}, "evaluate": EVALUATED,
     "finetune": {"instruct": {"method": "instruct", "task": "docstrings", "max_rows": 1000}}},
)  # fmt: skip
OTHERS: tuple[dict[str, Any], ...] = (
    {"tokenizer": {"vocab_size": 16384}, "model": {"width": 192},
     "pretrain": {"context_length": 1024, "training": {"steps": 150, "batch_rows": 2, "optimizer": "lion",
                                                       "learning_rate": 1e-3}}},
    {"tokenizer": {"vocab_size": 320, "method": "byte"}, "model": {"width": 32},
     "pretrain": {"context_length": 64, "training": {"steps": 600, "batch_rows": 48, "optimizer": "adamw"}}},
    {"tokenizer": {"vocab_size": 4096}, "model": {"width": 256},
     "pretrain": {"context_length": 512, "training": {"steps": 60, "batch_rows": 8, "learning_rate": 3e-3}}},
    {"tokenizer": {"vocab_size": 2000}, "model": {"width": 128},
     "pretrain": {"context_length": 256, "training": {"steps": 200, "batch_rows": 24, "accumulation": 2,
                                                      "optimizer": "soap", "learning_rate": 3e-3}}},
    {"tokenizer": {"vocab_size": 700}, "model": {"width": 96},
     "pretrain": {"context_length": 192, "training": {"steps": 300, "batch_rows": 10}}, "evaluate": EVALUATED,
     "finetune": {"classify": {"method": "classify", "task": "labels", "min_per_label": 40, "min_heldout": 5,
                               "max_per_label": 60, "lora": {"rank": 8}, "training": {"optimizer": "adamw"}},
                  "instruct": {"method": "instruct", "task": "docstrings", "max_rows": 800}}},
)  # fmt: skip
SETS = {"fitted": RECIPES, "fresh": FRESH, "others": OTHERS}


def data_of(number: int, source: str, scale: float, which: str) -> dict[str, Any]:
    """Recipe `number` as data, on this text."""
    from tutelage.pretraining.sizing import model_of

    data = json.loads(json.dumps(SETS[which][number]))
    width = data.get("model", {}).pop("width", 128)
    vocabulary = data.get("tokenizer", {}).get("vocab_size", 2048)
    training = data["pretrain"]["training"]
    training["steps"] = max(20, round(scale * training["steps"]))
    longest = {"fitted": {}, "fresh": {"max_position_embeddings": 512}}.get(which, {"max_position_embeddings": 1024})
    model = {**model_of(width, vocabulary), **longest}
    name = f"forecast-{which}-{number}"
    return {"evaluate": None, **data, "name": name, "corpus": {**CORPUS, "source": source},
            "model": model}  # fmt: skip


def measured(number: int, source: str, scale: float, which: str, out: Path) -> list[dict[str, Any]]:
    """Forecast, run, and every figure beside its fact."""
    from tutelage.cli.ahead import look_ahead
    from tutelage.recipe.config import Recipe
    from tutelage.recipe.run import run_recipe
    from tutelage.report.collect import collect
    from tutelage.report.forecasts import forecasts

    recipe = Recipe.parse(data_of(number, source, scale, which))
    root = out / recipe.name
    shutil.rmtree(root, ignore_errors=True)  # nothing from the cache: it would not be forecast
    root.mkdir(parents=True)
    ahead = look_ahead(recipe, root)
    run = run_recipe(recipe, root, forecast=ahead.outlook.kept)
    return [{**asdict(one), "off": one.off, "held": one.held} for one in forecasts(collect(run.path))]


def summary(found: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """By recipe the error of the whole time, of the largest memory and of the bits per byte; and over all of them."""
    recipes = []
    for rows in found:
        times = [row for row in rows if row["what"] == "time"]
        memory = [row for row in rows if row["what"] == "memory"]
        bits = next((row for row in rows if row["what"] == "bits per byte"), None)
        pace = next((row for row in rows if row["what"] == "tokens per second" and row["stage"] == "base"), None)
        recipes.append({
            "time_off": sum(row["fact"] for row in times) / sum(row["middle"] for row in times) - 1,
            "memory_off": max(row["fact"] for row in memory) / max(row["middle"] for row in memory) - 1,
            "pace_off": pace["off"] if pace else None,
            "bits": None if bits is None else {key: bits[key] for key in ("low", "middle", "high", "fact", "held")},
            "stages": {row["stage"]: [round(row["middle"], 1), round(row["fact"], 1)] for row in times},
        })  # fmt: skip
    held = sum(bool(one["bits"] and one["bits"]["held"]) for one in recipes)
    time = [abs(one["time_off"]) for one in recipes]
    memory_off = [abs(one["memory_off"]) for one in recipes]
    return {
        "recipes": recipes,
        "time_median": statistics.median(time), "time_largest": max(time),
        "memory_median": statistics.median(memory_off), "memory_largest": max(memory_off),
        "bits_held": held, "bits_of": len(recipes),
        "aims_met": max(time) <= TIME and max(memory_off) <= MEMORY and held >= min(HELD, len(recipes)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--set", choices=list(SETS), default="fitted")
    parser.add_argument("--fresh", action="store_const", dest="set", const="fresh", help="the same as --set fresh")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--recipes", default=",".join(map(str, range(len(RECIPES)))))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/forecast"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    texts = iter(given.text * len(RECIPES) or ["python"] * len(RECIPES))
    sources = [next(texts) if number in (1, 2, 3) else "python" for number in range(len(RECIPES))]
    if given.one is not None:
        print(json.dumps(measured(given.one, sources[given.one], given.scale, given.set, given.out)))
        return
    found = []
    for number in map(int, given.recipes.split(",")):
        command = [sys.executable, __file__, "--one", str(number), "--scale", str(given.scale), "--out", str(given.out)]
        command += ["--set", given.set]
        made = subprocess.run([*command, "--text", *given.text], capture_output=True, text=True)  # memory of its own
        if made.returncode:
            sys.exit(made.stderr)
        found.append(json.loads(made.stdout.splitlines()[-1]))
        for row in found[-1]:
            bounds = f" [{row['low']:.4g}, {row['high']:.4g}]" if row["low"] is not None else ""
            told = f"{row['middle']:12.4g}{bounds}  fact {row['fact']:12.4g}  {row['off']:+.0%}"
            print(f"{number} {row['stage']:<10} {row['what']:<18} {told}", flush=True)
    finish("forecast_accuracy", summary(found))


if __name__ == "__main__":
    main()
