"""Report sections of continued pretraining and of the sampled text."""

from __future__ import annotations

from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.store import format as f
from tutelage.store.blocks import Block, facts, prose
from tutelage.store.plain import as_dict, flatten
from tutelage.store.sections import curve_chart, measured, score_chart
from tutelage.store.view import View

_SETS = {
    "bits per byte, new text": "Bits per byte of held-out documents of the new text.",
    "bits per byte, general text": "Bits per byte of general text. A rise is forgetting.",
    "bits per byte, own text": "Bits per byte of text sampled from the initial model. A rise is forgetting.",
    "general answers end": "Share of answers to general questions that end with the end token.",
}


def sentence(view: View) -> str:
    changes = [_change(view, measure) for measure in _SETS]
    return f.sentence("; ".join(change for change in changes if change))


def _change(view: View, measure: str) -> str:
    """'new text 1.204 to 1.021 bits per byte', with the comparison's outcome."""
    after, before = view.score(measure), view.scores.find(measure, view.parent) if view.parent else None
    if after is None or before is None:
        return ""
    words = {"better": "better", "worse": "worse", "not resolved": "no difference shown"}
    outcome = words.get(view.scores.outcome(after, before), "")
    return f"{measure}: {before.show()} before, {after.show()} after" + (f" ({outcome})" if outcome else "")


def section(view: View) -> list[Block | None]:
    return [
        prose(_tokens(view)),
        curve_chart(view, "Loss (nats per token)", "Loss of new and replayed text; dark: new text held out."),
        *(score_chart(view, measure, caption) for measure, caption in _SETS.items()),
        *_vocabulary(view),
        *audit_blocks(view),
        measured(view),
    ]


def _tokens(view: View) -> str:
    new, old = view.metrics.get("new_tokens"), view.metrics.get("replayed_tokens")
    if not f.is_number(new) or not f.is_number(old):
        return ""
    replayed = f"{f.number(old)} of {view.metrics.get('replayed')} are replayed" if old else "nothing is replayed"
    return f"{f.number(new)} tokens of new text; {replayed} ({f.percent(old / (new + old))} of all)."


def _vocabulary(view: View) -> list[Block | None]:
    """Effect of the longer vocabulary on bytes per token and on bits per byte, before and after training."""
    found = as_dict(view.metrics.get("vocabulary"))
    if not found:
        return []
    before, longer = found["bytes_per_token_before"], found["bytes_per_token_extended"]
    after = view.score("bits per byte, new text")
    trained = after.value if after else view.metrics.get("heldout_bits_per_byte")
    pairs = [
        ("Tokens added", f.number(found["tokens_added"])),
        ("Bytes per token, before", f"{before:.2f}"),
        ("Bytes per token, after", f"{longer:.2f}"),
        ("Bits per byte, before", f.bits(found["bits_per_byte_before"])),
        ("Bits per byte, with untrained tokens", f.bits(found["bits_per_byte_extended"])),
        ("Bits per byte, after training", f.bits(trained) if f.is_number(trained) else ""),
    ]
    said = (
        f"The new text takes {f.percent(1 - before / longer)} fewer tokens. Whether the vocabulary also improves bits "
        "per byte shows only in comparison with a run without it: --ways full,vocabulary."
    )
    return [prose(said), facts(pairs)]


def sampled_sentence(view: View) -> str:
    parts = [
        f.plural(int(count), what)
        for key, what in (("documents", "document"), ("heldout_documents", "held-out document"),
                          ("conversations", "conversation"), ("questions", "question to ask"))
        if f.is_number(count := view.metrics.get(key)) and count
    ]  # fmt: skip
    return f.sentence(f.listing(parts)) if parts else ""


def sampled_section(view: View) -> list[Block | None]:
    rows = [line for line in view.lines("heldout.jsonl") if isinstance(line.get("text"), str)]
    shown = [f"“{' '.join(line['text'].split())[:160]}”" for line in rows[:3]]
    return [
        prose("Sampled from the model at temperature 1 before training, in place of its training text."),
        prose(f"For example: {'; '.join(shown)}.") if shown else None,
        facts(flatten({key: value for key, value in view.metrics.items() if key != "peak_memory_mb"})),
    ]
