"""Each preference loss: its default settings and the settings it uses. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

PairLoss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero",
    "apo_down", "aot", "aot_unpaired", "discopop", "sft", "orpo", "cpo", "simpo",
]  # fmt: skip
JudgedLoss = Literal["kto", "apo_zero_unpaired"]


@dataclass(frozen=True)
class Known:
    """A loss: default and usual range of `beta`, and the defaults of its other settings (None: not used by the loss).

    smoothing: default of `label_smoothing`. reference: the loss needs a reference model. judged: it learns from answers
    judged one by one, not from pairs. whole_batch: its value depends on which pairs share a batch.
    """

    beta: float
    usual: tuple[float, float] = (0.01, 0.5)
    sft_weight: float | None = 0.5
    smoothing: float | None = None
    gamma_beta_ratio: float | None = None
    reference: bool = True
    judged: bool = False
    whole_batch: bool = False


# sft_weight is 0 where the published loss has no likelihood term and keeps the chosen answer likely without one.
KNOWN: dict[str, Known] = {
    "sigmoid": Known(0.1, smoothing=0.0),
    "sigmoid_norm": Known(5.0, (1.0, 10.0), smoothing=0.0),
    "hinge": Known(0.1),
    "ipo": Known(0.1, (0.01, 1.0)),
    "robust": Known(0.1, smoothing=0.1),
    "exo_pair": Known(0.1, smoothing=1e-3),
    "nca_pair": Known(0.1, (0.001, 0.5), sft_weight=0.0),
    "bco_pair": Known(0.1, sft_weight=0.0),
    "sppo_hard": Known(0.001, (0.0001, 0.1), sft_weight=0.0),
    "apo_zero": Known(0.1, sft_weight=0.0),
    "apo_down": Known(0.1, sft_weight=0.0),
    "aot": Known(0.1, smoothing=0.0, whole_batch=True),
    "aot_unpaired": Known(0.1, smoothing=0.0, whole_batch=True),
    "discopop": Known(0.1),
    "sft": Known(0.0, (0.0, 0.0), sft_weight=None, reference=False),
    "orpo": Known(0.1, (0.05, 1.0), sft_weight=1.0, reference=False),
    "cpo": Known(0.1, sft_weight=1.0, smoothing=0.0, reference=False),
    "simpo": Known(2.0, (2.0, 10.0), sft_weight=0.0, smoothing=0.0, gamma_beta_ratio=0.5, reference=False),
    "kto": Known(0.1, sft_weight=None, judged=True),
    "apo_zero_unpaired": Known(0.1, sft_weight=None, judged=True),
}
JUDGED = tuple(name for name, known in KNOWN.items() if known.judged)


def settings_of(loss: str) -> dict[str, Any]:
    """The default settings of a loss; settings it does not use are 0."""
    known = KNOWN[loss]
    return {
        "beta": known.beta,
        "label_smoothing": known.smoothing or 0.0,
        "sft_weight": known.sft_weight or 0.0,
        "gamma_beta_ratio": known.gamma_beta_ratio or 0.0,
    }


def unsupported(loss: str, given: dict[str, Any]) -> str | None:
    """A message naming a setting in `given` that this loss does not use; None if there is none."""
    known = KNOWN[loss]
    used = {
        "beta": loss != "sft",
        "label_smoothing": known.smoothing is not None,
        "sft_weight": known.sft_weight is not None,
        "gamma_beta_ratio": known.gamma_beta_ratio is not None,
    }
    off = {"desirable_weight": 1.0, "undesirable_weight": 1.0}
    used |= dict.fromkeys(off, known.judged)
    for name, is_used in used.items():
        if not is_used and given[name] != off.get(name, 0.0):
            return f"{name} has no effect with loss {loss!r}"
    return None
