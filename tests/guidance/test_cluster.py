"""The plan for many GPUs: counted by hand, and moving the right way."""

from __future__ import annotations

import math

import pytest

from tutelage.guidance.cluster import HOURS_PER_FAILURE, Cluster, Gpu, batch_tokens, checkpoint_interval, plan_cluster
from tutelage.model.families import FamilyConfig
from tutelage.store.errors import ConfigError

SEVEN = FamilyConfig.parse({
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_layers": 32, "num_heads": 32,
    "num_kv_heads": 32, "head_dim": 128, "max_position_embeddings": 4096, "tie_word_embeddings": False,
})  # fmt: skip


def test_young_and_the_failures_of_llama_3() -> None:
    assert round(16384 / HOURS_PER_FAILURE * 54 * 24) == 419
    assert round(HOURS_PER_FAILURE) == 50_677
    assert checkpoint_interval(2.0, 3600.0) == pytest.approx(120.0)
    best = checkpoint_interval(5.0, 1e5)

    def lost(interval: float) -> float:
        return 5.0 / interval + interval / 2 / 1e5

    assert lost(best) <= min(lost(best * factor) for factor in (0.5, 0.9, 1.1, 2.0))


def test_a_model_of_7b_on_a_thousand_gpus_counted_by_hand() -> None:
    plan = plan_cluster(SEVEN, 1024, 4096, tokens=2e12)
    total = plan["parameters"]
    assert total == pytest.approx(6.74e9, rel=0.01)
    assert plan["mesh"] == {"replicate": 128, "shard": 8, "tensor": 1, "pipeline": 1}  # a copy in each node
    assert plan["step_tokens"] == 1024 * plan["rows_per_gpu"] * 4096 * plan["accumulation"]
    assert 0.6 < plan["step_tokens"] / batch_tokens(total) < 1.6
    flops = 6 * (total - 32000 * 4096) + 12 * 32 * 4096 * 4096
    assert plan["step_seconds"] == pytest.approx(plan["step_tokens"] * flops / (1024 * 989e12 * 0.4), rel=1e-3)
    assert plan["checkpoint_bytes"] == 12 * total
    assert plan["hours_between_failures"] == pytest.approx(49.5, rel=0.01)
    assert plan["memory_per_gpu"] < 0.8 * 80e9
    assert plan["days"] == pytest.approx(2e12 / plan["step_tokens"] * plan["step_seconds"] / 86400, rel=0.02)


def test_more_gpus_fail_more_often_and_larger_models_are_spread_wider() -> None:
    few, many = (plan_cluster(SEVEN, gpus, 4096, tokens=2e12) for gpus in (128, 4096))
    assert many["hours_between_failures"] < few["hours_between_failures"]
    assert many["checkpoint_interval_seconds"] < few["checkpoint_interval_seconds"]
    assert many["days"] < few["days"]
    seventy = SEVEN.model_copy(update={"hidden_size": 8192, "num_layers": 80, "num_heads": 64, "num_kv_heads": 8,
                                       "intermediate_size": 28672})  # fmt: skip
    wide = plan_cluster(seventy, 1024, 4096)
    assert wide["mesh"]["shard"] > 8
    assert wide["traffic_share"] > plan_cluster(SEVEN, 1024, 4096)["traffic_share"]
    assert plan_cluster(SEVEN, 8, 4096)["mesh"]["replicate"] == 1


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        plan_cluster(SEVEN, 8, 4096, gpu=Gpu(memory=8e9))
    assert math.isfinite(plan_cluster(SEVEN, 1, 512, gpu=Gpu(memory=200e9), cluster=Cluster(mfu=0.3))["days"])


def test_numbers_that_cannot_be_planned_say_why() -> None:
    with pytest.raises(ConfigError, match="12 GPUs are not a multiple of 8"):
        plan_cluster(SEVEN, 12, 4096)
    with pytest.raises(ConfigError, match="would make no progress"):
        plan_cluster(SEVEN, 300_000, 4096)
    assert plan_cluster(SEVEN, 24, 4096)["mesh"]["shard"] in (8, 24)
