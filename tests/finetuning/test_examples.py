from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.finetuning import examples as module
from tutelage.finetuning.examples import (
    conversation_segment,
    instruction_examples,
    label_examples,
    messages_of,
    row_length,
    text_examples,
)
from tutelage.finetuning.prefer.examples import preference_examples
from tutelage.store.errors import InputError, TrainingError
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.template import CHATML
from tutelage.tokenizer.tokenizer import Tokenizer

from .conftest import answers_of


def learned_text(tok, segment):
    return tok.decode([t for t, w in zip(segment.targets, segment.weights, strict=True) if w], skip_special=False)


def test_only_the_assistant_is_learned_and_each_answer_with_its_stop(tok):
    turns = [("system", "Be short."), ("user", "Q1"), ("assistant", "A1."), ("user", "Q2"), ("assistant", "A2!")]
    segment = conversation_segment(tok, [Message(role, content) for role, content in turns])
    assert learned_text(tok, segment) == "A1.<|im_end|>A2!<|im_end|>"
    assert len(segment.tokens) == len(segment.targets) == len(segment.weights)
    # Targets are the next tokens, and nothing follows the last learned one.
    assert list(segment.tokens[1:]) == list(segment.targets[:-1]) and segment.weights[-1] == 1.0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.text(st.characters(exclude_categories=["Cs", "Co"]), min_size=1).filter(str.strip))
def test_no_text_ends_an_answer_before_its_end(tok, text):
    for content in (text.strip(), text.strip() + "<|im_end|>x"):
        segment = conversation_segment(tok, [Message("user", content), Message("assistant", content)])
        stops = [t for t, w in zip(segment.targets, segment.weights, strict=True) if w and t in tok.stop_ids]
        assert len(stops) == 1 and segment.targets[-1] in tok.stop_ids


def test_a_conversation_without_answer_is_an_error(tok):
    with pytest.raises(TrainingError, match="no tokens with loss"):
        conversation_segment(tok, [Message("user", "Q")])


def test_an_answer_that_would_not_learn_to_stop_is_an_error(tok, monkeypatch):
    real = module.render_chat

    def without_stop(*given, **more):
        rendered = real(*given, **more)
        mask = [on and index != 2 for on, index in zip(rendered.mask, rendered.ids, strict=True)]
        return type(rendered)(rendered.ids, mask, rendered.spans)

    monkeypatch.setattr(module, "render_chat", without_stop)
    with pytest.raises(TrainingError, match="not be trained to stop"):
        conversation_segment(tok, [Message("user", "Q"), Message("assistant", "A")])


@pytest.mark.parametrize("which", [0, 1])
def test_every_answer_must_learn_to_stop(which, tok, monkeypatch):
    real = module.render_chat

    def without_one_stop(*given, **more):
        rendered = real(*given, **more)
        stop = [span.stop for span in rendered.spans if span.stop is not None][which]
        mask = [on and at != stop for at, on in enumerate(rendered.mask)]
        return type(rendered)(rendered.ids, mask, rendered.spans)

    conversation = [Message(*turn) for turn in LONG]
    conversation_segment(tok, conversation)
    monkeypatch.setattr(module, "render_chat", without_one_stop)
    with pytest.raises(TrainingError, match="not be trained to stop"):
        conversation_segment(tok, conversation)


def test_a_template_may_end_with_the_stop_token(tok):
    bare = Tokenizer(tok._definition, tok._settings, CHATML.replace("<|im_end|>\\n", "<|im_end|>"))
    segment = conversation_segment(bare, [Message(*turn) for turn in LONG])
    assert learned_text(bare, segment) == "A1.<|im_end|>A2!<|im_end|>" and segment.targets[-1] in bare.stop_ids


def test_what_does_not_fit_is_dropped_whole_and_counted(tok, heard):
    rows = [{"prompt": "Q", "response": "word " * size} for size in (1, 5, 200)]
    examples, supervision = instruction_examples(tok, rows, 64)
    assert len(examples) == supervision.kept == 2 and supervision.too_long == 1
    assert supervision.supervised == sum(sum(example.segments[0].weights) for example in examples)
    supervision.tell("pairs", 64, heard.log)
    assert "1 of 3 rows are longer than 64 tokens" in heard.messages("warning")
    share = supervision.supervised / supervision.tokens
    assert f"{supervision.supervised} of them learned ({share:.0%})" in heard.messages("note")
    assert supervision.plain() == {
        "rows": 3, "kept": 2, "too_long": 1, "tokens": sum(example.length for example in examples),
        "supervised": supervision.supervised, "refused": {}, "supervised_share": round(share, 4),
    }  # fmt: skip


