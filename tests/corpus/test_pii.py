"""Personal data is found by pattern and checksum, replaced by its kind, and what only looks like it stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import read_documents
from tutelage.corpus.pii import KINDS, find_pii, luhn, redact
from tutelage.corpus.stage import build_corpus
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog

PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    ("kind", "piece"),
    [
        ("email", "jo.doe+list@mail.example-site.co.uk"),
        ("ip", "8.8.4.4"),
        ("ip", "2001:4860:4860::8888"),
        ("phone", "+44 20 7946 0958"),
        ("phone", "(415) 555-2671"),
        ("phone", "415-555-2671"),
        ("card", "4111 1111 1111 1111"),
        ("card", "5500-0055-5555-5559"),
        ("card", "378282246310005"),
        ("key", "AKIAIOSFODNN7EXAMPLE"),
        ("key", "ghp_" + "aB3" * 12),
        ("key", "hf_" + "aB3x" * 9),
        ("key", TOKEN),
        ("key", PRIVATE_KEY),
    ],
)
def test_each_kind_is_found_whole_and_replaced(kind: str, piece: str) -> None:
    text = f"Write to us ({piece}), or do not."
    found = find_pii(text)
    assert [(one.kind, text[one.begin : one.end]) for one in found] == [(kind, piece)]
    assert redact(text, found) == f"Write to us ([{kind}]), or do not."
    assert find_pii(text, [other for other in KINDS if other != kind]) == []


@pytest.mark.parametrize(
    "text",
    [
        "On 2020-10-12 at 10:30:15 version 1.2.3 came out, 192.168.0.1 and 127.0.0.1 are at home.",
        "The number 4111 1111 1111 1112 has no checksum, 1234567890123456 neither.",
        "Write @someone, or a@b; see section 3.1.4.1.5 of 2.718281828459045.",
        "std::vector::size, a::b, ISBN 978-3-16-148410-0, 10,000,000,000,000 stars, 1995-1999.",
        "sk-learn and hf_ are no keys; eyJ is none.",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert find_pii(text) == []


def test_luhn() -> None:
    assert luhn("79927398713") and not any(luhn(f"7992739871{digit}") for digit in "012456789")


def test_overlapping_finds_count_once() -> None:
    text = "key AKIAIOSFODNN7EXAMPLE@example.com mail"
    assert [one.kind for one in find_pii(text)] in (["key"], ["email"])
    assert "AKIA" not in redact(text, find_pii(text)).replace("[key]", "") or "[email]" in redact(text, find_pii(text))


def corpus(tmp_path: Path, texts: list[str], **settings: Any) -> tuple[dict[str, Any], list[str]]:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    config = CorpusConfig.parse(
        {"source": str(source), "prose": False, "max_overlap": 1.0, "measure_selection": False, **settings}
    )
    build_corpus(config, tmp_path / "out", EventLog(), 1, 1)
    card = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    return card, [one.text for s in ("train", "heldout") for one in read_documents(tmp_path / "out" / f"{s}.parquet")]


OWN = ["The first of the letters came by post.", "The second one lay in the garden for a year.",
       "Nobody has read the third one until now.", "The fourth was written by the old teacher."]  # fmt: skip
WITH = [
    *OWN,
    "Ask jo@example.com or kim@example.com about the fifth one.",
    "The sixth one rang +44 20 7946 0958 twice.",
]


def test_redaction_is_counted_by_kind_and_the_card_does_not_show_what_went(tmp_path: Path) -> None:
    card, texts = corpus(tmp_path, WITH, pii="redact")
    step = next(step for step in card["steps"] if step["name"] == "personal data")
    assert {kind: piece["count"] for kind, piece in step["pieces"].items()} == {"email": 2, "phone": 1}
    assert "Ask [email] or [email] about the fifth one." in texts and len(texts) == 6
    assert not any("example.com" in path.read_text(errors="replace") for path in (tmp_path / "out").glob("*.[jm]*"))


def test_documents_with_personal_data_can_go(tmp_path: Path) -> None:
    card, texts = corpus(tmp_path, WITH, pii="drop", pii_kinds=["phone"])
    step = next(step for step in card["steps"] if step["name"] == "personal data")
    assert step["removed"] == {"personal data: phone": 1} and len(texts) == 5
    assert any("jo@example.com" in text for text in texts)


def test_a_blocklist_takes_documents_by_whole_words_of_any_case(tmp_path: Path) -> None:
    words = tmp_path / "blocked.txt"
    words.write_text("# remarks\nOLD   teacher\ngard\n\n", encoding="utf-8")
    card, texts = corpus(tmp_path, OWN, blocklist=str(words))
    step = next(step for step in card["steps"] if step["name"] == "blocklist")
    assert step["removed"] == {"on the blocklist": 1} and step["pieces"]["old teacher"]["count"] == 1
    assert sorted(texts) == sorted(OWN[:3])
    with pytest.raises(ConfigError, match="there is no file"):
        corpus(tmp_path, OWN, blocklist=str(tmp_path / "none"))
    words.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds no word"):
        corpus(tmp_path, OWN, blocklist=str(words))
