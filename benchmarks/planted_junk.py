"""Good text with 30 % of junk, copies and text about other things: what selection recovers, and what a model gains.

    python benchmarks/planted_junk.py --good BOOKS/ --off-topic REVIEWS/ [--megabytes 3] [--seeds 3] [--steps 400]

Each is a folder or file of text. Of the good text 300 passages are given as examples, and some of its files (or, where
there are few, its last tenth) are held out, clean, for the measurement. The rest is the good part of the mix (70 % of
its bytes); to it come junk (menus, advertisements, and good passages with their words shuffled), copies of good
passages with one word in fifty changed, and passages of the other folder, 10 % each. The pipeline gets the mix and the
examples, and is not told how much of it is junk; its budget (`--keep`) is stated. Texts keep their form
(`prose: false`), since the held-out text has it too.

Trained are the same model, for the same steps, on the selection, on the raw mix, and on a random choice from the mix of
the size of the selection, under each seed; all with the tokenizer of the raw mix. Bits per byte of the clean held-out
text are paired by seed and passage and judged by the statistics of `tutelage ablate`.

`--forms` also trains on what `prose: true` selects, and measures a model of each kind on the held-out text as it is,
with its lines joined, and as the prose step makes it: a model does best on text of the form that it was trained on.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import finish

from tutelage.ablation.judge import Scores, paired, scores_of
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document, document_id, read_documents, write_documents
from tutelage.corpus.readers import read_file
from tutelage.corpus.selection.config import SelectConfig
from tutelage.corpus.sentences import word_set
from tutelage.corpus.sources import input_files
from tutelage.corpus.stage import build_corpus
from tutelage.corpus.steps import reduced
from tutelage.evaluation.language import rolling
from tutelage.inference.language_model import load
from tutelage.pretraining.spec import Pretraining
from tutelage.pretraining.stage import pretrain
from tutelage.store.events import EventLog
from tutelage.store.files import write_json
from tutelage.store.jsonl import write_json_lines
from tutelage.store.stage import Job
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.stage import train_tokenizer

EXAMPLES = 300
PART = 0.1 / 0.7  # of each kind of planted text, of the good bytes: 10 % of the mix
PASSAGE = 1500  # characters
HELD_BYTES = 2e5
MENU = word_set("home about contact login register cart shop categories newest popular sitemap privacy terms help faq")
SPAM = word_set(
    "buy cheap click now free offer best price sale discount limited deal win bonus order today shipping the"
)
MODEL = {"hidden_size": 64, "intermediate_size": 176, "num_layers": 3, "num_heads": 4, "num_kv_heads": 2,
         "max_position_embeddings": 128}  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """The mix, its documents labelled by what they are; examples of good text; clean text held out."""

    mix: list[Document]
    examples: list[str]
    heldout: list[Document]


def plant(good: str, off_topic: str, megabytes: float, chance: random.Random) -> Planted:
    """`megabytes`: of good text in the mix."""
    clean, held = held_apart(passages(good))
    chance.shuffle(clean)
    examples, clean = [one.text for one in clean[:EXAMPLES]], upto(clean[EXAMPLES:], megabytes * 1e6)
    size = PART * count_bytes(clean)
    others = passages(off_topic)
    chance.shuffle(others)
    copies = upto([edited(one, chance) for one in chance.sample(clean, len(clean))], size)
    mix = [
        *labelled(clean, "good"),
        *labelled(upto([junk(one, chance) for one in chance.sample(clean, len(clean))], size), "junk"),
        *labelled(copies, "copy"),
        *labelled(upto(others, size), "off topic"),
    ]
    chance.shuffle(mix)
    return Planted(mix, examples, upto(held, HELD_BYTES))


def count_bytes(documents: Sequence[Document]) -> int:
    return sum(len(one.text.encode("utf-8")) for one in documents)


def passages(source: str) -> list[Document]:
    config = CorpusConfig(source=source, max_characters=PASSAGE)
    found = [one for file in input_files(source) for one in read_file(file, config).documents]
    return [replace(one, whole=None) for one in found if len(one.text) > 200]


def held_apart(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """Whole files are held out where there are ten of them or more, else the last tenth of the passages."""
    files = sorted({one.source for one in documents})
    if len(files) < 10:
        edge = len(documents) * 9 // 10
        return documents[:edge], documents[edge:]
    held = set(files[::10])
    return ([one for one in documents if one.source not in held], [one for one in documents if one.source in held])


def upto(documents: Sequence[Document], size: float) -> list[Document]:
    kept: list[Document] = []
    for one in documents:
        size -= len(one.text.encode("utf-8"))
        if size < 0:
            break
        kept.append(one)
    return kept


def labelled(documents: Sequence[Document], label: str) -> list[Document]:
    """With the label as what it is, and as name whose content it has: a copy is named after its original."""
    made = []
    for one in documents:
        own = document_id(label, None, one.text)
        made.append(replace(one, id=own, label=label, name=one.name if label == "copy" else own))
    return made


def edited(one: Document, chance: random.Random) -> Document:
    """The same passage with one word in fifty changed; it remembers whose copy it is."""
    words = one.text.split(" ")
    for at in chance.sample(range(len(words)), max(1, len(words) // 50)):
        words[at] = chance.choice(words)
    return replace(one.with_text(" ".join(words)), name=document_id("good", None, one.text))


def junk(one: Document, chance: random.Random) -> Document:
    """A third each: menus, advertisements, and the words of a good passage in any order."""
    kind = chance.randrange(3)
    size = max(20, len(one.text.split()))
    if kind == 0:
        return one.with_text(
            "\n".join(" ".join(chance.choices(sorted(MENU), k=chance.randint(2, 6))) for _ in range(size // 4))
        )
    if kind == 1:
        return one.with_text(" ".join(chance.choices(sorted(SPAM), k=size)).capitalize() + ".")
    return one.with_text(" ".join(chance.sample(one.text.split(), len(one.text.split()))))


def select(planted: Planted, keep: float, out: Path, prose: bool = False) -> tuple[list[Document], dict[str, Any]]:
    """What the corpus stage makes of the mix, and its card's steps."""
    out.mkdir(parents=True, exist_ok=True)
    rows = ({"text": one.text, "name": one.name, "label": one.label} for one in planted.mix)
    write_json_lines(out / "mix.jsonl", rows)
    write_json_lines(out / "good.jsonl", ({"text": text} for text in planted.examples))
    config = CorpusConfig(
        source=str(out / "mix.jsonl"),
        prose=prose, heldout=0.01, measure_selection=False,
        select=SelectConfig(good=str(out / "good.jsonl"), keep=keep, diversity=0.1),
    )  # fmt: skip
    begin = time.process_time()
    build_corpus(config, out / "selected", EventLog(), seed=1, workers=1)
    seconds = time.process_time() - begin
    sides = [read_documents(out / "selected" / f"{side}.parquet") for side in ("train", "heldout")]
    return [one for side in sides for one in side], {"cpu_seconds": round(seconds, 1)}