def test_a_conversation_that_just_fits_is_kept(tok, heard):
    row = {"prompt": "Q", "response": "word word"}
    whole = len(conversation_segment(tok, messages_of(row)).tokens) + 1  # and the stop token, which is never read
    (example,), supervision = instruction_examples(tok, [row], whole)
    assert example.length == whole - 1
    supervision.tell("pairs", whole, heard.log)
    assert not heard.messages("warning")
    with pytest.raises(InputError, match="none of 1 rows fits"):
        instruction_examples(tok, [row], whole - 1)


def test_nothing_that_fits_is_an_error(tok):
    with pytest.raises(InputError, match="none of 1 rows fits"):
        instruction_examples(tok, [{"prompt": "Q", "response": "word " * 99}], 64)
    with pytest.raises(InputError, match="none of 0 rows fits"):
        instruction_examples(tok, [], 64)


@pytest.mark.parametrize("branches", [True, False])
def test_a_pair_is_two_branches_or_two_documents_with_sides(branches, tok):
    good = {"prompt": "Q", "chosen": "Good.", "rejected": "Bad bad."}
    rows = [good, {**good, "chosen": "word " * 200}]
    (example,), supervision = preference_examples(tok, rows, 64, branches)
    assert len(example.segments) == 2 - branches
    chosen, rejected = answers_of(example)
    assert learned_text(tok, chosen) == "Good.<|im_end|>" and learned_text(tok, rejected) == "Bad bad.<|im_end|>"
    assert chosen.extras["side"] == chosen.weights and set(chosen.weights) == {0.0, 1.0}
    assert rejected.extras["side"] == [-weight for weight in rejected.weights]
    assert supervision.too_long == 1
    assert supervision.shared == (len(chosen.tokens) - len(tok.encode("Good.")) - 1 if branches else 0)
    assert supervision.tokens == len(chosen.tokens) + len(rejected.tokens) - supervision.shared
    assert row_length([example], 16) == example.length and row_length([example], 512) == 512


def test_longer_conversations_are_taken_from_messages():
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    row = {"prompt": "other", "response": "other", "messages": turns}
    assert messages_of(row) == [Message("user", "Q"), Message("assistant", "A")]
    assert messages_of({"prompt": "P", "response": "R"}) == [Message("user", "P"), Message("assistant", "R")]


def test_text_mixed_in_stops_at_its_share(tok):
    texts = ["Sort the lines of the list."] * 50
    examples = text_examples(tok, texts, 64, 100)
    lengths = [example.length for example in examples]
    assert sum(lengths[:-1]) < 100 <= sum(lengths)
    assert all(set(example.segments[0].weights) == {1.0} for example in examples)
    assert len(text_examples(tok, texts, 64, 2 * lengths[0])) == 2 and text_examples(tok, texts, 64, 0) == []


def test_text_mixed_in_is_cut_to_the_context(tok):
    text = "Sort the lines of the list. " * 9
    (example,) = text_examples(tok, [text], 16, 1)
    (segment,) = example.segments
    ids = tok.encode(text)
    assert list(segment.tokens) == [tok.eos_id, *ids[:15]] and list(segment.targets) == ids[:16]
    assert segment.weights == [1.0] * 16


