"""Several processes compute what one computes: on gloo, with two and four of them, as on a cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.store.errors import ConfigError
from tutelage.training.config import ParallelConfig
from tutelage.training.distributed.parallel import _check_tensor_parallel, arrange
from tutelage.training.distributed.pipeline import TIED, PipelineStage, keep_stage, stage_of
from tutelage.training.distributed.world import World

MODEL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_layers": 2, "num_heads": 4,
         "num_kv_heads": 2, "max_position_embeddings": 64}  # fmt: skip
TRAINING = {"steps": 6, "batch_rows": 8, "learning_rate": 5e-3, "warmup_steps": 2, "log_every": 1, "threads": 1,
            "checkpoint_seconds": 1000, "precision": "float32", "validate_every": 3}  # fmt: skip


def start(folder: Path, processes: int, runs: list[dict[str, Any]]) -> list[subprocess.Popen[str]]:
    """Processes that do `runs` one after the other: name, training (changes), struck (rank, in which loss, signal)."""
    folder.mkdir(parents=True, exist_ok=True)
    content = [
        {**run, "model": {**MODEL, **run.get("model", {})}, "training": {**TRAINING, **run.get("training", {})}}
        for run in runs
    ]
    (folder / "runs.json").write_text(json.dumps(content))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        place = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": processes,
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1,
                 "PYTHONFAULTHANDLER": 1}  # fmt: skip
        started.append(subprocess.Popen(
            [sys.executable, Path(__file__).with_name("worker.py"), folder],
            env={**os.environ, **{key: str(value) for key, value in place.items()}},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ))  # fmt: skip
    return started


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and standard error of each; whatever is left after two minutes is ended."""
    try:
        return [(process.wait(timeout=120), process.communicate()[1]) for process in processes]
    finally:
        for process in processes:
            process.kill()


def shown(ends: list[tuple[int, str]]) -> str:
    return "\n".join(f"exit {code}: {said}" for code, said in ends)


Result = tuple[dict[str, Any], dict[str, Tensor]]
NATIVE_CRASHES = {-signal.SIGABRT, -signal.SIGBUS, -signal.SIGSEGV}


def trained(folder: Path, processes: int, runs: list[dict[str, Any]]) -> dict[str, Result]:
    """Curve and weights of each run by name; every process must end with the same weights.

    glibc once found its heap damaged here (one run of many hundreds; memcheck and guarded allocations find nothing in
    the same runs). Such a crash of native code is shown as a warning, with the stacks of its threads, and the runs are
    repeated once.
    """
    ends = finish(start(folder, processes, runs))
    if any(code in NATIVE_CRASHES for code, _ in ends):
        warnings.warn(f"native code crashed, repeated once:\n{shown(ends)}", stacklevel=1)
        folder /= "repeated"
        ends = finish(start(folder, processes, runs))
    assert all(code == 0 for code, _ in ends), shown(ends)
    results = {}
    for run in runs:
        out = folder / run["name"]
        weights = [load_file(out / f"{rank}.safetensors") for rank in range(processes)]
        for other in weights[1:]:
            assert all(torch.equal(other[name], value) for name, value in weights[0].items())
        results[run["name"]] = (json.loads((out / "result.json").read_text()), weights[0])
    return results


ARRANGEMENTS: dict[str, tuple[int, dict[str, Any]]] = {
    "data-parallel": (2, {"parallel": {"shard": 1}}),
    "sharded": (2, {"parallel": {"shard": 0}}),
    "sharded-microbatches": (2, {"accumulation": 2}),
    "tensor": (2, {"parallel": {"tensor": 2}}),
    "muon-sharded": (2, {"optimizer": "muon"}),
    "schedule_free-sharded": (2, {"optimizer": "schedule_free", "schedule": "constant"}),
    "checkpointed-sharded": (2, {"activation_checkpointing": True, "layers_every": 2}),
    "pipeline": (2, {"parallel": {"pipeline": 2}, "accumulation": 4, "layers_every": 2}),
    "hybrid": (4, {"parallel": {"shard": 2}}),
    "pipeline-of-muon": (2, {"parallel": {"pipeline": 2}, "accumulation": 2, "optimizer": "muon", "average": "none"}),
    "pipeline-and-sharded": (4, {"parallel": {"pipeline": 2}, "accumulation": 2}),
    "pipeline-and-tensor": (4, {"parallel": {"pipeline": 2, "tensor": 2}, "accumulation": 4}),
    "muon-tensor-and-sharded": (4, {"optimizer": "muon", "parallel": {"tensor": 2}}),
}


