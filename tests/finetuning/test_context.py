"""The context that is chosen from the rows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.finetuning.conftest import quick

from tutelage.finetuning.config import FinetuneConfig
from tutelage.finetuning.context import FILE, STEP, chosen_context, context_for, keeps
from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.model.families import FamilyConfig
from tutelage.store.errors import ConfigError, DamagedError

SMALL = FamilyConfig(
    vocab_size=500, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2, num_kv_heads=1,
    max_position_embeddings=2048,
)  # fmt: skip
LARGE = SMALL.with_(vocab_size=50_000, hidden_size=640)
PLENTY = 1e12


@given(st.lists(st.integers(1, 5000), min_size=1), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_the_least_context_that_keeps_a_share(needs, share):
    least = keeps(needs, share)
    assert sum(one <= least for one in needs) >= share * len(needs)
    assert sum(one < least for one in needs) < share * len(needs)


def test_it_keeps_99_of_100_rows_and_is_never_short():
    training = quick(1)
    assert chosen_context([40] * 99 + [900], SMALL, training, PLENTY) == (256, "")
    assert chosen_context([40] * 97 + [600, 620, 900], SMALL, training, PLENTY) == (640, "")
    assert chosen_context([40] * 100, LARGE, training, PLENTY) == (1024, "")
    assert chosen_context([4000] * 100, SMALL, training, PLENTY) == (2048, "the model")


def test_memory_bounds_it():
    context, bound = chosen_context([1900] * 100, LARGE, quick(1), 2e8)
    assert bound == "memory" and 64 <= context < 1024 and context % STEP == 0
    pair, _ = chosen_context([context // 2 + 1] * 100, LARGE, quick(1), 2e8, [context + STEP] * 100)
    assert pair == context // 2 // STEP * STEP  # a pair that needs more would stand in a row for which there is no room
    assert chosen_context([context] * 100, LARGE, quick(1), 2e8, [context] * 100) == (context, "memory")
    assert chosen_context([1900] * 100, LARGE, quick(1, accumulation=4), 2e8)[0] > context


def test_a_resumed_run_keeps_the_one_it_began_with(tmp_path, heard):
    training = quick(1)
    first = context_for(0, [40] * 97 + [600, 620, 900], SMALL, training, tmp_path, heard.log)
    assert first == 640 and "99 of 100 are kept" in heard.messages("note")
    assert context_for(0, [40] * 100, SMALL, training, tmp_path, heard.log) == 640
    assert context_for(9999, [40], SMALL, training, tmp_path, heard.log) == 2048  # what is asked for is not chosen
    assert "limited to the model's 2048" in heard.messages("note")
    (tmp_path / FILE).write_text(json.dumps({"other": 1}))
    with pytest.raises(DamagedError, match="contains no valid context"):
        context_for(0, [40], SMALL, training, tmp_path, heard.log)


def test_what_may_be_asked_for():
    assert InstructConfig(task="docstrings").context_length == 0
    with pytest.raises(ConfigError, match="at least 16, or 0"):
        InstructConfig.parse({"task": "docstrings", "context_length": 8}, "finetune.chat")
    with pytest.raises(ConfigError, match=r"greater than or equal to 16|at least 16"):
        FinetuneConfig.parse({"context_length": 0}, "finetune.chat")
