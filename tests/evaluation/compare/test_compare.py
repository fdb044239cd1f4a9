"""Comparing folders of results: known differences, what is refused, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tutelage.evaluation.compare.compare import FINE, REGRESSION, TOO_FEW, Report, Settings, compare_results
from tutelage.evaluation.compare.read import read_results
from tutelage.store.errors import DamagedError, InputError


def write(folder: Path, tasks: dict[str, dict[str, Any]], clusters: list[str] | None = None, ids: str = "q") -> Path:
    """A result folder by hand; tasks: name -> metric -> values, and what is stated of the task under "_"."""
    folder.mkdir(parents=True)
    described, rows = {}, []
    for task, metrics in tasks.items():
        told = metrics.pop("_", {})
        names = list(metrics)
        described[task] = {
            "data_sha256": "d" * 64, "prompt_sha256": "p" * 64, "version": 1, "metric": names[0], "cautions": [],
            "metrics": {name: {"higher_is_better": name != "bits_per_byte"} for name in names}, **told,
        }  # fmt: skip
        for metric, values in metrics.items():
            rows += [
                {"task": task, "item": f"{ids}{at}", "cluster": clusters[at] if clusters else None, "metric": metric,
                 "value": float(value), "weight": 100.0 + at if metric == "bits_per_byte" else 1.0}
                for at, value in enumerate(values)
            ]  # fmt: skip
    (folder / "result.json").write_text(json.dumps({"format": 1, "model": {}, "tasks": described}))
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "items.parquet")
    return folder


def compared(*folders: Path, **settings: Any) -> Report:
    return compare_results([read_results(one) for one in folders], Settings(**settings))


def flags(right: int, n: int) -> list[int]:
    return [1] * right + [0] * (n - right)


def test_a_loss_is_a_regression_and_its_way_round_a_gain(tmp_path: Path) -> None:
    before = write(tmp_path / "before", {"arc": {"acc": flags(150, 200)}, "copa": {"acc": flags(60, 100)}})
    after = write(tmp_path / "after", {"arc": {"acc": flags(120, 200)}, "copa": {"acc": flags(60, 100)}})
    report = compared(before, after)
    arc, copa = report.rows
    assert (arc.difference, arc.value_a, arc.value_b, arc.unit, arc.outcome) == (-15.0, 75.0, 60.0, "points", "worse")
    assert arc.p == pytest.approx(2 / 2**30)  # thirty items lost, none won: exact McNemar
    assert arc.p_adjusted == pytest.approx(4 / 2**30)  # the smaller of two, by Holm
    assert (copa.outcome, copa.p) == ("not resolved", 1.0)
    assert "no item differs" in copa.verdict
    assert report.code == REGRESSION
    (average,) = report.averages
    assert (average.difference, average.outcome) == (pytest.approx(-7.5), "worse")
    assert report.overall.startswith("after against before: worse on arc, not resolved on copa; on average -7.5 points")
    back = compared(after, before)
    assert [row.outcome for row in back.rows] == ["better", "not resolved"]
    assert back.code == FINE


def test_seven_of_twenty_six_against_three_is_too_few(tmp_path: Path) -> None:
    before = write(tmp_path / "a", {"t": {"acc": flags(7, 26)}})
    after = write(tmp_path / "b", {"t": {"acc": flags(3, 26)}})
    report = compared(before, after)
    assert (report.rows[0].outcome, report.code) == ("too few items", TOO_FEW)
    assert "50 to 100 are needed" in report.rows[0].verdict


def test_one_item_names_no_winner_and_has_no_interval(tmp_path: Path) -> None:
    report = compared(write(tmp_path / "a", {"t": {"acc": [0]}}), write(tmp_path / "b", {"t": {"acc": [1]}}))
    assert (report.rows[0].outcome, report.rows[0].low, report.code) == ("too few items", None, TOO_FEW)


def test_bits_per_byte_weigh_items_and_less_is_better(tmp_path: Path) -> None:
    a, b = np.linspace(1.0, 2.0, 40), np.linspace(1.0, 2.0, 40) - 0.1
    before = write(tmp_path / "a", {"text": {"bits_per_byte": a}})
    after = write(tmp_path / "b", {"text": {"bits_per_byte": b}})
    (row,) = compared(before, after).rows
    weight = 100.0 + np.arange(40)
    assert row.value_a == pytest.approx((a * weight).sum() / weight.sum())
    assert row.difference == pytest.approx(-0.1)
    assert (row.outcome, row.higher_is_better, row.test, row.p_is_bound) == ("better", False, "sign flips", True)


def test_sums_over_weights_and_perplexities_are_read_by_the_value_that_is_stated(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    sizes = 100.0 + np.arange(40)
    bits = generator.normal(1.2, 0.1, 40) * sizes
    rate = float(bits.sum() / sizes.sum())
    stated = {"bits_per_byte": {"value": rate, "higher_is_better": False}}
    scores = write(tmp_path / "a", {"t": {"bits_per_byte": bits / sizes}})
    sums = write(tmp_path / "b", {"t": {"_": {"metrics": stated}, "bits_per_byte": bits}})
    (row,) = compared(scores, sums).rows
    assert (row.value_a, row.value_b) == pytest.approx((rate, rate))
    assert row.difference == pytest.approx(0.0, abs=1e-9)
    nats = {"ppl": {"value": float(np.exp(2.0)), "higher_is_better": False}}
    low = write(tmp_path / "c", {"t": {"_": {"metrics": nats}, "ppl": np.full(40, 2.0)}})
    (task,) = read_results(low).tasks.values()
    assert (list(task.metrics), task.primary, task.metrics["log ppl"].value) == (["log ppl"], "log ppl", 2.0)
    wrong = {"bleu": {"value": 30.0}, "acc": {"value": 0.5}}
    odd = write(tmp_path / "d", {"t": {"_": {"metrics": wrong}, "bleu": np.full(40, 25.0), "acc": flags(20, 40)}})
    assert read_results(odd).left_out == ("t: bleu is not a mean over its items",)
    assert compared(odd, odd).left_out == ["t: bleu is not a mean over its items"]


def test_items_of_one_package_are_one_unit(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    package = np.repeat(np.arange(20), 15)
    names = [f"p{one}" for one in package]
    b = generator.normal(0.3, 1.0, 20)[package] + generator.normal(0, 0.2, 300)
    apart = compared(write(tmp_path / "a", {"t": {"score": np.zeros(300)}}), write(tmp_path / "b", {"t": {"score": b}}))
    together = compared(
        write(tmp_path / "c", {"t": {"score": np.zeros(300)}}, names), write(tmp_path / "d", {"t": {"score": b}}, names)
    )
    wide, narrow = together.rows[0], apart.rows[0]
    assert (wide.clusters, narrow.clusters, wide.test) == (20, None, "sign flips of clusters")
    assert wide.difference == pytest.approx(narrow.difference)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)  # type: ignore[operator]
    assert (narrow.outcome, wide.outcome) == ("better", "not resolved")
    assert "300 in 20 clusters" in wide.verdict


def test_many_tasks_are_corrected(tmp_path: Path) -> None:
    same, moved = flags(50, 100), [*flags(56, 100)]  # six items won, none lost: p = 0.031 alone
    a = write(tmp_path / "a", {f"t{at}": {"acc": same} for at in range(10)})
    b = write(tmp_path / "b", {"t0": {"acc": moved}, **{f"t{at}": {"acc": same} for at in range(1, 10)}})
    alone, holm, bh = (compared(a, b, correction=how) for how in ("none", "holm", "bh"))
    assert alone.rows[0].p == pytest.approx(2 / 64)
    assert [one.rows[0].outcome for one in (alone, holm, bh)] == ["better", "not resolved", "not resolved"]
    assert holm.rows[0].p_adjusted == pytest.approx(20 / 64)
    assert compared(a, b, metrics="all").rows[0].p_adjusted == holm.rows[0].p_adjusted


def test_items_are_matched_by_name_not_by_place(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=30)
    a = write(tmp_path / "a", {"t": {"score": values}})
    b = write(tmp_path / "b", {"t": {"score": values}})
    table = parquet.read_table(b / "items.parquet")
    parquet.write_table(table.take(np.random.default_rng(2).permutation(30)), b / "items.parquet")
    (row,) = compared(a, b).rows
    assert (row.difference, row.p) == (0.0, 1.0)


def test_three_arms_are_compared_with_the_first(tmp_path: Path) -> None:
    arms = [
        write(tmp_path / name, {"t": {"acc": flags(right, 100)}}) for name, right in (("a", 50), ("b", 80), ("c", 20))
    ]
    report = compared(*arms)
    assert [(row.a, row.b, row.outcome) for row in report.rows] == [("a", "b", "better"), ("a", "c", "worse")]
    assert report.code == REGRESSION
    assert "b against a: better on t" in report.overall
    assert "c against a: worse on t" in report.overall


def test_what_is_not_comparable_is_refused_by_name(tmp_path: Path) -> None:
    a = write(tmp_path / "a", {"t": {"acc": flags(5, 10)}})
    for name, told, ids, said in (
        ("data", {"data_sha256": "e" * 64}, "q", "t: data_sha256 is dddddddddddd"),
        ("prompt", {"prompt_sha256": "e" * 64}, "q", "t: prompt_sha256"),
        ("version", {"version": 2}, "q", "t: version is 1"),
        ("ids", {}, "z", r"t: 10 items only in .* \(e.g. q0\), 10 only in"),
    ):
        other = write(tmp_path / name, {"t": {"_": told, "acc": flags(5, 10)}}, ids=ids)
        with pytest.raises(InputError, match=said):
            compared(a, other)
    with pytest.raises(InputError, match="no task in common"):
        compared(a, write(tmp_path / "other", {"u": {"acc": [1]}}))
    report = compared(a, write(tmp_path / "more", {"t": {"acc": flags(5, 10)}, "u": {"acc": [1]}}))
    assert report.left_out == ["u: not in a"]


def write_life(folder: Path, pairs: str, accuracy: list[int] | None = None) -> Path:
    """The evaluation of a run by hand: its held-out texts, and pairs that its own model sampled, named by `pairs`."""
    folder.mkdir()
    items = {("classification", "text"): accuracy or flags(30, 60), ("pairs of better", pairs): flags(30, 60)}
    rows = [{"who": "chat", "task": task, "item": f"{name}{at}", "cluster": None, "metric": "accuracy",
             "value": float(value), "weight": 1.0}
            for (task, name), values in items.items() for at, value in enumerate(values)]  # fmt: skip
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "items.parquet")
    figures = [{"who": "chat", "task": task, "measure": measure, "higher_is_better": True, "cautions": [measure]}
               for task, _ in items for measure in ("accuracy", "ECE")]  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps({"figures": figures}))
    return folder


def test_rows_that_a_run_sampled_itself_are_left_out_and_said(tmp_path: Path) -> None:
    a = write_life(tmp_path / "a", "p")
    report = compared(a, write_life(tmp_path / "b", "q", flags(50, 60)))
    assert [(row.task, row.outcome) for row in report.rows] == [("chat: classification", "better")]
    assert (
        report.left_out[0].startswith("chat: pairs of better: 60 items only in ") and "60 only in" in report.left_out[0]
    )
    assert report.cautioned() == {"accuracy": ["chat: classification"]}  # of the measure that decides, no other
    assert not compared(a, write_life(tmp_path / "c", "p")).left_out


def test_runs_without_any_item_in_common_are_refused(tmp_path: Path) -> None:
    a, b = write_life(tmp_path / "a", "p"), write_life(tmp_path / "b", "q")
    rows = parquet.read_table(b / "items.parquet").to_pylist()
    parquet.write_table(
        arrow.Table.from_pylist([row | {"item": "z" + row["item"]} for row in rows]), b / "items.parquet"
    )
    with pytest.raises(InputError, match="chat: classification: 60 items only in"):
        compared(a, b)


def test_other_weights_are_left_out(tmp_path: Path) -> None:
    both = {"bits_per_byte": np.ones(20)}
    a = write(tmp_path / "a", {"text": dict(both), "more": {"acc": flags(5, 10)}})
    b = write(tmp_path / "b", {"text": dict(both), "more": {"acc": flags(5, 10)}})
    table = parquet.read_table(b / "items.parquet").to_pylist()
    for row in table:
        row["weight"] += row["task"] == "text"
    parquet.write_table(arrow.Table.from_pylist(table), b / "items.parquet")
    report = compared(a, b)
    assert [row.task for row in report.rows] == ["more"]
    assert "text: weighted by tokens of different tokenizers" in report.left_out[0]


def test_damaged_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_results(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no item-level scores"):
        read_results(tmp_path / "empty")
    bad = write(tmp_path / "nan", {"t": {"acc": [1.0, float("nan")]}})
    with pytest.raises(DamagedError, match="not finite"):
        read_results(bad)
    twice = write(tmp_path / "twice", {"t": {"acc": [1.0]}})
    table = parquet.read_table(twice / "items.parquet")
    parquet.write_table(arrow.concat_tables([table, table]), twice / "items.parquet")
    with pytest.raises(DamagedError, match="occurs twice"):
        read_results(twice)
    (twice / "result.json").write_text("{}")
    with pytest.raises(DamagedError, match="KeyError"):
        read_results(twice)


def test_lm_evals_sample_logs_are_read(tmp_path: Path) -> None:
    def log(folder: Path, right: int, prompt: str = "h") -> Path:
        (folder / "model").mkdir(parents=True)
        rows = [
            {"doc_id": at, "doc_hash": f"d{at}", "prompt_hash": f"{prompt}{at}", "filter": filter_,
             "acc": float(at < right), "metrics": ["acc", "odd", "perplexity", "bits_per_byte"],
             "odd": ["not", "a number"], "perplexity": -2.0 - at % 3 + right, "bits_per_byte": [-7.0 + right / 9, 10]}
            for filter_ in ("none", "strict") for at in range(60)
        ]  # fmt: skip
        path = folder / "model" / "samples_arc_easy_2026-01-01T00-00-00.000000.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    (row,) = compared(log(tmp_path / "a", 20), log(tmp_path / "b", 45)).rows
    assert (row.task, row.metric, row.n, row.outcome) == ("arc_easy", "acc", 60, "better")
    task = read_results(tmp_path / "a").tasks["arc_easy"].metrics
    assert list(task) == ["acc", "log-likelihood", "bits_per_byte"]
    assert task["bits_per_byte"].value == pytest.approx((7 - 20 / 9) / 10 / np.log(2))
    every = {row.metric: row.outcome for row in compared(tmp_path / "a", tmp_path / "b", metrics="all").rows}
    assert set(every.values()) == {"better"}  # likelier is better, fewer bits are
    with pytest.raises(InputError, match="arc_easy: prompt is"):
        compared(tmp_path / "a", log(tmp_path / "c", 45, "other"))
