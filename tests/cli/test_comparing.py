"""`tutelage compare`, `judge`, `quality`: exit codes, what is printed, JSON, and files that go from one to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tutelage.cli.main import main
from tutelage.inference.language_model import LanguageModel

Capture = pytest.CaptureFixture[str]


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def results(folder: Path, right: int, n: int) -> str:
    folder.mkdir()
    task = {"data_sha256": "d", "prompt_sha256": "p", "version": 1, "metric": "acc", "metrics": {},
            "cautions": ["two words of warning"]}  # fmt: skip
    (folder / "result.json").write_text(json.dumps({"format": 1, "tasks": {"copa": task}}))
    rows = [{"task": "copa", "item": f"i{at}", "cluster": None, "metric": "acc", "value": float(at < right),
             "weight": 1.0} for at in range(n)]  # fmt: skip
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "items.parquet")
    return str(folder)


def test_compare_ends_with_a_code_for_scripts(tmp_path: Path, capsys: Capture) -> None:
    good, bad, few, less = (results(tmp_path / name, right, n) for name, right, n in
                            (("good", 80, 100), ("bad", 50, 100), ("few", 7, 26), ("less", 3, 26)))  # fmt: skip
    assert call("compare", good, bad) == 3
    said = capsys.readouterr().out
    assert "worse on copa" in said
    assert "caution: two words of warning (copa)" in said
    assert call("compare", bad, good) == 0
    assert call("compare", few, less) == 4
    assert "too few items in copa" in capsys.readouterr().out
    assert call("compare", good, few) == 1
    assert "copa: 74 items only in" in capsys.readouterr().err
    assert call("compare", good) == 2
    assert call("compare", good, bad, "--correction", "guess") == 2
    capsys.readouterr()
    assert call("compare", good, bad, "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["code"], found["rows"][0]["outcome"]) == (3, "worse")


def test_the_self_test_prints_and_fails_where_it_must(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from tutelage.evaluation import selftest
    from tutelage.evaluation.selftest import Check

    def checks(*found: Check) -> None:
        monkeypatch.setattr(selftest, "self_test", lambda: iter(found))

    good, said = Check("a", 10, 0.95, 0.93, 0.97, 100, True, "covers"), Check("b", 10, 0.9, 0, 1, 100, None, "known")
    checks(good, said)
    assert call("compare", "--self-test") == 0
    out = capsys.readouterr().out
    assert "ok   covers" in out
    assert "---- known" in out
    assert "1 of 1 checks passed" in out
    checks(good, Check("c", 10, 0.5, 0.93, 0.97, 100, False, "covers not"))
    assert call("compare", "--self-test", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["checks"][1]["passed"]) == (False, False)


def answers(path: Path, texts: list[str]) -> str:
    rows = [{"prompt": f"Question {at}?", "answer": text} for at, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_rule_judges_and_people_vote(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a = answers(tmp_path / "a.jsonl", [f"{at} " + "word " * (at % 7 + 3) for at in range(60)])
    b = answers(tmp_path / "b.jsonl", [f"no {at} " + "word " * (at % 5 + 1) for at in range(60)])
    assert call("judge", a, b, "--annotate", "vote.html") == 0
    assert "vote.html" in capsys.readouterr().out
    items = json.loads((tmp_path / "vote.html").read_text().split('id="data">')[1].split("</script>")[0])["items"]
    votes = {one["key"]: "left" if len(one["left"]) > len(one["right"]) else "right" for one in items}
    (tmp_path / "votes.json").write_text(json.dumps({"votes": votes}))
    assert call("judge", a, b, "--judge", "rule:longer", "--votes", "votes.json") == 0
    out = capsys.readouterr().out
    for said in (
        "a against b",
        "at equal length",
        "shown first",
        "people",
        "prefers longer answers",
        "A rule only sees",
    ):
        assert said in out
    assert call("judge", a, b, "--votes", "votes.json") == 0
    out = capsys.readouterr().out
    assert "Judge: people" in out
    assert "a is better than b" in out
    assert call("judge", a, b, "--judge", "rule:longer", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["pairs"][0]["n"] == 60
    assert json.loads((tmp_path / "judged" / "judged.json").read_text())["pairs"] == found["pairs"]
    assert call("judge", a, "--judge", "rule:longer", "--rate") == 0
    assert "of 10" in capsys.readouterr().out
    assert call("judge", a, b) == 2
    assert call("judge", a, "--judge", "rule:longer") == 2


def test_a_model_writes_in_several_ways_and_judges_them(
    lm: LanguageModel, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lm.save(tmp_path / "model")
    rows = [{"text": " ".join(f"w{at + k}" for k in range(18))} for at in range(6)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ("--strategies", "greedy,top_p=0.9", "--max-tokens", "6", "--out", "written")
    assert call("quality", "-m", "model", "--prompts", "texts.jsonl", *settings) == 0
    out = capsys.readouterr().out
    for said in ("greedy", "top_p=", "references", "self-BLEU", "Noise has the highest diversity"):
        assert said in out
    assert {path.name for path in (tmp_path / "written").iterdir()} == {
        "greedy.jsonl", "top_p0.9.jsonl", "quality.json"
    }  # fmt: skip
    both = ("written/greedy.jsonl", "written/top_p0.9.jsonl")
    assert call("quality", *both, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["who"] for row in found["figures"][0]["rows"]} == {"greedy", "top_p0.9"}
    people = [{"text": f"w{at} w{at + 1} w{at}"} for at in range(100)]
    fifty = [json.dumps({"text": f"w{at} w{at}"}) + "\n" for at in range(50)]
    (tmp_path / "fifty.jsonl").write_text("".join(fifty))
    (tmp_path / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in people))
    assert call("quality", "fifty.jsonl", "--under", "model", "--references", "people.jsonl", "--json") == 0
    found = {one["measure"]: one for one in json.loads(capsys.readouterr().out)["figures"]}
    assert "the states of model" in found["closeness"]["note"]
    assert all(row["value"] > 1 for row in found["bits per byte"]["rows"])
    assert call("quality") == 2
    assert call("quality", "-m", "model", "--prompts", "texts.jsonl", "--strategies", "anneal=4") == 2
