from __future__ import annotations

import json
import os
import signal
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tutelage.finetuning.data import read_rows
from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.objective import Reinforcement
from tutelage.finetuning.reinforce.problems import problems_of
from tutelage.finetuning.reinforce.reference import reference_of
from tutelage.finetuning.reinforce.rollout import judge, sample
from tutelage.finetuning.reinforce.stage import reinforce
from tutelage.finetuning.reinforce.watch import trouble
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import LoraConfig, add_lora
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.training.data.position import DataState, shares
from tutelage.training.loop import train

from ..conftest import job, quick

LETTERS = "abcdefgh"
ROWS = [{"prompt": f"Say {one}{two}", "answer": f"{one}{two}"} for one in LETTERS for two in LETTERS]


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def config(path="x.jsonl", steps=4, training=None, **more):
    """Rewards that a model which knows nothing gets often enough: an answer that ends, or has an odd length."""
    settings = {"data": str(path), "max_tokens": 5, "num_generations": 4, "mean_at": 2,
                "rewards": {"short": {"rule": "regex", "pattern": r"^(..)*$"}, "said": {"rule": "contains"}},
                "training": {**quick(steps, log_every=1).plain(), **(training or {})}, **more}  # fmt: skip
    return ReinforceConfig.parse(settings)


def objective(tok, model, **more):
    made = config(**more)
    rows = [{"id": str(at), **row} for at, row in enumerate(ROWS)]
    problems = problems_of(tok, rows, made, 128, "test", EventLog())
    return Reinforcement(problems, made, reference_of(model, made.beta), 7, EventLog())


@pytest.fixture
def model(shape):
    return DecoderLM(shape, seed=3)


def rolled_out(objective, model, batch_rows=4, sample=0):
    batch_of = objective.collect(model, DataState(5, sample), nullcontext)
    return next(batch_of(share) for share in shares(batch_rows, 1)), batch_of


def changed(model, by=0.05):
    with torch.no_grad():
        draw = torch.Generator().manual_seed(9)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += by * torch.randn(parameter.shape, generator=draw)
    return model


@pytest.mark.parametrize("preset", ["grpo", "dr_grpo", "dapo", "gspo", "cispo", "sapo", "luspo", "rloo", "bnpo"])
def test_a_batch_in_four_parts_is_the_batch_whole(preset, tok, model):
    made = objective(tok, model, preset=preset, beta=0.1, updates_per_rollout=2)
    _, batch_of = rolled_out(made, model)
    changed(model)  # so that ratio and KL are not those of a tie

    def figures(parts):
        model.zero_grad()
        total = weight = 0.0
        metrics = {}
        for share in shares(4, parts):
            loss = made.loss(model, batch_of(share))
            loss.sum.backward()
            total, weight = total + float(loss.sum.detach()), weight + float(loss.weight)
            for name, (a, b) in loss.metrics.items():
                old = metrics.get(name, (0.0, 0.0))
                metrics[name] = old[0] + float(a), old[1] + float(b)
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]) / weight
        return total / weight, gradient, {name: a / b for name, (a, b) in metrics.items()}

    whole, gradient, metrics = figures(1)
    parts, summed, in_parts = figures(4)
    assert parts == pytest.approx(whole, rel=1e-4, abs=1e-6)
    assert torch.allclose(gradient, summed, atol=2e-6, rtol=1e-3)
    assert gradient.norm() > 1e-4 and metrics["kl"] > 0
    assert metrics == pytest.approx(in_parts, rel=1e-4, abs=1e-6)


def test_four_microbatches_train_the_model_of_one(tok, shape, tmp_path):
    weights = []
    for accumulation in (1, 4):
        fresh = DecoderLM(shape, seed=3)
        made = objective(tok, fresh, training={"accumulation": accumulation}, preset="grpo", steps=3)
        train(fresh, made, made.config.training, tmp_path / str(accumulation), EventLog(), seed=1)
        weights.append(torch.cat([p.detach().flatten() for p in fresh.parameters()]))
    assert torch.allclose(weights[0], weights[1], atol=1e-4)


