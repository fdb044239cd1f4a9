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


LARGE_SHARE = 0.4  # of the memory that is free


def quantisation_rule() -> Rule:
    """Weights in 4 bits pay where in float32 they alone take much of the memory."""

    def find(f: Facts) -> Finding | None:
        whole, packed, room = f["result.frozen_bytes"], f["result.frozen_bytes_nf4"], f["result.free_bytes"]
        if not f["result.lora"] or whole <= LARGE_SHARE * room or whole <= 1.5 * packed:
            return None
        return (
            "warning" if whole > room else "note",
            f"the frozen weights take {whole / 1e9:.1f} GB of the {room / 1e9:.1f} GB that are free; in 4 bits they "
            f"take {packed / 1e9:.1f} GB",
            f"--set {f['key']}.lora.quantisation=nf4_double",
        )

    wants = ("key", "result.lora", "result.frozen_bytes", "result.frozen_bytes_nf4", "result.free_bytes")
    says = "QLoRA where the weights in float32 take more than two fifths of the free memory"
    return Rule("qlora", says, "Dettmers et al. 2023: 65B in 48 GB, as good as 16 bits", wants, find)


def few_rows_rule(identity: str, least: int, what: str, source: str) -> Rule:
    def find(f: Facts) -> Finding | None:
        rows = f["result.rows"]
        return None if rows >= least else ("note", f"{rows:,} rows: {what}", "")

    return Rule(identity, f"At least {least} rows", source, ("result.rows",), find)
