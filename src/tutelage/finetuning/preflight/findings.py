"""Findings of an audit: sentences with a number and advice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.finetuning.data.audit import listed
from tutelage.finetuning.data.marks import MARKED
from tutelage.finetuning.preflight.figures import number_of

Found = dict[str, Any]
Finding = dict[str, str]

LOST = 0.01  # share of lost rows that warrants a warning
BIASED = 0.6  # share of pairs with the longer answer chosen that warrants a warning
ONE_LABEL = 0.8  # share of the most frequent label
GRADES = 11  # maximum number of labels that are taken for grades; more are class numbers
NOISY = 0.02  # share of the training texts with a doubtful label
LARGE_TOPIC = 0.3  # share of the questions that are near duplicates of each other
FEW = 0.005  # share of duplicate rows that warrants a warning


def findings(found: Found, own: Sequence[Finding] = ()) -> list[Finding]:
    """[{"level": "warning" | "note", "message", "advice"}], warnings first. own: findings of the method."""
    made = [*_refused(found), *_marks(found), *_length(found), *own, *_repeats(found), *_bias(found)]
    made += [*_pairs(found), *_labels(found)]
    return sorted(made, key=lambda one: one["level"] != "warning")


def finding(level: str, message: str, advice: str = "") -> Finding:
    return {"level": level, "message": message, "advice": advice}


def _refused(found: Found) -> list[Finding]:
    refused = found.get("refused") or {}
    rows = found["split"]["train"]
    return [finding("warning", f"{count} of {rows} rows are dropped: {why}") for why, count in refused.items()]


def _marks(found: Found) -> list[Finding]:
    made, marks = list[Finding](), found.get("marks") or {}
    for name, what, advice in (
        ("stop", "an end-of-text token", "remove it: the stop token is added and trained anyway"),
        ("template", "chat template tokens", "give plain messages: the model's own template is added"),
    ):
        if share := marks.get(f"{name}_as_text"):
            written = f"{what} as text ({marks[f'{name}_mark']})"
            said = f"{share:.1%} of the training rows contain {written}: text is never encoded to control tokens"
            made.append(finding("warning" if share >= MARKED else "note", said, advice))
    return made


def _length(found: Found) -> list[Finding]:
    length = found.get("length", {})
    made = []
    if dropped := length.get("dropped", 0):
        share = dropped / length["rows"]
        said = (
            f"{dropped} of {length['rows']} rows ({share:.0%}) need more than {length['context']} tokens and are "
            f"dropped, with {length['learned_lost_share']:.0%} of all target tokens"
        )
        advice = f"context_length={length['keeps_99']} keeps 99 % of the rows, {length['keeps_95']} keeps 95 %"
        made.append(finding("warning" if share > LOST else "note", said, advice if share > LOST else ""))
    if cut := length.get("cut", 0):
        said = (
            f"{cut} of {length['rows']} texts ({cut / length['rows']:.0%}) are truncated to {length['context']} "
            f"tokens, which loses {length['read_lost_share']:.0%} of all text"
        )
        worth = length["read_lost_share"] > LOST
        advice = f"max_tokens={length['keeps_99']} keeps 99 % of the texts whole, {length['keeps_95']} keeps 95 %"
        made.append(finding("warning" if worth else "note", said, advice if worth else ""))
    return made


def _repeats(found: Found) -> list[Finding]:
    made, rows = [], found["split"]["train"]
    double = found.get("duplicates", {})
    if count := double.get("exact", 0) + double.get("near", 0):
        what = {"pairs": "questions", "texts": "texts", "problems": "problems"}.get(found["what"], "rows")
        said = (
            f"{count} of {rows} training {what} repeat an earlier one ({double['exact']} exactly, ignoring case and "
            f"white space, {double['near']} nearly)"
        )
        made.append(finding("warning" if count > FEW * rows else "note", said, "they weigh more in training"))
    if count := double.get("heldout_like_training", 0):
        held = found["split"]["heldout"]
        what = found["what"] if found["what"] in ("texts", "problems") else "questions"
        said = f"{count} of {held} held-out {what} nearly equal a training one: held-out metrics are too good"
        made.append(finding("warning" if count > LOST * held else "note", said, "remove near duplicates from the file"))
    if found["what"] not in ("texts", "problems") and (count := found.get("repeated", {}).get("questions", 0)):
        said = f"{count} questions occur in several rows, {found['repeated']['rows']} rows in total"
        made.append(finding("note", said, "fine if the answers differ on purpose"))
    return made


def _bias(found: Found) -> list[Finding]:
    bias = found.get("bias")
    if not bias or not bias["chosen_longer"] + bias["rejected_longer"]:
        return []
    which, share, low, high = "longer", bias["share"], bias["low"], bias["high"]
    if share < 0.5:
        which, share, low, high = "shorter", 1 - share, 1 - high, 1 - low
    said = (
        f"the chosen answer is the {which} one in {share:.0%} of the pairs that differ in length [{low:.0%}, "
        f"{high:.0%}], on average {bias['chosen_tokens']:g} against {bias['rejected_tokens']:g} tokens"
    )
    if share < BIASED or low <= 0.5:
        return [finding("note", said)]
    advice = "balance the pairs, or compare per token: loss=sigmoid_norm with beta=5"
    return [finding("warning", f"{said}: the model may learn length itself", advice)]


def _pairs(found: Found) -> list[Finding]:
    made, pairs, rows = [], found.get("pairs", {}), found["split"]["train"]
    if count := pairs.get("contradicting", 0):
        said = f"{count} of {rows} training pairs contradict another pair with the same question"
        made.append(finding("warning", said, "keep one of each two: they cancel out"))
    if count := pairs.get("alike", 0):
        said = f"{count} of {rows} training pairs differ only in case and white space"
        made.append(finding("warning" if count > LOST * rows else "note", said, "remove them unless that is the point"))
    if pairs and pairs["largest_topic"] > LARGE_TOPIC * pairs["questions"] and pairs["topics"] > 1:
        share = pairs["largest_topic"] / pairs["questions"]
        said = f"{share:.0%} of the questions are nearly the same: the model may learn that one only"
        made.append(finding("note", said))
    return made


def _labels(found: Found) -> list[Finding]:
    made = []
    labels, rows = found.get("labels"), found["split"]["train"]
    if dropped := found.get("dropped_labels"):
        named = listed([f"{label!r} ({of['reason']})" for label, of in dropped.items()])
        made.append(
            finding("warning", f"labels that are not trained: {named}", "give more rows, or lower min_per_label")
        )
    if labels and labels["majority"] >= ONE_LABEL:
        most = max(labels["labels"], key=labels["labels"].get)
        said = f"{labels['majority']:.0%} of the training texts are {most!r}: accuracy is not informative"
        made.append(finding("warning", said, "use macro-F1, and try class_weights=balanced"))
    if labels and not labels.get("ordinal") and 3 <= len(labels["labels"]) <= GRADES:
        numbers = {label: number_of(label) for label in labels["labels"]}
        if None not in numbers.values():
            shown = ", ".join(sorted(numbers, key=lambda label: numbers[label] or 0.0))
            made.append(
                finding("note", f"the labels are numbers ({shown}) but treated as unordered",
                     "ordinal=true if they are grades: distant errors then cost more")
            )  # fmt: skip
    noise = found.get("noise")
    if noise and noise["suspected"]:
        count = noise["suspected"]
        least = "at least " if count == noise["most_counted"] else ""
        said = f"{least}{count} of {rows} training texts have a possibly wrong label ({count / rows:.1%})"
        made.append(finding("warning" if count > NOISY * rows else "note", said, "check them before training"))
    return made
