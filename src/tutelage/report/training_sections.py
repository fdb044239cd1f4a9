"""Sections about training: pretraining, classification, instruction and preference finetuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tutelage.report import format as f
from tutelage.report import plots
from tutelage.report.blocks import (
    Block,
    facts,
    figure,
    fold,
    heading,
    prose,
    shown,
    table,
)  # fmt: skip
from tutelage.report.collect import Record, Run, Stage
from tutelage.report.figures import ACCURACY, BITS, CHRF, ENDS, F1, ROUGE, RULE, WIN, compare
from tutelage.report.plain import as_dict, flatten
from tutelage.report.story import find, rival, suffered
from tutelage.report.weights import parameters_by_part


def pretraining(run: Run) -> list[Block | None]:
    stage = run.stage("pretrain")
    bars = _figure_bars(run, BITS, ("base",))
    curve = loss_chart(stage, "Loss (nats per token)")
    return [
        prose(
            f"Not trained here: the model is {stage.adopted}. What it read before is not known; it may have read the "
            "held-out text."
        )
        if stage.adopted
        else None,
        *_architecture(run, stage),
        figure(curve, "Pretraining loss. Pale: every logged step; line: running mean; dark: held-out."),
        heading("Held-out bits per byte") if bars else None,
        figure(
            plots.bar_chart(
                bars, title="Held-out bits per byte", unit="bits per byte, less is better", show=lambda v: f"{v:.3f}"
            ),
            "Bits needed for a byte of held-out text. “Primed” compressors have seen all the training text.",
        ),
        prose(_compared(run, BITS, "base")),
        _inside_the_blocks(run),
        _figure_fold(run, stage),
    ]


def _inside_the_blocks(run: Run) -> Block | None:
    """The last look into every block while it was pretrained."""
    looks = [event for event in run.events if event.get("event") == "layers" and event.get("stage") == "pretrain"]
    figures = {name: looks[-1].get(name) for name in _BLOCK_FIGURES} if looks else {}
    columns = {name: values for name, values in figures.items() if isinstance(values, list) and values}
    if not columns:
        return None
    count = min(len(values) for values in columns.values())
    rows = [[str(block + 1), *(f.number(values[block]) for values in columns.values())] for block in range(count)]
    caption = (
        f"Step {looks[-1].get('step')}. Root mean squares; the step’s change is over the weights’ norm, about 0.001 in "
        "a healthy run. A block far from its neighbours is where trouble begins."
    )
    return fold(
        "Inside the blocks", [table(["Block", *(f"{_BLOCK_FIGURES[name]}#" for name in columns)], rows, caption)]
    )


def _architecture(run: Run, stage: Stage) -> list[Block | None]:
    config = stage.json("config.json") or as_dict(run.config("model"))

    def get(*keys: str) -> Any:
        return next((config[key] for key in keys if config.get(key) is not None), None)

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
        (
            "Embedding share",
            f.percent((parts.get("embedding", 0) + parts.get("output_head", 0)) / total) if total else "",
        ),
        *((name, value) for name, value in flatten(stage.metrics) if name in _TRAINING_FACTS),
    ]
    strip = plots.strip(
        [plots.Segment(name, count, "accent" if name in ("attention", "MLP") else "ink", f.percent(count / total))
         for name, count in parts.items()],
        title="Parameters by part", show=f.compact,
    )  # fmt: skip
    return [
        facts(pairs),
        figure(strip, "Where the parameters are. Accent: the layers; grey: embedding, heads and norms."),
    ]


_TRAINING_FACTS = ("Train tokens", "Tokens seen", "Steps", "Epochs")


_BLOCK_FIGURES = {
    "weight_rms": "Weights",
    "grad_rms": "Gradients",
    "update_ratio": "Step’s change",
    "activation_rms": "Output",
}


def loss_chart(stage: Stage, label: str, key: str = "loss", height: int = 300) -> str:
    """Training curve (raw pale, running mean in front) and the held-out points of it."""
    raw = points(stage.curve, key)
    held = [
        (x, y) for x, y in points([{"step": r.get("step"), **as_dict(r.get("validation"))} for r in stage.curve], key)
    ]
    lines = [
        plots.Line("", raw, "quiet"),
        plots.Line("training", plots.smooth(raw)),
        plots.Line("held out", held, "ink"),
    ]
    return plots.line_chart(
        [line for line in lines if line.points],
        x_label="step",
        y_label=label,
        title=f"{stage.title}: {label}",
        height=height,
    )


def points(curve: list[Record], key: str) -> list[plots.Point]:
    return [
        (float(row["step"]), float(row[key]))
        for row in curve
        if f.is_number(row.get("step")) and f.is_number(row.get(key))
    ]


def classification(run: Run) -> list[Block | None]:
    stage = run.stage("classify")
    if not stage.done and not stage.curve:
        return []
    out: list[Block] = [figure(loss_chart(stage, "Loss (nats per document)"), "Classification loss.")]
    for measure, name in ((ACCURACY, "Accuracy"), (F1, "Macro-F1")):
        chart = plots.bar_chart(
            _figure_bars(run, measure, ("classify",)), title=name, unit=measure, show=_shower(run, measure)
        )
        out.append(figure(chart, f"{name} on held-out documents, beside methods that need no pretrained model."))
    return [*out, prose(_compared(run, ACCURACY, "classify")), _figure_fold(run, stage)]


def instruction(run: Run) -> list[Block | None]:
    stage = run.stage("instruct")
    if not stage.done and not stage.curve:
        return []
    out: list[Block | None] = [
        figure(loss_chart(stage, "Loss (nats per answer token)"), "Instruction loss, on the answer alone.")
    ]
    models, ours = ("base", "instruct", "prefer"), ("instruct", "prefer")
    for measure, caption in _WRITING:
        chart = plots.bar_chart(
            _figure_bars(run, measure, models, ours), title=measure, unit=measure, show=_shower(run, measure)
        )
        out.append(figure(chart, caption))
    return [*out, prose(_compared(run, CHRF, "instruct", ("baselines", "base"))), _figure_fold(run, stage)]


_WRITING = (
    (CHRF, "chrF of the answers to held-out prompts against what the author wrote (0 to 100)."),
    (ROUGE, "ROUGE-L of the same answers (0 to 100)."),
    (ENDS, "Share of answers that the model ends by itself instead of running into the limit."),
)


def preference(run: Run) -> list[Block | None]:
    stage = run.stage("prefer")
    if not stage.done and not stage.curve:
        return []
    out: list[Block | None] = [
        _pairs(run),
        figure(loss_chart(stage, "Loss (nats per pair)"), "Preference loss."),
    ]
    for key, name, caption in _PREFERENCE_CURVES:
        out.append(figure(loss_chart(stage, name, key, 210), caption))
    ours = ("prefer",)
    for measure, models, caption in (
        (
            WIN,
            ("prefer",),
            "Comparisons with the instructed model, prompt by prompt, by the rule’s own score; a tie is half a win.",
        ),
        (RULE, ("base", "instruct", "prefer"), "Share of answers that keep every convention of the rule."),
    ):
        chart = plots.bar_chart(
            _figure_bars(run, measure, models, ours), title=measure, unit=measure, show=_shower(run, measure)
        )
        out.append(figure(chart, caption))
    harm = suffered(run)
    if harm:
        out.append(prose(f"Did the earlier measure suffer? {harm[0].upper()}{harm[1:]}."))
    return [*out, _figure_fold(run, stage)]


def _pairs(run: Run) -> Block:
    """What the pairs are, among it whether length alone could tell chosen from rejected."""
    metrics = {
        key: value for key, value in run.stage("pairs").metrics.items() if key not in ("timing", "peak_memory_mb")
    }
    return facts(flatten(metrics))


_PREFERENCE_CURVES = (
    (
        "reward_accuracy",
        "Reward accuracy",
        "Share of pairs in which the chosen answer has the higher reward.",
    ),
    (
        "margin",
        "Reward margin",
        "Reward of the chosen minus the rejected answer.",
    ),
    (
        "chosen_logp",
        "Log-probability of a token of the chosen answer",
        "It must not fall far: a margin can also grow by making both answers unlikely.",
    ),
)


def _figure_bars(run: Run, measure: str, models: tuple[str, ...], ours: tuple[str, ...] = ()) -> list[plots.Bar]:
    """The models in the order of their making (`ours` in colour), then everyone else, strongest first."""
    first = [g for who in models if (g := find(run, measure, who))]
    others = [g for g in run.figures if g.measure == measure and g.who not in models]
    others.sort(key=lambda g: -g.value if g.higher_is_better else g.value)
    coloured = ours or models
    return [
        plots.Bar(g.name, g.value, g.low, g.high, "accent" if g.who in coloured else "ink") for g in [*first, *others]
    ]


def _shower(run: Run, measure: str) -> Callable[[float], str]:
    """How values of a measure are written."""
    return next((g.show for g in run.figures if g.measure == measure), f.number)


def _compared(run: Run, metric: str, who: str, rivals: tuple[str, ...] = ("baselines",)) -> str:
    ours = find(run, metric, who)
    against = rival(run, ours, rivals) if ours else None
    if ours is None or against is None:
        return ""
    verdict = {
        "better": "The model is ahead of its strongest rival, {}, which reaches {}.",
        "worse": "The model is behind its strongest rival, {}, which reaches {}.",
        "not resolved": "The model cannot be told apart from its strongest rival, {}, which reaches {}.",
    }[compare(ours, against, run.comparisons)]
    return verdict.format(against.who, against.show())


def _figure_fold(run: Run, stage: Stage) -> Block | None:
    pairs = [(name, value) for name, value in flatten(stage.metrics) if not name.startswith(("Timing", "Peak memory"))]
    return fold(f"What {stage.title.lower()} measured while it ran", shown([facts(pairs)])) if stage.metrics else None
