"""Conversations and preferences in every layout; each field honoured, named as unused, or refused."""

from __future__ import annotations

import json

import pytest

from tutelage.finetuning.data import read_conversations, read_preferences, stratified_split
from tutelage.store.errors import InputError

USER, BOT, SYSTEM = "user", "assistant", "system"


def given(reader, tmp_path, heard, records, columns=None):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    return reader(path, heard.log, columns)


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def openai(**more):
    return {"role": BOT, "content": "A", **more}


Q = {"role": USER, "content": "Q"}
QA = turns((USER, "Q"), (BOT, "A"))
SQA = turns((SYSTEM, "S"), (USER, "Q"), (BOT, "A"))
LONG = turns((USER, "Q0"), (BOT, "A0"), (USER, "Q"), (BOT, "A"))
PARTS = [{"type": "text", "text": "A"}]


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"question": "Q", "answer": "A"}, QA),
        ({"question": "Q", "context": "C", "answer": "A"}, turns((USER, "Q\nC"), (BOT, "A"))),
        ({"instruction": "Q", "context": "C", "response": "A"}, turns((USER, "Q\nC"), (BOT, "A"))),
        ({"input": "Q", "output": "A"}, QA),
        ({"Prompt": " Q ", "Completion": " A"}, QA),
        ({"prompt": [Q], "completion": [openai()]}, QA),
        ({"system": "S", "prompt": "Q", "response": "A"}, SQA),
        ({"system_prompt": "S", "question": "Q", "response": "A"}, SQA),
        ({"instruction": "Q", "input": "", "output": "A", "system": "S"}, SQA),
        ({"instruction": "Q", "output": "A", "history": [["Q0", "A0"]]}, LONG),
        ({"instruction": "Q", "output": "A", "history": "[[\"Q0\", \"A0\"]]"}, LONG),
        ({"instruction": "Q", "output": "A", "history": []}, QA),
        ({"prompt": "\n\nHuman: Q0\n\nAssistant: A0\n\nHuman: Q\n\nAssistant:", "completion": "A"}, LONG),
        ({"messages": [Q, openai(content=PARTS)]}, QA),
        ({"messages": json.dumps([Q, openai()])}, QA),
        ({"messages": [Q, openai(refusal=None, weight=1, tool_calls=None)], "tools": []}, QA),
        ({"messages": [{"role": "developer", "content": "S"}, Q, openai()]}, SQA),
        ({"messages": LONG, "system": None}, LONG),
        ({"conversations": QA}, QA),
        ({"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"},
                            {"from": "gpt", "value": "A"}]}, SQA),
        ({"conversations": [{"from": "system", "value": ""}, {"from": "human", "value": "Q"},
                            {"from": "gpt", "value": "A"}]}, QA),
        ({"system": "S", "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, SQA),
        ({"system": "S", "messages": SQA}, SQA),
    ],
)  # fmt: skip
def test_every_layout_is_read_whole(record, found, tmp_path, heard):
    (row,), audit = given(read_conversations, tmp_path, heard, [record])
    assert row["messages"] == found and (row["prompt"], row["response"]) == (found[-2]["content"], "A")
    assert audit.ignored == {} and not audit.warnings


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [Q, openai(tool_calls=[{"id": "1"}])]}, "no object with a name"),
        ({"messages": [Q, openai(function_call={"name": "f", "arguments": "x"})]}, "arguments of a tool call are no"),
        ({"messages": [{**Q, "tool_calls": [{"name": "f"}]}, openai()]}, "user message calls a tool"),
        ({"messages": QA, "tools": [{"type": "function"}]}, "tool has no name"),
        ({"messages": QA, "tools": "no list"}, "tool has no name"),
        (
            {"conversations": [{"from": "human", "value": "Q"}, {"from": "function_call", "value": "{}"}]},
            "call is empty",
        ),
        ({"messages": [Q, openai(content=[{"type": "image_url", "image_url": "x"}])]}, "'image_url', not text"),
        ({"messages": [Q, openai(content=None, refusal="No.")]}, "refusal"),
        ({"messages": [Q, openai(content=None)]}, "'content' is empty"),
        ({"messages": [Q, openai(weight=0)]}, "weight 0"),
        ({"messages": [Q, openai(weight="x")]}, "'weight'"),
        ({"messages": [Q, openai(weight=float(2))]}, "'weight'"),
        ({"messages": SQA, "system": "T"}, "two different system prompts"),
        ({"instruction": "Q", "output": "A", "history": [["Q0"]]}, "'history'"),
        ({"prompt": "Q", "response": "A", "weight": 0}, "not to be learned"),
        ({"prompt": "Q", "response": "A\0"}, "NUL"),
        ({"prompt": "\n\nHuman: Q\n\nAssistant: A0", "response": "A"}, "does not end with a question"),
    ],
)
def test_what_cannot_be_honoured_is_dropped_with_its_reason(record, reason, tmp_path, heard):
    rows, audit = given(read_conversations, tmp_path, heard, [{"prompt": "other", "response": "one"}, record])
    assert len(rows) == 1 and audit.examples and list(audit.examples.values()) == [[2]]
    assert reason in next(iter(audit.dropped))
    with pytest.raises(InputError, match="no usable row: line 1"):
        given(read_conversations, tmp_path, heard, [record])


