"""What the report says of continued pretraining and of what was sampled for it."""

from __future__ import annotations

from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.store import format as f
from tutelage.store.blocks import Block, facts, prose
from tutelage.store.plain import as_dict, flatten
from tutelage.store.sections import curve_chart, measured, score_chart
from tutelage.store.view import View

_SETS = {
    "bits per byte, new text": "Bits for a byte of held-out documents of the new text.",
    "bits per byte, general text": "Bits for a byte of general text. What the model loses here it forgot.",
    "bits per byte, own text": "Bits for a byte of what the model wrote by itself before: what it loses it forgot.",
    "general answers end": "Share of answers to general questions that the model ends by itself.",
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
        prose(_told(view)),
        curve_chart(view, "Loss (nats per token)", "Loss of new and replayed text; dark: new text held out."),
        *(score_chart(view, measure, caption) for measure, caption in _SETS.items()),
        *_vocabulary(view),
        *audit_blocks(view),
        measured(view),
    ]


def _told(view: View) -> str:
    new, old = view.metrics.get("new_tokens"), view.metrics.get("replayed_tokens")
    if not f.is_number(new) or not f.is_number(old):
        return ""
    replayed = f"{f.number(old)} of {view.metrics.get('replayed')} are replayed" if old else "nothing is replayed"
    return f"{f.number(new)} tokens of new text; {replayed} ({f.percent(old / (new + old))} of all)."


def _vocabulary(view: View) -> list[Block | None]:
    """What the longer vocabulary does: to the length of a text, and to how well it is predicted at once and later."""
    found = as_dict(view.metrics.get("vocabulary"))
    if not found:
        return []
    before, longer = found["bytes_per_token_before"], found["bytes_per_token_extended"]
    after = view.score("bits per byte, new text")
    trained = after.value if after else view.metrics.get("heldout_bits_per_byte")
    pairs = [
        ("Tokens added", f.number(found["tokens_added"])),
        ("Bytes a token, before", f"{before:.2f}"),
        ("Bytes a token, after", f"{longer:.2f}"),
        ("Bits a byte, before", f.bits(found["bits_per_byte_before"])),
        ("Bits a byte, with untrained tokens", f.bits(found["bits_per_byte_extended"])),
        ("Bits a byte, trained", f.bits(trained) if f.is_number(trained) else ""),
    ]
    said = (
        f"The new text takes {f.percent(1 - before / longer)} fewer tokens. Whether the vocabulary paid in bits per "
        "byte too, only a run without it can tell: compare the two with --ways full,vocabulary."
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
        prose("Sampled at temperature 1 before anything was trained; it stands for what the model was made from."),
        prose(f"For example: {'; '.join(shown)}.") if shown else None,
        facts(flatten({key: value for key, value in view.metrics.items() if key != "peak_memory_mb"})),
    ]
