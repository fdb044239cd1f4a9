"""Serving an exported model with other programs: exact commands and memory requirements."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from tutelage.model.cache import bytes_per_token
from tutelage.model.config import ModelConfig
from tutelage.store.errors import ConfigError, nearest

Program = Literal["vllm", "sglang", "llama.cpp", "transformers"]
PROGRAMS: tuple[str, ...] = get_args(Program)

_CARDS = (24, 80)  # GB of two common GPUs
_USABLE = 0.9  # share of it that the programs use
_SLOTS = 8  # parallel answers of llama.cpp


def check_program(program: str, target: Path) -> None:
    """Raise ConfigError for an unknown program, or one that does not read the export format."""
    if program not in PROGRAMS:
        raise ConfigError(f"--for: unknown program {program!r}", hint=nearest(program, PROGRAMS))
    if (program == "llama.cpp") != (target.suffix == ".gguf"):
        kind = "a .gguf file" if program == "llama.cpp" else "a directory"
        raise ConfigError(f"{program} reads {kind}, not {target}", hint=f"e.g. {_example(program)}")


def serving_plan(program: str, target: Path, config: ModelConfig, parameters: int) -> dict[str, Any]:
    """`commands` to install, start and ask, and `memory`: bytes of the weights (two per parameter) and of the KV cache
    per token, and the number of full contexts that fit beside the weights on GPUs of 24 and 80 GB."""
    path, context = shlex.quote(str(target.resolve())), config.max_position_embeddings
    name = shlex.quote(target.stem)
    here = "--host 127.0.0.1 --port 8000"
    start, install = {
        "vllm": (
            f"vllm serve {path} --served-model-name {name} --max-model-len {context} --dtype bfloat16 {here} "
            '--api-key "$KEY"',
            "pip install vllm",
        ),
        "sglang": (
            f"python -m sglang.launch_server --model-path {path} --served-model-name {name} "
            f'--context-length {context} --dtype bfloat16 {here} --api-key "$KEY"',
            "pip install 'sglang[all]'",
        ),
        "llama.cpp": (
            f'llama-server -m {path} -c {_SLOTS * context} -np {_SLOTS} --jinja {here} --api-key "$KEY"',
            "see github.com/ggml-org/llama.cpp, or a package of your system",
        ),
        "transformers": (f"transformers serve {path} {here}", "pip install 'transformers[serving]'"),
    }[program]
    body = f'{{"model": "{target.stem}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    key = "" if program == "transformers" else ' -H "Authorization: Bearer $KEY"'
    address = "http://127.0.0.1:8000/v1/chat/completions"
    ask = f"curl {address} -H 'Content-Type: application/json'{key} -d {shlex.quote(body)}"
    weights, token = 2 * parameters, bytes_per_token(config, torch.bfloat16)
    fitting = {f"{gb} GB": max(0, int((gb * 1e9 * _USABLE - weights) / (token * context))) for gb in _CARDS}
    return {
        "program": program, "commands": {"install": install, "start": start, "ask": ask},
        "memory": {"weights": weights, "per_token": token, "whole_contexts_beside_the_weights": fitting},
    }  # fmt: skip


def plan_lines(plan: dict[str, Any], context: int) -> list[str]:
    """The plan as text."""
    commands, memory = plan["commands"], plan["memory"]
    fitting = ", ".join(f"{count} on {card}" for card, count in memory["whole_contexts_beside_the_weights"].items())
    return [
        f"# to install {plan['program']}",
        commands["install"],
        "# to serve on this machine only; set KEY to a secret of your own",
        commands["start"],
        "# to ask",
        commands["ask"],
        f"# memory in bfloat16: weights {memory['weights'] / 1e9:.2f} GB, {memory['per_token'] / 1024:.0f} KiB of "
        f"cache per token; texts of {context:,} tokens that fit beside the weights: {fitting}",
    ]


def _example(program: str) -> str:
    return f"tutelage export my-model{'.gguf' if program == 'llama.cpp' else ''} --for {program}"