EXPERTS = {
    "family": "custom",
    "experts": {"num_experts": 4, "experts_per_token": 2, "balance": "bias", "balance_rate": 0.05},
}
KINDS: dict[str, dict[str, Any]] = {
    "classification": {"objective": "classification", "model": {"num_labels": 3}},
    "instruction": {"objective": "instruction"},
    "preference": {"objective": "preference"},
    "experts": {"model": EXPERTS},
    "frozen": {"training": {"freeze_blocks": 1}},
    "untied": {"model": {"tie_word_embeddings": False, "num_layers": 3}},
}
MATRIX = {"name": "matrix", "objective": "matrix"}  # no model: SOAP on one matrix


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """One process, by optimizer."""
    runs: list[dict[str, Any]] = [{"name": name, "training": {"optimizer": name}} for name in ("adamw", "muon")]
    runs.append({"name": "schedule_free", "training": {"optimizer": "schedule_free", "schedule": "constant"}})
    runs += [MATRIX, *({"name": name, **run} for name, run in KINDS.items())]
    return trained(tmp_path_factory.mktemp("alone"), 1, runs)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    results: dict[str, Result] = {}
    for processes in (2, 4):
        runs = [{"name": name, "training": training} for name, (size, training) in ARRANGEMENTS.items()
                if size == processes]  # fmt: skip
        if processes == 2:
            runs.append(MATRIX)
            for name, run in KINDS.items():
                parts: dict[str, Any] = {**run.get("training", {}), "accumulation": 2}
                runs.append({"name": name, **run, "training": parts})
                runs.append({"name": f"{name}-pipeline", **run, "training": {**parts, "parallel": {"pipeline": 2}}})
        results |= trained(tmp_path_factory.mktemp(f"together-{processes}"), processes, runs)
    return results


def assert_same_run(one: Result, other: Result) -> None:
    """Equal within what another order of float32 sums makes of it."""
    assert one[0]["tokens"] == other[0]["tokens"]
    for point, expected in zip(one[0]["curve"], other[0]["curve"], strict=True):
        for figure in ("loss", "grad_norm"):
            assert point.get(figure) == pytest.approx(expected.get(figure), abs=2e-6)
    assert one[0]["final"]["loss"] == pytest.approx(other[0]["final"]["loss"], abs=2e-6)
    for name, value in one[1].items():
        assert torch.allclose(value, other[1][name], atol=5e-5), name


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_several_processes_are_one(name: str, alone: dict[str, Result], together: dict[str, Result]) -> None:
    assert_same_run(together[name], alone[ARRANGEMENTS[name][1].get("optimizer", "adamw")])


