"""Rules of thumb that all finetuning methods share."""

from __future__ import annotations

from tutelage.store.stage import Facts, Finding, Rule


def epochs_rule(identity: str, most: float, wanted: float, says: str, source: str) -> Rule:
    """At most so many passes over the rows; `wanted` is the fix."""

    def find(f: Facts) -> Finding | None:
        epochs = f["training.epochs"]
        if epochs <= most or f["training.steps"]:
            return None
        return (
            "warning",
            f"{epochs:g} passes over the rows; beyond {most:g} a model learns its examples by heart",
            f"--set {f['key']}.training.epochs={wanted:g}",
        )

    return Rule(identity, says, source, ("key", "training.epochs", "training.steps"), find)


def rate_rule(identity: str, share: float, wanted: float, says: str, source: str) -> Rule:
    """A learning rate of at most `share` of that of the model it begins with; adapters may go higher."""

    def find(f: Facts) -> Finding | None:
        rate, before = f["training.learning_rate"], f["model.learning_rate"]
        if f["result.lora"] or f["model.lora"] or rate <= share * before * 1.001:
            return None
        return (
            "warning",
            f"learning rate {rate:g} is more than {share:g} times the {before:g} of the model "
            f"before: what was learned is "
            "overwritten",
            f"--set {f['key']}.training.learning_rate={wanted * before:.2g}",
        )

    wants = ("key", "training.learning_rate", "model.learning_rate", "model.lora", "result.lora")
    return Rule(identity, says, source, wants, find)


def few_rows_rule(identity: str, least: int, what: str, source: str) -> Rule:
    def find(f: Facts) -> Finding | None:
        rows = f["result.rows"]
        return None if rows >= least else ("note", f"{rows:,} rows: {what}", "")

    return Rule(identity, f"At least {least} rows", source, ("result.rows",), find)
