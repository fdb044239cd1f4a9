"""Speculation: the same answers with and without, by prompt lookup or a draft model, and what it saves.

    python benchmarks/speculation_cpu.py --rounds 3
    python benchmarks/speculation_cpu.py --draft MODEL
    python benchmarks/speculation_cpu.py --pair stories.txt --save DIR

With --pair a model of ten million parameters and a draft model of half a million are raised on a text first (minutes),
and beginnings of what of it they have not seen are continued.

Asked are a word-for-word copy of a text, an edit of it, a summary, and a story that repeats nothing. First the answers
are compared token by token; then both sides alternate in one process. Seconds are those of the clock from
the first token on; beside them stand the processor's, which other work on the machine does not stretch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TASKS = {
    "copy": "Copy this text word for word:\n\n{text}",
    "edit": "Write this text again, with every full stop made an exclamation mark:\n\n{text}",
    "summary": "Summarise this text in a few sentences, with its own words:\n\n{text}",
    "story": "Tell me a story about a lighthouse.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--draft", help="a smaller model; default: prompt lookup")
    parser.add_argument(
        "--text", type=Path, default=Path("README.md"), help="whose first 1,500 characters are asked about"
    )
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--together", type=int, default=1, help="answers at once")
    parser.add_argument("--pair", type=Path, help="raise a model and its draft on this text")
    parser.add_argument("--minutes", type=float, default=6, help="for raising both")
    parser.add_argument("--save", type=Path, help="where the two are kept, and taken from if they are there")
    args = parser.parse_args()

    import tutelage  # isort: skip  (its settings of the libraries come before torch)
    import common

    from tutelage.inference.sampling import Sampling

    if args.pair:
        lm, draft, prompts = _pair(args.pair, args.minutes * 60, args.save, args.weights)
    else:
        lm = tutelage.load(args.model, weights=args.weights)
        draft = tutelage.load(args.draft, weights=args.weights) if args.draft else None
        text = " ".join(args.text.read_text(encoding="utf-8").split())[:1500]
        prompts = {
            name: lm.chat_ids([{"role": "user", "content": asked.format(text=text)}]) for name, asked in TASKS.items()
        }
    found: dict[str, Any] = {}
    for name, prompt in prompts.items():
        for temperature in (0.0, 0.7):
            how = Sampling(max_tokens=args.tokens, temperature=temperature, seed=1)

            def timed(speculation: Any, of: Any = lm, prompt: list[int] = prompt, how: Any = how) -> dict[str, Any]:
                of.speculation = speculation
                made: list[list[int]] = [[] for _ in range(args.together)]
                clock = processor = 0.0
                for piece in of.stream([prompt] * args.together, how):
                    made[piece.row].append(piece.id)
                    if not clock:  # the prompt is read: what follows is what speculation is about
                        clock, processor = time.perf_counter(), time.process_time()
                seconds, cpu = time.perf_counter() - clock, time.process_time() - processor
                return {"seconds": seconds, "cpu": cpu, "ids": made, "counts": speculation}

            plain, fast = timed(None), timed(lm.speculate(draft))
            if plain["ids"] != fast["ids"]:
                raise SystemExit(f"{name} at temperature {temperature}: another answer with speculation")
            rounds = [(timed(None), timed(lm.speculate(draft))) for _ in range(args.rounds)]
            count, drafts = sum(map(len, fast["ids"])), fast["counts"]
            ratios = {
                what: [round(one[what] / other[what], 2) for one, other in rounds] for what in ("seconds", "cpu")
            }  # fmt: skip
            found[f"{name} {temperature:g}"] = row = {
                "tokens": count, "drafted": drafts.drafted, "accepted": drafts.accepted,
                "share": round(drafts.accepted / max(1, drafts.drafted), 2),
                "of_tokens": round(drafts.accepted / count, 2),
                "plain_tokens_per_second": round(count / statistics.median(one["seconds"] for one, _ in rounds), 1),
                "tokens_per_second": round(count / statistics.median(one["seconds"] for _, one in rounds), 1),
                "times_as_fast": common.summary(ratios["seconds"]), "times_less_cpu": common.summary(ratios["cpu"]),
            }  # fmt: skip
            if draft is not None:
                row |= _limits(timed, plain["ids"], draft, args.rounds)
            print(f"{name} {temperature:g}", row, flush=True)
    common.finish("speculation_cpu", found)


def _limits(timed: Callable[..., dict[str, Any]], known: list[list[int]], draft: Any, rounds: int) -> dict[str, Any]:
    """What a draft model can save at best, in seconds of the processor: `draft_cost` is that of a token of its own to
    one of the model; `free_drafts` how many times less the model takes with drafts that cost nothing and are all right;
    `at_best` about what is left with the drafts of this model if all were right."""
    from tutelage.inference.speculation import Speculation

    costs, free, best = [], [], []
    for _ in range(rounds):
        of_model, of_draft = (timed(None, *of) for of in ((), (draft,)))
        right = timed(Speculation(lambda prompt: _Known(known[0])))
        tokens = sum(map(len, known)) - len(known)
        each = of_draft["cpu"] / (sum(map(len, of_draft["ids"])) - len(known))
        costs.append(each / (of_model["cpu"] / tokens))
        free.append(of_model["cpu"] / right["cpu"])
        best.append(of_model["cpu"] / (right["cpu"] + each * right["counts"].drafted))
    named = {"draft_cost": costs, "free_drafts": free, "at_best": best}
    return {name: round(statistics.median(values), 2) for name, values in named.items()}


class _Known:
    """Drafts what comes, which is known."""

    def __init__(self, answer: list[int]) -> None:
        self._answer, self._at = answer, 0

    def take(self, token: int) -> None:
        self._at += 1

    def draft(self, most: int) -> list[int]:
        return self._answer[self._at : self._at + most]


def _pair(text: Path, seconds: float, place: Path | None, weights: str) -> tuple[Any, Any, dict[str, list[int]]]:
    """A model, its draft model, and prompts: beginnings of three passages that both have not seen."""
    from draft_pair import HELD_OUT, pair

    import tutelage

    if place is None or not (place / "draft").exists():
        lm, draft, _ = pair(text, seconds)
        place = place or Path(tempfile.mkdtemp())
        lm.save(place / "target")
        draft.save(place / "draft")
    lm, draft = (tutelage.load(str(place / name), weights=weights) for name in ("target", "draft"))
    whole = text.read_text(encoding="utf-8")
    held_out = whole[int(len(whole) * (1 - HELD_OUT)) :]
    starts = [len(held_out) * part // 4 for part in (1, 2, 3)]
    return lm, draft, {f"passage {at}": lm.prompt_ids(held_out[start : start + 300]) for at, start in enumerate(starts)}


if __name__ == "__main__":
    main()
