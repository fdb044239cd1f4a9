"""Multi-label classification: every layout of label sets, the loss, both ways to a head, and a killed run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tutelage.finetuning.classify.calibrate import temperature
from tutelage.finetuning.data.multilabel import read_multilabel
from tutelage.finetuning.multilabel.config import MultilabelConfig
from tutelage.finetuning.multilabel.objective import Multilabel
from tutelage.finetuning.multilabel.rows import indicators, own_rows
from tutelage.finetuning.multilabel.stage import _examples, multilabel
from tutelage.inference.language_model import load
from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import ConfigError, InputError
from tutelage.training.data.packing import pack

from .conftest import corpus_rows, job, loss_and_gradient, quick
from .test_stages import Killed, contents, kill_at


def written(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Texts labelled by what they are about and by what is done there; some have no label at all."""
    records = []
    for row in corpus_rows():
        verb = row["summary"].split()[0].lower()
        labels = [row["label"], verb] if verb in ("sort", "count") else [row["label"]]
        records.append({"text": row["summary"], "labels": [] if verb == "merge" else labels})
    return written(tmp_path_factory.mktemp("own") / "mine.jsonl", records)


CONFIG = MultilabelConfig(data="mine", context_length=128, max_tokens=32, training=quick(60))


def configured(mine, **more):
    return CONFIG.model_copy(update={"data": str(mine), **more})


