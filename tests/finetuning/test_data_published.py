"""Layouts of published datasets: conversations and pairs are read as their makers meant them."""

from __future__ import annotations

import json

import pytest

from tutelage.finetuning.data import read_conversations, read_preferences
from tutelage.finetuning.data.problems import read_problems
from tutelage.store.errors import InputError

ASKED, GOOD, BAD = "Is it late?", "It is noon.", "No."
SAID = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": GOOD}]


def write(tmp_path, *records):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


@pytest.mark.parametrize(
    "record",
    [
        {"text": f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{GOOD}<|im_end|>\n"},
        {"text": f"### Human: {ASKED}### Assistant: {GOOD}"},
        {"text": f"<s>[INST] {ASKED} [/INST] {GOOD} </s>"},
        {"text": f"Human: {ASKED}\n\nAssistant: {GOOD}"},
        {"text": f"User: {ASKED}\nAssistant: {GOOD}"},
        {"text": f"USER: {ASKED}\n\nASSISTANT: {GOOD}</s>"},
        {"text": f"### Instruction:\n{ASKED}\n\n### Response:\n{GOOD}<|endoftext|>"},
        {"text": f"Below is an instruction that describes a task. Answer.\n\n### Instruction:\n{ASKED}\n\n"
                 f"### Input:\n\n### Response:\n{GOOD}"},
        {"text": f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{ASKED}<|eot_id|>"
                 f"<|start_header_id|>assistant<|end_header_id|>\n\n{GOOD}<|eot_id|>"},
        {"text": f"<bos><start_of_turn>user\n{ASKED}<end_of_turn>\n<start_of_turn>model\n{GOOD}<end_of_turn>\n"},
        {"text": f"<|user|>\n{ASKED}</s>\n<|assistant|>\n{GOOD}</s>"},
        {"Messages": [{"Role": "User", "Content": ASKED}, {"Role": "Assistant", "Content": GOOD}]},
        {"conversations": [{"from": "human", "value": ASKED}, {"from": "claude", "value": GOOD}]},
        {"prompt": [ASKED], "response": [GOOD]},
        {"messages": [{"speaker": "human", "text": ASKED}, {"speaker": "ai", "text": GOOD}]},
        {"conversation": [{"input": ASKED, "output": GOOD}]},
        {"conversation": [{"human": ASKED, "assistant": GOOD}]},
        {"dialog": [ASKED, GOOD]},
        {"contents": [{"role": "user", "parts": [{"text": ASKED}]}, {"role": "model", "parts": [{"text": GOOD}]}]},
        {"human": ASKED, "bot": GOOD},
        {"question": ASKED, "answers": {"text": [GOOD, "Noon."], "answer_start": [0, 6]}},
    ],
)  # fmt: skip
def test_conversations(record, tmp_path, heard):
    (row,), _ = read_conversations(write(tmp_path, record), heard.log)
    assert row["messages"] == SAID


def test_more_than_one_turn_an_input_and_words_above_in_marks(tmp_path, heard):
    said = f"Be kind.\n\n### Instruction:\nIs it\n\n### Input:\nlate?\n\n### Response:\n{GOOD}"
    (row,), _ = read_conversations(write(tmp_path, {"text": said}), heard.log)
    assert row["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Is it\nlate?"},
        SAID[1],
    ]
    said = f"System: Be kind.\nUser: Hi.\nAssistant: Hello.\nUser: {ASKED}\nAssistant: {GOOD}"
    (row,), _ = read_conversations(write(tmp_path, {"text": said}), heard.log)
    assert [turn["content"] for turn in row["messages"]] == ["Be kind.", "Hi.", "Hello.", ASKED, GOOD]


@pytest.mark.parametrize(
    "text",
    [
        "### Response:\nNo question.",
        "### Instruction:\nDo it.",
        "### Instruction:\nA\n### Response:\nB\n### Input:\nC",
        "Some words. User: what? Assistant: that.",
        "Assistant: I speak first.\nUser: And I second.",
        "<|im_start|>narrator\nOnce.<|im_end|>",
        "<|im_start|>user\nA<|im_end|>\nLost?\n<|im_start|>assistant\nB<|im_end|>",
        "<|im_start|>user\nA\n<|im_start|>assistant\nB<|im_end|>",
        "<|im_start|>user\nA<|im_end|>\n<|im_start|>tool-1\nLost?<|im_end|>\n<|im_start|>assistant\nB<|im_end|>",
        "<start_of_turn>user\nA<end_of_turn>Lost?<start_of_turn>model\nB<end_of_turn>",
        "<|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|>Lost?<|start_header_id|>assistant<|end_header_id|>\n\nB",
        "<s>[INST] A [/INST] B </s><s>Lost? [INST] C [/INST] D </s>",
        "[INST] Lost? [INST] A [/INST] B",
    ],
)
def test_a_text_that_is_no_whole_conversation_is_none(text, tmp_path, heard):
    with pytest.raises(InputError, match="no usable row"):
        read_conversations(write(tmp_path, {"text": text}), heard.log)


def test_an_input_that_may_stand_for_none_is_named(tmp_path, heard):
    record = {"instruction": ASKED, "input": "nan", "output": GOOD}
    (row,), audit = read_conversations(write(tmp_path, record), heard.log)
    assert row["prompt"] == f"{ASKED}\nnan" and any("'input' is 'nan'" in note for note in audit.notes)


def test_rows_that_are_nothing_but_messages(tmp_path, heard):
    other = [SAID[0], {"role": "assistant", "content": BAD}]
    rows, _ = read_conversations(write(tmp_path, SAID, other), heard.log)
    assert [row["messages"] for row in rows] == [SAID, other]