def test_weights_of_messages_are_kept(tmp_path, heard):
    record = {"messages": [Q, openai(weight=0), {"role": USER, "content": "Q2"}, openai(content="B", weight=1)]}
    other = {"messages": [Q, openai(), {"role": USER, "content": "Q2"}, openai(content="B", trained=False)]}
    (one, two), _ = given(read_conversations, tmp_path, heard, [record, other])
    assert [turn.get("weight") for turn in one["messages"]] == [None, 0.0, None, None]
    assert [turn.get("weight") for turn in two["messages"]] == [None, None, None, 0.0]
    assert "answers with a weight are learned by it: 2 rows" in heard.messages("note")


@pytest.mark.parametrize("answer", ['{"a": 1}', '[{"a": 1}]', "[1, 2]", '{"a": [', '[{"role": 1}, {"b": 2}]'])
def test_an_answer_in_json_is_a_text(answer, tmp_path, heard):
    rows, _ = given(read_conversations, tmp_path, heard, [{"prompt": "Q", "response": answer}])
    assert rows[0]["response"] == answer
    rows, _ = given(read_preferences, tmp_path, heard, [{"prompt": "Q", "chosen": answer, "rejected": '{"b": 1}'}])
    assert rows[0]["chosen"] == answer


def test_messages_that_a_table_holds_as_text_are_messages(tmp_path, heard):
    record = {"prompt": json.dumps([Q]), "response": json.dumps([openai()])}
    rows, _ = given(read_conversations, tmp_path, heard, [record])
    assert rows[0]["messages"] == QA


@pytest.mark.parametrize("other", [{"prompt": "no", "response": "no"}, {"messages": turns((USER, "no"), (BOT, "no"))},
                                   {"instruction": "no", "output": "no"}])  # fmt: skip
def test_columns_that_are_named_come_before_the_usual_ones(other, tmp_path, heard):
    records = [{**other, "ask": "Q", "say": "A"}, {**other, "ask": "Q", "say": ""}]
    rows, audit = given(read_conversations, tmp_path, heard, records, {"prompt": "ask", "response": "say"})
    assert [row["messages"] for row in rows] == [QA]
    assert audit.ignored == dict.fromkeys(other, 1) and audit.dropped == {"'response' is empty or not text": 1}


def test_a_field_of_messages_is_counted_once_a_row(tmp_path, heard):
    records = [{"messages": [Q | {"name": "n"}, openai(name="m", extra=1)]},
               {"messages": [Q | {"name": "n"}, openai(content="")]}]  # fmt: skip
    _, audit = given(read_conversations, tmp_path, heard, records)
    assert audit.ignored == {"messages.extra": 1, "messages.name": 1}


def test_what_a_pair_says_beside_its_conversations_is_named(tmp_path, heard):
    sides = {"chosen": QA, "rejected": turns((USER, "Q"), (BOT, "B"))}
    records = [{**sides, "prompt": [Q]}, {"chosen": LONG, "rejected": [*LONG[:3], openai(content="B")],
               "prompt": turns((USER, "other"))}, {"chosen": [Q, openai(content="C", weight=0)],
               "rejected": sides["rejected"], "question": "other"}]  # fmt: skip
    rows, audit = given(read_preferences, tmp_path, heard, records)
    assert len(rows) == 3
    assert audit.ignored == {"prompt": 1, "question": 1, "messages.weight": 1}


