"""The sections of the report: each a pure function from the run to blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tutelage.report import format as f
from tutelage.report import plots
from tutelage.report.blocks import (
    Block, Cell, code, facts, figure, fold, heading, notice, prose, records_table, samples, shown, table, value_text,
)  # fmt: skip
from tutelage.report.collect import Record, Run, Stage
from tutelage.report.figures import ACCURACY, BITS, CHRF, ENDS, F1, MODELS, ORDER, ROUGE, RULE, WIN, compare
from tutelage.report.samples import answers, continuations
from tutelage.report.story import find, rival, spoken, status_sentence, suffered, when
from tutelage.report.weights import parameters_by_part


def sections(run: Run) -> list[Block]:
    """All sections in the order of a model's life; one without anything to say is left out."""
    makers = (
        ("samples", "What they say", _samples, ()),
        ("corpus", "Corpus", _corpus, ("corpus",)),
        ("tokenizer", "Tokenizer", _tokenizer, ("tokenizer",)),
        ("pretraining", "Pretraining", _pretraining, ("pretrain",)),
        ("classification", "Classification", _classification, ("classify",)),
        ("instruction", "Instruction", _instruction, ("instruct",)),
        ("preference", "Preference", _preference, ("pairs", "prefer")),
        ("evaluation", "Every figure", _evaluation, ("evaluate",)),
        ("cost", "Time and memory", _cost, ()),
        ("advice", "Advice", _advice, ()),
        ("provenance", "Provenance", _provenance, ()),
    )
    out = []
    for name, title, maker, stages in makers:
        blocks = shown([*(_state(run.stage(stage)) for stage in stages if stage in run.stages), *maker(run)])
        if blocks:
            out.append({"id": name, "title": title, "blocks": blocks})
    return out


def _state(stage: Stage) -> Block | None:
    """Says when a stage did not simply run."""
    if stage.status == "ran":
        return None
    if stage.status == "cached":
        return notice(
            f"{stage.title} came from the cache: same configuration, inputs and seed as artifact "
            f"{stage.identity[:12]}."
        )
    return notice(f"{stage.title}: {status_sentence(stage)}", "warning" if stage.status == "failed" else "note")


def _corpus(run: Run) -> list[Block]:
    card = run.stage("corpus").json("card.json")
    if not card:
        return []
    steps = _dicts(card.get("steps"))
    offered = steps[0].get("documents_in") if steps else None
    bars = [
        plots.Bar(
            f.words(str(step.get("name", ""))),
            _float(step.get("documents_out")),
            ghost=_float(step.get("documents_in")),
            role="accent" if step is steps[-1] else "ink",
            note=f"−{lost:,}" if (lost := _lost(step)) else "",
        )
        for step in steps
    ]
    rows: list[list[Cell]] = [
        [
            {"text": f.words(str(step.get("name", ""))), "sub": str(step.get("what") or "")},
            f.number(step.get("documents_in")),
            f.number(_lost(step)) if _lost(step) is not None else f.NONE,
            f.number(step.get("documents_out")),
            f.size(step.get("bytes_out")),
        ]
        for step in steps
    ]
    chart = plots.bar_chart(bars, title="Documents left after each step", unit="documents left", show=_whole, label=170)
    return [
        prose(_corpus_prose(card, offered)),
        figure(chart, "Documents left after each step. The outline is what came into the step, the number beside it what went."),
        table(["Step", "Documents in#", "Removed#", "Documents out#", "Size out#"], rows),
        *(_step_examples(step) for step in steps),
        *_split_and_labels(card),
        *_selection(card),
        _malformed(card),
        _diversity(card),
    ]


def _corpus_prose(card: Record, offered: Any) -> str:
    train, heldout = _dict(card.get("train")), _dict(card.get("heldout"))
    parts = []
    if f.is_number(train.get("documents")) and f.is_number(offered) and offered:
        kept = train["documents"] + (heldout.get("documents") or 0)
        parts.append(f"Of {f.number(offered)} documents {f.number(kept)} were kept ({f.percent(kept / offered)}).")
    if train.get("bytes"):
        parts.append(
            f"The model reads {f.size(train['bytes'])} in {f.number(train.get('words'))} words; "
            f"{f.number(heldout.get('documents'))} documents are held out by document, and no near-copy of them "
            "is left in the training part."
        )
    return " ".join(parts)


