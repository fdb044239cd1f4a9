from __future__ import annotations

import hashlib
import json

import pytest

from tutelage.finetuning.data import read_rows, write_rows
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.examples import mismatched_examples
from tutelage.finetuning.prefer.rules import rules
from tutelage.finetuning.prefer.stage import prefer, warn
from tutelage.model.io import load_model
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog

from .conftest import corpus_rows, job, quick

CONFIG = PreferConfig(
    task="docstrings", context_length=128, drift_prompts=0, beta=0.3, training=quick(30, learning_rate=2e-3)
)


def write_pairs(directory):
    rows = [
        {"id": row["id"], "prompt": f"What does {row['name']} do?", "chosen": row["summary"],
         "rejected": row["summary"].lower().rstrip("."), "chosen_score": 1.0, "rejected_score": 0.5}
        for row in corpus_rows()[:60]
    ]  # fmt: skip
    write_rows(directory / "train.jsonl", rows[10:])
    write_rows(directory / "heldout.jsonl", rows[:10])
    return directory


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def made(tmp_path_factory, base, pairs):
    out = tmp_path_factory.mktemp("prefer")
    return out / "out", prefer(job(CONFIG, out, model=base, pairs=pairs))


def contents(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_it_learns_the_order_from_chance_up(made):
    out, metrics = made
    assert metrics["before"]["reward_accuracy"] == 0.5 and metrics["before"]["margin"] == 0.0
    assert metrics["after"]["reward_accuracy"] > 0.8 and metrics["after"]["margin"] > 0.1
    assert metrics["heldout_reward_accuracy"] == metrics["after"]["reward_accuracy"]
    assert metrics["after"]["chosen_logp"] > metrics["before"]["chosen_logp"]  # sft_weight at work
    assert load_model(out).config.num_labels == 0 and len(read_rows(out / "data" / "heldout.jsonl")) == 10
    assert json.dumps(metrics, allow_nan=False)


def test_a_killed_run_ends_as_an_uninterrupted_one(made, base, pairs, tmp_path):
    def die(event):
        if event["event"] == "step" and event["step"] >= 7:
            raise RuntimeError("killed")

    often = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"checkpoint_seconds": 0.0})})
    with pytest.raises(RuntimeError, match="killed"):
        prefer(job(often, tmp_path, EventLog(listeners=(die,)), model=base, pairs=pairs))
    assert (tmp_path / "work" / "checkpoints").exists()
    prefer(job(CONFIG, tmp_path, model=base, pairs=pairs))
    assert contents(tmp_path / "out") == contents(made[0])


def test_own_pairs_need_no_pairs_directory(base, tmp_path, heard):
    path = tmp_path / "mine.jsonl"
    record = '{{"prompt": "Q{0}", "chosen": "Good {0}.", "rejected": "bad"}}\n'
    path.write_text("".join(record.format(i) for i in range(20)) + '{"prompt": "Q"}\n')
    config = CONFIG.model_copy(update={"data": str(path), "heldout": 0.1, "training": quick(1)})
    metrics = prefer(job(config, tmp_path, heard.log, 0, model=base))
    assert (metrics["pairs"], metrics["heldout_pairs"]) == (18, 2)
    assert "line 21: no 'chosen'" in heard.messages("warning")
    with pytest.raises(ConfigError, match="no pairs to learn from"):
        PreferConfig.parse({}, "finetune.prefer")