def test_fields_that_are_not_used_are_named(tmp_path, heard):
    record = {"prompt_id": "7", "prompt": "other", "messages": [{**Q, "name": "Jo"}, openai(reasoning_content="hm")]}
    _, audit = given(read_conversations, tmp_path, heard, [record, {"prompt": "Q", "response": "B", "score": 3}])
    assert audit.ignored == {
        "messages.name": 1,
        "messages.reasoning_content": 1,
        "prompt_id": 1,
        "prompt": 1,
        "score": 1,
    }
    assert "'messages.reasoning_content' in 1 row" in heard.messages("warning")


@pytest.mark.parametrize("label", [False, "false", 0, "False"])
@pytest.mark.parametrize("answer", [{"prompt": "Q", "completion": "A"}, {"messages": QA}])
def test_a_bad_answer_is_never_learned(label, answer, tmp_path, heard):
    """KTO rows: an undesirable answer would be learned as a good one."""
    good = {"prompt": "Q", "completion": "B", "label": True}
    with pytest.raises(InputError, match=r"unpaired preference data \(KTO\): 1 of 2 answers are judged bad"):
        given(read_conversations, tmp_path, heard, [good, {**answer, "label": label}])
    with pytest.raises(InputError, match=r"\(KTO\).*loss 'kto'.*need a chosen and a rejected"):
        given(read_preferences, tmp_path, heard, [good, {**answer, "label": label}])
    rows, audit = given(read_conversations, tmp_path, heard, [good, {**answer, "label": "greeting"}])
    assert len(rows) == 2 and audit.ignored == {"label": 2}


def test_a_bad_answer_is_not_learned_because_another_row_is_odd(tmp_path, heard):
    records = [{"prompt": f"Q{i}", "completion": "A", "label": label} for i, label in enumerate([True, False, "odd"])]
    with pytest.raises(InputError, match="1 of 3 answers are judged bad"):
        given(read_conversations, tmp_path, heard, records)


@pytest.mark.parametrize("more", [{"output": "A"}, {"messages": QA}, {}])
def test_preference_data_are_sent_to_prefer(more, tmp_path, heard):
    with pytest.raises(InputError, match=r"preference data: 1 of 1 rows .*'prefer'"):
        given(read_conversations, tmp_path, heard, [{"instruction": "Q", "chosen": "A", "rejected": "B", **more}])


CHOSEN, REJECTED = [*turns((USER, "Q")), openai()], [*turns((USER, "Q")), openai(content="B")]
HH = "\n\nHuman: Q0\n\nAssistant: A0\n\nHuman: Q"


@pytest.mark.parametrize(
    ("record", "context"),
    [
        ({"prompt": "Q", "chosen": "A", "rejected": "B"}, [Q]),
        ({"question": "Q", "response_j": "A", "response_k": "B"}, [Q]),
        ({"prompt": [Q], "chosen": [openai()], "rejected": [openai(content="B")]}, [Q]),
        ({"prompt": "Q", "chosen": CHOSEN, "rejected": REJECTED}, [Q]),
        ({"chosen": CHOSEN, "rejected": REJECTED}, [Q]),
        ({"prompt": HH + "\n\nAssistant:", "chosen": "A", "rejected": "B"}, LONG[:-1]),
        ({"chosen": HH + "\n\nAssistant: A", "rejected": HH + "\n\nAssistant: B"}, LONG[:-1]),
        ({"instruction": "Q", "input": "", "chosen": "A", "rejected": "B", "system": "S"}, SQA[:-1]),
        ({"instruction": "Q", "chosen": "A", "rejected": "B", "history": [["Q0", "A0"]]}, LONG[:-1]),
        ({"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "A"},
          "rejected": {"from": "gpt", "value": "B"}}, [Q]),
        ({"messages": LONG[:-1], "chosen": "A", "rejected": "B"}, LONG[:-1]),
    ],
)  # fmt: skip
def test_preferences_in_every_layout(record, context, tmp_path, heard):
    (row,), audit = given(read_preferences, tmp_path, heard, [record])
    assert row["messages"] == context and list(row) == ["id", "messages", "prompt", "chosen", "rejected"]
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("Q", "A", "B") and audit.ignored == {}


