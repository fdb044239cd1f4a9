"""The audits of the methods that count more than tokens: label sets, scored pairs, problems, documents."""

from __future__ import annotations

import json

import pytest
from tests.finetuning.conftest import corpus_rows, job, quick

from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.preflight import preflight as classify_preflight
from tutelage.finetuning.data import read_rows
from tutelage.finetuning.further.config import FurtherConfig
from tutelage.finetuning.further.preflight import preflight as further_preflight
from tutelage.finetuning.multilabel.config import MultilabelConfig
from tutelage.finetuning.multilabel.preflight import preflight as multilabel_preflight
from tutelage.finetuning.multilabel.stage import multilabel
from tutelage.finetuning.preflight.pairs import pair_figures
from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.finetuning.preflight.tell import FILE
from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.preflight import preflight as reinforce_preflight
from tutelage.finetuning.reinforce.stage import reinforce
from tutelage.finetuning.reward.config import RewardConfig
from tutelage.finetuning.reward.preflight import preflight as reward_preflight
from tutelage.finetuning.reward.stage import reward
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.view import View

LOG = EventLog()


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def messages(found, level=None):
    return "\n".join(one["message"] for one in found["findings"] if level in (None, one["level"]))


def plain(found):
    """An audit is what JSON can hold: what is printed with --json is what is kept."""
    assert json.loads(json.dumps(found)).keys() == found.keys()
    return found


# Label sets


def tickets(n=40):
    """Every second text is about pay, every fourth also about a refund; every fifth has no label."""
    rows = []
    for at in range(n):
        labels = [] if at % 5 == 0 else ["pay", "refund"] if at % 4 == 0 else ["pay"] if at % 2 == 0 else ["login"]
        rows.append(
            {"text": f"{' and '.join(labels) or 'nothing'} in ticket {at} {'abcdefgh'[at % 8]}", "labels": labels}
        )
    return rows


def test_label_sets_are_counted_and_rare_ones_are_named(tmp_path, tok, shape):
    rows = [*tickets(), {"text": "only once here", "labels": ["lost"]}]
    rows += [{"text": f"rarely so {at}", "labels": ["rare", "login"]} for at in range(4)]
    config = MultilabelConfig(data=write_lines(tmp_path / "tickets.jsonl", rows), max_tokens=32, training=quick(1))
    found = plain(multilabel_preflight(config, tok, shape, LOG, 1))
    sets = found["label_sets"]
    both = {label: sets["labels"][label] + sets["heldout"][label] for label in sets["labels"]}
    wanted = {label: sum(label in row["labels"] for row in rows) for label in ("login", "pay", "refund", "rare")}
    assert both == wanted and list(found["dropped_labels"]) == ["lost"]
    assert sum(sets["sizes"].values()) == found["split"]["train"]
    assert sets["mean"] == round(sum(sets["labels"].values()) / found["split"]["train"], 2)
    said = messages(found, "warning")
    assert "labels that are not trained: 'lost' (" in said and f"'rare' {sets['labels']['rare']}" in said
    assert "'pay'" not in said.split("fewer than 10 training texts")[1].splitlines()[0]
    assert found["sample"][0]["runs"][-1] == (" -> pay, refund", True) or len(found["sample"][0]["runs"]) == 2
    title, lines = found["lines"][0]
    assert title == "Labels" and f"{sets['mean']:g} per text on average" in lines[1]


def test_label_sets_that_contradict_or_only_come_together_are_found(tmp_path, tok, shape):
    rows = [{"text": f"{'wet' if at % 2 else 'dry'} day {at}", "labels": ["rain", "cloud"] if at % 2 else []}
            for at in range(40)]  # fmt: skip
    rows += [{"text": "a snowy day", "labels": ["snow"]}, {"text": "A snowy  day", "labels": ["rain", "cloud"]}]
    rows += [{"text": f"snow again {at}", "labels": ["snow"]} for at in range(9)]
    config = MultilabelConfig(data=write_lines(tmp_path / "days.jsonl", rows), max_tokens=32, training=quick(1))
    found = multilabel_preflight(config, tok, shape, LOG, 1)
    assert found["label_sets"]["together"] == [["cloud", "rain"]] and found["label_sets"]["contradicting"] == 1
    assert "always occur together: cloud and rain" in messages(found, "note")
    assert "with different labels: 1" in messages(found, "warning")