def test_soap_of_a_sharded_matrix_is_that_of_the_whole(alone: dict[str, Result], together: dict[str, Result]) -> None:
    """On gradients of full rank: it follows every direction at full rate, also one that is nothing but rounding."""
    assert torch.allclose(together["matrix"][1]["weight"], alone["matrix"][1]["weight"], atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_every_objective_adds_up_over_ranks_and_microbatches(
    name: str, alone: dict[str, Result], together: dict[str, Result]
) -> None:
    assert_same_run(together[name], alone[name])
    assert_same_run(together[f"{name}-pipeline"], alone[name])


def test_a_run_resumes_with_another_number_of_processes(alone: dict[str, Result], tmp_path: Path) -> None:
    """Two, one, two as a pipeline, then four: one curve. SIGTERM to one process lets all of them save and stop."""

    def run(**changes: Any) -> dict[str, Any]:
        training = {"optimizer": "muon", "checkpoint_seconds": 0, **changes}
        return {"name": "run", "work": str(tmp_path / "work"), "training": training}

    for processes, struck, calls, parallel in ((2, 0, 3, {}), (1, 0, 2, {}), (2, 1, 1, {"pipeline": 2})):
        stopped = {**run(parallel=parallel), "struck": (struck, calls, int(signal.SIGTERM))}
        ends = finish(start(tmp_path, processes, [stopped]))
        assert all(code == 3 and "Interrupted" in text for code, text in ends), ends
    assert_same_run(trained(tmp_path, 4, [run()])["run"], alone["muon"])


def test_a_dead_process_ends_the_others_and_nothing_is_lost(together: dict[str, Result], tmp_path: Path) -> None:
    run = {"name": "sharded", "work": str(tmp_path / "work"), "training": {"checkpoint_seconds": 0}}
    ends = finish(start(tmp_path, 2, [{**run, "struck": (1, 5, int(signal.SIGKILL))}]))
    assert ends[1][0] == -signal.SIGKILL
    assert ends[0][0] == 3 and "another process of this run has exited" in ends[0][1], ends
    result, weights = trained(tmp_path, 2, [run])["sharded"]
    expected, undisturbed = together["sharded"]
    assert result == expected
    assert all(torch.equal(weights[name], value) for name, value in undisturbed.items())


@pytest.mark.parametrize("tied", [True, False])
def test_a_pipeline_stage_holds_nothing_of_the_others(tied: bool) -> None:
    shape = FamilyConfig.parse({**MODEL, "num_layers": 5, "tie_word_embeddings": tied})
    whole = set(DecoderLM(shape).state_dict())
    held = []
    for stage in range(3):
        model = DecoderLM(shape)
        keep_stage(model, PipelineStage(stage, [0, 1, 2], None, None))
        held.append(set(model.state_dict()))
        assert all(stage_of(name, shape, 3) == stage for name in held[-1] if not (tied and stage and name == TIED))
    assert set().union(*held) == whole
    assert sum(map(len, held)) == len(whole) + tied
    layers = [{name.split(".")[1] for name in names if name.startswith("layers.")} for names in held]
    assert layers == [{"0", "1"}, {"2", "3"}, {"4"}]


def test_what_cannot_be_arranged_is_said() -> None:
    cpu = torch.device("cpu")
    with pytest.raises(ConfigError, match="there is one"):
        arrange(ParallelConfig(tensor=2), World(), cpu)
    with pytest.raises(ConfigError, match="does not divide 3 processes"):
        arrange(ParallelConfig(tensor=2), World(0, 3), cpu)
    with pytest.raises(ConfigError, match="does not divide the 4"):
        arrange(ParallelConfig(shard=3), World(0, 4), cpu)
    with pytest.raises(ConfigError, match="times pipeline"):
        arrange(ParallelConfig(tensor=2, pipeline=2), World(0, 2), cpu)
    with pytest.raises(ConfigError, match="exceeds the model's 2 blocks"):
        keep_stage(DecoderLM(FamilyConfig.parse(MODEL)), PipelineStage(0, [0, 1, 2], None, None))
    with pytest.raises(ConfigError, match="balance loss"):
        experts = {**EXPERTS["experts"], "balance": "auxiliary"}
        model = DecoderLM(FamilyConfig.parse({**MODEL, **EXPERTS, "experts": experts}))
        keep_stage(model, PipelineStage(0, [0, 1], None, None))
    with pytest.raises(ConfigError, match="must divide"):
        _check_tensor_parallel(DecoderLM(FamilyConfig.parse(MODEL)), 4)
    with pytest.raises(ConfigError, match="sinks"):
        _check_tensor_parallel(DecoderLM(FamilyConfig.parse({**MODEL, "attention_sinks": True})), 2)
