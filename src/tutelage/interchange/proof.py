"""Parity checks: the written files and the source compute the same as our model.

Two comparisons, each with another program: the source (a foreign directory by transformers, a GGUF file by llama.cpp)
with our model as loaded, and our model before writing with the written files, which are never compared with themselves.
Prompts extend beyond sliding windows and the original length of a scaled RoPE.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families.weights import parameter_shapes
from tutelage.model.hf_config import POOLING, to_hf_config
from tutelage.model.lora import as_merged
from tutelage.model.pooling import pooled
from tutelage.store.artifacts import MANIFEST
from tutelage.store.files import RECORD
from tutelage.store.quiet import quiet_imports
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer

PROMPTS = (
    "Return the",
    "The quick brown fox jumps over 13 lazy dogs.",
    "def add(a, b):\n    return a + b\n",
    "Grüße, naïve café! 你好 🎉",
)
TOLERANCE = 1e-4  # relative to the largest logit, float32
_MOST_WORK = 1e12  # parameters times tokens of the long prompt: half a minute on two cores
_SHORTEST, _BEYOND, _COMPARED = 64, 16, 16  # tokens: of the long prompt, past a window, and compared at its end


@dataclass(frozen=True)
class Parity:
    """Result of a comparison; `passed` is None if it was not possible, with the reason in `why`.

    longest: tokens of the longest prompt. short_of: features that the prompt was too short to reach.
    """

    passed: bool | None
    prompts: int = 0
    max_difference: float = 0.0
    why: str = ""
    longest: int = 0
    short_of: str = ""


def long_prompt(
    config: ModelConfig, parameters: int, control: frozenset[int], vocab_size: int
) -> tuple[list[int], str]:
    """Prompt ids that extend beyond the model's window and its RoPE's original length, and a text on what is out of
    reach.

    The length is bounded by the context and by what two cores compute in half a minute.
    """
    marks = {}
    if config.sliding_window and "sliding" in config.layer_types:
        marks["sliding window"] = config.sliding_window
    if config.rope_scaling is not None and config.rope_scaling.original_length:
        marks["original length of the scaled rope"] = config.rope_scaling.original_length
    # llama.cpp requires room for the generated token.
    affordable = min(config.max_position_embeddings - 2, max(_SHORTEST, int(_MOST_WORK / max(parameters, 1))))
    length = min(affordable, max([_SHORTEST, *(mark + _BEYOND for mark in marks.values())]))
    if length <= min(marks.values(), default=0):
        length = min(length, _SHORTEST)  # none of them is reached: a longer prompt would prove no more
    short_of = ", ".join(f"{name} of {mark}" for name, mark in marks.items() if mark >= length)
    allowed = torch.tensor([index for index in range(min(vocab_size, config.vocab_size)) if index not in control])
    drawn = torch.randint(len(allowed), (length,), generator=torch.Generator().manual_seed(1))
    return allowed[drawn].tolist(), short_of


def is_foreign_directory(source: Path | None) -> bool:
    """Whether another program wrote it; our own artifacts and exports are not compared."""
    return source is not None and source.is_dir() and not any((source / name).exists() for name in (MANIFEST, RECORD))


@torch.no_grad()
def check_transformers(model: DecoderLM, tok: Tokenizer, directory: Path) -> Parity:
    """Compare token ids, chat rendering and logits (or class scores) with transformers' on `directory`."""
    if importlib.util.find_spec("transformers") is None:
        return Parity(None, why="parity not checked: transformers is not installed (pip install transformers)")
    if model.config.pooling != "last":
        return Parity(
            None,
            why=f"parity not checked: transformers does not support {POOLING} ({model.config.pooling}) and would use "
            "the last token of a text; classify with tutelage",
        )
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    name = str(to_hf_config(model.config)["architectures"][0])
    with quiet_imports():
        known = hasattr(transformers, name)
    if not known:
        return Parity(None, why=f"parity not checked: transformers has no {name}")
    kind = "AutoModelForSequenceClassification" if model.config.num_labels else "AutoModelForCausalLM"
    try:
        with quiet_imports():
            their_tok = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
            opened = getattr(transformers, kind).from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        return Parity(False, why=f"transformers cannot load it: {type(error).__name__}: {said[0][:200]}")
    theirs = opened.eval()
    if why := _other_chat(tok, their_tok) or _other_labels(model.config, theirs.config):
        return Parity(False, why=why)
    prompts = []
    for prompt in PROMPTS:
        ids = tok.encode(prompt)
        their_ids = their_tok(prompt, add_special_tokens=False)["input_ids"]
        if ids != their_ids:
            return Parity(False, why=f"token ids of {prompt!r} differ: {ids[:8]} and {their_ids[:8]}")
        begun = tok.framed(ids) if model.config.num_labels else [*tok.begin_ids, *ids]
        whole = their_tok(prompt)["input_ids"]
        if whole[: len(begun)] != begun or (model.config.num_labels and whole != begun):
            return Parity(False, why=f"the special tokens around {prompt!r} differ: {begun[:8]} and {whole[:8]}")
        prompts.append(begun)
    long, short_of = long_prompt(model.config, model.num_parameters(), tok.control_ids, tok.vocab_size)
    largest = 0.0
    for ids in (*prompts, long):
        expected, ours = _theirs(theirs, ids), _ours(model, ids)
        largest = max(largest, _apart(ours, expected))
    measured = (len(prompts) + 1, largest)
    if largest > TOLERANCE:
        return Parity(False, *measured, f"logits differ by {largest:.1e} of the largest", len(long), short_of)
    return Parity(True, *measured, "", len(long), short_of)


