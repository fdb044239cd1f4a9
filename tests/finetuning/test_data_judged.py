"""Answers judged good or bad one by one: every layout, every row accounted for, and the loss that the file asks for."""

from __future__ import annotations

import json

import pytest

from tutelage.finetuning.data import read_conversations, read_judged, read_preferences, stratified_split
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.rows import own_rows, settings_for
from tutelage.recipe.one_step import one_step_recipe, read_own_rows
from tutelage.store.errors import ConfigError, InputError

QA = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


def write(tmp_path, records):
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Q", "completion": "A", "label": True},
        {"prompt": "Q", "response": "A", "label": 1},
        {"messages": QA, "label": "true"},
        {"instruction": "Q", "output": "A", "kto_tag": True},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "kto_tag": "True"},
        {"prompt": [QA[0]], "completion": [QA[1]], "label": True},
    ],
)
def test_every_layout_gives_the_same_row(record, tmp_path, heard):
    bad = {"prompt": "Q2", "completion": "B", "label": False}
    rows, audit = read_judged(write(tmp_path, [record, bad]), heard.log)
    assert {key: rows[0][key] for key in ("messages", "prompt", "completion", "label")} == {
        "messages": [{"role": "user", "content": "Q"}], "prompt": "Q", "completion": "A", "label": True,
    }  # fmt: skip
    assert rows[1]["label"] is False and audit.kept == 2
    assert "1 answers are judged good, 1 bad" in heard.messages("note")


def test_rows_without_a_judgement_or_an_answer_are_dropped_and_counted(tmp_path, heard):
    good, bad = ({"prompt": f"Q{label}", "completion": "A", "label": label} for label in (True, False))
    records = [good, bad, {**good, "label": "perhaps"}, {"prompt": "Q", "label": True}, good]
    rows, audit = read_judged(write(tmp_path, records), heard.log)
    assert len(rows) == 2 and sum(audit.dropped.values()) == 3
    assert "neither true nor false" in heard.messages("warning")


@pytest.mark.parametrize(("label", "hint"), [(True, "instruct"), (False, "teach nothing")])
def test_answers_that_are_all_judged_alike_are_an_error(label, hint, tmp_path, heard):
    records = [{"prompt": f"Q{i}", "completion": "A", "label": label} for i in range(3)]
    with pytest.raises(InputError, match=hint):
        read_judged(write(tmp_path, records), heard.log)


def test_pairs_are_read_as_one_good_and_one_bad_answer_and_stay_together(tmp_path, heard):
    path = write(tmp_path, [{"prompt": f"Q{i} word{i}", "chosen": "yes", "rejected": "no"} for i in range(20)])
    rows, _ = read_judged(path, heard.log)
    assert [row["label"] for row in rows[:2]] == [True, False] and len({row["id"] for row in rows}) == 40
    found = stratified_split(rows, 1, 0.2, near=True)
    assert not {row["prompt"] for row in found.train} & {row["prompt"] for row in found.heldout}


def test_a_file_of_judged_answers_asks_for_kto_and_other_losses_are_refused(tmp_path, heard):
    records = [{"prompt": f"Q{i}", "completion": "A", "label": i % 2 == 0} for i in range(20)]
    path = str(write(tmp_path, records))
    own = read_own_rows("prefer", path, {})
    assert own.given["loss"] == "kto" and own.rows == 16
    made = one_step_recipe(own, "base", 1_000, 512).finetune["prefer"].settings
    assert (made.loss, made.beta, made.sft_weight) == ("kto", 0.1, 0.0)
    other = one_step_recipe(own, "base", 1_000, 512, ["loss=apo_zero_unpaired"]).finetune["prefer"].settings
    assert other.loss == "apo_zero_unpaired"
    with pytest.raises(InputError, match=r"loss 'kto'"):
        own_rows(PreferConfig.parse({"data": path, "loss": "simpo"}), heard.log, 0)


def test_a_file_of_pairs_asks_for_nothing(tmp_path):
    path = write(tmp_path, [{"prompt": f"Q{i}", "chosen": "yes", "rejected": "no"} for i in range(3)])
    assert settings_for(PreferConfig.parse({"data": str(path)})) == {}


def test_settings_suit_the_loss_and_what_it_does_not_honour_is_an_error():
    def made(**given):
        return PreferConfig.parse({"data": "x.jsonl", **given})

    simpo = made(loss="simpo")
    assert (simpo.beta, simpo.gamma_beta_ratio, simpo.sft_weight, simpo.label_smoothing) == (2.0, 0.5, 0.0, 0.0)
    assert made(loss="simpo", beta=10).beta == 10 and made().beta == 0.1 and made(loss="sigmoid_norm").beta == 5
    assert made(loss="robust").label_smoothing == 0.1 and made(loss="exo_pair").label_smoothing == 1e-3
    assert made(loss="orpo").sft_weight == 1.0 and made(loss="sft").beta == 0
    assert PreferConfig.parse(simpo.plain()) == simpo
    refused = [
        ({"loss": "ipo", "label_smoothing": 0.1}, "label_smoothing has no effect with loss 'ipo'"),
        ({"gamma_beta_ratio": 0.3}, "gamma_beta_ratio has no effect"),
        ({"loss": "kto", "sft_weight": 0.1}, "sft_weight has no effect"),
        ({"desirable_weight": 1.2}, "desirable_weight has no effect"),
        ({"loss": "sft", "beta": 0.1}, "beta has no effect"),
        ({"beta": 0}, "beta must be above 0"),
        ({"loss": "exo_pair", "label_smoothing": 0}, "label_smoothing above 0"),
        ({"loss": "aot", "training": {"accumulation": 2}}, "accumulation must be 1"),
        ({"loss": "aot_unpaired", "training": {"tune": True}}, "tune off"),
        ({"loss": "smpo"}, "no loss 'smpo': did you mean 'simpo'"),
    ]
    for given, said in refused:
        with pytest.raises(ConfigError, match=said):
            made(**given)


def test_words_and_signs_for_a_judgement_are_never_answers_to_learn(tmp_path, heard):
    said = ["👍", "👎", "thumbs up", "Thumbs down", "unsure"]
    records = [{"prompt": f"Q{n}", "completion": f"A{n}", "label": label} for n, label in enumerate(said)]
    rows, audit = read_judged(write(tmp_path, records), heard.log)
    assert [row["label"] for row in rows] == [True, False, True, False]
    assert audit.dropped == {"'label' is 'unsure', neither true nor false": 1}
    with pytest.raises(InputError, match="2 of 5 answers are judged bad"):
        read_conversations(write(tmp_path, records), heard.log)


@pytest.mark.parametrize("name", ["score", "label"])
def test_rated_answers_are_no_answers_to_learn_as_they_are(name, tmp_path, heard):
    records = [{"prompt": f"Q{n}", "response": "A", name: n} for n in range(5)]
    with pytest.raises(InputError) as error:
        read_preferences(write(tmp_path, records), heard.log)
    assert f"{name!r} rates the answers" in error.value.hint
