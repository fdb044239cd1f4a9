from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tutelage.evaluation.bench.bench import Wanted, prepare_all, run_benchmarks
from tutelage.evaluation.bench.cache import AnswerCache, key_of
from tutelage.evaluation.bench.folder import write_result
from tutelage.evaluation.bench.items import Prepared
from tutelage.evaluation.bench.metrics import Choices, choice_scores
from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.own import own_task
from tutelage.evaluation.bench.protocol import Ask, Likelihood, Pair, Roll, Written
from tutelage.evaluation.bench.run import ask_all
from tutelage.evaluation.bench.task import BenchTask
from tutelage.inference.language_model import LanguageModel
from tutelage.store.errors import ConfigError, DamagedError, InputError


class Counting(OurModel):
    """Counts the pairs it is asked; ends after `most`."""

    def __init__(self, lm: LanguageModel, most: int | None = None) -> None:
        super().__init__(lm, "counting")
        self.asked, self.most, self.piece = 0, most, 200

    def asked_in_all(self, prepared: list[Prepared]) -> int:
        run_benchmarks(self, prepared)
        return self.asked

    def score(self, pairs: list[Pair]) -> list[Likelihood]:
        if self.most is not None and self.asked >= self.most:
            raise KeyboardInterrupt
        self.asked += len(pairs)
        return super().score(pairs)


def test_a_result_is_whole_and_agrees_with_its_tables(model: OurModel, sums: BenchTask, tmp_path: Path):
    results = run_benchmarks(model, prepare_all([Wanted(sums)]))
    summary = write_result(tmp_path / "out", model, results)
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == json.loads(json.dumps(summary))
    task = summary["tasks"]["sums"]
    assert (task["items"], task["metric"], task["chance"]) == (20, "acc_norm", pytest.approx(1 / 3))
    assert {"majority position", "longest option", "shortest option", "answer only"} >= set(task["baselines"])
    items = pq.read_table(tmp_path / "out" / "items.parquet").to_pylist()
    mine = [row["value"] for row in items if row["metric"] == "acc_norm"]
    assert np.mean(mine) == task["metrics"]["acc_norm"]["value"] == summary["results"]["sums"]["acc_norm,none"]
    # Every figure comes again from the table of scores, without the model.
    table = pq.read_table(tmp_path / "out" / "choices.parquet").to_pylist()
    again = []
    for start in range(0, len(table), 3):
        rows = table[start : start + 3]
        columns = [np.array([row[name] for row in rows], float) for name in ("logprob", "unconditional", "chars")]
        sizes = [np.array([row[name] for row in rows], float) for name in ("bytes", "tokens")]
        gold = tuple(at for at, row in enumerate(rows) if row["gold"])
        again.append(Choices(*columns, *sizes, np.array([row["greedy"] for row in rows]), gold))
    for name, one in choice_scores(again).metrics.items():
        stored = [row["value"] for row in items if row["metric"] == name]
        assert one.values.tolist() == pytest.approx(stored)


def test_what_was_answered_is_not_asked_again(lm: LanguageModel, sums: BenchTask, tmp_path: Path):
    first, second = Counting(lm), Counting(lm)
    prepared = prepare_all([Wanted(sums)])
    one = run_benchmarks(first, prepared, AnswerCache(tmp_path / "cache.sqlite"))
    two = run_benchmarks(second, prepared, AnswerCache(tmp_path / "cache.sqlite"))
    assert first.asked > 0
    assert second.asked == 0
    assert one[0].figures == two[0].figures


def test_other_weights_precision_or_tokenizer_have_other_answers(lm: LanguageModel):
    model, request = OurModel(lm, "a"), Pair("a", "b")
    keys = {key_of(model, request), key_of(model, Pair("a", "c")), key_of(model, Roll("a")), key_of(model, Ask("a"))}
    for name in ("identity", "tokenizer", "precision"):
        other = OurModel(lm, "another name")
        assert key_of(other, request) == key_of(model, request)
        setattr(other, name, "other")
        keys.add(key_of(other, request))
    assert len(keys) == 7


def test_an_interrupted_run_goes_on_where_it_was(lm: LanguageModel, sums: BenchTask, tmp_path: Path):
    prepared = prepare_all([Wanted(sums)])
    whole = run_benchmarks(Counting(lm), prepared)[0]
    stopped = Counting(lm, most=20)
    with pytest.raises(KeyboardInterrupt):
        run_benchmarks(stopped, prepared, AnswerCache(tmp_path / "cache.sqlite"))
    rest = Counting(lm)
    again = run_benchmarks(rest, prepared, AnswerCache(tmp_path / "cache.sqlite"))[0]
    assert rest.asked > 0
    assert rest.asked + stopped.asked == Counting(lm).asked_in_all(prepared)
    for one, other in zip(again.choices, whole.choices, strict=True):  # to the bit
        assert one.logprobs.tolist() == other.logprobs.tolist()
        assert one.unconditional.tolist() == other.unconditional.tolist()