@torch.no_grad()
def check_merge(model: DecoderLM, tok: Tokenizer) -> Parity:
    """Compare the model with unmerged and merged adapters, without changing it.

    The merged weights come from `MergedState`, one layer at a time.
    """
    control, size = tok.control_ids, tok.vocab_size
    long, short_of = long_prompt(model.config, sum(map(math.prod, _shapes(model))), control, size)
    begun = [tok.framed(ids) if model.config.num_labels else [*tok.begin_ids, *ids] for ids in map(tok.encode, PROMPTS)]
    begun = [*(ids[: model.config.max_position_embeddings] for ids in begun), long]
    live = [_ours(model, ids) for ids in begun]
    with as_merged(model):
        largest = max(_apart(_ours(model, ids), before) for ids, before in zip(begun, live, strict=True))
    why = f"merged logits differ by {largest:.1e} of the largest" if largest > TOLERANCE else ""
    return Parity(not why, len(begun), largest, why, len(long), short_of)


def _apart(one: Tensor, other: Tensor) -> float:
    """Largest difference relative to the largest value; infinite for NaN."""
    difference = float((one - other).abs().max() / other.abs().max().clamp(min=1e-9))
    return difference if difference == difference else float("inf")


def _shapes(model: DecoderLM) -> list[tuple[int, ...]]:
    return [tuple(shape) for shape in parameter_shapes(model.config).values()]


def _ours(model: DecoderLM, ids: Sequence[int]) -> Tensor:
    """Scores [labels], or logits [at most _COMPARED, vocab_size] of the last tokens."""
    hidden = model.hidden(torch.tensor([ids], device=model.embed_tokens.weight.device))[0]
    if not model.config.num_labels:
        return model.logits(hidden[-_COMPARED:]).float().cpu()
    length = torch.tensor([len(ids)], device=hidden.device)
    return model.scores(pooled(hidden[None], 0 * length, length - 1, length, model.config))[0].float().cpu()


def _theirs(model: Any, ids: Sequence[int]) -> Tensor:
    tokens = torch.tensor([ids])
    if "logits_to_keep" in inspect.signature(model.forward).parameters:  # avoids the logits of a long prompt
        return model(tokens, logits_to_keep=_COMPARED).logits[0].float()
    found: Tensor = model(tokens).logits[0].float()
    return found[-_COMPARED:] if found.dim() == 2 else found


def _other_chat(tok: Tokenizer, theirs: Any) -> str:
    if tok.chat_template is None:
        return ""
    conversation = [Message("user", PROMPTS[0]), Message("assistant", PROMPTS[1]), Message("user", PROMPTS[2])]
    ours = render_chat(tok, conversation, add_generation_prompt=True, today=date.today().isoformat()).ids
    as_dicts = [{"role": message.role, "content": message.content} for message in conversation]
    their_ids = theirs.apply_chat_template(as_dicts, add_generation_prompt=True, return_dict=False)
    # Comparing ids is too strict (we never merge a content with what surrounds it), and so is comparing with the
    # rendered text (SentencePiece decodes a space after a control token).
    same = tok.decode(ours, skip_special=False) == tok.decode(their_ids, skip_special=False)
    return "" if same else "the chat template renders differently in transformers"


def _other_labels(config: ModelConfig, theirs: Any) -> str:
    if not config.num_labels:
        return ""
    ours = config.labels or tuple(f"LABEL_{index}" for index in range(config.num_labels))
    names = tuple(theirs.id2label[index] for index in sorted(theirs.id2label))
    return "" if ours == names else f"the labels differ: {ours[:5]} and {names[:5]}"


def said(parity: Parity, what: str, whose: str) -> str:
    """The result of a comparison as text."""
    if not parity.passed:
        return parity.why
    words = (
        f"parity passed: {what} within {parity.max_difference:.1e} of those of {whose} on {parity.prompts} prompts of "
        f"up to {parity.longest} tokens"
    )
    return words + (f" (short of the {parity.short_of})" if parity.short_of else "")
