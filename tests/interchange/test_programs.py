"""Commands for other programs: whole, quoted, and of the right kind of file."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tutelage.interchange.programs import PROGRAMS, check_program, plan_lines, serving_plan
from tutelage.model.families import FamilyConfig
from tutelage.store.errors import ConfigError

CONFIG = FamilyConfig.parse({
    "family": "llama", "vocab_size": 100, "hidden_size": 64, "num_layers": 3, "num_heads": 4, "num_kv_heads": 2,
    "max_position_embeddings": 2048,
})  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_commands_name_the_model_and_its_context(program: str) -> None:
    target = Path("my models/it's.gguf" if program == "llama.cpp" else "my models/it's")
    plan = serving_plan(program, target, CONFIG, 1_000_000)
    words = shlex.split(plan["commands"]["start"])
    assert str(target.resolve()) in words and "127.0.0.1" in words
    if program != "transformers":
        assert str(2048 * (8 if program == "llama.cpp" else 1)) in words and "$KEY" in words
    assert any('"model": "it\'s"' in word for word in shlex.split(plan["commands"]["ask"]))
    assert plan["commands"]["start"] in plan_lines(plan, 2048)


def test_the_memory_of_a_load() -> None:
    memory = serving_plan("vllm", Path("a"), CONFIG, 1_000_000)["memory"]
    token = 3 * 2 * 2 * 16 * 2  # layers, keys and values, heads, dimensions, bytes
    assert memory["weights"] == 2_000_000 and memory["per_token"] == token
    assert memory["whole_contexts_beside_the_weights"]["24 GB"] == int((24e9 * 0.9 - 2e6) / (token * 2048))


@pytest.mark.parametrize(("program", "target"), [("vllm", "a.gguf"), ("llama.cpp", "a"), ("vlm", "a")])
def test_what_a_program_does_not_read_is_refused(program: str, target: str) -> None:
    with pytest.raises(ConfigError, match=program):
        check_program(program, Path(target))