_WRITER = """
import sys
from pathlib import Path
from tutelage.evaluation.bench.cache import AnswerCache
from tutelage.evaluation.bench.protocol import Likelihood
cache = AnswerCache(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    cache.put([(f"{sys.argv[2]}{number}-{part}", Likelihood(-1.0, 1, True)) for part in range(50)])
    print(number, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name, str(count)], stdout=subprocess.PIPE)


def test_kill_9_leaves_whole_pieces_and_a_cache_that_works(tmp_path: Path):
    path = tmp_path / "cache.sqlite"
    process = writer(path, "", 10**9)
    assert process.stdout is not None
    for _ in range(5):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    cache = AnswerCache(path)
    assert len(cache.get([f"{last}-{part}" for part in range(50)])) == 50
    for number in range(last, last + 3):
        assert len(cache.get([f"{number}-{part}" for part in range(50)])) in (0, 50)


def test_two_processes_share_a_cache(tmp_path: Path):
    path = tmp_path / "cache.sqlite"
    both = [writer(path, name, 30) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    keys = [f"{name}{number}-{part}" for name in "ab" for number in range(30) for part in range(50)]
    assert len(AnswerCache(path).get(keys)) == len(keys)


def test_a_cache_that_is_no_cache_is_named(tmp_path: Path):
    (tmp_path / "cache.sqlite").write_text("this is not a database, by any means" * 100)
    with pytest.raises(DamagedError, match=r"cache\.sqlite"):
        AnswerCache(tmp_path / "cache.sqlite")


@pytest.mark.parametrize("value", ["nan", "-inf", "0.5"])
def test_what_is_no_probability_is_never_stored(lm: LanguageModel, value: str):
    class Broken(OurModel):
        def score(self, pairs: list[Pair]) -> list[Likelihood]:
            return [Likelihood(float(value), 1, True) for _ in pairs]

    with pytest.raises(InputError, match=value):
        ask_all(Broken(lm, "x"), [Pair("a", "b")], AnswerCache(None))


def test_a_model_that_only_writes_is_not_asked_for_likelihoods(lm: LanguageModel):
    model = OurModel(lm, "x")
    model.likelihoods = False
    with pytest.raises(ConfigError, match="only generates"):
        ask_all(model, [Pair("a", "b")], AnswerCache(None))


def test_what_was_cut_is_counted_and_said(model: OurModel, sums: BenchTask):
    long = sums.with_(context="word " * 40 + "{{q}}")
    result = run_benchmarks(model, prepare_all([Wanted(long)]))[0]
    assert any("20 of 20 items exceeded the context" in note for note in result.notes)


def test_generated_answers_are_graded_by_what_they_say(lm: LanguageModel, tmp_path: Path):
    class Parrot(OurModel):
        def generate(self, prompts: list[Ask]) -> list[Written]:
            return [Written(" the sum is 4.\n#### 4", True) for _ in prompts]

    task = BenchTask.parse(
        {"name": "s", "title": "s", "kind": "generate", "context": "{{q}}", "targets": "a", "metric": "flexible",
         "data": {"sources": [{"rows": [{"q": "2+2", "a": "so #### 4"}, {"q": "3+3", "a": "so #### 6"}]}]},
         "extract": {"strict": {"pattern": r"#### (\d+)"}, "flexible": {"pattern": r"\d+", "match": -1}},
         "ignore": ["(?s).*#### "]}
    )  # fmt: skip
    result = run_benchmarks(Parrot(lm, "x"), prepare_all([Wanted(task)]))[0]
    assert result.figures["strict"].value == result.figures["flexible"].value == 0.5
    assert result.generations[0]["found"] == {"strict": "4", "flexible": "4"}


def test_own_rows_are_recognised(rows_file: Path, model: OurModel):
    with pytest.raises(InputError, match="no column was recognised among: q, options, right, kind"):
        own_task(rows_file)
    task = own_task(rows_file, context="q", gold="right")
    assert (task.kind, task.name) == ("choice", "rows")
    result = run_benchmarks(model, prepare_all([Wanted(task)]))[0]
    assert result.figures["acc"].n == 20
    assert result.worth.outcome in ("too few items", "shortcut")


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"question": "a", "choices": ["x", "y"], "answer": "B"}, "choice"),
        ({"question": "a", "choices": ["x", "y"], "answer": "y"}, "choice"),
        ({"question": "a", "choices": ["x", "y"], "answer": 1}, "choice"),
        ({"question": "a", "answer": "y"}, "generate"),
        ({"text": "some text"}, "rolling"),
    ],
)
def test_own_rows_of_every_kind(tmp_path: Path, row: dict[str, object], kind: str):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    task = own_task(path)
    assert task.kind == kind
    item = prepare_all([Wanted(task)])[0].items[0]
    if kind == "choice":
        assert item.gold == (1,)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path, rows_file: Path, lm: LanguageModel):
    lm.save(tmp_path / "model")
    command = [
        "-m", "tutelage", "evaluate", "-m", str(tmp_path / "model"), "--data", str(rows_file), "--context", "q",
        "--gold", "right",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TUTELAGE_CACHE": str(tmp_path / "cache")}
    one = subprocess.run(
        [sys.executable, *command, "--out", str(tmp_path / "one")], env=environment, capture_output=True, text=True
    )
    assert one.returncode == 0, one.stderr
    environment["TUTELAGE_CACHE"] = str(tmp_path / "other")
    both = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *command,
         "--out", str(tmp_path / "two")], env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert both.returncode == 0, both.stderr
    first, second = (json.loads((tmp_path / name / "result.json").read_text())["tasks"] for name in ("one", "two"))
    assert first == second
    assert "n too small" in one.stdout or "shortcut" in one.stdout