def recovered(kept: Sequence[Document], planted: Planted) -> dict[str, float]:
    """precision: of what is kept, the share that is good and not there twice. recall: of the good passages, the share
    that is kept, as they were or as a copy. By documents."""
    names = Counter(one.label for one in kept)
    useful = len({one.name for one in kept if one.label in ("good", "copy")})
    offered = Counter(one.label for one in planted.mix)
    return {
        "precision": round(useful / max(1, len(kept)), 4),
        "recall": round(useful / max(1, offered["good"]), 4),
        **{f"{label} kept": round(names[label] / count, 4) for label, count in sorted(offered.items()) if label},
    }


def bits(train: list[Document], heldout: list[Document], tok: Path, out: Path, steps: int, seed: int) -> list[float]:
    """Bits for each held-out passage of a small model trained on `train`; from `out` where they are there already."""
    corpus, done = out / "corpus", out / f"bits-{steps}.json"
    if done.is_file():
        found: list[float] = json.loads(done.read_text())
        return found
    corpus.mkdir(parents=True, exist_ok=True)
    write_documents(corpus / "train.parquet", train)
    write_documents(corpus / "heldout.parquet", heldout)
    training = {"steps": steps, "batch_rows": 8, "warmup_steps": 20, "threads": 1, "log_every": 100,
                "validate_every": 0, "layers_every": 0, "checkpoint_seconds": 1000}  # fmt: skip
    config = Pretraining.parse({"model": MODEL, "pretrain": {"context_length": 128, "training": training}})
    for path in (out / "model", out / "work"):
        path.mkdir(exist_ok=True)
    pretrain(
        Job("base", config, {"corpus": corpus, "tokenizer": tok}, out / "model", out / "work", EventLog(), seed, 1)
    )
    nats = rolling(load(out / "model"), "held-out text", [one.text for one in heldout], 16, EventLog())
    found = [-value / math.log(2) for value in nats]
    write_json(done, found)
    return found