def test_activation_checkpointing_changes_nothing(tok, shape, tmp_path):
    curves = []
    for wanted in (False, True):
        fresh = DecoderLM(shape, seed=3)
        made = objective(tok, fresh, training={"activation_checkpointing": wanted}, steps=2)
        curves.append(train(fresh, made, made.config.training, tmp_path / str(wanted), EventLog(), seed=1).curve)
    assert [point["reward"] for point in curves[0]] == [point["reward"] for point in curves[1]]
    assert curves[0][1]["grad_norm"] == pytest.approx(curves[1][1]["grad_norm"], rel=1e-4)


def test_with_one_update_the_ratio_is_one(tok, model):
    made = objective(tok, model)
    batch, _ = rolled_out(made, model)
    assert "old" not in batch.extras
    loss = made.loss(changed(model), batch)
    assert float(loss.metrics["clipped"][0]) == 0
    # On the policy itself the loss is the mean of the advantages, whose gradient is that of A log p.
    kept = batch.weights > 0
    assert float(loss.sum.detach()) == pytest.approx(-float(batch.extras["advantage"][kept].sum()), abs=1e-4)


def test_old_log_probabilities_are_the_training_model_s_own(tok, model):
    made = objective(tok, model, updates_per_rollout=2, temperature=0.7)
    batch, _ = rolled_out(made, model)
    new, _, at = made._logprobs(model, batch)
    assert torch.allclose(new.detach(), batch.extras["old"][at], atol=1e-5)
    logits = model(batch.tokens[:1], batch.positions[:1], batch.documents[:1])[0] / 0.7
    first = int(batch.weights[0].nonzero()[0])
    expected = logits[first].log_softmax(-1)[batch.targets[0, first]]
    assert float(batch.extras["old"][0, first]) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_rollouts_come_from_the_weights_of_their_step_and_not_from_older_ones(tok, shape, tmp_path):
    def trained(steps, folder):
        fresh = DecoderLM(shape, seed=3)
        made = objective(tok, fresh, steps=3)
        limited = made.config.training.model_copy(update={"steps": steps, "schedule": "constant"})
        train(fresh, made, limited, tmp_path / folder, EventLog(), seed=1, data_seed=5)
        return made, fresh

    through, _ = trained(3, "a")  # holds its third rollout
    before, model = trained(2, "b")
    stale = before.held
    assert stale.number == 1  # a new one in each step
    before.collect(model, DataState(5, 8), nullcontext)
    assert before.held.number == 2 and before.held == through.held != stale


def test_answers_depend_on_seed_and_step_alone(tok, model):
    one, other = objective(tok, model), objective(tok, model)
    rolled_out(one, model, sample=8)
    for place in (0, 8):
        rolled_out(other, model, sample=place)
    assert one.held == other.held
    one.seed = 8
    one.held = None
    rolled_out(one, model, sample=8)
    assert one.held.ids != other.held.ids
    assert len({tuple(ids) for ids in other.held.ids}) > 8  # the answers of a group differ
    given = model, tok, one.problems.ids, [3, 3], 2, one.problems.sampling
    first, second = (sample(*given, number, 7) for number in (0, 1))
    assert first.ids[0] != first.ids[2] and first.ids != second.ids  # the same prompt again, and in another step


def test_a_rollout_is_used_as_often_as_asked_and_survives_a_checkpoint(tok, model):
    made = objective(tok, model, updates_per_rollout=2)
    rolled_out(made, model)
    first = made.held
    changed(model)
    rolled_out(made, model, sample=4)
    assert made.held is first
    kept = json.loads(json.dumps(made.record()))
    again = objective(tok, model, updates_per_rollout=2)
    again.restore(kept)
    assert again.held == first
    rolled_out(made, model, sample=8)
    assert made.held.number == 1 and made.held.ids != first.ids
    again.restore(None)
    assert again.held is None


def test_zero_variance_is_counted_and_teaches_nothing(tok, model):
    made = objective(tok, model, rewards={"never": {"rule": "regex", "pattern": "^never$"}})
    batch, _ = rolled_out(made, model)
    loss = made.loss(model, batch)
    loss.sum.backward()
    share, answers = loss.metrics["zero_variance"]
    assert float(share / answers) == 1 and float(loss.weight) > 0
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in model.parameters())


