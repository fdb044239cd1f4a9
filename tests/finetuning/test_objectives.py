from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tutelage.finetuning.classify.objective import Classification
from tutelage.finetuning.examples import instruction_examples, label_examples
from tutelage.finetuning.instruct.objective import Instruction
from tutelage.finetuning.prefer.defaults import KNOWN, settings_of
from tutelage.finetuning.prefer.examples import judged_examples, mismatched_examples, preference_examples
from tutelage.finetuning.prefer.objective import Judged, Preference
from tutelage.finetuning.prefer.reference import add_reference, reference_logprobs
from tutelage.model.decoder import DecoderLM
from tutelage.training.data.packing import pack
from tutelage.training.data.position import ordered_batches
from tutelage.training.figures import evaluate_objective

from .conftest import corpus_rows, loss_and_gradient, quick

LABELS = ["files", "graphs", "text"]


def conversations(count):
    rows = corpus_rows()[:count]
    # Answers of uneven length: one to three sentences.
    return [
        {"prompt": f"What does {row['name']} do?", "response": " ".join([row["summary"]] * (1 + i % 3))}
        for i, row in enumerate(rows)
    ]


def preferences(count):
    return [
        {"prompt": row["prompt"], "chosen": row["response"], "rejected": "No. " * (1 + i % 4)}
        for i, row in enumerate(conversations(count))
    ]


def preference_rows(tok, count):
    return pack(preference_examples(tok, preferences(count), 128)[0], 330, tok.pad_id)


def preference(rows, **more):
    settings = {"kind": "sigmoid", "beta": 0.5, "label_smoothing": 0.0, "sft_weight": 0.0, **more}
    return Preference(rows, rows, **settings)


@pytest.fixture
def model(shape):
    return DecoderLM(shape.model_copy(update={"num_labels": 3, "labels": tuple(LABELS)}), seed=3)


def split(rows, parts):
    return [rows.batch(numbers) for numbers in np.array_split(np.arange(len(rows)), parts)]


def judgements(count):
    rows = conversations(count)
    return [
        {"prompt": row["prompt"], "completion": row["response"] if i % 3 else "No. " * (1 + i % 4), "label": i % 3 > 0}
        for i, row in enumerate(rows)
    ]


def judged(tok, model, tmp_path, heard, kind="kto"):
    rows = pack(judged_examples(tok, judgements(18), 128)[0], 200, tok.pad_id)
    other = pack(mismatched_examples(tok, judgements(18), 128), 200, tok.pad_id)
    for each in (rows, other):
        add_reference(DecoderLM(model.config, seed=9), "other", each, quick(1), tmp_path, heard.log)
    return Judged(rows, rows, kind, 0.5, 1.0, 1.3, (other, other) if kind == "kto" else None)


def make(name, tok, model, tmp_path, heard):
    if name in ("kto", "apo_zero_unpaired"):
        return judged(tok, model, tmp_path, heard, name)
    if name == "classification":
        weights = {"files": 1.0, "graphs": 0.5, "text": 2.0}
        examples = label_examples(tok, corpus_rows()[:40], LABELS, weights)
        rows = pack(examples, 64, tok.pad_id)
        return Classification(rows, rows)
    if name == "instruction":
        rows = pack(instruction_examples(tok, conversations(24), 128)[0], 256, tok.pad_id)
        return Instruction(rows, rows)
    rows = preference_rows(tok, 16)
    kind = "sigmoid" if name == "preference" else name
    if KNOWN[kind].reference:
        # A reference that is not the policy, so that gradients are not those of a tie.
        add_reference(DecoderLM(model.config, seed=9), "other", rows, quick(1), tmp_path, heard.log)
    return preference(rows, **{"kind": kind, **settings_of(kind), "beta": 0.5, "sft_weight": 0.3 * (kind != "sft")})


ADDITIVE = [name for name, known in KNOWN.items() if not known.whole_batch]