def by_form(models: dict[str, Path], heldout: list[Document]) -> dict[str, dict[str, float]]:
    """Bits per byte of each model on the held-out text in three forms."""
    forms = {
        "as it is": [one.text for one in heldout],
        "lines joined": [re.sub(r"(?<!\n)\n(?!\n)", " ", one.text) for one in heldout],
        "as the prose step makes it": [reduced(one, frozenset(), english=False).text for one in heldout],
    }
    found: dict[str, dict[str, float]] = {form: {} for form in forms}
    for name, place in models.items():
        for form, texts in forms.items():
            some = [text for text in texts if text]
            nats = sum(rolling(load(place), "held-out text", some, 16, EventLog()))
            found[form][name] = round(-nats / math.log(2) / sum(len(text.encode("utf-8")) for text in some), 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", required=True)
    parser.add_argument("--off-topic", required=True)
    parser.add_argument("--megabytes", type=float, default=3.0)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.85, 0.7, 0.95])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--forms", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/planted"))
    options = parser.parse_args()
    chance = random.Random(1)
    planted = plant(options.good, options.off_topic, options.megabytes, chance)
    print(f"mix: {dict(Counter(one.label for one in planted.mix))}, {count_bytes(planted.mix):,} bytes; "
          f"{len(planted.heldout)} passages held out", flush=True)  # fmt: skip
    result: dict[str, Any] = {"recovered": {}}
    selection: list[Document] = []
    for keep in options.keep:
        kept, told = select(planted, keep, options.out / f"keep-{keep:g}")
        selection = selection or kept
        result["recovered"][keep] = {**recovered(kept, planted), **told, "bytes": count_bytes(kept)}
        print(f"keep {keep:g}: {result['recovered'][keep]}", flush=True)
    shuffled = chance.sample(planted.mix, len(planted.mix))
    arms = {"raw mix": planted.mix, "random choice": upto(shuffled, count_bytes(selection)), "selection": selection}
    first = f"{options.keep[0]:g}"
    places = {"raw mix": "raw-mix", "random choice": f"random-{first}", "selection": f"selection-{first}"}
    whole = options.out / "raw"
    whole.mkdir(parents=True, exist_ok=True)
    write_documents(whole / "train.parquet", planted.mix)
    write_documents(whole / "heldout.parquet", planted.heldout)
    train_tokenizer(TokenizerConfig(vocab_size=2048), whole, options.out / "tokenizer", EventLog(), 1)
    sizes = [len(one.text.encode("utf-8")) for one in planted.heldout]
    scores: dict[str, Scores] = {}
    for name, documents in arms.items():
        runs = []
        for seed in range(1, options.seeds + 1):
            place = options.out / places[name] / str(seed)
            runs.append(bits(documents, planted.heldout, options.out / "tokenizer", place, options.steps, seed))
            print(f"{name}, seed {seed}: {sum(runs[-1]) / sum(sizes):.4f} bits per byte", flush=True)
        scores[name] = scores_of(runs, sizes, None)
    result["bits_per_byte"] = {name: [round(float(one), 4) for one in of.per_byte] for name, of in scores.items()}
    result["selection_against"] = {}
    for name in ("raw mix", "random choice"):
        one = paired(scores["selection"], scores[name], options.seeds, 0.01 * float(scores[name].per_byte.mean()), 2)
        said = {"difference": one.difference, "low": one.low, "high": one.high, "p": one.p, "outcome": one.outcome}
        result["selection_against"][name] = said
        print(f"selection against {name}: {said}")
    if options.forms:
        kept, _ = select(planted, options.keep[0], options.out / f"prose-{first}", prose=True)
        result["recovered"]["prose"] = recovered(kept, planted)
        place = options.out / f"selection-prose-{first}" / "1"
        bits(kept, planted.heldout, options.out / "tokenizer", place, options.steps, 1)
        models = {name: options.out / places[name] / "1" / "model" for name in ("raw mix", "selection")}
        result["forms"] = by_form({**models, "selection, prose": place / "model"}, planted.heldout)
        print(f"by the form of the held-out text: {result['forms']}", flush=True)
    finish("planted_junk", result)


if __name__ == "__main__":
    main()