def test_a_system_prompt_in_a_template_and_beside_contents(tmp_path, heard):
    system = {"role": "system", "content": "Be kind."}
    (row,), _ = read_conversations(
        write(tmp_path, {"text": f"<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n{ASKED} [/INST] {GOOD}</s>"}), heard.log
    )
    assert row["messages"] == [system, *SAID]
    contents = [{"role": "user", "parts": [{"text": ASKED}]}, {"role": "model", "parts": [{"text": GOOD}]}]
    record = {"systemInstruction": {"parts": [{"text": "Be kind."}]}, "contents": contents}
    (row,), _ = read_conversations(write(tmp_path, record), heard.log)
    assert row["messages"] == [system, *SAID]


def test_answers_in_a_row_are_one_and_said(tmp_path, heard):
    more = {"role": "assistant", "content": "Or later."}
    (row,), audit = read_conversations(write(tmp_path, {"messages": [*SAID, more]}), heard.log)
    assert row["response"] == f"{GOOD}\n\nOr later." and any("in a row" in note for note in audit.notes)


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": ASKED,
         "completions": [{"response": BAD, "overall_score": 2}, {"response": GOOD, "overall_score": 8}]},
        {"prompt": ASKED, "generations": ["Why?", GOOD, BAD], "ratings": ["3", "5", "1"]},
        {"input": {"messages": SAID[:1]}, "preferred_output": SAID[1:],
         "non_preferred_output": [{"role": "assistant", "content": BAD}]},
        {"prompt": ASKED, "response_a": BAD, "response_b": GOOD, "winner_model_a": 0, "winner_model_b": 1},
        {"conversation_a": SAID, "conversation_b": [SAID[0], {"role": "assistant", "content": BAD}],
         "winner": "model_a"},
        {"instruction": ASKED, "input": "", "output": [GOOD, BAD]},
        {"prompt": ASKED, "better": GOOD, "worse": BAD},
        {"prompt": ASKED, "ranked_responses": [GOOD, "Maybe.", BAD]},
        {"prompt": ASKED, "responses": ["Maybe.", BAD, GOOD], "ranks": [2, 3, 1]},
        {"prompt": ASKED, "response_0": BAD, "response_1": GOOD, "better_response_id": 1},
        {"history": ASKED, "human_ref_A": GOOD, "human_ref_B": BAD, "labels": 1},
    ],
)  # fmt: skip
def test_pairs(record, tmp_path, heard):
    (row,), _ = read_preferences(write(tmp_path, record), heard.log)
    assert (row["prompt"], row["chosen"], row["rejected"]) == (ASKED, GOOD, BAD)


def test_a_tie_is_dropped_and_said(tmp_path, heard):
    rated = {"prompt": ASKED, "responses": [GOOD, BAD], "scores": [1, 1]}
    pair = {"prompt": ASKED, "chosen": GOOD, "rejected": BAD}
    battle = {"prompt": ASKED, "response_a": BAD, "response_b": GOOD, "winner": "tie"}
    rows, audit = read_preferences(write(tmp_path, rated, battle, pair), heard.log)
    assert len(rows) == 1 and audit.dropped == {"no answer is judged better than another": 2}


def test_a_ranking_that_may_be_an_order_is_refused_by_name(tmp_path, heard):
    record = {"prompt": ASKED, "responses": [BAD, "Maybe.", GOOD], "ranking": [2, 0, 1]}
    with pytest.raises(InputError, match="name it 'ranks'"):
        read_preferences(write(tmp_path, record), heard.log)


def messages(answers):
    """A tree's messages as single records: a question, ranked answers, and a second turn below the best."""
    one = [{"message_id": "q", "parent_id": None, "role": "prompter", "text": ASKED, "rank": None}]
    one += [
        {"message_id": text, "parent_id": "q", "role": "assistant", "text": text, "rank": rank}
        for text, rank in answers
    ]
    below = {"message_id": "q2", "parent_id": GOOD, "role": "prompter", "text": "Sure?", "rank": 0}
    return [*one, below, {"message_id": "a2", "parent_id": "q2", "role": "assistant", "text": "Yes.", "rank": None}]


def test_trees_of_single_messages(tmp_path, heard):
    path = write(tmp_path, *messages([("Maybe.", 1), (BAD, 2), (GOOD, 0)]))
    (row,), _ = read_conversations(path, heard.log)
    assert [turn["content"] for turn in row["messages"]] == [ASKED, GOOD, "Sure?", "Yes."]
    (pair,), _ = read_preferences(path, heard.log)
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == (ASKED, GOOD, BAD)


def test_nested_trees(tmp_path, heard):
    replies = [{"role": "assistant", "text": text, "rank": rank, "replies": []} for text, rank in [(BAD, 1), (GOOD, 0)]]
    path = write(tmp_path, {"prompt": {"role": "prompter", "text": ASKED, "replies": replies}})
    (row,), _ = read_conversations(path, heard.log)
    assert row["messages"] == SAID
    (pair,), _ = read_preferences(path, heard.log)
    assert (pair["chosen"], pair["rejected"]) == (GOOD, BAD)


def test_what_is_right_in_a_problem_of_verl(tmp_path, heard):
    record = {"prompt": SAID[:1], "reward_model": {"style": "rule", "ground_truth": "4"}}
    (row,), _ = read_problems(write(tmp_path, record), heard.log)
    assert row["ground_truth"] == "4"
