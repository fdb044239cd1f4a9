"""Proof that llama.cpp computes from a GGUF file what we compute from it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tutelage.interchange.gguf.load import read_gguf

# In nats, over the ten likeliest tokens. llama.cpp rounds activations to the weights' kind before it multiplies: to
# half precision for the 16-bit kinds, to 8 bits for the quantised ones; these are bounds on what that does.
TOLERANCE = {"f32": 0.01, "f16": 0.05, "bf16": 0.2, "q8_0": 0.5, "q4_0": 0.5, "q4_1": 0.5}
_TOP = 10


@torch.no_grad()
def check_gguf(path: Path, kind: str, prompts: Sequence[str]) -> tuple[bool | None, int, float, str]:
    """(passed, prompts compared, largest difference in log-probability, why not) of a file against llama.cpp.

    passed is None where `xllamacpp` is not installed. Token ids are compared first, then the next token's ten
    likeliest after each prompt.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        return None, 0, 0.0, "parity not checked: xllamacpp is not installed (pip install xllamacpp)"
    model, tok = read_gguf(path)
    server = _server(path)
    largest, compared = 0.0, 0
    for prompt in prompts:
        ids = tok.encode(prompt)
        theirs_ids = _tokens(server, prompt)
        if theirs_ids is not None and theirs_ids != ids:
            return False, compared, largest, f"token ids of {prompt!r} differ: {ids[:8]} and {theirs_ids[:8]}"
        answer = server.handle_completions(
            {"prompt": ids, "temperature": 0.0, "n_predict": 1, "n_probs": _TOP, "cache_prompt": False}
        )
        found = answer["choices"][0]["logprobs"]
        if found is None:  # the next token is half a character: llama.cpp gives no numbers then
            continue
        ours = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
        for token in found["content"][0]["top_logprobs"]:
            largest = max(largest, abs(float(ours[token["id"]]) - token["logprob"]))
        compared += 1
    if largest > TOLERANCE[kind]:
        return False, compared, largest, f"log-probabilities differ by {largest:.2g} nats"
    if not compared:
        return None, 0, 0.0, "parity not checked: llama.cpp gave no probabilities"
    return True, compared, largest, ""


def _server(path: Path) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup, params.fit_params, params.verbosity = 256, 1, False, False, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def _tokens(server: Any, text: str) -> list[int] | None:
    """llama.cpp's ids of a text, without any it adds at the ends; None if this version cannot say."""
    try:
        answer = server.handle_tokenize({"content": text, "add_special": False, "parse_special": False})
        return [int(token) for token in answer["tokens"]]
    except (AttributeError, KeyError, TypeError):
        return None
