"""Rules of thumb for continued pretraining."""

from __future__ import annotations

from tutelage.finetuning.rules import SHARED, epochs_rule, rate_rule
from tutelage.store.stage import Facts, Finding, Rule

LITTLE, MUCH = 0.01, 0.5  # shares of replay
FINAL = 0.1  # of the peak rate


def replay(f: Facts) -> Finding | None:
    share = f["replay.share"]
    if share < LITTLE:
        return (
            "warning",
            f"{share:.0%} of the tokens are replayed: without replay the model forgets what it could do before",
            f"--set {f['key']}.replay.share=0.2",
        )
    if share > MUCH:
        return "note", f"{share:.0%} of the tokens are replayed; more than half slows learning of the new text", ""
    return None


def decay(f: Facts) -> Finding | None:
    if f["training.schedule"] == "constant":
        return (
            "warning",
            "the learning rate is re-warmed but never decayed: the loss stays higher than necessary",
            f"--set {f['key']}.training.schedule=cosine",
        )
    if f["training.final_fraction"] <= FINAL:
        return None
    return (
        "note",
        f"the learning rate ends at {f['training.final_fraction']:.0%} of its peak; a tenth is usual",
        f"--set {f['key']}.training.final_fraction=0.1",
    )


RULES = (
    Rule("further-replay", "Replay 1 to 50 % of the tokens, more for a larger distribution shift",
         "Ibrahim et al. 2024: 5 % for a weak shift, 25 % for another language", ("key", "replay.share"), replay),
    Rule("further-decay", "Re-warm the learning rate and decay it to a tenth",
         "Gupta et al. 2023; Ibrahim et al. 2024",
         ("key", "training.schedule", "training.final_fraction"), decay),
    epochs_rule("further-epochs", 4, 2, "Up to 4 passes over the text", "Muennighoff et al. 2023"),
    rate_rule("further-learning-rate", 1.0, 0.5,
              "At most the peak rate of pretraining; a lower one forgets less and learns less", "Gupta et al. 2023"),
    *SHARED,
)  # fmt: skip


def rules() -> tuple[Rule, ...]:
    return RULES
