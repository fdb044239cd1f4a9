"""`tutelage data` and the verbs of the tokenizer, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    words = {"good": "fine great lovely nice", "bad": "poor awful dull weak"}
    made = [
        {"body": f"a {word} film, number {number} of the series", "stars": label}
        for number in range(15)
        for label, listed in words.items()
        for word in listed.split()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*made, made[0]]), encoding="utf-8")
    return path


def test_doubtful_rows_are_printed_and_written(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("--column", "text=body", "--column", "label=stars")
    code, out, _ = run(capsys, "data", "doubtful", str(rows), *columns, "--json", "--to", str(tmp_path / "to.jsonl"))
    found = json.loads(out)
    assert code == 0 and found["rows"] == 121 and found["kind"] == "classify"
    # Texts that differ in a number alone are near doubles: the exact one comes first.
    assert found["most"][0] | {"text": "", "answer": ""} == {
        "line": 121, "why": "duplicate", "doubt": 0.99, "text": "", "answer": "", "detail": "of line 1",
    }  # fmt: skip
    written = [json.loads(line) for line in (tmp_path / "to.jsonl").read_text().splitlines()]
    assert len(written) == sum(found["in_doubt"].values())
    code, out, _ = run(capsys, "data", "doubtful", str(rows), *columns, "--most", "1")
    assert code == 0 and "121 rows (classify)" in out and "duplicate" in out


def test_more_data_is_promised_with_an_interval(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("--column", "text=body", "--column", "label=stars")
    code, out, _ = run(capsys, "data", "more", str(rows), *columns, "--json")
    found = json.loads(out)
    assert code == 0 and found["doubled"] == 1 and [one["times"] for one in found["promises"]] == [2, 4, 10]
    code, out, _ = run(capsys, "data", "more", str(rows), *columns)
    assert code == 0 and "measured" in out and "predicted change" in out


def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "data", "more", str(tmp_path / "none.csv"))
    assert code == 1 and "error:" in err
    code, _, err = run(capsys, "tokenizer", "compare", "bpe:512")
    assert code == 2 and "two or more tokenizers" in err
    code, _, err = run(capsys, "tokenizer", "compare", "bqe:512", "bpe:512")
    assert code == 2 and "did you mean 'bpe'" in err
    code, _, err = run(capsys, "ablate", "data", "a.yaml", "b.yaml")
    assert code == 2 and "expected one recipe" in err
    code, _, err = run(capsys, "ablate", "data", "--vary", "seed=1,2")
    assert code == 2 and "leave out --vary" in err


def test_a_text_is_shown_in_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tutelage.store.events import EventLog
    from tutelage.tokenizer.config import TokenizerConfig
    from tutelage.tokenizer.train import train

    train(TokenizerConfig(method="byte", vocab_size=259), ["text"], EventLog()).save(tmp_path / "tok")
    page = tmp_path / "tokens.html"
    code, out, _ = run(capsys, "tokenizer", "show", "a b", str(tmp_path / "tok"), "--html", str(page), "--json")
    assert code == 0 and json.loads(out)[0]["tokens"] == ["a", " ", "b"] and "<pre>" in page.read_text()
    code, out, _ = run(capsys, "tokenizer", "show", "a b", str(tmp_path / "tok"))
    assert code == 0 and "3 tokens, 1.00 bytes for each" in out and "a| |b" in out