def test_it_is_said_early_where_nothing_can_be_learned(tok, model, heard):
    never = objective(tok, model, rewards={"never": {"rule": "regex", "pattern": "^never$"}})
    usual = objective(tok, model)
    for made in (never, usual):
        made.log = heard.log
        for step in range(12):
            rolled_out(made, model, sample=4 * step)
    assert heard.messages("warning").count("no two answers") == 1 and "gold answer" in heard.messages("warning")


def test_truncated_answers_can_be_left_out(tok, model):
    plain, masked = objective(tok, model, preset="grpo"), objective(tok, model, preset="grpo", mask_truncated=True)
    for made in (plain, masked):
        rolled_out(made, model)
        made.held.ended = [float(at % 2) for at in range(16)]
    held = masked.held
    judge(held, held.parts, held.reward, masked.method, True)
    batch = masked._batch(np.arange(4))
    loss = masked.loss(model, batch)
    assert float(loss.weight) == 8 and float(loss.metrics["truncated"][0]) == 8
    held.ended = [0.0] * 16
    judge(held, held.parts, held.reward, masked.method, True)
    nothing = masked.loss(model, masked._batch(np.arange(4)))
    assert float(nothing.weight) == 16 and abs(float(nothing.sum.detach())) == 0


@pytest.mark.parametrize("kl_in", ["loss", "reward"])
def test_the_reference_is_the_model_without_its_adapters(kl_in, tok, model):
    base = DecoderLM(model.config, seed=3)
    add_lora(model, LoraConfig(rank=4, alpha=8), 1)
    made = objective(tok, model, beta=0.5, kl_in=kl_in)
    changed(model, 0.1)
    batch, _ = rolled_out(made, model)
    at = batch.weights > 0
    plain = made._logprobs(base, batch)[0].detach()
    assert torch.allclose(batch.extras["reference"][at], plain, atol=1e-5)
    assert not torch.allclose(made._logprobs(model, batch)[0], plain, atol=1e-3)
    if kl_in == "reward":
        paid = torch.tensor(made.held.reward) - torch.tensor(
            [sum(v) for v in zip(*made.held.parts.values(), strict=True)]
        )
        own = made._logprobs(model, batch)[0].detach() - plain
        sums = torch.zeros(16).index_add(0, batch.extras["place"][at].long(), own)
        assert torch.allclose(paid, -0.5 * sums, atol=1e-4)


def test_a_full_model_has_a_frozen_copy_for_reference(tok, model):
    base = DecoderLM(model.config, seed=3)
    made = objective(tok, model, beta=0.5)
    changed(model, 0.1)
    batch, _ = rolled_out(made, model)
    assert torch.allclose(batch.extras["reference"][batch.weights > 0], made._logprobs(base, batch)[0], atol=1e-5)


def weights(out):
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize(
    ("settings", "moment"),
    [({}, 3), ({"updates_per_rollout": 2, "beta": 0.1}, 3), ({"lora": {"rank": 2, "alpha": 4}, "beta": 0.1}, 2)],
)
def test_a_killed_run_resumes_bit_for_bit(settings, moment, base, problems, tmp_path):
    """Killed after an odd number of steps, in the middle of a rollout that is used twice."""
    made = config(problems, 6, {"checkpoint_seconds": 0}, max_heldout=4, **settings)
    reinforce(job(made, tmp_path / "straight", model=base))
    straight = weights(tmp_path / "straight" / "out")

    child = os.fork()
    if child == 0:

        def kill(event):
            if event["event"] == "step" and event["step"] == moment + 1:
                os.kill(os.getpid(), signal.SIGKILL)

        reinforce(job(made, tmp_path / "killed", EventLog(listeners=(kill,)), model=base))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert list((tmp_path / "killed" / "work" / "checkpoints").glob("step-*"))
    told = []
    reinforce(job(made, tmp_path / "killed", EventLog(listeners=(told.append,)), model=base))
    assert any("resuming from step" in event.get("message", "") for event in told)
    again = weights(tmp_path / "killed" / "out")
    assert straight.keys() == again.keys() and all(torch.equal(straight[name], again[name]) for name in straight)
    curves = [read_rows(tmp_path / folder / "out" / "curve.jsonl") for folder in ("straight", "killed")]
    assert curves[0] == curves[1]


