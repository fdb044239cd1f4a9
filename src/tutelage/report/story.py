"""The head of the report: what happened, stage by stage in a sentence, and the figures that count."""

from __future__ import annotations

import re
import time
from typing import Any

from tutelage.report import format as f
from tutelage.report.blocks import Block, Cell, mark, table
from tutelage.report.collect import Run, Stage
from tutelage.report.figures import (
    ACCURACY,
    BITS,
    CHRF,
    ENDS,
    F1,
    MODELS,
    ORDER,
    REFERENCE,
    ROUGE,
    RULE,
    WIN,
    Figure,
    best,
    compare,
)  # fmt: skip

_FINE = ("done", "finished", "complete", "completed", "ran", "ok", "succeeded")
STATUS_WORDS = {
    "ran": "ran",
    "cached": "from cache",
    "skipped": "skipped",
    "failed": "failed",
    "interrupted": "interrupted",
    "pending": "not reached",
    "absent": "not in this run",
}
_VERDICT_WORDS = {"better": "better than", "worse": "worse than", "not resolved": "not distinguishable from"}


def headline(run: Run) -> list[tuple[str, str]]:
    """Date, machine and total time, as far as known."""
    machine = machine_of(run)
    started, ended = run.record.get("started"), run.record.get("ended")
    return [
        (name, value)
        for name, value in (
            ("Started", when(started)),
            ("Total time", f.duration(total_seconds(run, started, ended))),
            ("Machine", machine_text(machine)),
            ("Seed", f.number(run.config("seed")) if run.config("seed") is not None else ""),
            ("Status", "" if run.status in _FINE else run.status),
        )
        if value and value != f.NONE
    ]


def lead(run: Run) -> str:
    """The run in one or two sentences."""
    card = run.stage("corpus").json("card.json")
    parameters = parameters_of(run)
    kept = (card.get("train") or {}).get("documents") if isinstance(card.get("train"), dict) else None
    source = source_text(run, card)
    begin = f"From {f.plural(int(kept), 'document')} of {source}" if f.is_number(kept) else ""
    model = f"a decoder of {f.compact(parameters)} parameters" if parameters else "a small decoder"
    done = [stage.name for stage in run.stages.values() if stage.done]
    adopted = run.stage("pretrain").adopted
    life = ["adopted" if word == "pretrained" and adopted else word for name, word in _LIFE if name in done]
    if not life:
        return f"{begin} were selected." if begin else ""
    sentence = f"{model} was {_listing(life)}"
    sentence = f"{begin}, {sentence}." if begin else f"{sentence[0].upper()}{sentence[1:]}."
    cached = [stage for stage in run.stages.values() if stage.status == "cached"]
    if cached and len(cached) == len(done):
        sentence += " Every stage came from the cache: nothing had changed since it was made."
    elif cached:
        sentence += f" {f.plural(len(cached), 'stage')} of {len(run.stages)} came from the cache."
    return sentence


_LIFE = (
    ("pretrain", "pretrained"),
    ("classify", "finetuned as a classifier"),
    ("instruct", "taught to follow instructions"),
    ("prefer", "tuned to preferences"),
)


def verdicts(run: Run) -> list[Block]:
    """One row per stage: title, status and a sentence."""
    makers = {
        "corpus": _corpus, "tokenizer": _tokenizer, "pretrain": _pretrain, "classify": _classify,
        "baselines": _baselines, "instruct": _instruct, "pairs": _pairs, "prefer": _prefer, "evaluate": _evaluate,
    }  # fmt: skip
    rows = []
    for stage in run.stages.values():
        maker = makers.get(stage.name)
        sentence = maker(run, stage) if maker and stage.done else ""
        rows.append(
            {
                "name": stage.name,
                "title": stage.title,
                "status": stage.status,
                "status_text": STATUS_WORDS.get(stage.status, stage.status),
                "sentence": sentence or status_sentence(stage),
                "time": f.duration(stage.seconds) if stage.status == "ran" else "",
            }
        )
    return rows


def status_sentence(stage: Stage) -> str:
    """What to say of a stage that has no result of its own to show."""
    why = stage.why.rstrip(".") + "." if stage.why else ""
    if stage.status == "skipped":
        return f"Skipped: {why}" if why else "Skipped."
    if stage.status == "failed":
        return f"Failed: {why}" if why else "Failed."
    if stage.status == "interrupted":
        steps = max((s for row in stage.curve if f.is_number(s := row.get("step"))), default=None)
        reached = f" after step {f.number(steps)}" if steps is not None else ""
        return f"Interrupted{reached}. The same command goes on from the last checkpoint."
    if stage.status == "pending":
        return "Not reached."
    if stage.status == "absent":
        return "Not part of this run."
    if stage.status == "cached":
        return "Taken from the cache."
    return "Done."


