"""Thirty faults that finetuning is known for elsewhere: each has a test, here by its number, or where `ELSEWHERE` says.

1 the begin-of-text token twice; 2 stop tokens twice or missing; 3 a stop that is masked as padding; 4 a mask of
zeros; 5 a stop of another turn; 6 a template that changes its beginning; 7 tokens merged over a boundary; 8 the side
of the padding; 9 a label read by a token's id; 10, 12 packed documents that see each other; 11 a first token with a
target; 13 microbatches that do not add up; 14 targets shifted twice; 15 questions that are learned; 16 a prompt cut
from its answer; 17 roles of others; 18 dropout in the reference; 19 a model without a name; 20 length as a reward; 21
figures that depend on the batch; 22 estimators of the KL; 23, 24 length and variance of groups; 25 a tied head lost;
26 a merge into other weights; 27 KTO with a batch of one; 28 answers cut; 29 new tokens; 30 one name for several
losses.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.preference import pair_figures
from tutelage.evaluation.spec import Subject
from tutelage.finetuning.classify.objective import Classification
from tutelage.finetuning.data import read_preferences, stratified_split, write_rows
from tutelage.finetuning.examples import label_examples, text_examples
from tutelage.finetuning.instruct.objective import Instruction
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
from tutelage.training.data.packing import Example, Segment, pack
from tutelage.training.loop import train

from .conftest import answers_of, job, quick

PAIRS = [
    {"prompt": f"What is {i}?", "chosen": "It is " + "one more. " * (2 + i % 3), "rejected": "No." * (1 + i % 2)}
    for i in range(24)
]
DOCS = Path(__file__).parents[2] / "docs" / "preferences.md"


TESTS = Path(__file__).parents[1]
ELSEWHERE = {
    1: ("finetuning/test_examples.py", "test_a_doubled_begin_of_text_is_refused"),
    4: ("finetuning/test_examples.py", "test_a_conversation_without_answer_is_an_error"),
    5: ("finetuning/test_examples.py", "test_only_the_assistant_is_learned_and_each_answer_with_its_stop"),
    6: ("tokenizer/test_tokenizer_chat.py", "test_a_shorter_conversation_is_a_prefix"),
    7: ("tokenizer/test_tokenizer_chat.py", "test_a_space_in_the_prompt_stays_in_the_prompt"),
    8: ("model/test_contracts.py", "test_padding_on_either_side_changes_nothing"),
    10: ("model/test_contracts.py", "test_packed_documents_are_separate_documents"),
    11: ("finetuning/test_objectives.py", "test_packed_rows_cost_what_separate_documents_cost"),
    13: ("finetuning/test_objectives.py", "test_a_batch_in_four_parts_is_the_batch_whole"),
    15: ("finetuning/test_examples.py", "test_only_the_assistant_is_learned_and_each_answer_with_its_stop"),
    17: ("finetuning/test_data_conversations.py", "test_every_layout_is_read_whole"),
    22: ("finetuning/reinforce/test_losses.py", "test_estimators_of_the_kl"),
    23: ("finetuning/reinforce/test_losses.py", "test_length_bias"),
    24: ("finetuning/reinforce/test_stage.py", "test_zero_variance_is_counted_and_teaches_nothing"),
    25: ("interchange/test_peft_families.py", "test_every_family_merges_and_reloads_as_it_was_live"),
    26: ("model/test_nf4.py", "test_adapters_learn_beside_4_bits_and_merge_into_them"),
    29: ("model/test_extend.py", "test_new_rows_are_means_and_old_logits_stay"),
}


def test_every_fault_has_a_test():
    here = set(re.findall(r"^def test_(\d+)_", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE))
    assert {int(number) for number in here} | set(ELSEWHERE) == set(range(1, 31))
    for file, name in ELSEWHERE.values():
        assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8"), name


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def learned(tok, segment):
    return [target for target, weight in zip(segment.targets, segment.weights, strict=True) if weight > 0]


def test_2_double_or_missing_stop_tokens(tok):
    """Each answer learns exactly one stop token, as its last."""
    answers = [{"prompt": "Q", "completion": text, "label": True} for text in ("Yes.", "No <|im_end|> more.")]
    segments = [s for example in preference_examples(tok, PAIRS, 256)[0] for s in answers_of(example)]
    segments += [s for example in judged_examples(tok, answers, 256)[0] for s in example.segments]
    for segment in segments:
        ids = learned(tok, segment)
        assert ids[-1] in tok.stop_ids and sum(one in tok.stop_ids for one in ids) == 1


def test_3_a_stop_is_learned_where_it_is_the_padding_too(tok):
    assert tok.pad_id == tok.eos_id
    rows = pack(text_examples(tok, ["one text"], 64, 10), 32, tok.pad_id)
    learned_here = rows.targets[rows.weights > 0].tolist()
    assert learned_here[-1] == tok.pad_id and learned_here[:-1] == tok.encode("one text")
    assert not rows.weights[rows.documents == 0].any()


def test_9_a_label_is_read_at_the_last_token_whatever_its_id(tok, shape):
    """A text may end with the id that pads: it is read there, not before it."""
    model = DecoderLM(shape.with_(num_labels=2, labels=("a", "b")), seed=3)
    (example,) = label_examples(tok, [{"text": "some text", "label": "b"}], ["a", "b"], {"a": 1.0, "b": 1.0})
    segment = example.segments[0]
    ended = Segment([*segment.tokens, tok.pad_id], [*segment.targets[:-1], 0, 1], [*segment.weights[:-1], 0.0, 1.0])
    rows = pack([Example([ended])], 32, tok.pad_id)
    loss = Classification(rows, rows).loss(model, rows.batch(np.arange(1)))
    hidden = model.hidden(torch.tensor([ended.tokens]))
    assert loss.sum.item() == pytest.approx(-model.scores(hidden[0, -1]).log_softmax(-1)[1].item(), abs=1e-5)


@pytest.mark.parametrize("length", [37, 38, 61])
def test_12_packed_rows_of_odd_lengths_cost_what_their_documents_cost(tok, shape, length):
    model = DecoderLM(shape, seed=4).eval()
    examples = text_examples(tok, ["a b c d", "one more text", "x", "the last of them all"], 30, 100)

    def loss(rows):
        one = Instruction(rows, rows)
        return float(one.loss(model, rows.batch(np.arange(len(rows)))).sum.detach())

    alone = sum(loss(pack([example], 30, tok.pad_id)) for example in examples)
    assert loss(pack(examples, length, tok.pad_id)) == pytest.approx(alone, rel=1e-5)


def test_14_what_is_learned_by_heart_is_the_next_token(tok, shape):
    model = DecoderLM(shape, seed=4)
    ids = [tok.start_id, *tok.encode("Sort the words of the first table."), tok.end_of_text_id]
    rows = pack(text_examples(tok, ["Sort the words of the first table."], 64, 10), 32, tok.pad_id)
    objective, optimizer = Instruction(rows, rows), torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        objective.loss(model, rows.batch(np.arange(1))).sum.backward()
        optimizer.step()
    assert model(torch.tensor([ids[:-1]])).argmax(-1)[0].tolist() == ids[1:]


@pytest.mark.parametrize(("chosen", "rejected"), [("the sky", "the sky is"), ("the sky is", "the sky"), ("c", "cc")])
def test_16_an_answer_that_begins_the_other_loses_nothing(chosen, rejected, tok, tmp_path, heard):
    path = Path(write(tmp_path / "x.jsonl", [{"prompt": "ab", "chosen": chosen, "rejected": rejected}]))
    rows, _ = read_preferences(path, heard.log)
    (example,) = preference_examples(tok, rows, 128)[0]
    texts = [tok.decode([one for one in learned(tok, s) if one not in tok.stop_ids]) for s in answers_of(example)]
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
    assert metrics["chosen_longer"] == 1.0 and "the model may learn length itself" in heard.messages("warning")
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
