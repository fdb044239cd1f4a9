"""The two stages from end to end, with n-gram models over bytes in the place of language models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tutelage.evaluation import baselines as baselines_stage
from tutelage.evaluation import stage
from tutelage.evaluation.baselines import measure_baselines, take
from tutelage.evaluation.compare.compare import compare_results
from tutelage.evaluation.compare.read import read_results
from tutelage.evaluation.config import BaselinesConfig, EvaluateConfig
from tutelage.evaluation.ngram import NGram
from tutelage.evaluation.spec import BASELINES, Evaluation, Subject
from tutelage.evaluation.subjects import prompt_sets
from tutelage.evaluation.writing import choose_prompts, write_answers
from tutelage.store.errors import ConfigError, DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.store.stage import Job
from tutelage.tokenizer.messages import Message

SUBJECTS = ["graph", "string", "file", "matrix", "server", "pattern", "buffer", "queue"]
VERBS = {"open": "Open", "close": "Close", "read": "Read", "find": "Find", "sort": "Sort", "copy": "Copy"}
QUICK = EvaluateConfig(prompts=20, bootstrap=100, samples=3, continuations=2, batch=8)


class Bytes:
    """A tokenizer whose tokens are bytes; 0 is the end of a document."""

    vocab_size, eos_id = 257, 0

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[byte + 1 for byte in text.encode()] for text in texts]


@dataclass
class Generation:
    text: str
    stop_reason: str


class FakeModel:
    """An n-gram model over bytes that reads, answers by a style and classifies by a keyword."""

    config = SimpleNamespace(ordinal=False)

    def __init__(self, order: int, style: str, texts: Sequence[str]) -> None:
        self.tokenizer, self.style = Bytes(), style
        self._ngram = NGram.train(self.tokenizer.encode_batch(texts), 257, order)

    def rolling(self, texts: list[str]) -> list[float]:
        return [float(scores.sum()) for scores in self._ngram.logprob(self.tokenizer.encode_batch(texts))]

    def generate(self, prompts: list[str], sampling: Any) -> list[Generation]:
        return [Generation("and so on and so on", "length") for _ in prompts]

    def chat_batch(self, messages: list[list[Any]], sampling: Any) -> list[Generation]:
        made = []
        for conversation in messages:
            assert [message.role for message in conversation] == ["user"]
            verb, subject = conversation[0].content.split()[-1].split("(")[0].split("_")
            end = "" if self.style == "no period" and len(subject) > 4 else "."
            made.append(Generation(f" {VERBS[verb]} the {subject} once more{end}\n", "stop"))
        return made

    def score_chat(
        self, conversations: list[list[Any]], weights: list[list[float]], tools: list[Any]
    ) -> list[tuple[float, float]]:
        """Of the texts that count, by the n-gram model; an end costs nothing."""
        kept = [
            [turn.content for turn, weight in zip(turns, each, strict=True) if weight and turn.role == "assistant"]
            for turns, each in zip(conversations, weights, strict=True)
        ]
        return [(sum(self.rolling(texts)), float(sum(len(text) + 1 for text in texts))) for texts in kept]

    def classify(self, texts: list[str]) -> list[dict[str, float]]:
        return [{"text": 0.9, "files": 0.1} if "string" in text else {"text": 0.2, "files": 0.8} for text in texts]


def _documents(seed: int, count: int) -> list[str]:
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        verb, subject, other = generator.choice(list(VERBS)), *generator.choice(SUBJECTS, 2)
        texts.append(
            f"{VERBS[str(verb)]} the {subject} and return the {other} if it is not empty. "
            f"This raises an error when the {subject} cannot be found in the given {other}."
        )
    return texts


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def _instructions(start: int, stop: int) -> list[dict[str, Any]]:
    names = [(verb, subject) for verb in VERBS for subject in SUBJECTS]
    chosen = [names[i * 7 % len(names)] for i in range(start, stop)]
    return [
        {
            "id": f"{verb}{subject}",
            "prompt": f"Describe {verb}_{subject}(x)",
            "response": f"{VERBS[verb]} the {subject} once more.",
            "name": f"{verb}_{subject}",
            "signature": f"{verb}_{subject}(x)",
        }
        for verb, subject in chosen
    ]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus and four model directories; models are loaded by the name of their directory."""
    for name, seed, count in (("train", 1, 300), ("heldout", 2, 40)):
        texts = _documents(seed, count)
        table = arrow.table({"id": [f"{name}{i:04}" for i in range(count)], "text": texts})
        (tmp_path / "corpus").mkdir(exist_ok=True)
        parquet.write_table(table, tmp_path / "corpus" / f"{name}.parquet")
    for kind, start, stop in (("train", 0, 30), ("heldout", 30, 48)):
        _write_lines(tmp_path / "instruct" / "data" / f"{kind}.jsonl", _instructions(start, stop))
        labelled = [
            {"id": str(i), "text": text, "label": "text" if "string" in text else "files"}
            for i, text in enumerate(_documents(start + 5, 60))
        ]
        _write_lines(tmp_path / "classify" / "data" / f"{kind}.jsonl", labelled)
        pairs = [{**row, "chosen": row["response"], "rejected": "It is."} for row in _instructions(start, stop)]
        _write_lines(tmp_path / "prefer" / "data" / f"{kind}.jsonl", pairs)
    natural = {"text": 30, "files": 90}
    (tmp_path / "classify" / "data" / "labels.json").write_text(json.dumps(natural))
    scores = [
        {"id": str(i), "chosen_reward": float(i % 5 > 0), "rejected_reward": 0.5, "chosen_logp": -9.0 - i,
         "rejected_logp": -20.0, "chosen_logp_before": -10.0, "rejected_logp_before": -3.0, "chosen_tokens": 5,
         "rejected_tokens": 3}
        for i in range(18)
    ]  # fmt: skip
    _write_lines(tmp_path / "prefer" / "data" / "scores.jsonl", scores)
    train = _documents(1, 300)
    models = {
        "base": FakeModel(6, "", train),
        "instruct": FakeModel(3, "no period", train),
        "prefer": FakeModel(3, "period", train),
        "classify": FakeModel(1, "", train[:2]),
    }
    monkeypatch.setattr(baselines_stage, "_load_tokenizer", lambda path: Bytes())
    monkeypatch.setattr(stage, "_load", lambda path: models[path.name])
    out = tmp_path / "baselines"
    out.mkdir()
    config = BaselinesConfig(ngram_order=3, bootstrap=100, order_pairs=30)
    measure_baselines(config, tmp_path / "corpus", tmp_path / "tokenizer", out, EventLog(), seed=1)
    return tmp_path