def glance(run: Run) -> Block:
    """Headline figures: ours, the strongest rival, who is ahead."""
    rows: list[list[Cell]] = []
    for measure, who, label, rivals in HEADLINES:
        ours = find(run, measure, who)
        if ours is None:
            continue
        against = rival(run, ours, rivals)
        row: list[Cell] = [label, ours.name, {"text": ours.show(), "mark": "ours"},
                           {"text": ours.interval or f.NONE, "mark": "nowrap"}]  # fmt: skip
        if against is None:
            rows.append([*row, f.NONE, f.NONE, f.NONE])
        else:
            verdict = compare(ours, against, run.comparisons)
            rows.append([*row, against.name, against.show(), mark(verdict, verdict)])
    caption = (
        "95 % intervals. The verdict comes from a paired comparison on the same items where there is one, else from "
        "the intervals; “not resolved” means that these items cannot tell the two apart."
    )
    return table(["Figure", "Model", "Value#", "Interval", "Strongest rival", "Its value#", "Verdict"], rows, caption)


# measure, model, label, rivals: models by name, or all baselines
HEADLINES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (BITS, "base", "Bits per byte, held out", ("baselines",)),
    (ORDER, "base", "Word order told apart", ("baselines",)),
    (ACCURACY, "classify", "Classification accuracy", ("baselines",)),
    (F1, "classify", "Classification macro-F1", ("baselines",)),
    (CHRF, "instruct", "Instruction, chrF", ("baselines", "base")),
    (ROUGE, "instruct", "Instruction, ROUGE-L", ("baselines", "base")),
    (ENDS, "instruct", "Answers that end by themselves", ("base",)),
    (RULE, "prefer", "Answers that keep the rule", ("instruct",)),
    (WIN, "prefer", "Win rate against the instructed model", ("instruct",)),
    (CHRF, "prefer", "chrF after preference tuning", ("instruct",)),
)


def find(run: Run, measure: str, who: str) -> Figure | None:
    """The figure of that measure and owner; a stage's own metric where there is no evaluation yet."""
    for figure in run.figures:
        if figure.measure == measure and figure.who == who:
            return figure
    stage = run.stage("pretrain" if who == "base" else who)
    own = [v for key, v in stage.metrics.items() if key.endswith(_key(measure)) and f.is_number(v)]
    unit, higher = _OWN.get(measure, ("", True))
    return Figure(stage.name, measure, who, float(own[0]), unit=unit, higher_is_better=higher) if own else None


_OWN = {BITS: (BITS, False), ACCURACY: ("share", True), F1: ("0-1", True), CHRF: ("0-100", True), ENDS: ("share", True)}


def _key(measure: str) -> str:
    return measure.lower().replace(" ", "_").replace("-", "_")


def rival(run: Run, ours: Figure, rivals: tuple[str, ...]) -> Figure | None:
    """The strongest of the named rivals of a figure."""
    same = [g for g in run.figures if g.measure == ours.measure and g.who not in (ours.who, REFERENCE)]
    return best([g for g in same if g.who in rivals or ("baselines" in rivals and g.who not in MODELS)])


def judged(run: Run, ours: Figure | None, rivals: tuple[str, ...]) -> str:
    """'bits per byte 1.580, better than xz primed (1.770)'."""
    if ours is None:
        return ""
    against = rival(run, ours, rivals)
    said = f"{ours.measure} {ours.show()}"
    if against is None:
        return said
    return f"{said}, {_VERDICT_WORDS[compare(ours, against, run.comparisons)]} {against.who} ({against.show()})"


def _corpus(run: Run, stage: Stage) -> str:
    card = stage.json("card.json")
    steps = [step for step in card.get("steps") or [] if isinstance(step, dict)]
    train, heldout = card.get("train") or {}, card.get("heldout") or {}
    if not steps or not f.is_number(train.get("documents")):
        return ""
    offered = steps[0].get("documents_in")
    kept = int(train["documents"]) + int(heldout.get("documents") or 0)
    share = f" ({f.percent(kept / offered)})" if f.is_number(offered) and offered else ""
    said = f"{kept:,} of {f.number(offered)} documents kept{share}, {f.size(train.get('bytes'))} to train on"
    return said + (
        f", {f.plural(int(heldout['documents']), 'document')} held out." if heldout.get("documents") else "."
    )


def _tokenizer(run: Run, stage: Stage) -> str:
    measures = {**stage.metrics, **stage.json("measures.json")}
    vocabulary = measures.get("vocab_size")
    per = measures.get("bytes_per_token")
    parts = [f"{f.number(vocabulary)} tokens" if vocabulary else "", f"{f.number(per)} bytes per token" if per else ""]
    return _sentence(", ".join(part for part in parts if part))


