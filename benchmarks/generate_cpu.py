"""Generating on a CPU: ours against llama.cpp and transformers, the same 4-bit GGUF file, two threads.

    pip install xllamacpp transformers gguf
    python benchmarks/generate_cpu.py --rounds 3

Measured are decoding after a short prompt and after one of 512 tokens, reading that prompt, and eight requests at once.
Each side runs in a process of its own with its own library settings; rounds alternate. Before that, the answers of the
packed weights are compared with those of the float32 model, token by token: how often the likeliest token is the same.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHORT, LONG, NEW, MANY = 16, 512, 128, 8
SIDES = ("ours", "llama.cpp", "transformers-bfloat16", "transformers-float32")


def main() -> None:
    if sys.argv[1:2] == ["--side"]:
        side(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="a known name, or a .gguf file")
    parser.add_argument("--text", type=Path, default=Path("README.md"), help="to compare on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default=",".join(SIDES))
    args = parser.parse_args()

    import common
    import torch

    from tutelage.interchange.source import locate
    from tutelage.store.events import EventLog

    file = str(locate(args.model, EventLog()))
    agreement = compare(file, args.text.read_text(encoding="utf-8"))
    print(agreement, flush=True)
    names = args.sides.split(",")
    sides = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--side", name, file, str(torch.get_num_threads())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for name in names
    }  # fmt: skip
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for round_number in range(args.rounds + 1):
        for name, process in sides.items():
            assert process.stdin and process.stdout
            process.stdin.write("go\n")
            process.stdin.flush()
            made: dict[str, float] = json.loads(process.stdout.readline())
            print(f"{'warm-up' if round_number == 0 else round_number} {name:<22}", made, flush=True)
            for what, rate in made.items() if round_number else ():
                figures[name].setdefault(what, []).append(rate)
    for process in sides.values():
        process.communicate("end\n")
    summed = {name: {what: common.summary(rates) for what, rates in each.items()} for name, each in figures.items()}
    ours = {what: each["median"] for what, each in summed["ours"].items()}
    ratios = {
        name: {what: round(ours[what] / each["median"], 2) for what, each in sums.items()}
        for name, sums in summed.items() if name != "ours"
    }  # fmt: skip
    weights, rate = Path(file).stat().st_size, read_rate()
    result = {
        "agreement": agreement, "tokens_per_second": summed, "times_as_fast": ratios,
        "eight_at_once_to_one": round(ours["eight"] / ours["decode"], 2),
        "read_gb_per_second": round(rate / 1e9, 1),
        "share_of_bandwidth": round(ours["decode"] * weights / rate, 2),
    }  # fmt: skip
    common.finish("generate_cpu", result)


def read_rate() -> float:
    """Bytes per second at which the memory is read, by all threads: a sum over 400 MB, the best of several."""
    import torch

    numbers, best = torch.ones(100_000_000), 0.0
    for _ in range(5):
        begin = time.perf_counter()
        numbers.sum()
        best = max(best, 4e8 / (time.perf_counter() - begin))
    return best


def compare(file: str, text: str) -> dict[str, Any]:
    """How near the packed weights are to the float32 model: reading, and token by token as in decoding."""
    import torch

    import tutelage
    from tutelage.model.cache import KVCache
    from tutelage.model.lean import LeanDecoder

    exact, packed = tutelage.load(file), tutelage.load(file, weights="auto")
    ids = torch.tensor([exact.tokenizer.encode(text)[:700]])
    with torch.inference_mode():
        wanted = exact.model(ids)[0].log_softmax(-1)
        read = packed.model(ids)[0].log_softmax(-1)
        cache = KVCache.empty(packed.config, 1, 704, torch.float32, torch.device("cpu"))
        lean, rows = LeanDecoder(packed.model), []
        for at in range(ids.shape[1]):
            view = cache.view(0, 1, (at // 64 + 1) * 64, at)
            rows.append(lean.logits(ids[:, at : at + 1], torch.tensor([[at]]), view)[0].log_softmax(-1))
    found = {}
    for name, made in (("read", read), ("decoded", torch.stack(rows))):
        found[name] = {
            "top1": round(float((made.argmax(-1) == wanted.argmax(-1)).float().mean()), 4),
            "kl": round(float((wanted.exp() * (wanted - made)).sum(-1).mean()), 5),
        }
    return {**found, "tokens": ids.shape[1]}


def side(name: str, file: str, threads: str) -> None:
    """One side: for every line on standard input a line of figures, tokens per second."""
    draw = random.Random(0)
    short, long = ([draw.randrange(1000, 20000) for _ in range(count)] for count in (SHORT, LONG))
    if name == "ours":
        measure = _ours(file, short, long)
    elif name == "llama.cpp":
        measure = _llama_cpp(file, short, long, int(threads))
    else:
        measure = _transformers(file, short, long, int(threads), name.partition("-")[2])
    for line in sys.stdin:
        if line.strip() != "go":
            return
        print(json.dumps(measure()), flush=True)


def _ours(file: str, short: list[int], long: list[int]) -> Any:
    import tutelage  # isort: skip  (its settings of the libraries come before torch)
    from tutelage.inference.engine import Engine
    from tutelage.inference.sampling import Sampling

    lm = tutelage.load(file, weights="auto")

    def timed(prompt: list[int], rows: int) -> tuple[float, float]:
        """Seconds for the prompt with the first token, and for all tokens after that."""
        engine, begin = Engine(lm.model, ()), time.perf_counter()
        engine.add(prompt, [(row, Sampling(max_tokens=NEW + 1), row) for row in range(rows)])
        engine.step()  # reads it, and decodes once
        first = time.perf_counter()
        while engine.busy:
            engine.step()
        return first - begin, time.perf_counter() - first

    def measure() -> dict[str, float]:
        timed(short, 1)  # the other sides have had the processor's caches
        timed(long, 1)
        _, alone = timed(short, 1)
        read, after = timed(long, 1)
        _, eight = timed(short, MANY)
        # The first step decodes, too: one token less is left, and its time is taken from that of reading.
        count = NEW - 1
        return _rounded(decode=count / alone, decode_after_512=count / after, prefill=LONG / (read - after / count),
                        eight=MANY * count / eight)  # fmt: skip

    return measure


def _llama_cpp(file: str, short: list[int], long: list[int], threads: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx, params.n_parallel = MANY * 1024, MANY
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)

    def ask(prompt: list[int]) -> dict[str, float]:
        wanted = {"prompt": prompt, "n_predict": NEW, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        made = server.handle_completions(wanted)
        return (made if isinstance(made, dict) else json.loads(made))["timings"]  # type: ignore[no-any-return]

    def measure() -> dict[str, float]:
        ask(short), ask(long)  # the other sides have had the processor's caches
        alone, after = ask(short), ask(long)
        begin = time.perf_counter()
        with ThreadPoolExecutor(MANY) as pool:
            done = list(pool.map(ask, [short] * MANY))
        eight = time.perf_counter() - begin
        return _rounded(decode=alone["predicted_per_second"], decode_after_512=after["predicted_per_second"],
                        prefill=after["prompt_per_second"], eight=NEW * len(done) / eight)  # fmt: skip

    return measure


def _transformers(file: str, short: list[int], long: list[int], threads: int, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    path = Path(file)
    model = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=getattr(torch, dtype)
    ).eval()

    def timed(prompt: list[int], rows: int, count: int) -> float:
        begin = time.perf_counter()
        model.generate(
            torch.tensor([prompt] * rows), attention_mask=torch.ones(rows, len(prompt), dtype=torch.int64),
            max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0,
        )  # fmt: skip
        return time.perf_counter() - begin

    def measure() -> dict[str, float]:
        with torch.inference_mode():
            timed(short, 1, NEW), timed(long, 1, 1)  # the other sides have had the processor's caches
            one, read = timed(short, 1, 1), timed(long, 1, 1)
            alone, after, eight = timed(short, 1, NEW), timed(long, 1, NEW), timed(short, MANY, NEW)
            first_of_eight = timed(short, MANY, 1)
        count = NEW - 1
        return _rounded(decode=count / (alone - one), decode_after_512=count / (after - read), prefill=LONG / read,
                        eight=MANY * count / (eight - first_of_eight))  # fmt: skip

    return measure


def _rounded(**rates: float) -> dict[str, float]:
    return {name: round(rate, 1) for name, rate in rates.items()}


if __name__ == "__main__":
    main()
