"""Rules of thumb shared by all finetuning methods."""

from __future__ import annotations

from tutelage.finetuning.data.marks import MARKED
from tutelage.store.stage import Facts, Finding, Rule


def epochs_rule(identity: str, most: float, wanted: float, says: str, source: str) -> Rule:
    """A rule on the number of passes over the rows: at most `most`; the fix sets `wanted`."""

    def find(f: Facts) -> Finding | None:
        epochs = f["training.epochs"]
        if epochs <= most or f["training.steps"]:
            return None
        return (
            "warning",
            f"{epochs:g} passes over the rows; beyond {most:g} a model memorises its examples",
            f"--set {f['key']}.training.epochs={wanted:g}",
        )

    return Rule(identity, says, source, ("key", "training.epochs", "training.steps"), find)


def rate_rule(identity: str, share: float, wanted: float, says: str, source: str) -> Rule:
    """A rule on the learning rate: at most `share` of that of the parent model; adapters are exempt."""

    def find(f: Facts) -> Finding | None:
        rate, before = f["training.learning_rate"], f["model.learning_rate"]
        if f["result.lora"] or f["model.lora"] or rate <= share * before * 1.001:
            return None
        most = "above" if share == 1 else f"more than {share:g} times"
        return (
            "warning",
            f"learning rate {rate:g} is {most} the {before:g} of the parent model: earlier training is overwritten",
            f"--set {f['key']}.training.learning_rate={wanted * before:.2g}",
        )

    wants = ("key", "training.learning_rate", "model.learning_rate", "model.lora", "result.lora")
    return Rule(identity, says, source, wants, find)


MLP = ("gate", "up", "down", "fc", "mlp", "dense_h", "dense_4h", "w1", "w2", "w3")  # in names of projections
LARGEST_LORA_BATCH = 32  # rows
SCALES = (0.5, 4.0)  # alpha / rank


def _adapter_targets(f: Facts) -> Finding | None:
    targets = f["lora.targets"]
    if targets == "all" or any(part in name for name in targets for part in MLP):
        return None
    return (
        "warning",
        f"adapters on {len(targets)} kinds of matrices ({', '.join(targets)}), none of them in the MLP, which has most "
        "of the parameters: adapters on attention alone learn less at the same size",
        f"--set {f['key']}.lora.targets=all",
    )


def _adapter_batch(f: Facts) -> Finding | None:
    rows, wanted = f["training.batch_rows"], LARGEST_LORA_BATCH
    if rows <= wanted or wanted % f["training.accumulation"]:
        return None
    return (
        "note",
        f"adapters with {rows} rows per step: large batches hurt them more than full finetuning",
        f"--set {f['key']}.training.batch_rows={wanted}",
    )


def _adapter_scale(f: Facts) -> Finding | None:
    scale = f["lora.alpha"] / f["lora.rank"]
    if f["lora.rslora"] or f["lora.init"] == "pissa" or SCALES[0] <= scale <= SCALES[1]:
        return None
    return (
        "note",
        f"alpha {f['lora.alpha']:g} at rank {f['lora.rank']} scales the adapters by {scale:.3g}; 1 to 2 is usual",
        f"--set {f['key']}.lora.alpha={2 * f['lora.rank']}",
    )


ADAPTER_RULES = (
    Rule("lora-targets", "Adapters on all linear layers, most importantly the MLP",
         "Dettmers et al. 2023, section 4; Schulman et al. 2025 (LoRA Without Regret)", ("key", "lora.targets"),
         _adapter_targets),
    Rule("lora-batch", "At most 32 rows per step with adapters", "Schulman et al. 2025 (LoRA Without Regret)",
         ("key", "lora.rank", "training.batch_rows", "training.accumulation"), _adapter_batch),
    Rule("lora-alpha", "alpha 1 to 2 times the rank", "Hu et al. 2021, section 4.1; Raschka 2024: twice",
         ("key", "lora.rank", "lora.alpha", "lora.rslora", "lora.init"), _adapter_scale),
)  # fmt: skip


