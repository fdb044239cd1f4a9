"""Faults that preference finetuning is known for elsewhere; each test says which, in its name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.preference import pair_figures
from tutelage.evaluation.spec import Subject
from tutelage.finetuning.data import read_preferences, stratified_split, write_rows
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.defaults import KNOWN
from tutelage.finetuning.prefer.examples import judged_examples, preference_examples
from tutelage.finetuning.prefer.objective import Preference
from tutelage.finetuning.prefer.reference import add_reference
from tutelage.finetuning.prefer.scores import answer_sums
from tutelage.finetuning.prefer.stage import prefer
from tutelage.finetuning.reward.rows import reward_examples
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model, save_model
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.training.data.packing import pack
from tutelage.training.loop import train

from .conftest import job, quick

PAIRS = [
    {"prompt": f"What is {i}?", "chosen": "It is " + "one more. " * (2 + i % 3), "rejected": "No." * (1 + i % 2)}
    for i in range(24)
]
DOCS = Path(__file__).parents[2] / "docs" / "preferences.md"


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def learned(tok, segment):
    return [target for target, weight in zip(segment.targets, segment.weights, strict=True) if weight > 0]


def test_2_double_or_missing_stop_tokens(tok):
    """Each answer learns exactly one stop token, as its last."""
    answers = [{"prompt": "Q", "completion": text, "label": True} for text in ("Yes.", "No <|im_end|> more.")]
    segments = [s for example in preference_examples(tok, PAIRS, 256)[0] for s in example.segments]
    segments += [s for example in judged_examples(tok, answers, 256)[0] for s in example.segments]
    for segment in segments:
        ids = learned(tok, segment)
        assert ids[-1] in tok.stop_ids and sum(one in tok.stop_ids for one in ids) == 1


@pytest.mark.parametrize(("chosen", "rejected"), [("the sky", "the sky is"), ("the sky is", "the sky"), ("c", "cc")])
def test_16_an_answer_that_begins_the_other_loses_nothing(chosen, rejected, tok, tmp_path, heard):
    path = Path(write(tmp_path / "x.jsonl", [{"prompt": "ab", "chosen": chosen, "rejected": rejected}]))
    rows, _ = read_preferences(path, heard.log)
    (example,) = preference_examples(tok, rows, 128)[0]
    texts = [tok.decode([one for one in learned(tok, s) if one not in tok.stop_ids]) for s in example.segments]
    assert texts == [chosen, rejected] and rows[0]["prompt"] == "ab"


@pytest.mark.parametrize("lora", [None, {"rank": 4, "dropout": 0.5}])
def test_18_the_first_loss_is_ln_2_whatever_dropout(lora, base, tmp_path):
    path = write(tmp_path / "mine.jsonl", PAIRS)
    seen: list[dict] = []
    config = PreferConfig.parse(
        {"data": path, "sft_weight": 0, "lora": lora, "context_length": 128, "drift_prompts": 0,
         "training": {**quick(2).plain(), "log_every": 1}}
    )  # fmt: skip
    metrics = prefer(job(config, tmp_path, EventLog(listeners=(seen.append,)), model=base))
    first = next(event for event in seen if event["event"] == "step")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert metrics["before"]["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_19_a_model_that_has_no_name_anywhere_is_its_own_reference(tok, shape, tmp_path, heard):
    """From memory alone: the reference is what the model says before the first step, not a file loaded again."""
    model = DecoderLM(shape, seed=4)
    rows = pack(preference_examples(tok, PAIRS, 128)[0], 128, tok.pad_id)
    add_reference(model, "in memory", rows, quick(1), tmp_path, heard.log)
    before = rows.extras["reference"].copy()
    result = train(model, Preference(rows, rows, "sigmoid", 0.1), quick(10), tmp_path, heard.log, seed=1)
    assert np.array_equal(before, rows.extras["reference"])
    assert result.final["reward_accuracy"] > 0.8


def test_20_a_reward_that_only_measures_length_is_seen(tmp_path, heard):
    """Accuracy is given apart for pairs whose chosen answer is the longer and the shorter one, beside length alone."""
    rows = [
        {"id": str(i), "prompt": f"q{i}", "chosen": "word " * (9 if i % 4 else 1), "rejected": "word " * 4}
        for i in range(40)
    ]
    (tmp_path / "data").mkdir()
    for split in ("train", "heldout"):
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    scores = [
        {"id": row["id"], "chosen_reward": len(row["chosen"]), "rejected_reward": len(row["rejected"])} for row in rows
    ]
    write_rows(tmp_path / "data" / "scores.jsonl", scores)
    subject = Subject(name="mine", makes="reward model", parent="base", heldout="pairs")
    (figure,), comparisons = pair_figures(subject, tmp_path, EvaluateConfig(bootstrap=100), 0)
    values = {row["who"]: row["value"] for row in figure["rows"]}
    assert values["mine"] == values["length alone"] == 0.75
    assert "30 of 30 pairs whose chosen answer is the longer and 0 of 10 pairs" in figure["note"]
    against = next(one for one in comparisons if one["b"] == "length alone")
    assert against["outcome"] != "better"


def test_20_pairs_that_differ_in_length_alone_are_warned_of(base, tmp_path, heard):
    path = write(tmp_path / "mine.jsonl", PAIRS)
    settings = {"data": path, "context_length": 128, "drift_prompts": 0, "training": quick(1).plain()}
    metrics = prefer(job(PreferConfig.parse(settings), tmp_path, heard.log, model=base))
    assert metrics["chosen_longer"] == 1.0 and "length itself may be what is learned" in heard.messages("warning")
    assert metrics["after"]["chosen_logp"] < 0  # logged beside the margin


def test_21_log_probabilities_do_not_depend_on_what_else_is_in_the_batch(tok, shape):
    model = DecoderLM(shape, seed=4)
    rows = pack(preference_examples(tok, PAIRS, 128)[0], 200, tok.pad_id)
    alone, together = (answer_sums(model, rows, quick(1, batch_rows=size)) for size in (1, 8))
    assert np.allclose(alone, together, atol=1e-4) and (alone < 0).all()


def test_27_kto_refuses_a_batch_of_one():
    given = {"data": "x.jsonl", "loss": "kto", "training": {"batch_rows": 1}}
    with pytest.raises(ConfigError, match="batch_rows must be 2"):
        PreferConfig.parse(given)
    PreferConfig.parse({**given, "loss": "apo_zero_unpaired"})
    with pytest.raises(ConfigError, match="pipeline must be 1"):
        PreferConfig.parse({**given, "training": {"parallel": {"pipeline": 2}, "accumulation": 2}})


def test_28_a_row_that_does_not_fit_is_dropped_whole_and_counted(tok, heard):
    """No answer is cut, and none loses its stop token."""
    long = {"prompt": "Q", "chosen": "yes " * 100, "rejected": "no", "completion": "yes " * 100, "label": True}
    short = {**long, "chosen": "yes", "completion": "yes"}
    for make in (preference_examples, judged_examples, reward_examples):
        examples, supervision = make(tok, [long, short], 64)
        assert (supervision.kept, supervision.too_long, len(examples)) == (1, 1, 1)
        supervision.tell_dropped("rows", 64, heard.log)
    assert heard.messages("warning").count("1 of 2 rows are longer than 64 tokens and dropped") == 3


def test_30_every_loss_and_its_differences_to_others_are_documented():
    text = DOCS.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in KNOWN)
    for difference in ("label_smoothing", "ORPO", "SimPO", "per token"):
        assert difference in text.split("### Same name, other mathematics")[1].split("\n#")[0], difference


def test_near_identical_prompts_never_stand_on_both_sides():
    topics = [f"subject{i} colour{i}" for i in range(30)]
    wordings = ["Please explain to me in a few words what the {} is about", "please explain to me in a few words what "
                "the {} is about now", "Please, explain to me in a few words what the {} is about!"]  # fmt: skip
    rows = [
        {"id": f"{t}{w}", "prompt": wording.format(f"{topic} {topic[::-1]} {t * 7} of {t * 31} with {t * 13}"),
         "chosen": "a", "rejected": "b"}
        for t, topic in enumerate(topics) for w, wording in enumerate(wordings)
    ]  # fmt: skip
    found = stratified_split(rows, 3, 0.2, near=True)
    sides = [{row["id"][:-1] for row in side} for side in (found.train, found.heldout)]
    assert not sides[0] & sides[1] and all(sides)
    apart = stratified_split(rows, 3, 0.2)
    assert {row["id"][:-1] for row in apart.train} & {row["id"][:-1] for row in apart.heldout}  # the fault, without it


def test_a_mixture_of_microbatches_is_the_whole_step_for_kto(tok, shape, tmp_path, heard):
    """13: the reference point is one for the step; what a run makes does not depend on accumulation."""
    rows = [
        {"prompt": f"What is {i}?", "completion": "It is one." * (1 + i % 3), "label": i % 2 == 0} for i in range(24)
    ]
    path = write(tmp_path / "judged.jsonl", rows)

    directory = tmp_path / "base"
    directory.mkdir()
    save_model(DecoderLM(shape, seed=4), directory)
    tok.save(directory)
    made = []
    for accumulation in (1, 4):
        training = quick(6, accumulation=accumulation, optimizer="adamw").plain()
        given = {"data": path, "loss": "kto", "context_length": 64, "drift_prompts": 0, "training": training}
        out = tmp_path / str(accumulation)
        prefer(job(PreferConfig.parse(given), out, model=directory))
        made.append(torch.cat([p.flatten() for p in load_model(out / "out").parameters()]))
    start = torch.cat([p.flatten() for p in load_model(directory).parameters()])
    assert (made[0] - start).norm() > 0.01
    assert torch.allclose(made[0], made[1], atol=2e-4)