def test_a_text_that_is_read_in_part_is_said(tmp_path, tok, shape):
    rows = [*tickets(), {"text": "pay " * 200, "labels": ["pay"]}]
    config = MultilabelConfig(data=write_lines(tmp_path / "tickets.jsonl", rows), max_tokens=40, training=quick(1))
    found = multilabel_preflight(config, tok, shape, LOG, 3)
    assert found["length"]["cut"] == (found["length"]["longest"] > 40)
    assert ("read only as far as 40" in messages(found)) == bool(found["length"]["cut"])


def test_a_label_that_is_not_trained_is_named_in_the_audit_of_a_classifier_too(tmp_path, tok, shape):
    lines = [f"{word} number {n},{word}" for n in range(30) for word in ("cats", "dogs")]
    (tmp_path / "pets.csv").write_text("text,label\n" + "\n".join([*lines, "a newt,newts"]) + "\n")
    config = ClassifyConfig(data=str(tmp_path / "pets.csv"), max_tokens=32, training=quick(1))
    found = classify_preflight(config, tok, shape, LOG, 1)
    assert "labels that are not trained: 'newts'" in messages(found, "warning")


# Pairs whose answers are scored


def pairs(n=40, **more):
    things = [thing for row in corpus_rows() for thing in [row["summary"]]]
    return [{"prompt": f"{things[at]} Why {at}?", "chosen": f"All of it, {at} times.", "rejected": f"No {at}.", **more}
            for at in range(n)]  # fmt: skip


def test_scored_pairs_by_length_topic_and_margin(tmp_path, tok, shape):
    rows = pairs(40)
    for at, row in enumerate(rows):
        row["margin"] = -1.0 if at == 0 else 0.0 if at < 3 else 2.0
    config = RewardConfig(data=write_lines(tmp_path / "pairs.jsonl", rows), context_length=128, training=quick(1))
    found = plain(reward_preflight(config, tok, shape, LOG, 1))
    train = found["split"]["train"]
    assert found["bias"]["share"] == 1.0 and "may learn length itself" in messages(found, "warning")
    assert found["margins"]["given"] == train and found["margins"]["median"] == 2.0
    assert found["pairs"]["questions"] == 40 and found["pairs"]["both_sides"] == 0
    kept = train - found["length"]["dropped"]
    assert found["lines"][0][1][0].startswith(f"{2 * kept} answers of {kept} pairs")
    assert [(one["title"], one["how"]) for one in found["sample"]] == [("chosen", "scored"), ("rejected", "scored")]
    assert all([scored for _, scored in one["runs"]] == [False, True] for one in found["sample"])
    config = config.with_(max_pairs=7)
    assert reward_preflight(config, tok, shape, LOG, 1)["split"]["train"] == 7


def test_margins_that_say_nothing_are_warned_of(tmp_path, tok, shape):
    rows = pairs(30, margin=0) + [{**row, "prompt": "Else: " + row["prompt"], "margin": -2} for row in pairs(30)]
    config = RewardConfig(data=write_lines(tmp_path / "pairs.jsonl", rows), context_length=128, training=quick(1))
    said = messages(reward_preflight(config, tok, shape, LOG, 1), "warning")
    assert "have a margin of 0" in said and "have a negative margin" in said


def test_pairs_that_contradict_or_hardly_differ():
    one = {"prompt": "Which?", "chosen": "This one.", "rejected": "That one."}
    rows = [
        one,
        {**one, "chosen": "that  one.", "rejected": "This one."},
        {**one, "prompt": "Else?", "rejected": "this one."},
    ]
    found = pair_figures(rows, [{**one, "prompt": "A third question?"}])
    assert (found["contradicting"], found["alike"], found["questions"]) == (2, 1, 3)
    with_topics = [
        {**one, "prompt": f"Sort all of the long list of words by their size, please, number {at}."} for at in range(9)
    ]
    found = pair_figures(with_topics[:8], with_topics[8:])
    assert (found["topics"], found["largest_topic"], found["both_sides"]) == (1, 9, 1)


def test_pairs_of_which_none_fits_are_an_error(tmp_path, tok, shape):
    config = RewardConfig(data=write_lines(tmp_path / "pairs.jsonl", pairs()), context_length=16, training=quick(1))
    with pytest.raises(InputError, match=r"none of \d+ pairs fits into 16 tokens.*fits the longest"):
        reward_preflight(config, tok, shape, LOG, 1)


# Problems


def problems(n=40):
    return [{"prompt": f"Add {at} and {at}.", "answer": f"Twice {at} is so many. #### {2 * at}"} for at in range(n)]


