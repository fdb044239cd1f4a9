"""The sections of the report in the order they are read."""

from __future__ import annotations

from tutelage.report import account_sections as account
from tutelage.report import data_sections as data
from tutelage.report import training_sections as training
from tutelage.report.blocks import Block, notice, shown
from tutelage.report.collect import Run, Stage
from tutelage.report.story import status_sentence


def sections(run: Run) -> list[Block]:
    """All sections in the order of a model's life; one without anything to say is left out."""
    makers = (
        ("samples", "What they say", account.sayings, ()),
        ("corpus", "Corpus", data.corpus, ("corpus",)),
        ("tokenizer", "Tokenizer", data.tokenizer, ("tokenizer",)),
        (
            "pretraining",
            "Adopted model" if run.stage("pretrain").adopted else "Pretraining",
            training.pretraining,
            ("pretrain",),
        ),
        ("classification", "Classification", training.classification, ("classify",)),
        ("instruction", "Instruction", training.instruction, ("instruct",)),
        ("preference", "Preference", training.preference, ("pairs", "prefer")),
        ("evaluation", "Every figure", account.evaluation, ("evaluate",)),
        ("cost", "Time and memory", account.cost, ()),
        ("advice", "Advice", account.advice, ()),
        ("provenance", "Provenance", account.provenance, ()),
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
            f"{stage.title} came from the cache: same configuration, inputs and seed as artifact {stage.identity[:12]}."
        )
    return notice(f"{stage.title}: {status_sentence(stage)}", "warning" if stage.status == "failed" else "note")