def test_pairs_that_are_dropped_are_not_counted_or_asked(base, tmp_path, heard):
    path = tmp_path / "mine.jsonl"
    records = [{"prompt": f"Q{i} " + "word " * (i % 2) * 200, "chosen": "yes", "rejected": "no"} for i in range(40)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    settings = {"data": str(path), "task": None, "heldout": 0.5, "drift_prompts": 9, "training": quick(2)}
    metrics = prefer(job(CONFIG.model_copy(update=settings), tmp_path, heard.log, model=base))
    kept = {split: read_rows(tmp_path / "out" / "data" / f"{split}.jsonl") for split in ("train", "heldout")}
    assert metrics["pairs"] == len(kept["train"]) and metrics["heldout_pairs"] == len(kept["heldout"])
    assert metrics["pairs"] + metrics["heldout_pairs"] == 20
    assert not any("word" in row["prompt"] for rows in kept.values() for row in rows)


def test_checkpoints_of_other_pairs_or_another_beta_are_refused(base, pairs, tmp_path, heard):
    short = CONFIG.model_copy(update={"training": quick(1)})
    prefer(job(short, tmp_path, heard.log, 0, model=base, pairs=pairs))
    other = tmp_path / "pairs"
    write_rows(other / "train.jsonl", read_rows(pairs / "train.jsonl")[:20])
    write_rows(other / "heldout.jsonl", read_rows(pairs / "heldout.jsonl"))
    with pytest.raises(ConfigError, match="another work directory"):
        prefer(job(short, tmp_path, heard.log, 0, model=base, pairs=other))
    with pytest.raises(ConfigError, match="another work directory"):
        dearer = short.model_copy(update={"beta": 0.9})
        prefer(job(dearer, tmp_path, heard.log, 0, model=base, pairs=pairs))


@pytest.mark.parametrize(
    ("after", "lengths", "said"),
    [
        ({"chosen_logp": -1.5, "margin": 2.0}, {}, "less likely (0.50"),
        ({"chosen_logp": -1.05, "margin": 2.0}, {}, None),
        ({"chosen_logp": -1.5, "margin": 0.0}, {}, None),
        ({"chosen_logp": -1.0, "margin": 1.0}, {"answer_tokens_before": 10.0, "answer_tokens_after": 13.0}, "drifts"),
        ({"chosen_logp": -1.0, "margin": 1.0}, {"answer_tokens_before": 10.0, "answer_tokens_after": 12.0}, None),
    ],
)
def test_warnings(after, lengths, said, heard):
    messages = warn({"chosen_logp": -1.0, "margin": 0.0}, after, lengths, heard.log)
    assert (messages == []) if said is None else (said in messages[0])
    assert heard.messages("warning") == "\n".join(messages)


def test_reference_and_training_share_what_auto_means(base, pairs, tmp_path, heard, monkeypatch, bfloat16):
    """Decided once and kept with the run: a second measurement that says otherwise changes nothing."""
    auto = CONFIG.model_copy(update={"training": quick(1, precision="auto")})
    monkeypatch.setenv("TUTELAGE_PRECISION", bfloat16)
    prefer(job(auto, tmp_path, heard.log, 0, model=base, pairs=pairs))
    kept = sorted(path.name for path in (tmp_path / "work").glob("reference-*.npy"))
    monkeypatch.setenv("TUTELAGE_PRECISION", "float32")
    prefer(job(auto, tmp_path, heard.log, 0, model=base, pairs=pairs))
    assert sorted(path.name for path in (tmp_path / "work").glob("reference-*.npy")) == kept and len(kept) == 2
    fresh = CONFIG.model_copy(update={"training": quick(1, precision="float32")})
    prefer(job(fresh, tmp_path / "other", heard.log, 0, model=base, pairs=pairs))
    assert sorted(path.name for path in (tmp_path / "other" / "work").glob("reference-*.npy")) != kept


JUDGED = [
    {"prompt": f"About {i} and {i * 7}?", "completion": "Sort it all." if i % 2 else "no no no", "label": i % 2 > 0}
    for i in range(60)
]


def judged(tmp_path, **more):
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in JUDGED))
    settings = {"data": str(path), "loss": "kto", "context_length": 128, "drift_prompts": 0}
    return PreferConfig.parse({**settings, "training": quick(30, learning_rate=2e-3).plain(), **more})