def test_what_a_pair_cannot_be_is_dropped_and_what_it_does_not_use_is_named(tmp_path, heard):
    good = {"prompt": "Q", "chosen": "A", "rejected": "B"}
    records = [
        {**good, "output": "A", "chosen_score": 1, "rejected_score": 2},
        {"chosen": CHOSEN, "rejected": [{"role": USER, "content": "other"}, openai()]},
        {**good, "chosen": "B"},
        {**good, "tools": [1]},
        {**good, "rejected": None},
    ]
    rows, audit = given(read_preferences, tmp_path, heard, records)
    assert len(rows) == 1 and audit.ignored == {"output": 1} and list(audit.dropped.values()) == [1, 1, 1, 1]
    assert "do not follow the same turns" in heard.messages("warning") and "swapped" in heard.messages("warning")
    with pytest.raises(InputError, match="for the method 'instruct'"):
        given(read_preferences, tmp_path, heard, [{"prompt": "Q", "response": "A"}])


def conversation(identity, *contents):
    messages = turns(*((BOT if place % 2 else USER, content) for place, content in enumerate(contents)))
    return {"id": identity, "messages": messages, "prompt": contents[-2], "response": contents[-1]}


def sides(rows, seed, **more):
    parts = stratified_split(rows, seed, **more)
    return {row["id"]: "train" for row in parts.train} | {row["id"]: "held" for row in parts.heldout}


def test_the_whole_context_decides_where_a_conversation_stands():
    """The same last question after other turns is another question; the same turns are the same question."""
    rows = [conversation(f"{i}", f"topic {i}", "Yes?", "Go on.", f"text {i}") for i in range(20)]
    rows += [conversation(f"again {i}", f"Topic  {i}", "yes?", "go on.", "another answer") for i in range(20)]
    train_sizes = set()
    for seed in range(10):
        found = sides(rows, seed)
        assert all(found[f"{i}"] == found[f"again {i}"] for i in range(20))
        train_sizes.add(sum(side == "train" for side in found.values()))
    assert train_sizes == {36}


def test_a_conversation_stands_with_those_that_go_on_from_it():
    rows = []
    for i in range(20):
        rows.append(conversation(f"{i}", f"topic {i}", "Yes?"))
        rows.append(conversation(f"{i} longer", f"topic {i}", "Yes?", "More", f"text {i}"))
        rows.append(conversation(f"{i} other", f"topic {i}", "No.", "More", f"text {i}"))
    for seed in range(10):
        found = sides(rows, seed)
        assert all(found[f"{i}"] == found[f"{i} longer"] for i in range(20))
    assert any(sides(rows, seed)[f"{i}"] != sides(rows, seed)[f"{i} other"] for seed in range(3) for i in range(20))


def test_the_split_follows_its_seed_and_not_the_order():
    rows = [conversation(f"{i}", f"topic {i}", "Yes?") for i in range(50)]
    assert stratified_split(rows, 1) == stratified_split(rows[::-1], 1)
    assert sides(rows, 1) != sides(rows, 2)
    found = sides(rows, 1, key=lambda row: str(int(row["id"]) % 10))
    assert all(found[f"{i}"] == found[f"{i + 10}"] for i in range(40))
    with pytest.raises(InputError, match="2 rows that all ask the same"):
        stratified_split([conversation("1", "Q", "A"), conversation("2", " q", "B")], 0)
    with pytest.raises(InputError, match="one row cannot be split"):
        stratified_split(rows[:1], 0)


def test_answers_that_say_nothing_and_one_answer_to_most_questions_are_said(tmp_path, heard):
    path = tmp_path / "x.jsonl"
    given = ["N/A", "TODO", *["I cannot help."] * 10]
    path.write_text("\n".join(json.dumps({"prompt": f"q{n}", "response": answer}) for n, answer in enumerate(given)))
    _, audit = read_conversations(path, heard.log)
    assert audit.warnings == (
        "2 answers may be no answer and would be learned: 'N/A' 1, 'TODO' 1",
        "10 of 12 answers are the same: 'I cannot help.'",
    )