def _long_warmup(f: Facts) -> Finding | None:
    warmup, steps = f["training.warmup_steps"], f["result.steps"]
    wanted = max(1, steps // 20)
    if warmup <= 0.3 * steps or wanted >= warmup:
        return None
    said = f"warm-up takes {warmup} of about {steps:,} steps"
    fix = f"--set {f['key']}.training.warmup_steps={wanted}"
    if warmup >= steps:
        return "warning", f"{said}: the learning rate never reaches its peak", fix
    return "note", f"{said}; 3 % is usual", fix


WARMUP_RULE = Rule(
    "finetune-warmup", "Warm-up about 3 % of the steps, never all of them", "Tulu 3, Olmo 3, SmolLM3: 3 %",
    ("key", "training.warmup_steps", "result.steps"), _long_warmup,
)  # fmt: skip

LARGE_MODEL, LARGE_MODEL_RATE = 50e6, 2e-4  # parameters; learning rate of all the weights


def _large_model_rate(f: Facts) -> Finding | None:
    rate, parameters = f["training.learning_rate"], f["result.parameters"]
    if f["result.lora"] or parameters < LARGE_MODEL or rate <= LARGE_MODEL_RATE:
        return None
    return (
        "warning",
        f"learning rate {rate:g} for all {parameters:,} weights of a pretrained model; at most 5e-5 is usual, and "
        "more overwrites its knowledge",
        f"--set {f['key']}.training.learning_rate=5.0e-05",
    )


LARGE_MODEL_RULE = Rule(
    "large-model-rate", "Full finetuning of 50M parameters or more at 2e-4 at most",
    "Raschka 2024: 5e-5 (124M); SmolLM3: 2e-5 (3B); Tulu 3: 5e-6 (8B)",
    ("key", "training.learning_rate", "result.parameters", "result.lora"), _large_model_rate,
)  # fmt: skip


def _stop_as_text(f: Facts) -> Finding | None:
    share = f["result.stop_as_text"]
    if share < MARKED:
        return None
    return (
        "error",
        f"{share:.0%} of the rows contain an end-of-text token as text ({f['result.stop_mark']}): text is "
        "never encoded to control tokens, so the model would learn to write it out, not to stop; remove it from the "
        "rows, the stop token is added and trained anyway",
        "",
    )


def _template_as_text(f: Facts) -> Finding | None:
    share = f["result.template_as_text"]
    if share < MARKED:
        return None
    return (
        "error",
        f"{share:.0%} of the rows contain the tokens of a chat template as text ({f['result.template_mark']}): the "
        "model's own template is added around them, and in serving they do not occur; give plain messages",
        "",
    )


MARKUP_RULES = (
    Rule("stop-as-text", "End-of-text tokens as text in less than 5 % of the rows",
         "TRL#1623, open-r1#492, marin#4760: models that never stop", ("result.stop_as_text", "result.stop_mark"),
         _stop_as_text),
    Rule("template-as-text", "Chat template tokens as text in less than 5 % of the rows",
         "ollama#6823, unsloth#976: good in training, garbage when served",
         ("result.template_as_text", "result.template_mark"), _template_as_text),
)  # fmt: skip

LARGE_SHARE = 0.4  # of free memory


def _quantisation(f: Facts) -> Finding | None:
    """4-bit weights pay off if the float32 weights alone take much of the memory."""
    whole, packed, room = f["result.frozen_bytes"], f["result.frozen_bytes_nf4"], f["result.free_bytes"]
    if not f["result.lora"] or whole <= LARGE_SHARE * room or whole <= 1.5 * packed:
        return None
    return (
        "warning" if whole > room else "note",
        f"the frozen weights take {whole / 1e9:.1f} of {room / 1e9:.1f} GB of free memory; in 4 bits they take "
        f"{packed / 1e9:.1f} GB",
        f"--set {f['key']}.lora.quantisation=nf4_double",
    )


def few_rows_rule(identity: str, least: int, what: str, source: str) -> Rule:
    def find(f: Facts) -> Finding | None:
        rows = f["result.rows"]
        return None if rows >= least else ("note", f"{rows:,} rows: {what}", "")

    return Rule(identity, f"At least {least} rows", source, ("result.rows",), find)


SHARED = (
    Rule("qlora", "QLoRA if the float32 weights take more than two fifths of the free memory",
         "Dettmers et al. 2023: 65B in 48 GB, as good as 16 bits",
         ("key", "result.lora", "result.frozen_bytes", "result.frozen_bytes_nf4", "result.free_bytes"), _quantisation),
    *ADAPTER_RULES,
    WARMUP_RULE,
)  # fmt: skip
"""Rules of every method; a rule is skipped if its facts are unknown."""


def shared() -> tuple[Rule, ...]:
    """The rules of a method without specific ones."""
    return SHARED