LAYOUTS = {
    "lists.jsonl": '{"text": "t 1", "labels": ["b", "a", "a"]}\n{"text": "t 2", "labels": []}\n'
    '{"text": "t 3", "labels": ["b"]}\n',
    "semicolons.csv": "text,tags\nt 1,a;b\nt 2,\nt 3,b\nt 4,a\n",
    "commas.csv": 'text,label\nt 1,"a, b"\nt 2,\nt 3,b\nt 4,a\n',
    "json_in_a_table.csv": 'text,labels\nt 1,"[""a"", ""b""]"\nt 2,[]\nt 3,"[""b""]"\n',
    "python_in_a_table.csv": "text;labels\nt 1;['a', 'b']\nt 2;[]\nt 3;['b']\n",
    "flags.csv": "id,text,a,b\n7,t 1,1,1\n8,t 2,0,0\n9,t 3,0,1\n",
    "ticked.csv": "text,a,b\nt 1,x,X\nt 2,,\nt 3,,x\n",
    "slashes.csv": "text,tags\nt 1,a/b\nt 2,\nt 3,b\nt 4,a\n",
    "hashes.csv": "text,tags\nt 1,#a #b\nt 2,\nt 3,#b\nt 4,#a\n",
    "objects.jsonl": '{"text": "t 1", "labels": [{"label": "a"}, {"label": "b"}]}\n{"text": "t 2", "labels": []}\n'
    '{"text": "t 3", "labels": [{"label": "b"}]}\n',
    "true_false.jsonl": '{"text": "t 1", "a": true, "b": true}\n{"text": "t 2", "a": false, "b": false}\n'
    '{"text": "t 3", "a": false, "b": true}\n',
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_label_sets_are_read_in_every_usual_layout(name, tmp_path, heard):
    path = tmp_path / name
    path.write_text(LAYOUTS[name])
    rows, audit = read_multilabel(path, heard.log)
    found = {row["text"]: row["labels"] for row in rows}
    found.pop("t 4", None)
    assert found == {"t 1": ["a", "b"], "t 2": [], "t 3": ["b"]}
    assert audit.kept == len(rows) and "texts have several labels, 1 have none" in heard.messages("note")


def test_what_has_one_label_a_text_is_for_the_classifier(tmp_path, heard):
    path = written(tmp_path / "one.jsonl", [{"text": f"t {i}", "labels": ["ab"[i % 2]]} for i in range(6)])
    with pytest.raises(InputError, match="exactly one label") as error:
        read_multilabel(path, heard.log)
    assert "finetune classify" in str(error.value.hint)
    with pytest.raises(InputError, match="label cannot be told from 'text', 'b'"):
        read_multilabel(written(tmp_path / "two.jsonl", [{"text": "t", "b": "x"}]), heard.log)


def test_a_flag_that_is_empty_costs_its_row_and_a_separator_needs_labels_that_come_again(tmp_path, heard):
    path = tmp_path / "flags.csv"
    path.write_text("text,a,b\nt 1,1,0\nt 2,,1\nt 3,0,1\nt 4,1,1\n")
    rows, audit = read_multilabel(path, heard.log)
    assert len(rows) == 3 and audit.dropped == {"'a' says neither yes nor no": 1}
    path = tmp_path / "commas.csv"
    path.write_text('text,labels\nt 1,"Paris, Texas"\nt 2,Rome\nt 3,"[""Rome"", ""Bonn""]"\n')
    rows, _ = read_multilabel(path, heard.log)
    assert [row["labels"] for row in rows] == [["Paris, Texas"], ["Rome"], ["Bonn", "Rome"]]


def test_rare_labels_stand_on_both_sides_and_a_label_alone_is_named(tmp_path, heard):
    records = [{"text": f"text {i}", "labels": ["often"] + ["rare"] * (i % 50 == 0)} for i in range(200)]
    records.append({"text": "alone", "labels": ["often", "once"]})
    config = configured(written(tmp_path / "rare.jsonl", records))
    for seed in range(5):
        split, _ = own_rows(config, heard.log, seed)
        for side in (split.train, split.heldout):
            assert any("rare" in row["labels"] for row in side) and "label" not in side[0]
    # Only "often" is left where nothing else has two training texts.
    with pytest.raises(InputError, match="only 'often' has enough rows"):
        own_rows(configured(written(tmp_path / "few.jsonl", records[1:50] + records[-1:])), heard.log, 0)


def objective(tok, rows):
    wanted = indicators(rows, ["files", "graphs", "sort"])
    packed = pack(_examples(tok, rows, 0), 64, tok.pad_id)
    return Multilabel(packed, packed, wanted)


def drawn(count):
    return [
        {"id": str(i), "text": row["summary"], "labels": [["files"], ["graphs", "sort"], []][i % 3]}
        for i, row in enumerate(corpus_rows()[:count])
    ]


def test_the_loss_is_the_binary_cross_entropy_of_each_text_read_alone(tok, shape):
    model = DecoderLM(shape.with_(num_labels=3, labels=("files", "graphs", "sort"), multi_label=True), seed=3)
    rows = drawn(20)
    batch = objective(tok, rows).rows["train"]
    loss = objective(tok, rows).loss(model, batch.batch(np.arange(len(batch))))
    expected = 0.0
    for row in rows:
        hidden = model.hidden(torch.tensor([tok.framed(tok.encode(row["text"]))]))
        for label, score in zip(("files", "graphs", "sort"), model.scores(hidden[0, -1]), strict=True):
            expected -= torch.nn.functional.logsigmoid(score if label in row["labels"] else -score).item()
    assert loss.weight == 20 and loss.sum.item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_in_four_parts_is_the_batch_whole(tok, shape):
    model = DecoderLM(shape.with_(num_labels=3, labels=("files", "graphs", "sort"), multi_label=True), seed=3)
    one = objective(tok, drawn(37))
    torch.testing.assert_close(*(loss_and_gradient(one, model, parts)[1] for parts in (1, 4)), atol=1e-6, rtol=1e-4)


def test_other_labels_are_another_run(tok):
    rows = drawn(12)
    other = [{**row, "labels": ["files"]} for row in rows]
    assert objective(tok, rows).name != objective(tok, other).name
    assert objective(tok, rows).name == objective(tok, drawn(12)).name


@pytest.fixture(scope="module")
def made(tmp_path_factory, mine, base):
    found = {}
    for name, more in (("frozen", {"frozen": True}), ("trained", {})):
        out = tmp_path_factory.mktemp(name)
        found[name] = (out / "out", multilabel(job(configured(mine, **more), out, model=base)))
    return found


@pytest.mark.parametrize("way", ["frozen", "trained"])
def test_it_learns_and_says_each_label_by_itself(way, made):
    out, metrics = made[way]
    assert set(metrics["labels"]) == {"files", "graphs", "text", "sort", "count"}
    lm = load(out)
    assert lm.config.multi_label and metrics["heldout_exact_match"] > 0.6
    sorting, merging = lm.classify(["Sort the edges of the given list.", "Merge the links of the first table."])
    assert {label for label, share in sorting.items() if share >= 0.5} == {"graphs", "sort"}
    assert not [label for label, share in merging.items() if share >= 0.5]
    assert json.loads((out / "config.json").read_text())["problem_type"] == "multi_label_classification"


def test_a_killed_run_ends_as_an_uninterrupted_one(made, mine, base, tmp_path, heard):
    config = configured(mine)
    often = config.model_copy(update={"training": config.training.model_copy(update={"checkpoint_seconds": 0.0})})
    with pytest.raises(Killed):
        multilabel(job(often, tmp_path, kill_at(7, heard.log), model=base))
    multilabel(job(config, tmp_path, heard.log, model=base))
    assert "resuming from step" in heard.messages("note")
    assert contents(tmp_path / "out") == contents(made["trained"][0])


def test_transformers_says_the_same(made):
    transformers = pytest.importorskip("transformers")
    out = made["trained"][0]
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(out, dtype=torch.float32)
    assert theirs.config.problem_type == "multi_label_classification"
    lm, text = load(out), "Count the archives of the open store."
    ids = torch.tensor([lm.tokenizer.framed(lm.tokenizer.encode(text))])
    expected = theirs.eval()(ids).logits[0].sigmoid().tolist()
    assert list(lm.classify([text])[0].values()) == pytest.approx(expected, abs=1e-5)


def test_a_temperature_of_each_label_by_itself_is_found_again():
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(2000, 3, generator=generator)
    targets = (torch.rand(2000, 3, generator=generator) < scores.sigmoid()).float()
    assert temperature(4 * scores, targets) == pytest.approx(4, rel=0.06)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="name a file"):
        MultilabelConfig.parse({})
    with pytest.raises(ConfigError, match="remove task"):
        MultilabelConfig.parse({"data": "x.csv", "task": "labels"})
    with pytest.raises(ConfigError, match="frozen"):
        adapted = {"lora": {"rank": 4}, "training": {"optimizer": "adamw"}}
        MultilabelConfig.parse({"data": "x.csv", "frozen": True, **adapted})