def of_problems(tmp_path, rows, **more):
    settings = {"data": write_lines(tmp_path / "problems.jsonl", rows), "max_tokens": 40, "context_length": 128,
                "num_generations": 4, "training": quick(2).plain(), **more}  # fmt: skip
    return ReinforceConfig.parse(settings)


def test_problems_are_graded_by_their_own_references(tmp_path, tok, shape):
    rewards = {"right": {"rule": "numeric"}, "form": {"rule": "regex", "pattern": "####", "weight": 0.2},
               "boxed": {"rule": "regex", "pattern": "boxed"},
               "short": {"rule": "length", "limit": 8, "cushion": 4}}  # fmt: skip
    found = plain(reinforce_preflight(of_problems(tmp_path, problems(), rewards=rewards), tok, shape, LOG, 1))
    references = found["references"]
    assert references["rewards"] == {"right": 1.0, "form": 1.0, "boxed": 0.0, "short": -1.0}
    assert references["solve"] == 1.0 and found["solved_by"] == "right"
    lengths = [len(tok.encode(row["answer"])) + 1 for row in problems()]
    assert min(lengths) <= references["median"] <= references["longest"] <= max(lengths)
    assert references["over_max_tokens"] == 0 and found["constant"]["share"] == round(1 / found["split"]["train"], 4)
    assert "no reference answer has a positive reward by 'boxed'" in messages(found, "note")
    assert "'short' penalises reference answers by 1" in messages(found, "warning")
    needs = found["length"]
    assert needs["longest"] <= 128 and needs["dropped"] == 0
    assert found["sample"][0]["how"] == "rewarded" and "####" in found["sample"][0]["runs"][-1][0]


def test_a_rule_that_the_references_do_not_keep_is_a_warning(tmp_path, tok, shape):
    rows = problems()
    for row in rows[:20]:
        row["answer"] = row["answer"].replace("####", "is")
    rewards = {"form": {"rule": "regex", "pattern": "####"}}
    found = reinforce_preflight(of_problems(tmp_path, rows, rewards=rewards, max_tokens=8), tok, shape, LOG, 1)
    assert 0.3 < found["references"]["solve"] < 0.7
    assert "of the reference answers solve their own problem" in messages(found, "warning")
    assert "reference answers are longer than max_tokens (8)" in messages(found, "warning")
    assert "constant" not in found  # nothing is compared with a gold answer


def test_problems_that_cannot_be_graded_are_dropped_and_counted(tmp_path, tok, shape):
    rows = [*problems(), {"prompt": "Add nothing."}, {"prompt": "Add something.", "answer": "Who knows?"}]
    config = of_problems(tmp_path, rows, rewards={"right": {"rule": "numeric"}})
    found = reinforce_preflight(config, tok, shape, LOG, 1)
    assert found["file"]["dropped"] == {"no gold answer": 1, "the gold answer contains no number": 1}
    assert found["file"]["examples"]["no gold answer"] == [41]
    with pytest.raises(InputError, match="contains no number"):
        reinforce_preflight(
            of_problems(tmp_path, rows[-1:] * 2, rewards={"right": {"rule": "numeric"}}), tok, shape, LOG, 1
        )


def test_problems_that_contradict_or_have_one_answer(tmp_path, tok, shape):
    rows = [{"prompt": f"Is {at} odd?", "answer": "yes" if at % 4 else "no"} for at in range(40)]
    found = reinforce_preflight(
        of_problems(tmp_path, [*rows, {"prompt": "is 8  odd?", "answer": "yes"}]), tok, shape, LOG, 2
    )
    assert found["contradicting"] == 1 and "different gold answers: 1" in messages(found, "warning")
    assert found["constant"]["answer"] == "yes" and "always answering 'yes'" in messages(found, "warning")
    assert found["rewards"]["correct"]["rule"] == "exact"


def test_prompts_without_room_for_an_answer(tmp_path, tok, shape):
    rows = [*problems(), {"prompt": "Add " * 120, "answer": "#### 1"}]
    found = reinforce_preflight(of_problems(tmp_path, rows), tok, shape, LOG, 1)
    assert found["length"]["dropped"] == ("Add Add" in str(found["length"]) or found["length"]["longest"] > 128)
    with pytest.raises(InputError, match="leaves room for an answer of 120 tokens in 128"):
        reinforce_preflight(of_problems(tmp_path, rows, max_tokens=120), tok, shape, LOG, 1)


# Documents