def _baselines(run: Run, stage: Stage) -> str:
    strongest = best([g for g in run.figures if g.measure == BITS and not g.is_model])
    return (
        f"The one to beat on held-out text is {strongest.name}: {strongest.show()} bits per byte." if strongest else ""
    )


def _pretrain(run: Run, stage: Stage) -> str:
    return _sentence("held-out " + said if (said := judged(run, find(run, BITS, "base"), ("baselines",))) else "")


def _classify(run: Run, stage: Stage) -> str:
    return _sentence(judged(run, find(run, ACCURACY, "classify"), ("baselines",)))


def _instruct(run: Run, stage: Stage) -> str:
    said = judged(run, find(run, CHRF, "instruct"), ("baselines", "base"))
    ends = find(run, ENDS, "instruct")
    return _sentence(said + (f"; {ends.show()} of its answers end by themselves" if said and ends else ""))


def _pairs(run: Run, stage: Stage) -> str:
    count = next(
        (v for k in ("pairs", "train", "train_pairs", "count") if f.is_number(v := stage.metrics.get(k))), None
    )
    return f"{f.plural(int(count), 'pair')} ranked by the rule." if count else ""


def _prefer(run: Run, stage: Stage) -> str:
    wins = find(run, WIN, "prefer")
    said = f"win rate {wins.show()} by the rule" if wins else judged(run, find(run, RULE, "prefer"), ("instruct",))
    harm = suffered(run)
    return _sentence("; ".join(part for part in (said, harm) if part))


def suffered(run: Run) -> str:
    """Whether preference tuning cost anything of the instruction measure, in the evaluation's own words."""
    for row in run.comparisons:
        if (row.get("a"), row.get("b"), row.get("measure")) == ("prefer", "instruct", CHRF) and row.get("verdict"):
            return spoken(str(row["verdict"]))
    return ""


def spoken(verdict: str) -> str:
    """A verdict with the models' names as the report writes them."""
    for who, name in MODELS.items():
        verdict = re.sub(rf"\b{who}\b", name.lower(), verdict)
    return re.sub(r"(?<!\w)-(?=\d)", f.MINUS, verdict)


def _evaluate(run: Run, stage: Stage) -> str:
    if not run.figures:
        return ""
    models = {figure.who for figure in run.figures if figure.is_model}
    others = {figure.who for figure in run.figures} - models - {REFERENCE}
    counts = f"{f.plural(len(models), 'model')} beside {f.plural(len(others), 'rival')}"
    return f"{f.plural(len(run.figures), 'figure')}: {counts}."


def machine_of(run: Run) -> dict[str, Any]:
    """The machine that made the newest artifact of the run."""
    found = run.record.get("machine")
    if isinstance(found, dict):
        return found
    made = [s.manifest for s in run.stages.values() if isinstance(s.manifest.get("machine"), dict)]
    newest = max(made, key=lambda manifest: manifest.get("started") or 0, default={})
    return dict(newest.get("machine") or {})


def machine_text(machine: dict[str, Any]) -> str:
    processor = machine.get("gpu") or machine.get("processor") or machine.get("system")
    if not processor:
        return ""
    threads = machine.get("threads") or machine.get("cpus")
    memory = machine.get("memory_gb")
    parts = [str(processor), f.plural(int(threads), "thread") if threads else "", f"{memory} GB" if memory else ""]
    return ", ".join(part for part in parts if part)


def when(moment: Any) -> str:
    """Unix seconds (or a ready text) as UTC date and time."""
    if f.is_number(moment):
        return time.strftime("%-d %B %Y, %H:%M UTC", time.gmtime(moment))
    return str(moment) if moment else ""


def total_seconds(run: Run, started: Any, ended: Any) -> float | None:
    if f.is_number(started) and f.is_number(ended):
        return float(ended - started)
    spent = [stage.seconds for stage in run.stages.values() if stage.seconds and stage.status != "cached"]
    return sum(spent) if spent else None


def parameters_of(run: Run) -> int | None:
    metrics = run.stage("pretrain").metrics
    found = next((metrics[key] for key in ("parameters", "num_parameters") if f.is_number(metrics.get(key))), None)
    if found is None:
        from tutelage.report.weights import count_parameters

        directory = run.stage("pretrain").directory
        found = count_parameters(directory / "model.safetensors") if directory is not None else None
    return int(found) if found else None


def source_text(run: Run, card: dict[str, Any]) -> str:
    source = card.get("source") or run.config("corpus", "source")
    if isinstance(source, dict):
        source = source.get("name") or source.get("kind") or source.get("path")
    return f"“{f.clip(source, 60)}”" if source else "the corpus"


def _sentence(text: str) -> str:
    return f"{text if text.startswith(CHRF) else text[0].upper() + text[1:]}." if text else ""


def _listing(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
