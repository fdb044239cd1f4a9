"""Parity check of a GGUF file: llama.cpp against our model."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tutelage.interchange.gguf.load import read_gguf
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.proof import PROMPTS, Parity, long_prompt
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import differing
from tutelage.tokenizer.tokenizer import Tokenizer

# In nats, over the ten most likely tokens. llama.cpp rounds activations to the type of the weights before it multiplies
# (to half precision for 16-bit types, to 8 bits for quantised ones); these bound the effect.
TOLERANCE = {"F32": 0.01, "F16": 0.05, "BF16": 0.2}
_QUANTISED = 0.5
# Maximum rounding error of a weight relative to the largest in its block of 32: half a quantisation step, plus rounding
# of the scale.
_ROUNDING = {"F32": 0.0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 1 / 127, "Q4_0": 1 / 7, "Q4_1": 2 / 15}
_TOP = 10


@torch.no_grad()
def check_gguf(path: Path, model: DecoderLM, tok: Tokenizer, prompts: Sequence[str] = PROMPTS) -> Parity:
    """Compare llama.cpp on a file with `model` and `tok`, which were not read from it, unless the file is the source.

    passed is None if `xllamacpp` is not installed. Each prompt is given to llama.cpp as text and as our ids, with the
    same result required; then log-probabilities of its ten most likely next tokens are compared, also after a long
    prompt.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        return Parity(None, why="parity not checked: xllamacpp is not installed (pip install xllamacpp)")
    file = GGUFFile.open(path)
    begin = [tok.bos_id] if tok.bos_id is not None and _adds_begin(file) else []
    long, short_of = long_prompt(model.config, model.num_parameters(), tok.control_ids, tok.vocab_size)
    server = llama_cpp(file.path, len(long) + 8)
    largest, compared = 0.0, 0
    asked: list[tuple[str, list[int]]] = [(prompt, [*begin, *tok.encode(prompt)]) for prompt in prompts]
    for prompt, ids in (*asked, ("", long)):
        theirs = _top_logprobs(server, ids)
        # llama.cpp does not return its prompt ids; if they differ from ours, its predictions differ.
        if prompt and _top_logprobs(server, prompt) != theirs:
            return Parity(False, compared, largest, f"llama.cpp tokenizes {prompt!r} differently from {ids[:8]}")
        if theirs is None:  # the next token is part of a character: llama.cpp then returns no log-probabilities
            continue
        hidden = model.hidden(torch.tensor([ids], device=model.embed_tokens.weight.device))
        ours = model.logits(hidden[0, -1]).log_softmax(-1)
        largest = max(largest, *(abs(float(ours[index]) - logprob) for index, logprob in theirs.items()))
        compared += 1
    if not largest <= tolerance_of(file):
        why = f"log-probabilities differ by {largest:.2g} nats"
        return Parity(False, compared, largest, why, len(long), short_of)
    if not compared:
        return Parity(None, why="parity not checked: llama.cpp gave no probabilities")
    return Parity(True, compared, largest, "", len(long), short_of)


@torch.no_grad()
def check_written(path: Path, model: DecoderLM, tok: Tokenizer) -> Parity:
    """Compare a file just written with the model before writing.

    Types that round little: llama.cpp on the file against that model. Quantised types change the result by design, so
    the file's settings and weights are compared with the model's, and llama.cpp with the model read from the file.
    """
    if tolerance_of(GGUFFile.open(path)) < _QUANTISED:
        return check_gguf(path, model, tok)
    again, read = read_gguf(path)
    if why := _other_model(path, model, again):
        return Parity(False, why=why)
    if (read.definition, read.chat_template) != (tok.definition, tok.chat_template):
        return Parity(False, why="the tokenizer in the file differs")
    return check_gguf(path, again, tok)


def tolerance_of(file: GGUFFile) -> float:
    """Tolerance in nats for the coarsest type of tensor in the file."""
    return max(TOLERANCE.get(info.kind.name, _QUANTISED) for info in file.tensors.values())


def _other_model(path: Path, model: DecoderLM, again: DecoderLM) -> str:
    """How the model read from a file differs from the one written; "" if only by rounding of the weights."""
    keys = differing(model.config, again.config)
    if keys:
        return f"the config in the file differs in {', '.join(keys)}"
    kinds = {info.kind.name for info in GGUFFile.open(path).tensors.values()}
    bound = 1.02 * max(_ROUNDING.get(kind, 1.0) for kind in kinds)
    found = again.state_dict()
    for name, value in model.state_dict().items():
        blocks = value.detach().float().cpu().reshape(*value.shape[:-1], -1, 32 if value.shape[-1] % 32 == 0 else 1)
        off = (found[name].reshape(blocks.shape) - blocks).abs()
        # Reordering and fusing move whole rows, so blocks within a row are kept.
        if bool((off > bound * blocks.abs().amax(-1, keepdim=True) + 1e-6).any()):
            return f"the weight {name} in the file differs from the model's by more than rounding"
    return ""


def llama_cpp(path: Path, context: int = 256) -> Any:
    """llama.cpp's server object for a file, in this process: one thread, KV cache in float32."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup, params.fit_params = max(256, context), 1, False, False
    params.verbosity = -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def _adds_begin(file: GGUFFile) -> bool:
    metadata = file.metadata
    return bool(metadata.get("tokenizer.ggml.add_bos_token", metadata.get("tokenizer.ggml.model") == "llama"))


def _top_logprobs(server: Any, prompt: str | list[int]) -> dict[int, float] | None:
    """llama.cpp's most likely next tokens after a text or ids, with log-probabilities; None if it returns none."""
    answer = server.handle_completions(
        {"prompt": prompt, "temperature": 0.0, "n_predict": 1, "n_probs": _TOP, "cache_prompt": False}
    )
    found = answer["choices"][0]["logprobs"]
    return None if found is None else {each["id"]: each["logprob"] for each in found["content"][0]["top_logprobs"]}
