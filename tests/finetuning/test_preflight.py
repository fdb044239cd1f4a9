"""The audit: what exactly would be trained, token by token, and what is odd about a file."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.finetuning.conftest import job, quick

from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.preflight import label_noise
from tutelage.finetuning.classify.preflight import preflight as classify_preflight
from tutelage.finetuning.examples import encode_conversations, supervised
from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.instruct.stage import instruct
from tutelage.finetuning.instruct.stage import preflight as instruct_preflight
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.examples import encode_pairs
from tutelage.finetuning.prefer.stage import preflight as prefer_preflight
from tutelage.finetuning.preflight.account import begun
from tutelage.finetuning.preflight.figures import (
    balance_figures,
    duplicate_figures,
    length_bias,
    length_figures,
    repeated_figures,
    token_figures,
    wilson,
)
from tutelage.finetuning.preflight.findings import findings
from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.finetuning.preflight.sample import marked, runs
from tutelage.finetuning.preflight.tell import FILE, trained_sentence
from tutelage.store.errors import InputError, TrainingError
from tutelage.store.events import EventLog
from tutelage.store.view import View
from tutelage.tokenizer.messages import Message


def conversation(*turns):
    return {
        "id": str(hash(turns)),
        "messages": [{"role": role, "content": text} for role, text in turns],
        "prompt": turns[-2][1],
        "response": turns[-1][1],
    }


ROWS = [
    conversation(("system", "Be short."), ("user", "Count the nodes."), ("assistant", "Five.")),
    conversation(("user", "Sort the edges."), ("assistant", "Done."), ("user", "Again."), ("assistant", "Done twice.")),
]


def test_tokens_are_told_apart_by_who_wrote_them(tok):
    encoded = encode_conversations(tok, ROWS)
    found = token_figures(encoded.readings.values())
    roles = found["roles"]
    assert list(roles) == ["system", "user", "assistant", "template"]
    assert roles["system"] == {"read": len(tok.encode("Be short.")), "learned": 0}
    assert roles["user"] == {
        "read": sum(len(tok.encode(text)) for text in ("Count the nodes.", "Sort the edges.", "Again.")), "learned": 0,
    }  # fmt: skip
    answers = sum(len(tok.encode(text)) + 1 for text in ("Five.", "Done.", "Done twice."))  # and a stop token each
    assert roles["assistant"] == {"read": answers, "learned": answers}
    assert roles["template"]["learned"] == 0 < roles["template"]["read"]
    assert (found["answers"], found["learned_answers"], found["stopped_answers"]) == (3, 3, 3)
    segments = [segment for group in encoded.segments.values() for segment in group]
    assert found["learned"] == sum(weight > 0 for segment in segments for weight in segment.weights)
    assert found["read"] == sum(len(segment.tokens) + 1 for segment in segments) == sum(encoded.needs)


def test_an_answer_of_weight_0_is_read_only(tok):
    row = json.loads(json.dumps(ROWS[1]))
    row["messages"][1]["weight"] = 0
    found = token_figures(encode_conversations(tok, [row]).readings.values())
    assert (found["answers"], found["learned_answers"], found["stopped_answers"]) == (2, 1, 1)
    assert "1 answers are context only" in trained_sentence({"tokens": found})


def test_what_a_context_costs_is_what_packing_drops(tok):
    encoded = encode_conversations(tok, ROWS)
    short, long = sorted(encoded.needs)
    found = length_figures(encoded, short)
    assert (found["dropped"], found["keeps_99"], found["longest"]) == (1, long, long)
    lost = encoded.readings[encoded.needs.index(long)].supervised
    assert found["learned_lost"] == lost
    examples, supervision = encoded.fitting(short)
    assert len(examples) == 1 and supervision.too_long == found["dropped"]
    assert length_figures(encoded, long)["learned_lost"] == 0
    assert encoded.fitting(long)[1].too_long == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs", "Co"]), min_size=1).filter(str.strip))
def test_a_sample_shows_every_character_once(tok, text):
    rendered, weights = supervised(tok, [Message("user", text), Message("assistant", text)])
    shown = runs(tok, rendered.ids, weights)
    if len(rendered.ids) <= 600:
        assert "".join(part for part, _ in shown) == tok.decode(rendered.ids, skip_special=False)
        assert [learned for _, learned in shown] == [False, True, False]
        assert shown[1][0] == tok.decode(tok.encode(text.strip() if tok.chat_template is None else text)) + "<|im_end|>"
    assert marked([("a", False), ("b", True)]) == "a⟦b⟧"


def test_duplicates_and_overlap_are_counted_once():
    text = "the quick brown fox jumps over a lazy dog near the river bank today"
    near = text + " again"
    found = duplicate_figures([text, text.upper(), near, "something else entirely"], [near + "  ", "unseen words here"])
    assert (found["exact"], found["near"]) == (1, 1) and found["examples"] == [[text, near]]
    assert found["heldout_like_training"] == 1 and found["heldout_examples"][0][1] == near + "  "
    # Texts without a word are alike only where they are equal.
    assert duplicate_figures(["!!!", "???"], ["..."]) == {
        "exact": 0, "near": 0, "examples": [], "heldout_like_training": 0, "heldout_examples": [],
    }  # fmt: skip


def test_repeated_questions():
    found = repeated_figures(["a", "b", "a", "c", "a", "b"])
    assert found == {"questions": 2, "rows": 5, "most": [["a", 3], ["b", 2]]}


def test_length_bias_is_a_share_with_an_interval():
    found = length_bias([9] * 68 + [1] * 32 + [5] * 10, [5] * 110)
    assert (found["chosen_longer"], found["rejected_longer"], found["equal"], found["share"]) == (68, 32, 10, 0.68)
    assert (found["low"], found["high"]) == (0.5834, 0.7633)  # Wilson, 68 of 100
    assert wilson(0, 0) == (0.0, 0.0, 1.0)


def test_what_follows_from_the_figures():
    base = {"what": "pairs", "split": {"train": 100, "heldout": 20}}
    bias = length_bias([9] * 68 + [1] * 32, [5] * 100)
    (one,) = findings(base | {"bias": bias})
    assert one["level"] == "warning" and "longer one in 68% of the pairs" in one["message"]
    assert "may learn length itself" in one["message"] and "sigmoid_norm" in one["advice"]
    (one,) = findings(base | {"bias": length_bias([1] * 90 + [9] * 10, [5] * 100)})
    assert "shorter one in 90%" in one["message"] and "[83%, 94%]" in one["message"]
    (one,) = findings(base | {"bias": length_bias([9] * 52 + [1] * 48, [5] * 100)})
    assert one["level"] == "note" and "may learn length" not in one["message"]
    length = {"context": 256, "rows": 985, "dropped": 310, "learned_lost_share": 0.62, "keeps_95": 480, "keeps_99": 640}
    (one,) = findings(base | {"length": length})
    assert one["level"] == "warning" and "310 of 985 rows (31%)" in one["message"] and "62%" in one["message"]
    assert "context_length=640 keeps 99 %" in one["advice"]
    assert findings(base) == []


def test_label_balance():
    assert balance_figures({"a": 5, "b": 5})["effective"] == 2.0
    found = balance_figures({"ham": 90, "spam": 10})
    (one,) = findings({"what": "texts", "split": {"train": 100, "heldout": 20}, "labels": found})
    assert "90% of the training texts are 'ham'" in one["message"] and "class_weights" in one["advice"]


def test_a_planted_wrong_label_is_doubted():
    rows = [
        {"text": f"{word} {thing} number {n}", "label": label}
        for n in range(20)
        for word, label in (("cheap pills", "spam"), ("dear friend", "ham"))
        for thing in ("today", "now")
    ]
    rows[7] = {"text": "cheap pills for you today", "label": "ham"}
    found = label_noise(rows, ["ham", "spam"])
    assert found["suspected"] == 1 and found["most"][0]["text"] == rows[7]["text"] and found["accuracy"] > 0.95
    assert label_noise([{"text": "a b", "label": "x"}, {"text": "c d", "label": "y"}], ["x", "y"]) is None  # too few


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(n, words=4):
    return [{"prompt": f"Count the {n_} nodes of the list.", "response": "word " * words + str(n_)} for n_ in range(n)]


def test_the_audit_of_a_file_of_answers(tmp_path, tok, shape):
    rows = [*answers(40), {"prompt": "Long.", "response": "long " * 200}, {"prompt": "No answer."}]
    config = InstructConfig(data=str(write_lines(tmp_path / "rows.jsonl", rows)), training=quick(1))
    found = instruct_preflight(config, tok, shape, EventLog(), 1)
    assert (found["file"]["rows"], found["file"]["kept"]) == (42, 41)
    assert found["length"]["context"] == 128  # all that the model has
    assert sum(found["split"].values()) == 41
    assert (
        found["tokens"]["learned_answers"]
        == found["tokens"]["stopped_answers"]
        == found["length"]["rows"] - (found["length"]["dropped"])
    )
    assert json.loads(json.dumps(found)) == found | {"sample": json.loads(json.dumps(found["sample"]))}


def test_the_audit_of_pairs_measures_the_length_bias(tmp_path, tok, shape):
    rows = [
        {"prompt": f"Sort {n} things.", "chosen": f"All {n} of the things are sorted.", "rejected": f"No {n}."}
        for n in range(40)
    ]
    config = PreferConfig(data=str(write_lines(tmp_path / "rows.jsonl", rows)), training=quick(1))
    found = prefer_preflight(config, tok, shape, EventLog(), 1)
    assert found["bias"]["share"] == 1.0 and [one["title"] for one in found["sample"]] == ["chosen", "rejected"]
    assert any("may learn length itself" in one["message"] for one in found["findings"])
    assert found["tokens"]["answers"] == 2 * found["split"]["train"]
    tokens = [len(tok.encode(f"All {row['prompt'].split()[1]} of the things are sorted.")) + 1 for row in rows]
    assert min(tokens) <= found["bias"]["chosen_tokens"] <= max(tokens)


def test_the_prompt_of_a_pair_is_read_once_where_the_model_reads_branches(tok):
    row = {"id": "0", "prompt": "Sort the nodes.", "chosen": "All are sorted.", "rejected": "No."}
    once, twice = (encode_pairs(tok, [row], branches) for branches in (True, False))
    (branches,), prompt = once.segments[0], len(tok.encode(row["prompt"]))
    assert len(twice.segments[0]) == 2 and once.needs == twice.needs
    assert once.sizes == [twice.sizes[0] - branches.shared] == [len(branches.tokens)]
    roles, apart = once.readings[0].roles, twice.readings[0].roles
    assert roles["user"] == (prompt, 0) and apart["user"] == (2 * prompt, 0)
    assert roles["assistant"] == apart["assistant"]
    assert sum(read for read, _ in roles.values()) == sum(read for read, _ in apart.values()) - branches.shared


def test_the_audit_of_labelled_texts(tmp_path, tok, shape):
    lines = [f"{word} number {n},{word}" for n in range(30) for word in ("cats", "dogs")]
    (tmp_path / "pets.csv").write_text("text,label\n" + "\n".join([*lines, "cats " * 40 + ",cats"]) + "\n")
    config = ClassifyConfig(data=str(tmp_path / "pets.csv"), max_tokens=32, training=quick(1))
    found = classify_preflight(config, tok, shape, EventLog(), 1)
    assert set(found["labels"]["labels"]) == {"cats", "dogs"} and found["noise"]["suspected"] == 0
    assert found["length"]["cut"] == sum(length > 32 for length in [found["length"]["longest"]])
    assert found["sample"][0]["runs"][-1][1] is True


def test_a_run_without_targets_is_an_error(tmp_path, tok, shape):
    config = InstructConfig(
        data=str(write_lines(tmp_path / "rows.jsonl", answers(30, words=60))), context_length=16, training=quick(1)
    )
    with pytest.raises(
        InputError, match=r"nothing would be trained: none of \d+ rows fits into 16 tokens.*the longest needs 150"
    ):
        instruct_preflight(config, tok, shape, EventLog(), 1)


def test_a_row_without_targets_is_named(tok):
    with pytest.raises(TrainingError, match=r"no tokens with loss \(the one that asks 'Count"):
        encode_conversations(tok, [{"id": "1", "prompt": "Count", "messages": [{"role": "user", "content": "Count"}]}])


def test_a_stage_says_it_before_the_first_step_and_keeps_it_for_the_report(tmp_path, base, heard, tok):
    rows = [*answers(30), *({"prompt": f"Long {n}.", "response": "long " * 100} for n in range(5))]
    config = InstructConfig(data=str(write_lines(tmp_path / "rows.jsonl", rows)), training=quick(2), context_length=64)
    made = job(config, tmp_path, heard.log, model=base)
    instruct(made)
    kinds = [event["event"] for event in heard.events]
    told = next(at for at, event in enumerate(heard.events) if "tokens with loss: " in str(event.get("message")))
    assert told < kinds.index("step")
    assert "need more than 64 tokens and are dropped" in heard.messages("warning")
    found = json.loads((made.out / FILE).read_text())
    assert found["length"]["dropped"] == 5 - sum("Long" in row for row in map(str, _held(made.out)))
    blocks = [block for block in audit_blocks(View("chat", directory=made.out)) if block]
    assert blocks[0]["kind"] == "notice" and blocks[-1]["kind"] == "fold"
    sample = next(block for block in blocks[-1]["blocks"] if block["kind"] == "marked")
    assert any(learned and text.endswith("<|im_end|>") for text, learned in sample["runs"])
    assert audit_blocks(View("old", directory=tmp_path)) == []


def _held(out):
    return (out / "data" / "heldout.jsonl").read_text().splitlines()


def test_marks_of_templates_in_rows_are_said():
    rows = [conversation(("user", "Sort."), ("assistant", f"Done.{end}")) for end in ("<|im_end|>", "", "", "")]
    (one,) = findings(begun("rows", rows, [], None, {}))
    assert one["level"] == "warning" and "25.0% of the training rows" in one["message"]
    assert "<|im_end|>" in one["message"]
    wrapped = conversation(("user", "[INST] Sort. [/INST]"), ("assistant", "Done."))
    (one,) = findings(begun("rows", [wrapped, *rows[1:] * 9], [], None, {}))
    assert one["level"] == "note" and "[INST]" in one["message"] and "template" in one["message"]
    assert not findings(begun("rows", rows[1:2], [], None, {}))
