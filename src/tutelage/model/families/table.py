"""The table of families and their parts, from the registry (docs/architecture.md)."""

from __future__ import annotations

from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import FAMILIES

_COLUMNS = ("family", "published models", "norm", "positions", "attention", "windows", "feed-forward", "head", "notes")


def family_table() -> str:
    """A Markdown table with one row per family."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS)]
    for name, family in FAMILIES.items():
        if name != "custom":
            parts = {**{key: field.default for key, field in ModelConfig.model_fields.items()}, **family.parts}
            rows.append((f"`{name}`", family.published, *_row(parts), family.notes or "–"))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(p: dict[str, Any]) -> tuple[str, ...]:
    norm = {"rmsnorm": "RMS", "layernorm": "Layer"}[p["norm"]]
    norm += {"pre": ", before", "post": ", after", "sandwich": ", both"}[p["norm_place"]]
    norm += ", parallel" if p["parallel_residual"] else ""
    norm += ", 1 + w" if p["norm_offset"] else ""

    positions = {"rope": "RoPE", "learned": "learned", "alibi": "ALiBi", "none": "none"}[p["positions"]]
    positions += " partial" if p["rope_fraction"] < 1 else ""
    positions += ", one base per kind" if p["rope_local_theta"] else ""
    positions += ", some layers none" if not all(p["rope_layers"]) else ""

    attention = ["MLA" if p["latent"] else "MHA" if p["norm"] == "layernorm" else "GQA"]
    attention += [{"head": "QK-norm", "layer": "QK-norm over heads"}.get(p["qk_norm"], "")]
    attention += ["biases" if p["attention_bias"] else "", "softcap" if p["attention_softcap"] else ""]
    attention += ["sinks" if p["attention_sinks"] else "", "gated" if p["attention_gate"] else ""]

    kinds, words = p["layer_types"], {"sliding": "windowed", "delta": "gated delta"}
    others = [kind for kind in dict.fromkeys(kinds) if kind != "full"]
    windows = ", ".join(f"{kinds.count(kind)} of {len(kinds)} {words[kind]}" for kind in others)

    names = {"silu": "SwiGLU", "gelu": "GeGLU", "gelu_tanh": "GeGLU", "clamped_swish": "clamped SwiGLU"}
    gate = names[p["activation"]] if p["gated"] else {"gelu": "GELU", "gelu_tanh": "GELU"}[p["activation"]]
    experts = p["experts"]
    if experts:
        shared = ", shared" if experts.shared_gate or experts.balance == "bias" else ""
        gate += f" experts{shared}, {'bias' if experts.balance == 'bias' else 'loss'}-balanced"

    head = ["softcap" if p["logit_softcap"] else "", "multipliers" if p["residual_multiplier"] != 1 else ""]
    head += ["scaled embedding" if p["embedding_multiplier"] == "sqrt" else ""]
    return (norm, positions, _said(attention), windows or "–", gate, _said(head) or "–")


def _said(parts: list[str]) -> str:
    return ", ".join(part for part in parts if part)