def test_checkpoints_of_other_rewards_are_refused(base, problems, tmp_path):
    reinforce(job(config(problems, 1, max_heldout=4), tmp_path, model=base))
    with pytest.raises(ConfigError, match="another work directory"):
        dearer = {"said": {"rule": "contains", "weight": 2.0}}
        reinforce(job(config(problems, 1, max_heldout=4, rewards=dearer), tmp_path, model=base))


def test_a_model_that_never_saw_text_learns_to_end_its_answers(base, problems, tmp_path, heard):
    """From random weights straight to reinforcement: no other model, no adapter, no name on a hub is needed."""
    made = config(problems, 60, {"learning_rate": 1e-2, "schedule": "constant"}, num_generations=8,
                  rewards={"ends": {"rule": "ends"}})  # fmt: skip
    metrics = reinforce(job(made, tmp_path, heard.log, model=base))
    assert metrics["before"]["mean_at_2"] < 0.3 and metrics["after"]["mean_at_2"] > 0.9
    graded = read_rows(tmp_path / "out" / "data" / "graded.jsonl")
    assert len(graded) == metrics["heldout_rows"] == 6
    assert metrics["solved"] == round(sum(one["after"]["solved"] for one in graded) / 6, 4)
    steps = [event for event in heard.events if event["event"] == "step"]
    assert {"reward", "reward_std", "zero_variance", "entropy", "clipped", "answer_tokens", "truncated"} <= steps[
        0
    ].keys()
    train, held = (read_rows(tmp_path / "out" / "data" / f"{split}.jsonl") for split in ("train", "heldout"))
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held}


def test_plain_text_prompts_end_with_the_line(tok, model):
    made = objective(tok, model, chat=False)
    assert made.problems.ids[0][0] == tok.start_id and made.problems.ids[0][-1] == tok.encode("\n")[-1]
    rolled_out(made, model)
    assert not any("\n" in text for text in made.held.texts)


def test_prompts_without_room_are_dropped_and_said(tok, heard):
    made = config()
    rows = [{"id": "1", "prompt": "a", "answer": "b"}, {"id": "2", "prompt": "word " * 90, "answer": "b"}]
    found = problems_of(tok, rows, made, 64, "training", heard.log)
    assert len(found.rows) == 1 and "1 of 2 prompts leave no room" in heard.messages("warning")
    with pytest.raises(InputError, match="leaves room"):
        problems_of(tok, rows[1:], made, 64, "training", heard.log)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training": {"steps": 0}}, "training.steps must be set"),
        ({"training": {"steps": 4, "validate_every": 2}}, "validate_every"),
        ({"training": {"steps": 4, "compile": True}}, "compile"),
        ({"lora": {"rank": 2, "dropout": 0.1}}, "lora.dropout must be 0"),
        ({"beta": 0.1, "kl": "k1", "kl_corrected": False}, "has zero expected gradient"),
        ({"delta": 1.1}, "above 1 \\+ epsilon_high"),
        ({"passes": "right"}, "passes must name a reward"),
        ({"num_generations": 1}, "num_generations"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings, message):
    given = {"data": "x.jsonl", "rewards": {"r": {"rule": "exact"}}, "training": {"steps": 4}, **settings}
    with pytest.raises(ConfigError, match=message):
        ReinforceConfig.parse(given)


HEALTHY = {"reward": 0.5, "reward_std": 0.3, "zero_variance": 0.2, "clipped": 0.01, "entropy": 1.0, "truncated": 0.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"zero_variance": 0.9}, "90% of the groups"),
        ({"clipped": 0.4}, "40% of the tokens are clipped"),
        ({"truncated": 0.7}, "70% of the answers"),
        ({"entropy": 0.001, "reward": 0.2}, "entropy has collapsed"),
    ],
)
def test_trouble_is_said(change, said):
    messages = trouble([HEALTHY] * 30 + [{**HEALTHY, **change}] * 10)
    assert messages == [] if said is None else said in messages[0]


def test_a_run_in_which_no_reward_differs_is_said():
    (message,) = trouble([{**HEALTHY, "reward": 0.0, "reward_std": 0.0}] * 5)
    assert "nothing was learned" in message