@pytest.mark.parametrize("name", ["classification", "instruction", *ADDITIVE])
def test_a_batch_in_four_parts_is_the_batch_whole(name, tok, model, tmp_path, heard):
    objective = make(name, tok, model, tmp_path, heard)
    rows = objective.rows["train"]
    weights = [float(objective.loss(model, part).weight) for part in split(rows, 4)]
    assert len(set(weights)) > 1  # uneven parts, or the test would show nothing
    (whole, gradient), (parts, summed) = (loss_and_gradient(objective, model, parts) for parts in (1, 4))
    assert parts == pytest.approx(whole, rel=1e-5)
    assert torch.allclose(gradient, summed, atol=1e-6, rtol=1e-4)
    assert gradient.norm() > 1e-3


@pytest.mark.parametrize("name", ["classification", "instruction", "preference"])
def test_packed_rows_cost_what_separate_documents_cost(name, tok, model, tmp_path, heard):
    packed = make(name, tok, model, tmp_path, heard)
    assert packed.rows["train"].documents.max() > 2  # several examples do share a row
    rows = separate(packed.rows["train"])
    alone = preference(rows, sft_weight=0.3) if name == "preference" else type(packed)(rows, rows)
    one, other = (evaluate_objective(model, objective) for objective in (packed, alone))
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value == pytest.approx(other[key], rel=1e-4, abs=1e-5), key


def separate(rows):
    """The same rows with only one document in each."""
    from tutelage.training.data.packing import Example, Segment

    examples = []
    for row in range(len(rows)):
        for document in range(1, rows.documents[row].max() + 1):
            at = rows.documents[row] == document
            extras = {name: values[row][at].tolist() for name, values in rows.extras.items()}
            branches = None if rows.branches is None else rows.branches[row][at]
            weights = rows.weights[row][at].tolist()
            examples.append(Example([Segment(rows.tokens[row][at], rows.targets[row][at], weights, extras, branches)]))
    length = max(example.length for example in examples)
    one_by_one = [pack([example], length) for example in examples]
    joined = one_by_one[0]
    names = ["tokens", "positions", "documents", "targets", "weights", *["branches"] * (rows.branches is not None)]
    for name in names:
        setattr(joined, name, np.concatenate([getattr(part, name) for part in one_by_one]))
    joined.extras = {name: np.concatenate([part.extras[name] for part in one_by_one]) for name in one_by_one[0].extras}
    return joined


@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_before_the_first_step_the_loss_is_ln_2_and_accuracy_is_chance(beta, tok, model, tmp_path, heard):
    rows = preference_rows(tok, 16)
    add_reference(model, "self", rows, quick(1), tmp_path, heard.log)
    figures = evaluate_objective(model.train(), preference(rows, beta=beta), batch_rows=4)
    assert figures["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert figures["reward_accuracy"] == 0.5 and figures["margin"] == 0.0


def test_preference_figures_are_those_of_plain_arithmetic(tok, model, tmp_path, heard):
    """One pair, its log-probabilities taken from plain logits of each conversation alone."""
    from tutelage.tokenizer.chat import render_chat
    from tutelage.tokenizer.messages import Message

    (pair,) = preferences(2)[1:]
    reference = DecoderLM(model.config, seed=5)
    sums = []
    for who in (model, reference):
        for key in ("chosen", "rejected"):
            rendered = render_chat(tok, [Message("user", pair["prompt"]), Message("assistant", pair[key])])
            with torch.no_grad():
                logprobs = who(torch.tensor([rendered.ids])).log_softmax(-1)[0]
            trained = [at for at, learned in enumerate(rendered.mask) if learned]
            sums.append(sum(float(logprobs[at - 1, rendered.ids[at]]) for at in trained))
    margin = 0.5 * ((sums[0] - sums[2]) - (sums[1] - sums[3]))
    rows = pack(preference_examples(tok, [pair], 128)[0], 128, tok.pad_id)
    add_reference(reference, "reference", rows, quick(1), tmp_path, heard.log)
    figures = evaluate_objective(model, preference(rows))
    assert figures["margin"] == pytest.approx(margin, rel=1e-3)
    assert figures["loss"] == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-4)
    assert figures["reward_accuracy"] == float(margin > 0)


