"""Finetuning with adapters: what trains, what is kept, what a resumed run and the merged model are."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file

from tutelage.finetuning import method
from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.stage import classify, with_head
from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.instruct.stage import instruct
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.stage import prefer
from tutelage.interchange.peft import load_adapter
from tutelage.model.io import load_model, save_model
from tutelage.model.lora import LoraConfig, add_lora, lora_layers, lora_state
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.training.optim.optimizers import make_optimizers

from .conftest import job, quick
from .test_prefer import write_pairs

LORA = LoraConfig(rank=4, alpha=16, dropout=0.1)
TRAINING = quick(12, learning_rate=1e-2, log_every=1)
CLASSIFY = ClassifyConfig(
    task="labels", min_per_label=10, min_heldout=2, max_tokens=32, context_length=128, training=TRAINING, lora=LORA
)
INSTRUCT = InstructConfig(task="docstrings", context_length=128, max_heldout=30, training=TRAINING, lora=LORA)
PREFER = PreferConfig(task="docstrings", context_length=128, drift_prompts=0, beta=0.3, training=TRAINING, lora=LORA)
NAMES = ("classify", "instruct", "prefer")
IDS = torch.arange(3, 27).reshape(2, 12)


@pytest.fixture(scope="module")
def run(corpus, base, tmp_path_factory):
    """Runs a stage by name with a changed config."""
    pairs = write_pairs(tmp_path_factory.mktemp("pairs"))

    def run(name, directory, log=None, base=base, training=None, **changes):
        stage, config, source = {
            "classify": (classify, CLASSIFY, {"corpus": corpus}),
            "instruct": (instruct, INSTRUCT, {"corpus": corpus}),
            "prefer": (prefer, PREFER, {"pairs": pairs}),
        }[name]
        changes["training"] = config.training.model_copy(update=training or {})
        config = config.model_copy(update=changes)
        return stage(job(config, directory, log, model=base, **source))

    return run


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    found = {}
    for name in NAMES:
        directory = tmp_path_factory.mktemp(name)
        found[name] = (directory, run(name, directory))
    return found


def contents(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def outputs(model):
    with torch.no_grad():
        return model.scores(model.hidden(IDS)) if model.config.num_labels else model(IDS)


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_the_base_with_the_adapter_merged(name, made, base):
    out = made[name][0] / "out"
    merged, start = load_model(out), load_model(base)
    assert not lora_layers(merged)
    adapted = with_head(start, list(merged.config.labels), seed=77) if name == "classify" else start
    before = outputs(adapted)
    config = load_adapter(adapted.eval(), out / "adapter")
    assert config.base_model_name_or_path == base.name and config.lora_dropout == 0.1
    torch.testing.assert_close(outputs(adapted), outputs(merged), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(outputs(merged), before, atol=1e-2)
    weights, original = merged.state_dict(), load_model(base).state_dict()
    for key in ("embed_tokens.weight", "norm.weight", "layers.0.mlp_norm.weight"):
        assert torch.equal(weights[key], original[key])


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name, made):
    curve = [json.loads(line) for line in (made[name][0] / "out" / "curve.jsonl").read_text().splitlines()]
    losses = [point["loss"] for point in curve if "loss" in point]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_ends_as_an_uninterrupted_one(name, made, run, tmp_path, heard):
    """Dropout included: its random numbers belong to the step."""

    def die(event):
        if event["event"] == "step" and event["step"] >= 7:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(name, tmp_path, EventLog(listeners=(die,)), training={"checkpoint_seconds": 0.0})
    torch.manual_seed(123)  # whatever the process drew before must not matter
    run(name, tmp_path, heard.log)
    assert "resuming from step" in heard.messages("note")
    assert contents(tmp_path / "out") == contents(made[name][0] / "out")


VARIANTS = {
    "4 bits": {"quantisation": "nf4_double"},
    "PiSSA": {"init": "pissa", "svd_iterations": 4},
    "DoRA in 4 bits": {"quantisation": "nf4", "dora": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_resumes_and_is_its_adapter_on_the_base(variant, run, base, tmp_path, heard):
    """A killed run ends bit for bit as an uninterrupted one; live, merged, and adapter on the base are one function."""
    lora = LORA.model_copy(update=VARIANTS[variant])
    metrics = run("instruct", tmp_path / "whole", heard.log, lora=lora)
    assert "logits of the merged model within" in heard.messages("note")

    def die(event):
        if event["event"] == "step" and event["step"] >= 7:
            raise RuntimeError("killed")

    again = tmp_path / "again"
    with pytest.raises(RuntimeError, match="killed"):
        run("instruct", again, EventLog(listeners=(die,)), training={"checkpoint_seconds": 0.0}, lora=lora)
    threads = torch.get_num_threads()
    run("instruct", again, heard.log, lora=lora)
    torch.set_num_threads(threads)
    assert "resuming from step" in heard.messages("note")
    assert contents(again / "out") == contents(tmp_path / "whole" / "out")
    curve = [json.loads(line) for line in (again / "out" / "curve.jsonl").read_text().splitlines()]
    assert metrics["heldout_loss"] < curve[0]["loss"]
    merged, adapted = load_model(again / "out"), load_model(base)
    load_adapter(adapted, again / "out" / "adapter")
    torch.testing.assert_close(outputs(adapted), outputs(merged), rtol=1e-4, atol=1e-4)
    step = max((again / "work" / "checkpoints").glob("step-*"))
    saved = load_file(step / "rank-00000.safetensors")
    assert all("lora_" in key for key in saved if key.startswith("model."))


@pytest.mark.parametrize("name", ["classify", "prefer"])
def test_every_method_learns_beside_4_bits(name, run, base, tmp_path):
    metrics = run(name, tmp_path, lora=LORA.model_copy(update=VARIANTS["4 bits"]), training={"steps": 3})
    merged, adapted = load_model(tmp_path / "out"), load_model(base)
    if name == "classify":
        adapted = with_head(adapted, list(merged.config.labels), seed=77)
    else:  # the reference is the model in 4 bits, too
        assert metrics["before"]["margin"] == 0.0 and metrics["before"]["reward_accuracy"] == 0.5
    load_adapter(adapted, tmp_path / "out" / "adapter")
    torch.testing.assert_close(outputs(adapted), outputs(merged), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["4 bits", "PiSSA"])
def test_the_parts_of_a_step_add_up_for_every_variant(variant, run, tmp_path):
    lora = LORA.model_copy(update={**VARIANTS[variant], "dropout": 0.0})
    losses = []
    for accumulation in (1, 4):
        training = {"precision": "float32", "accumulation": accumulation, "steps": 4}
        losses.append(run("instruct", tmp_path / str(accumulation), training=training, lora=lora)["heldout_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_pissa_begins_where_it_began_whatever_the_machine_finds(run, tmp_path, monkeypatch):
    """The SVD of another machine differs in its last bits; the run goes on from the numbers that it began with."""
    lora = LORA.model_copy(update=VARIANTS["PiSSA"])

    def die(event):
        if event["event"] == "step" and event["step"] >= 7:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run("instruct", tmp_path, EventLog(listeners=(die,)), training={"checkpoint_seconds": 0.0}, lora=lora)
    monkeypatch.setattr("tutelage.model.lora.principal_part", lambda *_: pytest.fail("searched for again"))
    run("instruct", tmp_path, lora=lora)


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_hold_what_is_trained_and_no_more(name, made):
    directory, _ = made[name]
    step = max((directory / "work" / "checkpoints").glob("step-*"))
    adapter = load_file(directory / "out" / "adapter" / "adapter_model.safetensors")
    saved = load_file(step / "rank-00000.safetensors")
    weights = {key.removeprefix("model."): value for key, value in saved.items() if key.startswith("model.")}
    moments = {key: value for key, value in saved.items() if key.startswith("optimizer.")}
    trained = sum(value.numel() for value in adapter.values())
    assert sum(value.numel() for value in weights.values()) == trained
    assert all("lora_" in key or key == "score.weight" for key in weights)
    assert sum(value.numel() for value in moments.values()) == 2 * trained + len(weights)  # two moments and a step


def test_frozen_parameters_get_no_gradient_and_no_optimizer_state(base):
    model = with_head(load_model(base), ["a", "b"], seed=0)
    add_lora(model, LORA, seed=0)
    optimizers = make_optimizers(model, TRAINING)
    (model(IDS).logsumexp(-1).mean() + model.scores(model.hidden(IDS)).square().mean()).backward()
    for optimizer in optimizers:
        optimizer.step()
    held = {id(parameter) for optimizer in optimizers for parameter in optimizer.state}
    trained = lora_state(model).keys()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (name in trained) == (id(parameter) in held), name


def test_a_preference_starts_from_the_reference_itself(made):
    metrics = made["prefer"][1]
    assert metrics["before"]["reward_accuracy"] == 0.5 and metrics["before"]["margin"] == 0.0
    assert metrics["after"]["margin"] > 0


def test_the_class_head_is_trained_in_full_and_in_the_adapter(made, base):
    out = made["classify"][0] / "out"
    merged = load_model(out)
    fresh = with_head(load_model(base), list(merged.config.labels), seed=5).score.weight
    assert not torch.allclose(merged.score.weight, fresh, atol=1e-3)
    adapter = load_file(out / "adapter" / "adapter_model.safetensors")
    assert torch.equal(adapter["base_model.model.score.weight"], merged.score.weight)


def test_checkpoints_of_another_adapter_or_base_are_refused(run, base, tmp_path):
    run("instruct", tmp_path, training={"steps": 2})
    for change in (
        {"rank": 8}, {"alpha": 4.0}, {"targets": ("q_proj",)}, {"dropout": 0.0}, {"quantisation": "nf4"},
        {"init": "pissa"}, {"b_rate": 4.0},
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="another work directory"):
            run("instruct", tmp_path, training={"steps": 2}, lora=LORA.model_copy(update=change))
    with pytest.raises(ConfigError, match="another work directory"):
        run("instruct", tmp_path, training={"steps": 2}, lora=None)
    other = load_model(base)
    with torch.no_grad():
        other.layers[0].mlp.up_proj.weight[0, 0] += 0.5
    save_model(other, tmp_path / "other")
    for path in base.glob("*"):
        if not (tmp_path / "other" / path.name).exists():
            (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match="another work directory"):
        run("instruct", tmp_path, base=tmp_path / "other", training={"steps": 2})


def test_muon_refuses_adapters(base):
    model = load_model(base)
    add_lora(model, LORA, seed=0)
    with pytest.raises(ConfigError, match="adamw"):
        make_optimizers(model, quick(1, optimizer="muon"))


@pytest.mark.parametrize("stage", NAMES)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"lora": {}, "training": {"freeze_blocks": 1}}, "freezes every block"),
        ({"lora": {}, "training": {"optimizer": "muon"}}, "adamw"),
        ({"lora": {"rnk": 4}}, "did you mean 'rank'"),
        ({"lora": {"rank": -1}}, "rank"),
    ],
)
def test_contradictory_settings_are_named(stage, data, said):
    with pytest.raises(ConfigError, match=said):
        method(stage).config.parse({"data": "x.csv", **data})


def test_a_recipe_section_reads_back_the_same():
    lora = {"rank": 8, "targets": ["q_proj", "v_proj"], "layers": [0]}
    config = InstructConfig.parse({"data": "x.jsonl", "lora": lora})
    assert config.lora.targets == ("q_proj", "v_proj")
    assert InstructConfig.parse(config.plain()) == config


def test_dora_in_bfloat16_over_several_parts_trains_too(run, tmp_path, bfloat16):
    metrics = run(
        "instruct",
        tmp_path,
        training={"precision": bfloat16, "accumulation": 2},
        lora=LORA.model_copy(update={"dora": True}),
    )
    curve = [json.loads(line) for line in (tmp_path / "out" / "curve.jsonl").read_text().splitlines()]
    assert metrics["heldout_loss"] < curve[0]["loss"]
    assert any("magnitude" in key for key in load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors"))
