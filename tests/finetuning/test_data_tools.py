"""Conversations with tools in the layouts people have, and what is learned of them."""

from __future__ import annotations

import json

import pytest
from tests.finetuning.test_examples import learned_text

from tutelage.finetuning.data import read_conversations, read_preferences, stratified_split
from tutelage.finetuning.examples import encode_conversations, instruction_examples
from tutelage.store.errors import InputError
from tutelage.tokenizer.tokenizer import Tokenizer

# Writes tools and calls; like no published one.
TEMPLATE = (
    "{%- if tools %}{{- '<|im_start|>system\\n' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}"
    "{{- '<|im_end|>\\n' }}{%- endif %}{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content }}"
    "{%- for call in m.tool_calls or [] %}{{- 'CALL ' + (call.function | tojson) }}{%- endfor %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
ASKED = {"city": "Bonn"}
CALL = {"type": "function", "function": {"name": "weather", "arguments": ASKED}}
OPENAI = {
    "tools": TOOLS,
    "messages": [
        {"role": "user", "content": "Warm?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"type": "function", "function": {"name": "weather", "arguments": json.dumps(ASKED)}}]},
        {"role": "tool", "content": '{"degrees": 31}'},
        {"role": "assistant", "content": "Yes."},
    ],
}  # fmt: skip
SHAREGPT = {
    "tools": json.dumps([FUNCTION]),
    "conversations": [
        {"from": "human", "value": "Warm?"},
        {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": ASKED})},
        {"from": "observation", "value": '{"degrees": 31}'},
        {"from": "gpt", "value": "Yes."},
    ],
}
OLDER = {
    "functions": [FUNCTION],
    "messages": [
        {"role": "user", "content": "Warm?"},
        {"role": "assistant", "content": "", "function_call": {"name": "weather", "arguments": json.dumps(ASKED)}},
        {"role": "function", "content": {"degrees": 31}},
        {"role": "assistant", "content": "Yes."},
    ],
}


@pytest.fixture
def tools_tok(tok) -> Tokenizer:
    return Tokenizer(tok.definition, tok.settings, TEMPLATE, tok.stop_ids)


def read(tmp_path, heard, *records, reader=read_conversations):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return reader(path, heard.log)


@pytest.mark.parametrize("record", [OPENAI, SHAREGPT, OLDER])
def test_every_layout_becomes_the_same_row(record, tmp_path, heard):
    (row,), audit = read(tmp_path, heard, record)
    assert row["tools"] == TOOLS and row["response"] == "Yes." and row["prompt"] == '{"degrees": 31}'
    assert row["messages"] == [
        {"role": "user", "content": "Warm?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"degrees": 31}'},
        {"role": "assistant", "content": "Yes."},
    ]
    assert not audit.dropped and not audit.ignored and "define or call tools" in heard.messages("note")


def test_calls_in_a_row_of_turns_are_one_answer_and_a_last_call_is_learned(tmp_path, heard, tools_tok):
    turns = SHAREGPT["conversations"]
    (row,), _ = read(tmp_path, heard, {**SHAREGPT, "conversations": [
        turns[0], {"from": "gpt", "value": "I look."}, turns[1], turns[1], turns[2],  # no answer follows this
    ]})  # fmt: skip
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    assert row["messages"][1] == {"role": "assistant", "content": "I look.", "tool_calls": [CALL, CALL]}
    assert row["response"].startswith('I look.\n{"name": "weather"')
    (example,), _ = instruction_examples(tools_tok, [row], 400)
    said = learned_text(tools_tok, example.segments[0])
    assert said.startswith("I look.CALL {") and said.endswith("<|im_end|>") and said.count("CALL") == 2


def test_calls_and_answers_are_learned_and_results_are_not(tmp_path, heard, tools_tok):
    rows, _ = read(tmp_path, heard, OPENAI)
    encoded = encode_conversations(tools_tok, rows)
    (segment,) = encoded.segments[0]
    call = 'CALL {"name": "weather", "arguments": {"city": "Bonn"}}'
    assert learned_text(tools_tok, segment) == f"{call}<|im_end|>Yes.<|im_end|>"
    reading = encoded.readings[0]
    assert (reading.answers, reading.learned, reading.stopped) == (2, 2, 2)
    assert reading.roles["tool"] == (len(tools_tok.encode('{"degrees": 31}')), 0)
    assert reading.supervised == sum(weight > 0 for weight in segment.weights)
    rows[0]["messages"][1]["weight"] = 0
    assert learned_text(tools_tok, encode_conversations(tools_tok, rows).segments[0][0]) == "Yes.<|im_end|>"


def test_a_template_without_tools_drops_and_counts_them(tmp_path, heard, tok):
    plain = [{"prompt": f"Q{n}", "response": "A"} for n in range(3)]
    rows, _ = read(tmp_path, heard, OPENAI, *plain)
    _, supervision = instruction_examples(tok, rows, 200)
    assert supervision.kept == 3 and sum(supervision.refused.values()) == 1
    assert "knows no tools" in next(iter(supervision.refused)) or "as a prompt" in next(iter(supervision.refused))
    with pytest.raises(InputError, match="knows no tool"):
        instruction_examples(tok, rows[:1], 200)


def test_rows_with_tools_are_told_apart_and_split(tmp_path, heard):
    other = {**OPENAI, "tools": [{"type": "function", "function": {**FUNCTION, "name": "population"}}]}
    rows, audit = read(tmp_path, heard, OPENAI, OPENAI, other, {"prompt": "Q", "response": "A"})
    assert len(rows) == 3 and len({row["id"] for row in rows}) == 3
    assert audit.dropped == {"exact duplicate of an earlier row": 1}
    assert stratified_split(rows, 1).heldout


def test_pairs_with_tools_are_dropped(tmp_path, heard):
    pair = {"prompt": "Q", "chosen": "A", "rejected": "B"}
    called = {"messages": OPENAI["messages"][:3], "chosen": "A", "rejected": "B"}
    _, audit = read(tmp_path, heard, pair, {**pair, "tools": TOOLS}, called, reader=read_preferences)
    assert list(audit.dropped.values()) == [2] and "tools" in next(iter(audit.dropped))