def _step_examples(step: Record) -> Block | None:
    removed = {str(k): v for k, v in _dict(step.get("removed")).items() if f.is_number(v) and v}
    if not removed:
        return None
    total = sum(removed.values())
    rows: list[list[Cell]] = [
        [f.words(reason), f.number(count), f.percent(count / total)]
        for reason, count in sorted(removed.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    shown_examples: list[list[Cell]] = [
        [f.words(str(e.get("reason", ""))), {"text": f.clip(e.get("name") or e.get("id", ""), 60), "mark": "code"},
         {"text": f.clip(str(e.get("text", "")).strip(), 240), "mark": "sample"}]
        for e in _dicts(step.get("examples"))[:12]
    ]  # fmt: skip
    name = f.words(str(step.get("name", "")))
    return fold(
        f"Why {name} removed {f.plural(int(total), 'document')}",
        shown([table(["Reason", "Documents#", "Share#"], rows), table(["Reason", "Document", "Text"], shown_examples)]),
    )


def _split_and_labels(card: Record) -> list[Block]:
    labels = {str(k): float(v) for k, v in _dict(card.get("labels")).items() if f.is_number(v)}
    out: list[Block] = []
    if labels:
        bars = [plots.Bar(name, count) for name, count in sorted(labels.items(), key=lambda p: (-p[1], p[0]))]
        chart = plots.bar_chart(bars[:16], title="Documents by label", unit="documents", show=_whole, label=170)
        out += [heading("Labels"), figure(chart, "Documents by label: what the classifier is asked to tell apart.")]
    return out


def _selection(card: Record) -> list[Block]:
    rows = _dicts(card.get("selection"))
    if not rows:
        return []
    return [
        heading("What is selected decides what can be learned"),
        prose("The same source under different selections. Text that repeats itself is easy for a compressor and "
              "flatters every figure; text of many kinds cannot be learned in minutes."),
        records_table(rows),
    ]  # fmt: skip


def _malformed(card: Record) -> Block | None:
    rows: list[list[Cell]] = [
        [str(r.get("file", "")), value_text(r.get("line")), str(r.get("why", ""))] for r in _dicts(card.get("malformed"))
    ]
    return fold(f"{f.plural(len(rows), 'malformed record')} left out", [table(["File", "Line#", "Why"], rows[:50])]) if rows else None


def _diversity(card: Record) -> Block | None:
    measures = facts(_flat(_dict(card.get("diversity"))))
    sources = {str(k): v for k, v in _dict(card.get("sources")).items() if f.is_number(v)}
    top = sorted(sources.items(), key=lambda pair: (-pair[1], pair[0]))
    rows: list[list[Cell]] = [[name, f.number(count)] for name, count in top[:20]]
    title = f"Sources ({len(sources)}) and diversity" if sources else "Diversity"
    return fold(title, shown([measures, table(["Source", "Documents#"], rows, _rest(len(top), 20))]))


def _tokenizer(run: Run) -> list[Block]:
    stage = run.stage("tokenizer")
    measures = stage.json("measures.json") or {k: v for k, v in stage.metrics.items() if k != "timing"}
    tables = [records_table(rows, f.words(key).capitalize()) for key, value in measures.items() if (rows := _dicts(value))]
    return [facts(_flat(measures)), *tables]


def _pretraining(run: Run) -> list[Block]:
    stage = run.stage("pretrain")
    bars = _figure_bars(run, BITS, ("base",))
    curve = loss_chart(stage, "Loss (nats per token)")
    return [
        *_architecture(run, stage),
        figure(curve, "Pretraining loss. Pale: every logged step; line: running mean; dark: held-out."),
        heading("Held-out bits per byte") if bars else None,
        figure(
            plots.bar_chart(bars, title="Held-out bits per byte", unit="bits per byte, less is better", show=lambda v: f"{v:.3f}"),
            "Bits needed for a byte of held-out text. “Primed” compressors have seen all the training text.",
        ),
        prose(_compared(run, BITS, "base")),
        _figure_fold(run, stage),
    ]  # type: ignore[list-item]


def _architecture(run: Run, stage: Stage) -> list[Block]:
    config = stage.json("config.json") or _dict(run.config("model"))
    get = lambda *keys: next((config[k] for k in keys if config.get(k) is not None), None)  # noqa: E731
    parts = parameters_by_part(stage.directory / "model.safetensors") if stage.directory else {}
    total = sum(parts.values())
    heads, groups = get("num_attention_heads", "num_heads"), get("num_key_value_heads", "num_kv_heads")
    pairs = [
        ("Family", str(get("model_type", "family") or "")),
        ("Parameters", f"{f.compact(total)}" if total else ""),
        ("Layers", f.number(get("num_hidden_layers", "num_layers"))),
        ("Width", f.number(get("hidden_size"))),
        ("MLP width", f.number(get("intermediate_size"))),
        ("Heads", f"{heads} ({groups} key/value)" if heads and groups else ""),
        ("Vocabulary", f.number(get("vocab_size") or None)),
        ("Longest context", f.number(get("max_position_embeddings"))),
        ("Embedding share", f.percent(parts.get("embedding", 0) / total) if total else ""),
        *((name, value) for name, value in _flat(stage.metrics) if name in _TRAINING_FACTS),
    ]
    strip = plots.strip(
        [plots.Segment(name, count, "accent" if name in ("attention", "MLP") else "ink", f.percent(count / total))
         for name, count in parts.items()],
        title="Parameters by part", show=f.compact,
    )  # fmt: skip
    return [facts(pairs), figure(strip, "Where the parameters are. Accent: the layers; grey: embedding, heads and norms.")]


_TRAINING_FACTS = ("Tokens", "Steps", "Epochs", "Tokens per second")


def loss_chart(stage: Stage, label: str, key: str = "loss", height: int = 300) -> str:
    """Training curve (raw pale, running mean in front) and the held-out points of it."""
    raw = points(stage.curve, key)
    held = [(x, y) for x, y in points([{"step": r.get("step"), **_dict(r.get("validation"))} for r in stage.curve], key)]
    lines = [plots.Line("", raw, "quiet"), plots.Line("training", plots.smooth(raw)), plots.Line("held out", held, "ink")]
    return plots.line_chart([line for line in lines if line.points], x_label="step", y_label=label, title=f"{stage.title}: {label}", height=height)


def points(curve: list[Record], key: str) -> list[plots.Point]:
    return [
        (float(row["step"]), float(row[key])) for row in curve if f.is_number(row.get("step")) and f.is_number(row.get(key))
    ]


def _classification(run: Run) -> list[Block]:
    stage = run.stage("classify")
    if not stage.done and not stage.curve:
        return []
    out: list[Block] = [figure(loss_chart(stage, "Loss (nats per document)"), "Classification loss.")]
    for measure, name in ((ACCURACY, "Accuracy"), (F1, "Macro-F1")):
        chart = plots.bar_chart(_figure_bars(run, measure, ("classify",)), title=name, unit=measure, show=_shower(run, measure))
        out.append(figure(chart, f"{name} on held-out documents, beside methods that need no pretrained model."))
    return [*out, prose(_compared(run, ACCURACY, "classify")), _figure_fold(run, stage)]  # type: ignore[list-item]


def _instruction(run: Run) -> list[Block]:
    stage = run.stage("instruct")
    if not stage.done and not stage.curve:
        return []
    out: list[Block | None] = [figure(loss_chart(stage, "Loss (nats per answer token)"), "Instruction loss, on the answer alone.")]
    models, ours = ("base", "instruct", "prefer"), ("instruct", "prefer")
    for measure, caption in _WRITING:
        chart = plots.bar_chart(_figure_bars(run, measure, models, ours), title=measure, unit=measure, show=_shower(run, measure))
        out.append(figure(chart, caption))
    return [*out, prose(_compared(run, CHRF, "instruct", ("baselines", "base"))), _figure_fold(run, stage)]  # type: ignore[list-item]


_WRITING = (
    (CHRF, "chrF of the answers to held-out prompts against what the author wrote (0 to 100)."),
    (ROUGE, "ROUGE-L of the same answers (0 to 100)."),
    (ENDS, "Share of answers that the model ends by itself instead of running into the limit."),
)


def _preference(run: Run) -> list[Block]:
    stage = run.stage("prefer")
    if not stage.done and not stage.curve:
        return []
    out: list[Block | None] = [figure(loss_chart(stage, "Loss (nats per pair)"), "Preference loss.")]
    for keys, name, caption in _PREFERENCE_CURVES:
        chart = next((c for key in keys if (c := loss_chart(stage, name, key, 210))), "")
        out.append(figure(chart, caption))
    ours = ("prefer",)
    for measure, models, caption in (
        (WIN, ("prefer",), "Comparisons with the instructed model, prompt by prompt, by the rule’s own score; a tie is half a win."),
        (RULE, ("base", "instruct", "prefer"), "Share of answers that keep every convention of the rule."),
    ):
        chart = plots.bar_chart(_figure_bars(run, measure, models, ours), title=measure, unit=measure, show=_shower(run, measure))
        out.append(figure(chart, caption))
    harm = suffered(run)
    if harm:
        out.append(prose(f"Did the earlier measure suffer? {harm[0].upper()}{harm[1:]}."))
    return [*out, _figure_fold(run, stage)]  # type: ignore[list-item]


_PREFERENCE_CURVES = (
    (("reward_accuracy", "rewards_accuracy", "accuracy"), "Reward accuracy", "Share of pairs in which the chosen answer has the higher reward."),
    (("reward_margin", "rewards_margin", "margin"), "Reward margin", "Reward of the chosen minus the rejected answer."),
    (("chosen_logprob", "chosen_logps"), "Log-probability of the chosen answer", "It must not fall far: a margin can also grow by making both answers unlikely."),
)  # fmt: skip


def _evaluation(run: Run) -> list[Block]:
    if not run.figures:
        return []
    rows: list[list[Cell]] = []
    before = ""
    for g in run.figures:
        first, before = g.measure != before, g.measure
        name: Cell = {"text": f"{g.measure[:1].upper()}{g.measure[1:]}", "sub": g.task} if first else ""
        who: Cell = {"text": g.name, "mark": "ours" if g.is_model else ""}
        rows.append([name, who, g.show(), g.interval or f.NONE, f.number(g.n)])
    notes = list(dict.fromkeys((g.measure, g.note) for g in run.figures if g.note))
    said = [[spoken(str(row.get("verdict", ""))), str(row.get("measure", ""))] for row in run.comparisons]
    return [
        table(["Measure", "Of", "Value#", "95 % interval#", "n#"], rows),
        heading("Paired comparisons") if said else None,
        table(["What the same items say", "Measure"], said),
        fold("How each was measured", [table(['Measure', 'How'], [list(pair) for pair in notes])]) if notes else None,
    ]  # type: ignore[list-item]


def _samples(run: Run) -> list[Block]:
    lines = run.stage("evaluate").lines("samples.jsonl")
    spoken, written = answers(lines), continuations(lines, run.events)
    return [
        heading("Answers to held-out prompts") if spoken else None,
        samples(spoken[:4]),
        fold(f"{f.plural(len(spoken) - 4, 'more prompt')}", [samples(spoken[4:])]) if len(spoken) > 4 else None,
        heading("The base model writes on") if written else None,
        samples(written),
    ]  # type: ignore[list-item]


def _cost(run: Run) -> list[Block]:
    stages = [stage for stage in run.stages.values() if stage.seconds is not None or stage.forecast is not None]
    bars = [
        plots.Bar(stage.title, _float(stage.seconds) or 0.0, ghost=_float(stage.forecast),
                  role="accent" if stage.status == "ran" else "ink", note="" if stage.status == "ran" else _status_note(stage))
        for stage in stages
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for stage in stages:
        made = stage.manifest.get("seconds")
        took, expected = stage.seconds, stage.forecast
        ratio = f"{took / expected:.2f} ×" if took and expected and stage.status == "ran" else f.NONE
        timing = _dict(stage.metrics.get("timing"))
        memory = next((v for k in ("peak_memory_bytes", "peak_rss_bytes", "peak_bytes", "memory_bytes") if f.is_number(v := timing.get(k, stage.metrics.get(k)))), None)
        rows.append([stage.title, stage.status, f.duration(expected), f.duration(took), ratio,
                     f.duration(made) if stage.status == "cached" else f.NONE, f.size(memory), f.size(stored(stage))])  # fmt: skip
    chart = plots.bar_chart(bars, title="Time by stage", unit="outline: forecast", show=f.duration)
    columns = ["Stage", "Status", "Forecast#", "Took#", "Fact / forecast#", "When made#", "Peak memory#", "On disk#"]
    return [figure(chart, "Time by stage; the outline is the forecast made before the run."), table(columns, rows)] if stages else []


def stored(stage: Stage) -> int | None:
    files = _dict(stage.manifest.get("files"))
    sizes = [record["bytes"] for record in files.values() if isinstance(record, dict) and f.is_number(record.get("bytes"))]
    return sum(sizes) if sizes else None


def _status_note(stage: Stage) -> str:
    return "" if stage.status == "ran" else stage.status


def _advice(run: Run) -> list[Block]:
    seen: dict[tuple[str, str], Block] = {}
    for event in run.events:
        if event.get("event") in ("warning", "note") and event.get("message"):
            said = str(event["message"])
            where = f"{run.stage(str(event['stage'])).title}: " if event.get("stage") else ""
            seen.setdefault((where, said), notice(where + said, str(event["event"])))
    return sorted(seen.values(), key=lambda block: block["level"] != "warning")


def _provenance(run: Run) -> list[Block]:
    made = [stage for stage in run.stages.values() if stage.manifest]
    names = {str(stage.identity): stage.title for stage in run.stages.values() if stage.identity}
    rows: list[list[Cell]] = []
    for stage in run.stages.values():
        inputs = _dict(stage.manifest.get("inputs"))
        sources = [f"{names.get(str(value), f.words(str(name)))} {str(value)[:8]}" for name, value in inputs.items()]
        rows.append([
            stage.title, {"text": stage.identity[:12] or f.NONE, "mark": "code"}, ", ".join(sources) or f.NONE,
            {"text": str(stage.manifest.get("git_commit") or f.NONE), "mark": "code"}, _moment(stage.manifest.get("started")),
        ])  # fmt: skip
    newest = max(made, key=lambda stage: stage.manifest.get("started") or 0, default=None)
    manifest = newest.manifest if newest else {}
    packages = [(str(k), str(v)) for k, v in _dict(manifest.get("packages")).items()]
    machine = [(f.words(str(k)).capitalize(), value_text(v)) for k, v in _dict(manifest.get("machine")).items() if v is not None]
    return [
        prose("Each stage’s result is named by a hash of its configuration, its inputs and its version. The same names mean "
              "the same results; running the recipe again takes them from the cache."),
        table(["Stage", "Identity", "Made from", "Code", "Made"], rows),
        heading("To reproduce it") if run.recipe_text else None,
        code("tutelage run recipe.yaml") if run.recipe_text else None,
        fold("The resolved recipe", [code(run.recipe_text)] if run.recipe_text else []),
        fold("Packages and machine", shown([facts(packages), facts(machine)])),
    ]  # type: ignore[list-item]


def _moment(started: Any) -> str:
    return when(started) or f.NONE


def _figure_bars(run: Run, measure: str, models: tuple[str, ...], ours: tuple[str, ...] = ()) -> list[plots.Bar]:
    """The models in the order of their making (`ours` in colour), then everyone else, strongest first."""
    first = [g for who in models if (g := find(run, measure, who))]
    others = [g for g in run.figures if g.measure == measure and g.who not in models]
    others.sort(key=lambda g: -g.value if g.higher_is_better else g.value)
    coloured = ours or models
    return [plots.Bar(g.name, g.value, g.low, g.high, "accent" if g.who in coloured else "ink") for g in [*first, *others]]


def _shower(run: Run, measure: str) -> Callable[[float], str]:
    """How values of a measure are written."""
    return next((g.show for g in run.figures if g.measure == measure), f.number)


def _compared(run: Run, metric: str, who: str, rivals: tuple[str, ...] = ("baselines",)) -> str:
    ours = find(run, metric, who)
    against = rival(run, ours, rivals) if ours else None
    if ours is None or against is None:
        return ""
    verdict = {
        "better": "The model is ahead of everything it was compared with; the strongest rival is {}, at {}.",
        "worse": "The model is behind {}, which reaches {}.",
        "not resolved": "The model cannot be told apart from {}, at {}.",
    }[compare(ours, against, run.comparisons)]
    return verdict.format(against.who, against.show())


def _figure_fold(run: Run, stage: Stage) -> Block | None:
    pairs = [(name, value) for name, value in _flat(stage.metrics) if not name.lower().startswith("timing")]
    return fold(f"What {stage.title.lower()} measured while it ran", shown([facts(pairs)])) if stage.metrics else None


def _flat(tree: Record, prefix: str = "") -> list[tuple[str, str]]:
    """Scalars of a nested object as (name, value) texts; lists are left out."""
    out: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix} {f.words(str(key))}".strip()
        if isinstance(value, dict):
            out += _flat(value, name)
        elif not isinstance(value, list) and value is not None:
            out.append((name[:1].upper() + name[1:], value_text(value, str(key))))
    return out


def _rest(count: int, most: int) -> str:
    return f"and {count - most} more" if count > most else ""


def _lost(step: Record) -> int | None:
    before, after = step.get("documents_in"), step.get("documents_out")
    return int(before) - int(after) if f.is_number(before) and f.is_number(after) else None


def _whole(value: float) -> str:
    return f.number(round(value))


def _float(value: Any) -> float | None:
    return float(value) if f.is_number(value) else None


def _dict(value: Any) -> Record:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[Record]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
