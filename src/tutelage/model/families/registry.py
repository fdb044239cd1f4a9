"""All families by name."""

from __future__ import annotations

from tutelage.model.families import (
    custom,
    deepseek_v3,
    gemma,
    gemma2,
    gemma3,
    gpt2,
    gpt_neox,
    gpt_oss,
    granite,
    llama,
    mistral,
    mixtral,
    olmo2,
    olmo3,
    phi3,
    qwen2,
    qwen3,
    qwen3_moe,
    qwen3_next,
    smollm3,
)
from tutelage.model.families.family import Family

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        gpt2, gpt_neox, llama, mistral, mixtral, smollm3, qwen2, qwen3, qwen3_moe, qwen3_next, gemma, gemma2, gemma3,
        olmo2, olmo3, phi3, granite, gpt_oss, deepseek_v3, custom,
    )
}  # fmt: skip
