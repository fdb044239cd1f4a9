"""Pre-tokenizers of byte-level BPE: llama.cpp's names and the equivalent Hugging Face definitions.

A GGUF file contains only the name (`tokenizer.ggml.pre`). Each name is mapped to the definition in the tokenizer.json
of the models that use it, and definitions are mapped back to an equivalent name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tutelage.store.errors import InputError

_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3, _QWEN2 = rf"{_WORDS}\p{{N}}{{1,3}}{_REST}", rf"{_WORDS}\p{{N}}{_REST}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_END = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BEFORE, _SHORT = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_TEKKEN = rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}|{_END}"
_O200K = rf"{_BEFORE}{_UPPER}*{_LOWER}+{_SHORT}|{_BEFORE}{_UPPER}+{_LOWER}*{_SHORT}|\p{{N}}{{1,3}}|{_END}"
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)


@dataclass(frozen=True)
class PreTokenizer:
    """`patterns` are applied in turn, each within the pieces of the previous one."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False  # a word that is a token is not split
    add_bos: bool = False  # llama.cpp's default
    nfc: bool = field(default=False, compare=False)


def _named(names: str, made: PreTokenizer) -> dict[str, PreTokenizer]:
    return dict.fromkeys(names.split(), made)


PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    **_named(
        "gpt-2 phi-2 mpt olmo jais gigachat a.x-4.0 mellum trillion granite-docling exaone4", PreTokenizer((_GPT2,))
    ),
    **_named("smollm starcoder refact command-r codeshell exaone minerva-7b", PreTokenizer((r"\p{N}", _GPT2))),
    **_named("qwen2 deepseek-r1-qwen kormo megrez", PreTokenizer((_QWEN2,), nfc=True)),
    **_named("stablelm2 hunyuan solar-open grok-2", PreTokenizer((_QWEN2,))),
    **_named("smaug-bpe dbrx chatglm-bpe glm4", PreTokenizer((_LLAMA3,))),
    **_named("llama-bpe llama3 llama-v3 falcon3 pixtral lfm2 midm-2.0", PreTokenizer((_LLAMA3,), True, True)),
    **_named("tekken", PreTokenizer((_TEKKEN,), True, True)),
    **_named("gpt-4o llama4 kanana2", PreTokenizer((_O200K,))),
    **_named("deepseek-v3 hunyuan-dense", PreTokenizer(_DEEPSEEK3)),
    **_named("default", PreTokenizer(_DEFAULT)),
}
"""`tokenizer.ggml.pre` -> definition. Of equivalent names the first one is written."""


def pre_tokenizer_named(name: Any) -> PreTokenizer:
    """The pre-tokenizer of that name. Raises InputError for an unknown one."""
    if not isinstance(name, str) or name not in PRE_TOKENIZERS:
        raise InputError(
            f"unknown pre-tokenizer type {name!r}",
            hint="known: " + ", ".join(sorted(PRE_TOKENIZERS)),
        )
    return PRE_TOKENIZERS[name]


def to_definition(pre: PreTokenizer) -> dict[str, Any]:
    """The `pre_tokenizer` of a tokenizer.json."""
    splits = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in pre.patterns
    ]
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [*splits, to_bytes]}


def name_of(definition: Mapping[str, Any], ignore_merges: bool) -> str:
    """llama.cpp's name for a `pre_tokenizer` of a tokenizer.json. Raises InputError if there is none."""
    patterns = _patterns(definition)
    fitting = [name for name, pre in PRE_TOKENIZERS.items() if tuple(map(_plain, pre.patterns)) == patterns]
    same = [name for name in fitting if PRE_TOKENIZERS[name].ignore_merges == ignore_merges]
    if not same:
        raise InputError(
            "llama.cpp has no pre-tokenizer that is equivalent to this tokenizer's",
            hint="it knows those of GPT-2, SmolLM, Qwen 2, Llama 3, GPT-4o, DeepSeek 3 and Tekken",
        )
    return same[0]


def _patterns(definition: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The patterns of a definition; None if it has other steps."""
    patterns: list[str] = []
    steps = definition.get("pretokenizers", [definition])
    for step in steps:
        kind = step.get("type")
        if kind == "ByteLevel" and step is steps[-1] and not step.get("add_prefix_space"):
            if step.get("use_regex", True):
                patterns.append(_GPT2)
        elif kind == "Digits" and step.get("individual_digits"):
            patterns.append(r"\p{N}")
        elif kind == "Split" and step.get("behavior") in ("Isolated", "Removed") and "Regex" in step["pattern"]:
            # Removing everything but the matches is an older equivalent of isolating them.
            if (step["behavior"] == "Removed") != bool(step.get("invert")):
                return None
            patterns.append(step["pattern"]["Regex"])
        else:
            return None
    return tuple(map(_plain, patterns))


def _plain(pattern: str) -> str:
    """Canonical spelling of equivalent patterns."""
    return pattern.replace("'s|'t|'re|'ve|'m|'ll|'d| ?", "'(?:[sdmt]|ll|ve|re)| ?").replace(r"\p{N}{1}", r"\p{N}")