def test_the_reference_is_kept_for_a_resumed_run(tok, model, tmp_path, heard):
    first = preference_rows(tok, 6)
    add_reference(model, "model", first, quick(1), tmp_path, heard.log)
    again = preference_rows(tok, 6)
    broken = DecoderLM(model.config, seed=77)  # never asked: the kept values are taken
    add_reference(broken, "model", again, quick(1), tmp_path, heard.log)
    assert np.array_equal(first.extras["reference"], again.extras["reference"])
    other = preference_rows(tok, 6)
    add_reference(broken, "another model", other, quick(1), tmp_path, heard.log)
    assert not np.array_equal(first.extras["reference"], other.extras["reference"])


def test_reference_lies_only_where_something_is_learned(tok, model, heard):
    rows = preference_rows(tok, 6)
    values = reference_logprobs(model, rows, quick(1), heard.log)
    assert ((values != 0) == (rows.weights > 0)).all() and values.dtype == np.float32


def test_class_weights_scale_a_label_and_accuracy_does_not_see_them(tok, model):
    texts = corpus_rows()[:30]
    figures = []
    for weight in (1.0, 4.0):
        weights = {"files": 1.0, "graphs": 1.0, "text": weight}
        rows = pack(label_examples(tok, texts, LABELS, weights), 64, tok.pad_id)
        batch = next(iter(ordered_batches(rows, len(rows))))
        figures.append(Classification(rows, rows).loss(model, batch))
    count = sum(row["label"] == "text" for row in texts)
    assert float(figures[1].weight) == pytest.approx(30 + 3 * count)
    assert float(figures[0].metrics["accuracy"][0]) == float(figures[1].metrics["accuracy"][0])
    assert float(figures[0].metrics["accuracy"][1]) == 30


def test_the_label_is_read_off_the_last_token(tok):
    (example,) = label_examples(tok, [{"text": "Sort the lines.", "label": "text"}], LABELS, {"text": 1.0})
    (segment,) = example.segments
    assert list(segment.tokens) == tok.encode("Sort the lines.")
    assert segment.weights == [0.0] * (len(segment.tokens) - 1) + [1.0] and segment.targets[-1] == 2


PAIR_LOSSES = [name for name, known in KNOWN.items() if not known.judged]


@pytest.mark.parametrize("kind", PAIR_LOSSES)
def test_every_loss_of_pairs_has_a_gradient_towards_the_chosen(kind, tok, model, tmp_path, heard):
    rows = preference_rows(tok, 2)
    if KNOWN[kind].reference:
        add_reference(model, "self", rows, quick(1), tmp_path, heard.log)
    objective = preference(rows, kind=kind, **settings_of(kind))
    before = evaluate_objective(model, objective)
    trained = DecoderLM(model.config, seed=3)
    optimizer = torch.optim.SGD(trained.parameters(), lr=1e-3)
    batch = next(iter(ordered_batches(rows, len(rows))))
    for _ in range(3):
        optimizer.zero_grad()
        objective.loss(trained, batch).sum.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
    after = evaluate_objective(trained, objective)
    # DiscoPOP is not convex: from a margin of 0 its gradient goes down (Lu et al. 2024, section 5).
    assert (after["loss"] < before["loss"]) if kind == "discopop" else (after["margin"] > before["margin"])


def test_the_focal_loss_is_that_of_the_paper_and_its_gradient_flows_through_the_weight(tok, model):
    rows = pack(label_examples(tok, corpus_rows()[:12], LABELS, dict.fromkeys(LABELS, 1.0)), 64, tok.pad_id)
    batch = rows.batch(np.arange(len(rows)))
    found = Classification(rows, rows, focal=2.0).loss(model, batch)
    hidden = model.hidden(batch.tokens, batch.positions, batch.documents)[batch.weights > 0]
    p = model.scores(hidden).softmax(-1)[torch.arange(12), batch.targets[batch.weights > 0]]
    expected = (-((1 - p) ** 2) * p.log()).sum()
    torch.testing.assert_close(found.sum, expected)
    ours, theirs = (torch.autograd.grad(loss, model.score.weight, retain_graph=True)[0]
                    for loss in (found.sum, expected))  # fmt: skip
    torch.testing.assert_close(ours, theirs)
    assert found.sum < Classification(rows, rows).loss(model, batch).sum
    assert Classification(rows, rows, focal=2.0).name != Classification(rows, rows).name