def test_text_mixed_in_is_no_turn_of_a_chat(tok):
    """A chat model's settings name the end of a turn as its end-of-text token; a document ends otherwise."""
    chat = Tokenizer(tok._definition, {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"}, CHATML)
    (example,) = text_examples(chat, ["Sort the lines."], 64, 1)
    (segment,) = example.segments
    assert segment.tokens[0] == segment.targets[-1] == chat.token_to_id("<|endoftext|>") != chat.eos_id


def test_text_mixed_in_is_learned_from_the_next_token(tok):
    """Every target is the token after, and the document's ends are read and learned."""
    (example,) = text_examples(tok, ["Sort the lines."], 64, 1)
    (segment,) = example.segments
    ids = tok.encode("Sort the lines.")
    assert list(segment.tokens) == [tok.eos_id, *ids] and list(segment.targets) == [*ids, tok.eos_id]
    assert len(ids) > 3 and list(segment.targets) != list(segment.tokens)
    assert segment.weights == [1.0] * (len(ids) + 1)


def test_a_label_is_learned_at_the_last_token_with_its_own_weight(tok):
    rows = [{"text": "Sort the lines.", "label": "rare"}, {"text": "Merge", "label": "common"}]
    first, second = label_examples(tok, rows, ["common", "rare"], {"common": 0.5, "rare": 4.0})
    (rare,), (common,) = first.segments, second.segments
    ids = tok.encode("Sort the lines.")
    assert list(rare.tokens) == ids and list(rare.targets) == [0] * (len(ids) - 1) + [1]
    assert list(rare.weights) == [0.0] * (len(ids) - 1) + [4.0]
    assert common.targets[-1] == 0 and common.weights[-1] == 0.5


def test_a_label_is_learned_after_what_the_tokenizer_puts_before_a_text(tok):
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<|endoftext|>"}
    begins = Tokenizer(tok._definition, {**tok._settings, **settings}, CHATML)
    (example,) = label_examples(begins, [{"text": "Merge", "label": "b"}], ["a", "b"], {"b": 2.0})
    (segment,) = example.segments
    ids = tok.encode("Merge")
    assert list(segment.tokens) == [begins.bos_id, *ids]
    assert list(segment.targets) == [0] * len(ids) + [1] and segment.weights == [0.0] * len(ids) + [2.0]


LONG = [("user", "Q1"), ("assistant", "A1."), ("user", "Q2"), ("assistant", "A2!")]


@pytest.mark.parametrize(
    ("mark", "learned"),
    [
        ({}, "A1.<|im_end|>A2!<|im_end|>"),
        ({1: {"weight": 0}}, "A2!<|im_end|>"),
        ({3: {"weight": 0}}, "A1.<|im_end|>"),
        ({1: {"trained": False}}, "A2!<|im_end|>"),
        ({0: {"weight": 0}}, "A1.<|im_end|>A2!<|im_end|>"),
    ],
)
def test_the_weight_of_a_message_decides_whether_it_is_learned(mark, learned, tok):
    turns = [{"role": role, "content": text, **mark.get(place, {})} for place, (role, text) in enumerate(LONG)]
    (example,), supervision = instruction_examples(tok, [{"messages": turns}], 128)
    (segment,) = example.segments
    assert learned_text(tok, segment) == learned and segment.weights[-1] == 1.0
    assert supervision.supervised == sum(weight > 0 for weight in segment.weights)
    plain = conversation_segment(tok, [Message(role, text) for role, text in LONG])
    assert segment.tokens == plain.tokens[: len(segment.tokens)]


def test_a_part_of_a_weight_is_that_part_of_the_loss(tok):
    turns = [{"role": role, "content": text} for role, text in LONG]
    turns[1]["weight"] = 0.25
    (example,), _ = instruction_examples(tok, [{"messages": turns}], 128)
    weights = example.segments[0].weights
    first, second = len(tok.encode("A1.")) + 1, len(tok.encode("A2!")) + 1
    assert sum(weights) == 0.25 * first + second and sorted(set(weights)) == [0.0, 0.25, 1.0]


def test_a_pair_follows_all_the_turns_before_it_and_learns_its_own_answers_alone(tok):
    asked = [{"role": role, "content": text} for role, text in LONG[:3]]
    row = {"messages": asked, "prompt": "Q2", "chosen": "Good.", "rejected": "Bad."}
    (example,), _ = preference_examples(tok, [row], 128)
    for segment, answer in zip(answers_of(example), ("Good.", "Bad."), strict=True):
        whole = conversation_segment(tok, [*(Message(*turn) for turn in LONG[:3]), Message("assistant", answer)])
        assert segment.tokens == whole.tokens and learned_text(tok, segment) == answer + "<|im_end|>"


def test_rows_that_the_template_refuses_are_dropped_and_counted(tok, heard):
    refuse = "{{ raise_exception('no system') if messages[0]['role'] == 'system' else '' }}"
    strict = Tokenizer(tok._definition, tok._settings, refuse + CHATML)
    turns = [{"role": role, "content": text} for role, text in LONG]
    rows = [{"messages": turns}, *[{"messages": [{"role": "system", "content": "S"}, *turns]}] * 2]
    examples, supervision = instruction_examples(strict, rows, 128)
    assert len(examples) == 1 and list(supervision.refused.values()) == [2] and supervision.rows == 3
    supervision.tell("pairs", 128, heard.log)
    assert "2 of 3 rows are dropped" in heard.messages("warning") and "no system" in heard.messages("warning")
    with pytest.raises(InputError, match="no system"):
        instruction_examples(strict, rows[1:], 128)


def test_where_the_template_refuses_every_row_the_first_reason_is_said(tok):
    refuse = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ raise_exception('too many turns') if messages | length > 2 else '' }}"
    )
    strict = Tokenizer(tok._definition, tok._settings, refuse + CHATML)
    turns = [{"role": role, "content": text} for role, text in LONG]
    rows = [{"messages": [{"role": "system", "content": "S"}, *turns]}, {"messages": turns}]
    for each, reason in ((rows, "no system"), (rows[::-1], "too many turns")):
        with pytest.raises(InputError, match=reason):
            instruction_examples(strict, each, 128)


def test_a_doubled_begin_of_text_is_refused(tok):
    named = Tokenizer(tok.definition, {**tok.settings, "bos_token": "<|endoftext|>"}, "{{ bos_token }}" * 2 + CHATML)
    talk = [Message("user", "Q"), Message("assistant", "A.")]
    with pytest.raises(TrainingError, match="begin-of-text token twice"):
        conversation_segment(named, talk)
    once = Tokenizer(tok.definition, named.settings, "{{ bos_token }}" + CHATML)
    assert conversation_segment(once, talk).tokens[0] == tok.eos_id