@pytest.fixture
def texts(tmp_path):
    """Thirty documents of two lines, one of them twice, and a general text that quotes one of them."""
    lines = [" ".join(row["summary"] for row in corpus_rows()[at : at + 6]) for at in range(0, 180, 6)]
    write_lines(tmp_path / "new.jsonl", [{"text": line} for line in [*lines, lines[0]]])
    other = ["It rained over the hills until noon.", "The market sold apples, pears and cheese all day long.",
             "Nobody knew who had left the old gate open."]  # fmt: skip
    write_lines(tmp_path / "general.jsonl", [{"text": lines[2]}, *({"text": line} for line in other)])
    return tmp_path


def of_texts(texts, **more):
    return FurtherConfig.parse({"data": str(texts / "new.jsonl"), "context_length": 64, "heldout": 0.2,
                                "training": quick(0, epochs=1).plain(), **more})  # fmt: skip


def test_documents_windows_and_what_is_replayed(texts, tok, shape):
    found = plain(further_preflight(of_texts(texts, sampled={"tokens": 50}), tok, shape, LOG, 1))
    windows, replay = found["windows"], found["replay"]
    assert found["corpus"]["documents"] == 31 and found["corpus"]["removed"]["exact duplicate"] == 1
    read = windows["tokens"] + replay["tokens"]
    assert windows["windows"] * 64 * windows["filled"] == pytest.approx(read, rel=0.01) and windows["filled"] > 0.7
    assert (
        windows["longest"] <= 64 and windows["cut_into_pieces"] == 0 and windows["passes"] == pytest.approx(1, abs=0.2)
    )
    assert replay["tokens"] == round(windows["tokens"] / 4) and not replay["known"]
    assert replay["share"] == pytest.approx(0.2, abs=0.001)
    assert "is repeated" in messages(found, "warning") and "are duplicates" in messages(found, "note")
    assert [learned for _, learned in found["sample"][0]["runs"]] == [False, True]
    assert [title for title, _ in found["lines"]] == ["Text", "Tokens", "Windows", "Replay", "Overlap"]
    short = further_preflight(of_texts(texts, context_length=32), tok, shape, LOG, 1)["windows"]
    assert short["cut_into_pieces"] == found["split"]["train"] and short["tokens"] == windows["tokens"]


def test_general_text_that_stands_in_the_new_is_warned_of(texts, tok, shape):
    config = of_texts(texts, general=str(texts / "general.jsonl"), replay={"share": 0}, heldout=0.1)
    found = further_preflight(config, tok, shape, LOG, 1)
    assert found["overlap"]["general_in_training"] == [1, 4]
    assert "1 of 4 documents of general text" in messages(found, "warning")
    assert found["replay"]["tokens"] == 0 and "no earlier text is replayed" in messages(found, "note")
    source = {"share": 0.2, "source": str(texts / "general.jsonl")}
    found = further_preflight(of_texts(texts, replay=source), tok, shape, LOG, 1)
    assert found["replay"]["known"] and found["replay"]["source"] == "file" and found["replay"]["tokens"] > 0
    assert set(found["overlap"]) == {"heldout_in_training", "heldout_in_replay", "general_in_training"}


# In a run


def test_a_run_says_it_before_the_first_step_and_keeps_it_for_the_report(tmp_path, base, heard):
    made = {
        "multilabel": (multilabel, MultilabelConfig(
            data=write_lines(tmp_path / "tickets.jsonl", tickets()), max_tokens=32, training=quick(1))),
        "reward": (reward, RewardConfig(
            data=write_lines(tmp_path / "pairs.jsonl", pairs()), context_length=128, training=quick(1))),
        "reinforce": (reinforce, of_problems(
            tmp_path, problems(20), rewards={"right": {"rule": "numeric"}}, mean_at=0, max_tokens=4)),
    }  # fmt: skip
    said = {"multilabel": "labels, ", "reward": "scores: ", "reinforce": "rewarded by right (numeric, 1)"}
    for name, (run, config) in made.items():
        heard.events.clear()
        this = job(config, tmp_path / name, heard.log, model=base)
        run(this)
        told = next(at for at, event in enumerate(heard.events) if said[name] in str(event.get("message")))
        assert told < [event["event"] for event in heard.events].index("step"), name
        found = json.loads((this.out / FILE).read_text())
        assert found["split"]["train"] == len(read_rows(this.out / "data" / "train.jsonl")), name
        blocks = [block for block in audit_blocks(View(name, directory=this.out)) if block]
        assert blocks[-1]["kind"] == "fold" and found["lines"][0][0] in json.dumps(blocks[-1]), name