SUBJECTS_OF = {
    "base": Subject(name="base", makes="language model"),
    "classify": Subject(name="classify", makes="classifier", parent="base", heldout="labels", task="labels"),
    "instruct": Subject(name="instruct", makes="chat model", parent="base", heldout="answers", task="docstrings"),
    "prefer": Subject(name="prefer", makes="chat model", parent="instruct", heldout="pairs", task="docstrings"),
}


def _job(world: Path, out: str, config: EvaluateConfig, names: Sequence[str], log: EventLog, text: bool) -> Job:
    (world / out).mkdir()
    inputs = {name: world / name for name in names}
    inputs |= {"corpus": world / "corpus", "baselines": world / "baselines"} if text else {}
    whole = Evaluation(evaluate=config, subjects=tuple(SUBJECTS_OF[name] for name in names), text=text)
    return Job("evaluate", whole, inputs, world / out, world / "work", log, 1, 1)


def _evaluate(
    world: Path, out: str, config: EvaluateConfig = QUICK, names: Sequence[str] = tuple(SUBJECTS_OF), text: bool = True
) -> dict[str, Any]:
    return stage.evaluate(_job(world, out, config, names, EventLog(), text))


def _result(world: Path, out: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((world / out / "evaluation.json").read_text())
    return result


def _row(result: dict[str, Any], measure: str, who: str) -> dict[str, Any]:
    rows = [r for f in result["figures"] if f["measure"] == measure for r in f["rows"] if r["who"] == who]
    assert len(rows) == 1
    row: dict[str, Any] = rows[0]
    return row


def test_baselines_file(world: Path) -> None:
    data = json.loads((world / "baselines" / "baselines.json").read_text())
    rates = data["bits_per_byte"]
    assert set(rates) == {"ppmd", "ppmd primed", "xz", "xz primed", "zstd", "zstd primed", "n-gram"}
    assert rates["xz primed"]["value"] < rates["xz"]["value"]
    assert rates["n-gram"]["low"] < rates["n-gram"]["value"] < rates["n-gram"]["high"]
    assert data["documents"] == 40
    assert data["heldout_bytes"] == sum(len(text.encode()) for text in _documents(2, 40))
    assert data["documents_left_out"] == data["train_documents_left_out"] == 0


def test_baselines_are_byte_identical_twice(world: Path) -> None:
    again = world / "again"
    again.mkdir()
    config = BaselinesConfig(ngram_order=3, bootstrap=100, order_pairs=30)
    metrics = measure_baselines(config, world / "corpus", world / "tokenizer", again, EventLog(), seed=1)
    for name in ("baselines.json", "documents.jsonl", "order.jsonl"):
        assert (again / name).read_bytes() == (world / "baselines" / name).read_bytes()
    assert metrics["ngram_bits_per_byte"] > 0


def test_every_model_and_baseline_is_in_the_figures(world: Path) -> None:
    metrics = _evaluate(world, "all")
    result = _result(world, "all")
    for figure in result["figures"]:
        for row in figure["rows"]:
            assert row["kind"] in ("model", "baseline", "reference")
            assert row["low"] is None or row["low"] <= row["value"] <= row["high"]
    # A 6-gram over bytes beats the 3-gram baseline on the text it was trained for, and knows word order.
    base, ngram = _row(result, "bits per byte", "base"), _row(result, "bits per byte", "n-gram")
    assert base["value"] < ngram["value"]
    assert ngram["kind"] == "baseline"
    assert _row(result, "bits per byte", "instruct")["value"] == pytest.approx(ngram["value"], rel=1e-5)
    assert _row(result, "word order", "base")["value"] > 0.75
    assert _row(result, "word order", "chance")["value"] == 0.5
    assert _row(result, "bits per byte", "xz primed")["low"] is None
    # The writer
    assert _row(result, "chrF", "prefer")["value"] == pytest.approx(100.0)
    assert _row(result, "chrF", "constant")["value"] < _row(result, "chrF", "nearest neighbour")["value"] < 100
    assert _row(result, "ends by itself", "base")["value"] == 0.0
    assert _row(result, "ends by itself", "instruct")["value"] == 1.0
    assert _row(result, "rule passed", "prefer")["value"] == 1.0
    assert _row(result, "rule passed", "the true docstrings")["value"] == 1.0
    assert _row(result, "rule passed", "instruct")["value"] < 1.0
    assert _row(result, "win rate", "prefer")["value"] > 0.5
    # The classifier's fake keyword is the truth.
    assert _row(result, "accuracy", "classify")["value"] == 1.0
    assert _row(result, "accuracy", "majority class")["value"] < 1.0
    assert _row(result, "calibration error", "classify")["value"] == pytest.approx(0.8 * 0.2, abs=0.07)
    assert metrics["base_bits_per_byte"] == base["value"]
    assert metrics["prefer_win_rate"] > 0.5
    assert metrics["timing"]["seconds"] >= 0


def test_verdicts(world: Path) -> None:
    _evaluate(world, "all")
    verdicts = {(c["a"], c["b"], c["measure"]): c for c in _result(world, "all")["comparisons"]}
    assert verdicts["base", "n-gram", "bits per byte"]["verdict"].startswith("base is better than n-gram")
    assert verdicts["base", "n-gram", "bits per byte"]["difference"] < 0
    assert ("base", "xz primed", "bits per byte") in verdicts
    assert verdicts["prefer", "instruct", "win rate"]["difference"] > 0
    # 18 prompts never show that nothing was lost.
    assert verdicts["prefer", "instruct", "chrF"]["claim"] == "too few items"
    assert "18 items, about 50 are needed" in verdicts["prefer", "instruct", "chrF"]["verdict"]
    assert "better than majority class" in verdicts["classify", "majority class", "accuracy"]["verdict"]


def test_every_comparison_is_paired_and_plain_data(world: Path) -> None:
    _evaluate(world, "all")
    comparisons = _result(world, "all")["comparisons"]
    assert all(c["outcome"] in ("better", "worse", "not resolved", "too few items") for c in comparisons)
    assert all(c["p"] > 0 for c in comparisons)
    found = {(c["a"], c["b"], c["measure"]) for c in comparisons}
    for model, before in (("instruct", "base"), ("prefer", "base"), ("prefer", "instruct")):
        assert {(model, before, m) for m in ("bits per byte", "word order", "chrF", "ROUGE-L")} <= found
        assert (model, before, "ends by itself") in found
    for model in ("base", "instruct", "prefer"):
        assert {(model, "n-gram", "bits per byte"), (model, "n-gram", "word order")} <= found
        assert {(model, "constant", m) for m in ("chrF", "ROUGE-L", "rule passed")} <= found
        assert {(model, "nearest neighbour", m) for m in ("chrF", "ROUGE-L", "rule passed")} <= found
    assert len(found) == len(comparisons)
    outcomes = {(c["a"], c["b"], c["measure"]): c["outcome"] for c in comparisons}
    assert outcomes["base", "n-gram", "bits per byte"] == "better"
    assert outcomes["instruct", "base", "bits per byte"] == "worse"
    assert outcomes["prefer", "instruct", "win rate"] in ("better", "too few items")


def test_the_percentage_in_every_text_is_that_of_the_config(world: Path) -> None:
    _evaluate(world, "ninety", QUICK.model_copy(update={"confidence": 0.9}))
    text = (world / "ninety" / "evaluation.json").read_text()
    assert "95 %" not in text
    assert "90 % interval" in text


def test_harness_names(world: Path) -> None:
    _evaluate(world, "all")
    result = _result(world, "all")
    scores = result["results"]["base"]["held-out_text"]
    assert scores["bits_per_byte,none"] == _row(result, "bits per byte", "base")["value"]
    assert scores["bits_per_byte_stderr,none"] > 0
    assert result["results"]["xz"]["held-out_text"]["bits_per_byte_stderr,none"] == "N/A"


def test_samples(world: Path) -> None:
    _evaluate(world, "all")
    samples = [json.loads(line) for line in (world / "all" / "samples.jsonl").read_text().splitlines()]
    assert [sample["kind"] for sample in samples] == ["answer"] * 3 + ["continuation"] * 2
    assert set(samples[0]["outputs"]) == {"base", "instruct", "prefer"}
    assert samples[0]["outputs"]["prefer"] == samples[0]["reference"]
    opening = samples[-1]
    assert any(text.startswith(opening["prompt"]) for text in _documents(2, 40))


def test_evaluation_is_byte_identical_twice(world: Path) -> None:
    _evaluate(world, "one")
    _evaluate(world, "two")
    for name in ("evaluation.json", "samples.jsonl", "items.parquet"):
        assert (world / "one" / name).read_bytes() == (world / "two" / name).read_bytes()
        assert str(world).encode() not in (world / "one" / name).read_bytes()


def test_scores_of_single_items_are_kept_and_add_up_to_the_figures(world: Path) -> None:
    _evaluate(world, "one")
    result, read = _result(world, "one"), read_results(world / "one")
    tasks = {"bits per byte": "held-out text", "word order": "word order", "chrF": "docstring writing",
             "rule passed": "docstring writing"}  # fmt: skip
    for measure, task in tasks.items():
        for who in ("base", "instruct"):
            kept = read.tasks[f"{who}: {task}"].metrics[measure]
            assert kept.value == pytest.approx(_row(result, measure, who)["value"], abs=1e-5)
    losses = {one["task"]: one["rows"] for one in result["figures"] if one["measure"] == "answer loss"}
    kept = read.tasks["instruct: answers of instruct"].metrics["answer loss"]
    assert kept.value == pytest.approx(losses["answers of instruct"][-1]["value"], abs=1e-5)
    right = read.tasks["classify: classification"].metrics["texts right"]
    assert right.is_share
    assert len(right.items) == 60
    assert not read.tasks["base: held-out text"].metrics["bits per byte"].higher_is_better
    _evaluate(world, "again")
    report = compare_results([read, read_results(world / "again")])
    assert {row.outcome for row in report.rows} <= {"not resolved", "too few items"}
    assert all(row.difference == 0 for row in report.rows)
    _evaluate(world, "fewer", QUICK.model_copy(update={"heldout_documents": 10}))
    with pytest.raises(InputError, match="base: held-out text: 30 items only in"):
        compare_results([read, read_results(world / "fewer")])


def _with_sources(world: Path, sources: int) -> None:
    """The same documents in packages, each with a habit of its own, so that its documents are alike."""
    table = parquet.read_table(world / "corpus" / "heldout.parquet")
    names = [f"package {at % sources}" for at in range(len(table))]
    texts = [text.as_py() + " queue" * 3 * (at % sources) for at, text in enumerate(table.column("text"))]
    table = table.drop(["text"]).append_column("text", arrow.array(texts)).append_column("source", arrow.array(names))
    parquet.write_table(table, world / "corpus" / "heldout.parquet")
    config = BaselinesConfig(ngram_order=3, bootstrap=100, order_pairs=30)
    measure_baselines(config, world / "corpus", world / "tokenizer", world / "baselines", EventLog(), seed=1)


def test_documents_of_one_source_are_one_unit(world: Path) -> None:
    _with_sources(world, 10)
    _evaluate(world, "packages", names=["base"])
    result = _result(world, "packages")
    assert "sources as clusters (10 of them)" in result["figures"][0]["note"]
    assert "times narrower" in result["figures"][0]["note"]
    (said,) = [one for one in result["comparisons"] if (one["b"], one["measure"]) == ("n-gram", "bits per byte")]
    assert "in 10 clusters" in said["verdict"]
    kept = read_results(world / "packages").tasks["base: held-out text"].metrics["bits per byte"]
    assert kept.clusters is not None
    assert len(set(kept.clusters)) == 10


def test_prompts_of_one_source_are_one_unit(world: Path) -> None:
    """Rows of the corpus have its ids; their sources are found again, and the figures and verdicts know of them."""
    names = parquet.read_table(world / "corpus" / "heldout.parquet").column("id").to_pylist()
    rows = [{**row, "id": name} for row, name in zip(_instructions(30, 48), names, strict=False)]
    _write_lines(world / "instruct" / "data" / "heldout.jsonl", rows)
    alone = _evaluated(world, "alone")
    _with_sources(world, 13)
    found = _evaluated(world, "packages")
    assert "Sources of the prompts as clusters (1" in _note(found, "chrF")
    assert "Whole sources" not in _note(alone, "chrF")
    assert _row(found, "chrF", "instruct")["value"] == _row(alone, "chrF", "instruct")["value"]
    said = [one["verdict"] for one in found["comparisons"] if one["measure"] in ("chrF", "rule passed")]
    assert said
    assert all(" clusters" in one for one in said)
    kept = read_results(world / "packages").tasks["instruct: docstring writing"].metrics["chrF"]
    assert kept.clusters is not None
    assert len(set(kept.clusters)) > 9


def _evaluated(world: Path, out: str) -> dict[str, Any]:
    _evaluate(world, out, names=["base", "instruct"])
    return _result(world, out)


def _note(result: dict[str, Any], measure: str) -> str:
    return str(next(one["note"] for one in result["figures"] if one["measure"] == measure))


def test_of_few_sources_it_is_said_that_the_interval_holds_for_them_only(world: Path) -> None:
    _with_sources(world, 3)
    _evaluate(world, "few sources", names=["base"])
    note = _result(world, "few sources")["figures"][0]["note"]
    assert "documents as items: valid for more text of the same 3 sources, not of others" in note


def test_only_a_base_model(world: Path) -> None:
    metrics = _evaluate(world, "base_only", names=["base"])
    result = _result(world, "base_only")
    assert {figure["task"] for figure in result["figures"]} == {"held-out text", "word order"}
    assert "instruct_chrf" not in metrics
    assert (world / "base_only" / "samples.jsonl").read_text().count("continuation") == 2


def test_without_preference(world: Path) -> None:
    metrics = _evaluate(world, "no_prefer", names=["base", "instruct"])
    assert "instruct_chrf" in metrics
    assert "prefer_win_rate" not in metrics


def test_fewer_documents_are_said(world: Path) -> None:
    config = QUICK.model_copy(update={"heldout_documents": 10})
    _evaluate(world, "few", config, ["base"])
    figure = _result(world, "few")["figures"][0]
    assert "10 of the 40 documents" in figure["note"]
    assert [row["n"] for row in figure["rows"]] == [10, 10, 40, 40, 40, 40, 40, 40]


def test_progress_is_reported(world: Path) -> None:
    events: list[dict[str, Any]] = []
    log = EventLog(listeners=(events.append,))
    stage.evaluate(_job(world, "progress", QUICK, ["base"], log, True))
    ends = {e["what"] for e in events if e["event"] == "progress" and e["done"] == e["total"]}
    assert ends == {"base: held-out text", "base: word order"}


def test_wrong_inputs_are_named(world: Path) -> None:
    with pytest.raises(InputError, match="baselines stage first"):
        baselines_stage.read_baselines(world / "nowhere")
    with pytest.raises(InputError, match="parquet does not exist"):
        baselines_stage.read_documents(world / "nowhere" / "heldout.parquet")
    (world / "instruct" / "data" / "train.jsonl").unlink()
    with pytest.raises(InputError, match=r"train\.jsonl is missing"):
        _evaluate(world, "bad")
    (world / "baselines" / "order.jsonl").write_text('{"real": ')
    with pytest.raises(DamagedError, match="damaged"):
        baselines_stage.read_baselines(world / "baselines")


def test_baselines_of_another_corpus_are_refused(world: Path) -> None:
    table = arrow.table({"id": ["x"], "text": ["Another text."]})
    parquet.write_table(table, world / "corpus" / "heldout.parquet")
    with pytest.raises(InputError, match="40 documents of the baselines are missing from"):
        _evaluate(world, "other")


def test_take_whole_documents() -> None:
    documents = [baselines_stage.Document(str(i), "é" * 50) for i in range(5)]
    assert [d.id for d in take(documents, 250)[0]] == ["0", "1"]
    assert take(documents, 250)[1] == 3
    assert len(take(documents, 10)[0]) == 1


def test_prompts_are_one_for_each_thing_and_do_not_depend_on_file_order() -> None:
    items = _instructions(0, 20) + [{**item, "prompt": "Another phrasing"} for item in _instructions(0, 20)]
    chosen = choose_prompts(items, 12)
    assert len(chosen) == len({item["name"] for item in chosen}) == 12
    assert chosen == choose_prompts(items[::-1], 12)


TURNS = [("system", "Be brief."), ("user", "Who?"), ("assistant", "Me."), ("user", "Go on.")]


@pytest.mark.parametrize("last", [[("assistant", "I do.")], []], ids=["a conversation", "a pair"])
def test_a_model_is_asked_all_that_the_answer_follows(last: list[tuple[str, str]], tmp_path: Path) -> None:
    turns = [{"role": role, "content": text} for role, text in [*TURNS, *last]]
    row = {"id": "a", "messages": turns, "prompt": "Go on.", "chosen" if not last else "response": "I do."}
    for split in ("train", "heldout"):
        path = tmp_path / "data" / f"{split}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(row) + "\n")
    subject = Subject(name="mine", makes="chat model", heldout="answers")
    (one,) = prompt_sets([subject], {"mine": tmp_path}, ())
    read: list[Any] = []

    class Model:
        def chat_batch(self, conversations: list[list[Message]], sampling: Any) -> list[Generation]:
            read.extend([(turn.role, turn.content) for turn in turns] for turns in conversations)
            return [Generation("I do.", "stop") for _ in conversations]

        def generate(self, prompts: list[str], sampling: Any) -> list[Generation]:
            read.extend(prompts)
            return [Generation("I do.", "stop") for _ in prompts]

    for chat in (True, False):
        write_answers(Model(), "mine", one.heldout, chat, QUICK, EventLog())  # type: ignore[arg-type]
    assert read == [TURNS, "Be brief.\nWho?\nMe.\nGo on.\n"]


def test_measured_baselines_tell_the_forecast_how_much_text_there_is() -> None:
    assert BASELINES.result_facts is not None
    assert BASELINES.result_facts({"heldout_bytes": 7, "timing": {}}) == {"heldout_bytes": 7}


def test_config_errors() -> None:
    with pytest.raises(ConfigError, match="ngram_order"):
        BaselinesConfig.parse({"ngram_order": 0})
    with pytest.raises(ConfigError, match="did you mean 'prompts'"):
        EvaluateConfig.parse({"promts": 5})


def test_own_rows_need_no_corpus_and_no_rule(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Subject(name="prefer", makes="chat model", parent="base", heldout="pairs", own_rows=True)
    monkeypatch.setitem(SUBJECTS_OF, "prefer", own)
    (world / "base").mkdir()
    (world / "base" / "adopt.json").write_text('{"chat": true}')
    _evaluate(world, "own", names=["base", "prefer"], text=False)
    result = _result(world, "own")
    measures = {figure["measure"] for figure in result["figures"]}
    assert "chrF" in measures and "rule passed" not in measures and "bits per byte" not in measures
    assert {figure["task"] for figure in result["figures"]} == {"answers of prefer", "pairs of prefer"}
    assert _row(result, "reward accuracy", "prefer")["value"] == pytest.approx(14 / 18, abs=1e-6)
    assert _row(result, "reward accuracy", "prefer")["low"] == pytest.approx(0.5479, abs=1e-4)  # Wilson, 14 of 18
    against = {c["b"]: c for c in result["comparisons"] if c["measure"] == "reward accuracy"}
    assert set(against) == {"chance", "length alone", "TF-IDF"}
    assert _row(result, "reward accuracy", "length alone")["value"] == 1.0  # "It is." is always the shorter one
    note = next(figure["note"] for figure in result["figures"] if figure["measure"] == "reward accuracy")
    assert "became less likely in 16 of them" in note


def test_a_model_that_shares_its_parents_prompts_is_asked_once(world: Path) -> None:
    _evaluate(world, "all")
    assert len([figure for figure in _result(world, "all")["figures"] if figure["measure"] == "chrF"]) == 1


def test_named_tasks_and_models_alone_are_measured(world: Path) -> None:
    config = QUICK.model_copy(update={"tasks": ("classify",)})
    _evaluate(world, "one", config, ["base", "classify"], text=False)
    assert {figure["task"] for figure in _result(world, "one")["figures"]} == {"classification"}
