"""Proof that llama.cpp computes from a GGUF file what we compute from it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tutelage.interchange.gguf.load import read_gguf
from tutelage.interchange.gguf.reader import GGUFFile

# In nats, over the ten likeliest tokens. llama.cpp rounds activations to the weights' kind before it multiplies: to
# half precision for the 16-bit kinds, to 8 bits for the quantised ones; these are bounds on what that does.
TOLERANCE = {"f32": 0.01, "f16": 0.05, "bf16": 0.2, "q8_0": 0.5, "q4_0": 0.5, "q4_1": 0.5}
_TOP = 10


@torch.no_grad()
def check_gguf(path: Path, kind: str, prompts: Sequence[str]) -> tuple[bool | None, int, float, str]:
    """(passed, prompts compared, largest difference in log-probability, why not) of a file against llama.cpp.

    passed is None where `xllamacpp` is not installed. Each prompt is given to llama.cpp as text and as our ids, which
    must be the same to it; then the next token's ten likeliest are compared with ours.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        return None, 0, 0.0, "parity not checked: xllamacpp is not installed (pip install xllamacpp)"
    model, tok = read_gguf(path)
    begin = [tok.bos_id] if tok.bos_id is not None and _adds_begin(path) else []
    server = llama_cpp(path)
    largest, compared = 0.0, 0
    for prompt in prompts:
        ids = [*begin, *tok.encode(prompt)]
        theirs = _likeliest(server, ids)
        # llama.cpp does not give its ids away: where it reads the text as other ones, it expects something else next.
        if _likeliest(server, prompt) != theirs:
            return False, compared, largest, f"llama.cpp cuts {prompt!r} into other tokens than {ids[:8]}"
        if theirs is None:  # the next token is half a character: llama.cpp gives no numbers then
            continue
        ours = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
        largest = max(largest, *(abs(float(ours[index]) - logprob) for index, logprob in theirs.items()))
        compared += 1
    if largest > TOLERANCE[kind]:
        return False, compared, largest, f"log-probabilities differ by {largest:.2g} nats"
    if not compared:
        return None, 0, 0.0, "parity not checked: llama.cpp gave no probabilities"
    return True, compared, largest, ""


def llama_cpp(path: Path) -> Any:
    """llama.cpp's own server object with one file, in this process: one thread, keys and values in float32."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup, params.fit_params, params.verbosity = 256, 1, False, False, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def _adds_begin(path: Path) -> bool:
    metadata = GGUFFile.open(path).metadata
    return bool(metadata.get("tokenizer.ggml.add_bos_token", metadata.get("tokenizer.ggml.model") == "llama"))


def _likeliest(server: Any, prompt: str | list[int]) -> dict[int, float] | None:
    """Log-probabilities of llama.cpp's likeliest next tokens after a text or ids."""
    answer = server.handle_completions(
        {"prompt": prompt, "temperature": 0.0, "n_predict": 1, "n_probs": _TOP, "cache_prompt": False}
    )
    found = answer["choices"][0]["logprobs"]
    return None if found is None else {each["id"]: each["logprob"] for each in found["content"][0]["top_logprobs"]}
