"""Every stage from its inputs to its model directory, with a model of 30,000 parameters."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from tutelage.finetuning.classify import rows as classify_room
from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.stage import classify, with_head
from tutelage.finetuning.data import read_rows
from tutelage.finetuning.instruct import stage as instruct_room
from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.instruct.stage import instruct
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model
from tutelage.store.errors import InputError
from tutelage.tasks.docstrings import normalised
from tutelage.tokenizer.tokenizer import Tokenizer

from .conftest import corpus_rows, job, quick, write_corpus

CLASSIFY = ClassifyConfig(
    task="labels", min_per_label=10, min_heldout=2, max_tokens=32, context_length=128, training=quick(50)
)
INSTRUCT = InstructConfig(task="docstrings", context_length=128, max_heldout=30, training=quick(70))
STAGES = {"classify": (classify, CLASSIFY), "instruct": (instruct, INSTRUCT)}


def contents(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


class Killed(RuntimeError):
    pass


def kill_at(step, log):
    """A listener that ends a run the hard way: an exception out of the middle of the loop."""

    def listen(event):
        if event["event"] == "step" and event["step"] >= step:
            raise Killed

    return type(log)(listeners=(listen,))


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus, base):
    found = {}
    for name, (stage, config) in STAGES.items():
        out = tmp_path_factory.mktemp(name)
        metrics = stage(job(config, out, corpus=corpus, model=base))
        found[name] = (out / "out", metrics)
    return found


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_leaves_a_model_directory_with_curve_and_data(name, made, base):
    out, metrics = made[name]
    model = load_model(out)
    assert Tokenizer.load(out).encode("Sort the lines.") == Tokenizer.load(base).encode("Sort the lines.")
    curve = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    assert curve[-1]["validation"]["loss"] == metrics["heldout_loss"] < curve[0]["loss"]
    assert read_rows(out / "data" / "train.jsonl") and read_rows(out / "data" / "heldout.jsonl")
    assert json.dumps(metrics, allow_nan=False) and metrics["timing"]["seconds"] >= 0
    assert bool(model.config.num_labels) == (name == "classify")


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_run_ends_as_an_uninterrupted_one(name, made, corpus, base, tmp_path, heard):
    stage, config = STAGES[name]
    often = config.model_copy(update={"training": config.training.model_copy(update={"checkpoint_seconds": 0.0})})
    with pytest.raises(Killed):
        stage(job(often, tmp_path, kill_at(7, heard.log), corpus=corpus, model=base))
    stage(job(config, tmp_path, heard.log, corpus=corpus, model=base))
    assert "resuming from step" in heard.messages("note")
    assert contents(tmp_path / "out") == contents(made[name][0])


def test_the_classifier_learns_its_labels(made, corpus):
    out, metrics = made["classify"]
    assert list(metrics["labels"]) == ["files", "graphs", "text"] == list(load_model(out).config.labels)
    assert metrics["heldout_accuracy"] > 0.8 > metrics["heldout_majority"]
    texts = {row["text"] for row in read_rows(out / "data" / "train.jsonl")}
    assert not texts & {row["text"] for row in read_rows(out / "data" / "heldout.jsonl")}


def test_a_label_with_few_documents_is_left_out_and_the_rest_is_capped(tmp_path, base, heard):
    rows = corpus_rows()
    rare = [row for row in rows if row["label"] == "text"][:9]
    corpus = write_corpus(tmp_path / "corpus", sorted(
        [row for row in rows if row["label"] != "text"] + rare, key=lambda row: row["id"]))  # fmt: skip
    config = CLASSIFY.model_copy(update={"max_per_label": 20, "training": quick(1), "class_weights": "balanced"})
    metrics = classify(job(config, tmp_path, heard.log, 0, corpus=corpus, model=base))
    assert metrics["labels"] == {"files": 20, "graphs": 20}
    assert "2 labels, 40 training texts" in heard.messages("note")


def test_texts_are_kept_as_they_were_read(tmp_path, corpus, base, tok, heard):
    config = CLASSIFY.model_copy(update={"max_tokens": 6, "training": quick(1)})
    metrics = classify(job(config, tmp_path, heard.log, 0, corpus=corpus, model=base))
    rows = read_rows(tmp_path / "out" / "data" / "train.jsonl")
    assert all(0 < len(tok.encode(row["text"])) <= 6 for row in rows)
    assert metrics["cut_texts"] > 0 and f"truncates {metrics['cut_texts']} texts" in heard.messages("note")


def test_a_cut_never_leaves_half_a_character(tok):
    rows, cut = classify_room.read_as(tok, [{"id": "1", "text": "größer 漢字 über 漢字"}], 5)
    assert cut == 1 and len(tok.encode(rows[0]["text"])) <= 5
    assert "\ufffd" not in rows[0]["text"] and "größer 漢字 über 漢字".startswith(rows[0]["text"])


def test_the_head_is_fresh_seeded_and_the_rest_is_the_base(base):
    start = load_model(base)
    one, same, other = (with_head(start, ["a", "b"], seed) for seed in (1, 1, 2))
    assert torch.equal(one.score.weight, same.score.weight)
    assert not torch.equal(one.score.weight, other.score.weight)
    for name, value in start.state_dict().items():
        assert torch.equal(one.state_dict()[name], value)
    again = with_head(one, ["x", "y", "z"], 1)  # a classifier may be the base of another
    assert again.score.weight.shape == (3, 32) and again.config.labels == ("x", "y", "z")


def test_a_classifier_of_own_data(tmp_path, base, heard):
    path = tmp_path / "mine.csv"
    lines = [f"{row['text']},{row['label']}" for row in corpus_rows() if row["label"] != "text"]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    config = CLASSIFY.model_copy(update={"data": str(path), "training": quick(1)})
    metrics = classify(job(config, tmp_path, heard.log, 0, model=base))
    assert set(metrics["labels"]) == {"files", "graphs"} and metrics["heldout_texts"] == 48


def test_instruction_data_share_no_answer_and_say_what_is_learned(made, tok):
    out, metrics = made["instruct"]
    train, held = (read_rows(out / "data" / f"{name}.jsonl") for name in ("train", "heldout"))
    assert list(train[0]) == ["id", "prompt", "response", "name", "signature"]
    assert not {normalised(row["response"]) for row in train} & {normalised(row["response"]) for row in held}
    assert len(train) == metrics["rows"] and len(held) == metrics["heldout_rows"] == 30
    expected = sum(len(tok.encode(row["response"])) + 1 for row in train)
    assert metrics["supervision"]["supervised"] == expected
    assert 0 < metrics["supervision"]["supervised_share"] < 0.6


def test_instruction_changes_the_answers_and_ends_them(made, base, tok):
    """The instructed model puts the stop token after a whole answer; the base model does not."""
    from tutelage.finetuning.examples import conversation_segment, messages_of

    out, _ = made["instruct"]
    rows = read_rows(out / "data" / "heldout.jsonl")[:10]

    def stops(directory):
        model: DecoderLM = load_model(directory)
        total = 0.0
        for row in rows:
            segment = conversation_segment(tok, messages_of(row))
            with torch.no_grad():
                logprobs = model(torch.tensor([list(segment.tokens)])).log_softmax(-1)[0, -1]
            total += float(logprobs[segment.targets[-1]])
        return total / len(rows)

    assert stops(out) > -1.5 > -4.0 > stops(base)


def test_own_conversations_with_several_turns(tmp_path, base, heard):
    path = tmp_path / "mine.jsonl"
    turns = [("user", "Hi {}"), ("assistant", "Yes?"), ("user", "Sort {}"), ("assistant", "Sorted {}.")]
    records = [{"messages": [{"role": role, "content": text.format(i)} for role, text in turns]} for i in range(20)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + "oops\n")
    config = INSTRUCT.model_copy(update={"data": str(path), "training": quick(2)})
    metrics = instruct(job(config, tmp_path, heard.log, 0, model=base))
    assert (metrics["rows"], metrics["heldout_rows"]) == (18, 2)
    assert "line 21: not JSON" in heard.messages("warning")
    assert len(read_rows(tmp_path / "out" / "data" / "train.jsonl")[0]["messages"]) == 4


def test_rows_that_are_dropped_are_not_counted_or_asked(tmp_path, base, heard):
    """A held-out question longer than the context cannot be answered: asking it ended the evaluation in an error."""
    path = tmp_path / "mine.jsonl"
    records = [{"prompt": f"Sort {i} " + "word " * (i % 2) * 200, "response": f"Sorted {i}."} for i in range(40)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    config = INSTRUCT.model_copy(update={"data": str(path), "heldout": 0.5, "training": quick(2)})
    metrics = instruct(job(config, tmp_path, heard.log, 0, model=base))
    kept = {split: read_rows(tmp_path / "out" / "data" / f"{split}.jsonl") for split in ("train", "heldout")}
    assert metrics["rows"] == len(kept["train"]) == metrics["supervision"]["kept"]
    assert metrics["heldout_rows"] == len(kept["heldout"]) and metrics["rows"] + metrics["heldout_rows"] == 20
    assert not any("word" in row["prompt"] for rows in kept.values() for row in rows)
    assert "longer than 128 tokens and dropped" in heard.messages("warning")


def test_replay_mixes_text_in(tmp_path, corpus, base, heard):
    config = INSTRUCT.model_copy(update={"replay": 0.5, "training": quick(2)})
    instruct(job(config, tmp_path, heard.log, 0, corpus=corpus, model=base))
    assert "pieces of pretraining text are mixed in" in heard.messages("note")


def test_why_not(tmp_path, corpus):
    there = {"corpus": corpus}
    assert classify_room.why_not(CLASSIFY, there) is None and instruct_room.why_not(INSTRUCT, there) is None
    bare = [{**row, "label": None, "signature": None} for row in corpus_rows()]
    without = {"corpus": write_corpus(tmp_path / "bare", bare)}
    assert "no label has enough rows" in classify_room.why_not(CLASSIFY, without)
    assert "0 training and 0 held-out rows for the task 'docstrings'" in instruct_room.why_not(INSTRUCT, without)
    one_label = write_corpus(tmp_path / "one", [{**row, "label": "text"} for row in corpus_rows()])
    assert "only 'text' has" in classify_room.why_not(CLASSIFY, {"corpus": one_label})
    own = {"data": "mine.csv"}
    assert classify_room.why_not(ClassifyConfig.parse(own), without) is None
    assert instruct_room.why_not(InstructConfig.parse(own), without) is None


@pytest.mark.parametrize("name", STAGES)
def test_a_corpus_that_cannot_feed_a_stage_is_one_clear_error(name, tmp_path, base, heard):
    stage, config = STAGES[name]
    bare = write_corpus(tmp_path / "bare", [{**row, "label": None, "signature": None} for row in corpus_rows()])
    with pytest.raises(InputError):
        stage(job(config, tmp_path, heard.log, 0, corpus=bare, model=base))
    with pytest.raises(InputError, match="missing"):
        stage(job(config, tmp_path, heard.log, 0, corpus=tmp_path / "none", model=base))
    assert not (tmp_path / "out").exists()


def test_instructed_model_to_pairs_to_preferred_model(made, corpus, tmp_path, heard):
    """The joints with the engine and the rule: real samples, real verdicts, same files twice."""
    from tutelage.finetuning.prefer.config import PairsConfig, PreferConfig
    from tutelage.finetuning.prefer.pairs import make_pairs
    from tutelage.finetuning.prefer.stage import prefer

    instructed, _ = made["instruct"]
    pairs = PairsConfig(task="docstrings", prompts=40, samples=2, chunk=16, max_tokens=32)
    metrics = [
        make_pairs(job(pairs, tmp_path / name, heard.log, 1, model=instructed, corpus=corpus))
        for name in ("one", "two")
    ]
    one, two = tmp_path / "one" / "out", tmp_path / "two" / "out"
    assert contents(one) == contents(two) and metrics[0] == metrics[1]
    assert metrics[0]["pairs"] >= 10 and metrics[0]["reference_score"] > metrics[0]["sample_score"]
    config = PreferConfig(task="docstrings", context_length=128, drift_prompts=4, training=quick(10))
    after = prefer(job(config, tmp_path, heard.log, 1, model=instructed, pairs=one))
    assert after["after"]["margin"] > 0 and after["answer_tokens_before"] > 0
    assert after["heldout_pairs"] == metrics[0]["heldout_pairs"]