def test_judged_answers_are_learned_and_a_killed_run_ends_the_same(base, tmp_path):
    config = judged(tmp_path)
    metrics = prefer(job(config, tmp_path / "whole", model=base))
    assert metrics["answers"] + metrics["heldout_answers"] == 60 and metrics["desirable"] == metrics["undesirable"]
    assert metrics["before"]["loss"] == 0.5 and metrics["after"]["loss"] < 0.45  # 1 - s(0) before
    assert metrics["after"]["chosen_reward"] > metrics["after"]["rejected_reward"]
    scores = read_rows(tmp_path / "whole" / "out" / "data" / "scores.jsonl")
    good, bad = ([row["reward"] for row in scores if row["label"] is label] for label in (True, False))
    assert sum(good) / len(good) == pytest.approx(metrics["after"]["chosen_reward"], rel=1e-3)
    assert min(good) > max(bad) and len(scores) == metrics["heldout_answers"]

    def die(event):
        if event["event"] == "step" and event["step"] >= 13:
            raise RuntimeError("killed")

    often = config.with_(training={"checkpoint_seconds": 0.0})
    with pytest.raises(RuntimeError, match="killed"):
        prefer(job(often, tmp_path / "cut", EventLog(listeners=(die,)), model=base))
    prefer(job(config, tmp_path / "cut", model=base))
    assert contents(tmp_path / "cut" / "out") == contents(tmp_path / "whole" / "out")


@pytest.mark.parametrize("loss", ["simpo", "orpo", "cpo", "sft"])
def test_a_loss_without_a_reference_computes_none(loss, base, pairs, tmp_path, monkeypatch):
    def refuse(*given):
        raise AssertionError("the reference was asked")

    monkeypatch.setattr("tutelage.finetuning.prefer.stage.add_reference", refuse)
    given = {"task": "docstrings", "loss": loss, "context_length": 128, "drift_prompts": 0}
    config = PreferConfig.parse({**given, "training": quick(20, learning_rate=2e-3).plain()})
    metrics = prefer(job(config, tmp_path, model=base, pairs=pairs))
    assert not list((tmp_path / "work").glob("reference*"))
    assert metrics["after"]["loss"] < metrics["before"]["loss"]
    assert metrics["after"]["chosen_logp"] > metrics["before"]["chosen_logp"] or loss == "simpo"


def test_pairs_of_a_task_are_judged_answers_for_kto(base, pairs, tmp_path):
    given = {"task": "docstrings", "loss": "kto", "context_length": 128, "drift_prompts": 0}
    config = PreferConfig.parse({**given, "training": quick(2).plain()})
    metrics = prefer(job(config, tmp_path, model=base, pairs=pairs))
    assert (metrics["answers"], metrics["desirable"], metrics["heldout_answers"]) == (100, 50, 20)


def test_one_prompt_alone_gives_kto_no_reference_point(tok):
    rows = [{"prompt": "Q", "completion": "A", "label": True}, {"prompt": "Q", "completion": "B", "label": False}]
    with pytest.raises(InputError, match="same prompt"):
        mismatched_examples(tok, rows, 64)
    other = {"prompt": "R", "completion": "C", "label": True}
    made = mismatched_examples(tok, rows, 64, [other])
    assert [tok.decode([t for t, w in zip(e.segments[0].targets, e.segments[0].weights, strict=True) if w])[0]
            for e in made] == ["C", "C"]  # fmt: skip


def test_too_many_good_answers_are_advised_against_with_a_weight_that_mends_it():
    rule = next(rule for rule in rules() if rule.id == "judged-balance")
    facts = {"key": "finetune.prefer", "desirable_weight": 1.0, "undesirable_weight": 1.0}
    for good, bad in ((900, 100), (100, 900), (70, 65)):
        counts = {"result.desirable": good, "result.undesirable": bad}
        found = rule.check({**facts, **counts})
        if found is None:
            assert (good, bad) == (70, 65)
            continue
        name, _, value = found[2].removeprefix("--set finetune.prefer.").partition("=")
        mended = {**facts, name: float(value)}
        share = mended["desirable_weight"] * good / (mended["undesirable_weight"] * bad)
        assert 1 <= share <= 4 / 3 and rule.check({**mended, **counts}) is None
