"""The whole stage on small sources: same bytes whatever the workers, sums that add up, clear refusals."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tutelage.corpus import reading
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.dedup import near_clusters
from tutelage.corpus.document import COLUMNS, read_documents
from tutelage.corpus.python_docs import PythonFile
from tutelage.corpus.report import section
from tutelage.corpus.split import leaked
from tutelage.corpus.stage import build_corpus, source_identity
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.store.view import View

NOUNS = [
    "river",
    "mountain",
    "harbour",
    "engine",
    "garden",
    "letter",
    "window",
    "teacher",
    "forest",
    "island",
]
VERBS = [
    "follows",
    "carries",
    "remembers",
    "builds",
    "repairs",
    "watches",
    "crosses",
    "describes",
    "protects",
]
FILES = ("train.parquet", "heldout.parquet", "card.json", "card.md")


def sentence(chance: random.Random) -> str:
    a, b, c = chance.sample(NOUNS, 3)
    first, second = chance.sample(VERBS, 2)
    return f"The {a} {first} the {b} of the {chance.choice(NOUNS)} and {second} a {c}."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    chance = random.Random(5)
    rows = [{"text": " ".join(sentence(chance) for _ in range(chance.randint(2, 9)))} for _ in range(400)]
    rows += rows[:30]  # exact copies
    for row in rows[30:60]:  # near copies
        rows.append({"text": row["text"] + " " + "It ends here."})
    rows += [{"text": ">>> code(1)\n2"}, {"text": ""}, {"text": "not a sentence"}]
    lines = [json.dumps(row) for row in rows]
    (root / "rows.jsonl").write_text("\n".join([*lines[:7], "{broken", *lines[7:]]), encoding="utf-8")
    for label in ("sea", "land"):
        (root / label).mkdir()
        for number in range(12):
            text = "\n\n".join(sentence(chance) for _ in range(4))
            (root / label / f"{number}.txt").write_text(text, encoding="utf-8")
    (root / "latin.txt").write_bytes("The café by the harbour follows an old river.".encode("latin-1"))
    (root / "binary.txt").write_bytes(bytes(range(64)))
    return root


def build(out: Path, workers: int = 1, seed: int = 1, **settings: Any) -> dict[str, Any]:
    # The made-up sentences share most of their words.
    return build_corpus(CorpusConfig(**{"max_overlap": 0.5, **settings}), out, EventLog(), seed, workers)


def test_same_files_whatever_the_workers(source: Path, tmp_path: Path) -> None:
    build(tmp_path / "one", workers=1, source=str(source))
    build(tmp_path / "two", workers=2, source=str(source))
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


@pytest.mark.parametrize("prose", [True, False])
def test_the_card_adds_up(source: Path, tmp_path: Path, prose: bool) -> None:
    metrics = build(tmp_path, source=str(source), prose=prose, max_documents=450)
    card = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    for step, following in zip(card["steps"], [*card["steps"][1:], None], strict=True):
        assert step["documents_in"] - sum(step["removed"].values()) == step["documents_out"], step["name"]
        if following:
            assert (step["documents_out"], step["bytes_out"]) == (
                following["documents_in"],
                following["bytes_in"],
            )
        assert {example["reason"] for example in step["examples"]} == set(step["removed"])
    train, heldout = read_documents(tmp_path / "train.parquet"), read_documents(tmp_path / "heldout.parquet")
    assert card["steps"][-1]["documents_out"] == card["documents"] == len(train) + len(heldout)
    assert card["train"]["documents"] == metrics["train_documents"] == len(train)
    assert card["bytes"] == sum(len(one.text.encode()) for one in train + heldout)
    assert card["heldout"]["words"] == sum(len(one.text.split()) for one in heldout)
    removed = {reason for step in card["steps"] for reason in step["removed"]}
    assert {"empty", "over the limit", "exact duplicate", "near duplicate"} <= removed
    assert card["labels"] == {"land": 12, "sea": 12} or sum(card["labels"].values()) <= 24
    assert [(place["file"], place["line"]) for place in card["malformed"]] == [
        ("binary.txt", 0),
        ("rows.jsonl", 8),
    ]
    assert str(source.parent) not in (tmp_path / "card.json").read_text(encoding="utf-8")


def test_parquet_columns_and_order(source: Path, tmp_path: Path) -> None:
    build(tmp_path, source=str(source))
    table = pq.read_table(tmp_path / "train.parquet")
    assert tuple(table.column_names) == COLUMNS and {str(field.type) for field in table.schema} == {"string"}
    ids = table["id"].to_pylist()
    assert ids == sorted(ids) and len(set(ids)) == len(ids) and all(len(one) == 16 for one in ids)


def test_no_duplicates_stand_on_either_side_or_across(source: Path, tmp_path: Path) -> None:
    build(tmp_path, source=str(source), heldout=0.2)
    train, heldout = read_documents(tmp_path / "train.parquet"), read_documents(tmp_path / "heldout.parquet")
    texts = [document.text for document in train + heldout]
    assert heldout and near_clusters(texts, 0.7).tolist() == list(range(len(texts)))
    assert max(leaked(train, heldout)) <= 0.5


def test_selection_measures_each_level(source: Path, tmp_path: Path) -> None:
    build(tmp_path, source=str(source), heldout=0.2)
    levels = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))["selection"]
    assert [level["level"] for level in levels] == [
        "raw", "prose", "exact-deduplicated", "near-deduplicated", "selected",
    ]  # fmt: skip
    assert all(level["primed_bits_per_byte"] < level["alone_bits_per_byte"] for level in levels)
    assert levels[0]["primed_bits_per_byte"] < levels[-1]["primed_bits_per_byte"]
    shares = [level["heldout_bytes"] / (level["heldout_bytes"] + level["train_bytes"]) for level in levels]
    assert all(0.1 < share < 0.3 for share in shares)
    build(tmp_path / "off", source=str(source), measure_selection=False)
    assert json.loads((tmp_path / "off" / "card.json").read_text(encoding="utf-8"))["selection"] == []


def test_another_seed_is_another_split_of_the_same_documents(source: Path, tmp_path: Path) -> None:
    sides = []
    for seed in (1, 2):
        build(tmp_path / str(seed), seed=seed, source=str(source), measure_selection=False)
        sides.append({one.id for one in read_documents(tmp_path / str(seed) / "heldout.parquet")})
    assert sides[0] != sides[1]


def test_python_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(9)
    files = []
    for number in range(40):
        body = f'def f{number}(a, b=1):\n    """{sentence(chance)}\n\n    {sentence(chance)}\n    """\n'
        path = tmp_path / f"m{number}.py"
        path.write_text(body + ("def broken(:\n" if number == 3 else ""), encoding="utf-8")
        files.append(PythonFile(path, f"networkx/m{number}.py", "networkx"))
    monkeypatch.setattr(reading, "python_files", lambda packages, exclude_tests: files)
    metrics = build(tmp_path / "out", workers=2)
    card = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    assert card["source"] == "python" and card["labels"] == {"graphs": card["documents"]}
    assert metrics["described"] == card["documents"] and metrics["malformed"] == 1
    document = read_documents(tmp_path / "out" / "train.parquet")[0]
    assert document.signature is not None and document.signature.endswith("(a, b=1)")
    assert document.summary is not None and document.text.startswith(document.summary)


def test_identity_is_of_content_not_of_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "a.txt").write_text("The same text.", encoding="utf-8")
    one, two = (CorpusConfig(source=str(tmp_path / name)) for name in ("one", "two"))
    assert source_identity(one) == source_identity(two)
    (tmp_path / "two" / "sub" / "a.txt").write_text("Another text.", encoding="utf-8")
    assert source_identity(one) != source_identity(two)


def test_progress_and_warnings_are_told(source: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    build_corpus(CorpusConfig(source=str(source)), tmp_path, EventLog(listeners=(events.append,)), 1, 1)
    last = {event["what"]: (event["done"], event["total"]) for event in events if event["event"] == "progress"}
    assert {"read", "prose", "duplicates and leaks", "measure selection"} <= set(last)
    assert all(done == total for done, total in last.values())
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert any("rows.jsonl:8" in message for message in warnings)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": b""}, "the corpus is empty"),
        ({"a.txt": b"some words\0and more"}, "a.txt: is not text: it has NUL bytes"),
        ({"a.csv": b"body,n\nSome text here.,1\n"}, "no column 'text'; it has: body, n; name one in corpus.text_field"),
        ({"a.txt": b"One whole sentence stands in this file."}, "one document is left of 1; a corpus needs two"),
        ({"a.py": b"x = 1\n" * 9, "b.txt": b"One sentence."}, "1 of 2 documents .* source code.*corpus.prose=false"),
        ({"a.jsonl": b"{bad\n"}, "a.jsonl:1: not JSON"),
        ({"a.txt": b"x = 1; y = 2; z = 3; print(x)"}, "nothing is left of 1 documents"),
        ({}, "holds no file"),
    ],
)
def test_unusable_sources_are_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        build(tmp_path / "out", source=str(tmp_path / "in"))
    assert not (tmp_path / "out").exists()


def test_foreign_prose_is_kept_when_asked(tmp_path: Path) -> None:
    texts = [
        "Der alte Fluss trägt das kleine Boot langsam bis zum Meer hinunter, jeden Abend aufs Neue.",
        "Im Garten hinter dem Haus wachsen seit Jahren nur noch wilde Blumen und hohes Gras.",
    ]
    (tmp_path / "in").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "in" / f"{number}.txt").write_text(text, encoding="utf-8")
    build(tmp_path / "out", source=str(tmp_path / "in"), prose=False)
    found = [read_documents(tmp_path / "out" / f"{side}.parquet")[0].text for side in ("train", "heldout")]
    assert sorted(found) == sorted(texts)


def told(out: Path, source: Path, seed: int = 1, **settings: Any) -> tuple[dict[str, Any], list[str]]:
    """The card, and what was noted and warned of."""
    events: list[dict[str, Any]] = []
    config = CorpusConfig(source=str(source), measure_selection=False, **settings)
    build_corpus(config, out, EventLog(listeners=(events.append,)), seed, 1)
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    return card, [event["message"] for event in events if event["event"] in ("note", "warning")]


def test_encodings_and_what_is_skipped_are_told(source: Path, tmp_path: Path) -> None:
    card, messages = told(tmp_path, source)
    assert card["decoded"] == [{"file": "latin.txt", "how": "read as cp1252 (guessed)"}]
    assert any("latin.txt read as cp1252 (guessed)" in message for message in messages)
    assert any("skipped binary.txt: is not text" in message for message in messages)
    assert "latin.txt: read as cp1252" in (tmp_path / "card.md").read_text(encoding="utf-8")


def test_some_code_among_prose_is_removed_and_named(tmp_path: Path) -> None:
    chance = random.Random(3)
    (tmp_path / "in").mkdir()
    for number in range(9):
        text = " ".join(sentence(chance) for _ in range(3))
        (tmp_path / "in" / f"{number}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "in" / "a.py").write_text("print(1)\n", encoding="utf-8")
    card, messages = told(tmp_path / "out", tmp_path / "in")
    assert next(step for step in card["steps"] if step["name"] == "prose")["removed"] == {"source code": 1}
    assert any("1 of 10 documents" in message and "corpus.prose=false" in message for message in messages)


def test_code_is_a_corpus_without_prose(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        code = "\n".join(f"def f{number}_{k}(a):\n    return a + {number * 100 + k}\n" for k in range(20))
        (tmp_path / "in" / f"{number}.py").write_text(code, encoding="utf-8")
    card, _ = told(tmp_path / "out", tmp_path / "in", prose=False)
    assert card["kinds"] == {"code": 6} and card["heldout"]["documents"] == 1


def write_texts(folder: Path, texts: list[str]) -> Path:
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number:02}.txt").write_text(text, encoding="utf-8")
    return folder


def paragraph(chance: random.Random, sentences: int) -> str:
    return " ".join(sentence(chance) for _ in range(sentences))


@pytest.mark.parametrize("count", [2, 4])
def test_a_small_corpus_that_repeats_itself_holds_one_out_and_says_so(tmp_path: Path, count: int) -> None:
    chance = random.Random(4)
    shared = paragraph(chance, 4)
    folder = write_texts(tmp_path / "in", [f"{paragraph(chance, 8)}\n\n{shared}" for _ in range(count)])
    card, messages = told(tmp_path / "out", folder)
    assert (card["heldout"]["documents"], card["train"]["documents"]) == (1, count - 1)
    assert any("stands in training text too" in message for message in messages)
    assert any(f"1 of {count} documents held out" in message for message in messages)


def test_another_clean_document_is_held_out_before_a_leaking_one(tmp_path: Path) -> None:
    chance = random.Random(4)
    clean = "Nobody else wrote about glaciers melting quietly under a thousand winter moons, as he did."
    texts = []
    for _ in range(10):  # each text shares much with one other
        shared = paragraph(chance, 8)
        texts += [f"{paragraph(chance, 6)}\n\n{shared}", f"{shared}\n\n{paragraph(chance, 6)}"]
    texts[7] = clean  # so that the sixth shares with none either
    folder = write_texts(tmp_path / "in", texts)
    drawn_again = 0
    for seed in (1, 2, 3, 4):
        card, messages = told(tmp_path / str(seed), folder, seed=seed)
        held = read_documents(tmp_path / str(seed) / "heldout.parquet")
        assert {one.text for one in held} <= {clean, texts[6]} and held and card["documents"] == 20
        drawn_again += any("chosen first stand in training text" in one for one in messages)
    assert drawn_again >= 3


@pytest.mark.parametrize("drop", [True, False])
@pytest.mark.parametrize("count", [16, 60])
def test_a_footer_in_every_file_does_not_take_the_held_out_side(tmp_path: Path, count: int, drop: bool) -> None:
    chance = random.Random(6)
    footer = "Printed by the Example Press. All rights are reserved by its owner. Ask us for more of it today."
    own = (" ".join(str(chance.randrange(10**9)) for _ in range(40)) for _ in range(count))
    folder = write_texts(tmp_path / "in", [f"{text}\n\n{footer}" for text in own])
    card, messages = told(tmp_path / "out", folder, heldout=0.2, drop_banners=drop, prose=False)
    assert card["documents"] == count and 0.1 * count <= card["heldout"]["documents"] <= 0.35 * count
    texts = [one.text for side in ("train", "heldout") for one in read_documents(tmp_path / "out" / f"{side}.parquet")]
    assert sum(footer in text for text in texts) == (1 if drop else count)
    shared = [step["pieces"]["shared"]["count"] for step in card["steps"] if step["name"] == "shared paragraphs"]
    assert shared == ([count - 1] if drop else [])
    assert any("corpus.drop_banners=false" in message for message in messages) == drop


def test_equal_files_fail_here_and_say_why(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "in", ["The same sentence stands in every one of these files."] * 20)
    with pytest.raises(InputError, match=r"one document is left of 20.*Removed were 19 as exact duplicate"):
        build(tmp_path / "out", source=str(folder))


def test_where_everything_stands_in_other_texts_the_stage_fails_and_says_what_to_do(tmp_path: Path) -> None:
    chance = random.Random(2)
    parts = [paragraph(chance, 6) for _ in range(4)]
    texts = ["\n\n".join([parts[k % 4], parts[(k + 1) % 4]]) for k in range(4)]  # each half stands in another
    folder = write_texts(tmp_path / "in", texts)
    with pytest.raises(InputError, match=r"no document can be held out: at least .* stands in others too") as error:
        told(tmp_path / "out", folder)
    assert error.value.hint and "corpus.max_overlap" in error.value.hint
    card, _ = told(tmp_path / "all", folder, max_overlap=1.0)
    assert (card["train"]["documents"], card["heldout"]["documents"]) == (3, 1)


def test_only_the_split_depends_on_the_seed(source: Path, tmp_path: Path) -> None:
    (first, _), (second, _) = (told(tmp_path / str(seed), source, seed, max_overlap=1.0) for seed in (1, 2))
    assert first["steps"] == second["steps"]
    sides = [
        [{one.id for one in read_documents(tmp_path / seed / f"{side}.parquet")} for side in ("train", "heldout")]
        for seed in ("1", "2")
    ]
    assert sides[0][0] | sides[0][1] == sides[1][0] | sides[1][1] and sides[0][1] != sides[1][1]


def test_min_words_and_the_held_out_share_are_those_given(source: Path, tmp_path: Path) -> None:
    for prose in (True, False):
        for words in (5, 30):
            out = tmp_path / f"{prose}{words}"
            told(out, source, prose=prose, min_words=words, max_overlap=1.0)
            sides = [read_documents(out / f"{side}.parquet") for side in ("train", "heldout")]
            lengths = [len(one.text.split()) for side in sides for one in side]
            assert words <= min(lengths) < words + 15
    held = [
        told(tmp_path / str(share), source, heldout=share, max_overlap=1.0)[0]["heldout"]["documents"]
        for share in (0.02, 0.3)
    ]
    assert held[0] < 25 and 80 < held[1] < 160  # of about 420


def test_the_limit_takes_by_id_not_by_place(source: Path, tmp_path: Path) -> None:
    settings = {"max_overlap": 1.0, "near_duplicate_threshold": 1.0, "prose": False}
    told(tmp_path / "all", source, **settings)
    told(tmp_path / "some", source, max_documents=100, **settings)
    whole, some = (
        sorted(one.id for side in ("train", "heldout") for one in read_documents(tmp_path / name / f"{side}.parquet"))
        for name in ("all", "some")
    )
    assert 80 < len(some) <= 100
    assert max(some) < whole[120]  # the smallest ids (hashes), of about 430


def test_lines_are_documents_or_pieces_of_one_and_that_is_said(tmp_path: Path) -> None:
    chance = random.Random(8)
    lines = [sentence(chance) for _ in range(600)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    card, messages = told(tmp_path / "lines", tmp_path / "a.txt", max_overlap=0.9)
    assert card["boundaries"] == {"line": {"files": 1, "documents": 600, "pieces": 600}}
    assert card["heldout"]["documents"] >= 1 and card["steps"][0]["documents_out"] == 600
    assert any(message.startswith("a.txt: each line is a document (guessed; 600") for message in messages)
    assert "600 documents in 600 pieces" in (tmp_path / "lines" / "card.md").read_text(encoding="utf-8")
    card, messages = told(tmp_path / "runs", tmp_path / "a.txt", max_overlap=0.9, boundary="file")
    assert card["documents"] > 10 and card["heldout"]["documents"] >= 1
    assert any("each file is one document (1 in total, split into" in message for message in messages)
    text = read_documents(tmp_path / "runs" / "train.parquet")[0].text
    assert set(text.split("\n")) <= set(lines)
    assert any("held-out text is the end of 'a'" in message for message in messages)


@pytest.mark.parametrize(
    "settings",
    [
        {"heldout": 0}, {"heldout": 1}, {"min_words": 0}, {"near_duplicate_threshold": 0}, {"source": " "},
        {"source": "hf:"}, {"packages": "all"}, {"text_field": ""}, {"max_documents": -1}, {"sourc": "python"},
        {"boundary": "page"}, {"boundary": "line", "marker": "%"},
        {"max_characters": -1}, {"skip_rules": ["unfinishd"]},
    ],
)  # fmt: skip
def test_wrong_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CorpusConfig.parse(settings)


def test_missing_path_is_a_wrong_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file or folder"):
        build(tmp_path / "out", source=str(tmp_path / "none"))


def rows_file(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def test_each_rule_that_takes_much_is_said_with_its_share_an_example_and_its_key(tmp_path: Path) -> None:
    chance = random.Random(1)
    texts = [f"{paragraph(chance, 3)}\n\nHeavy is the head of number {number}" for number in range(40)]
    _, messages = told(tmp_path / "out", rows_file(tmp_path / "a.jsonl", texts), max_overlap=1.0)
    (said,) = [one for one in messages if "'unfinished'" in one]
    assert "removed 13% of the text, for example 'Heavy is the head of number " in said
    assert "corpus.skip_rules=[unfinished] keeps such text, corpus.prose=false keeps all text as it is" in said
    card, messages = told(
        tmp_path / "kept", rows_file(tmp_path / "a.jsonl", texts), max_overlap=1.0, skip_rules=["unfinished"]
    )
    assert not any("'unfinished'" in one for one in messages)
    assert card["bytes"] == card["steps"][0]["bytes_in"]


def test_documents_that_a_step_takes_in_numbers_are_said(tmp_path: Path) -> None:
    chance = random.Random(1)
    texts = [paragraph(chance, 4) for _ in range(30)]
    _, messages = told(
        tmp_path / "out", rows_file(tmp_path / "a.jsonl", [*texts, *texts, *["Deprecated."] * 20]), max_overlap=1.0
    )
    assert any("30 of 60 documents (50%) were removed as 'exact duplicate'" in one for one in messages)
    assert any("20 of 80 documents (25%)" in one and "corpus.skip_rules=[short] keeps" in one for one in messages)
    _, messages = told(tmp_path / "few", tmp_path / "a.jsonl", max_overlap=1.0, prose=False)
    assert any("20 of 80 documents (25%)" in one and "corpus.min_words sets the limit" in one for one in messages)


def test_total_loss_is_one_error_with_rule_share_example_and_key(tmp_path: Path) -> None:
    rows_file(tmp_path / "a.jsonl", [f"heavy is the head of number {number}" for number in range(20)])
    with pytest.raises(InputError) as error:
        build(tmp_path / "out", source=str(tmp_path / "a.jsonl"))
    assert "100% as 'unfinished' (lines that do not end as a sentence ends), for example 'heavy" in str(error.value)
    assert error.value.hint == "corpus.skip_rules=[unfinished] or corpus.prose=false keeps them"


def test_a_corpus_that_is_half_japanese_loses_neither_half(tmp_path: Path) -> None:
    chance = random.Random(1)
    letters = "".join(map(chr, (*range(0x3041, 0x3094), *range(0x6700, 0x6800))))
    japanese = ["".join(chance.choice(letters) for _ in range(60)) + "。" for _ in range(40)]
    texts = [*japanese, *(paragraph(chance, 3) for _ in range(40))]
    card, messages = told(tmp_path / "out", rows_file(tmp_path / "a.jsonl", texts), max_overlap=1.0)
    assert card["documents"] == 80
    kept = {one.text for side in ("train", "heldout") for one in read_documents(tmp_path / "out" / f"{side}.parquet")}
    assert set(japanese) <= kept
    assert any(re.match(r"40 of 80 documents \(4\d\.\d% of the text\) are not in English", one) for one in messages)
    card, _ = told(tmp_path / "off", rows_file(tmp_path / "a.jsonl", japanese), prose=False)
    assert card["documents"] == 40


def test_the_pieces_of_a_book_lie_on_one_side_and_are_as_long_as_is_set(tmp_path: Path) -> None:
    chance = random.Random(1)
    folder = write_texts(tmp_path / "in", ["\n\n".join(paragraph(chance, 4) for _ in range(60)) for _ in range(12)])
    for length, least in ((2000, 60), (5000, 24)):
        out = tmp_path / str(length)
        card, messages = told(out, folder, max_overlap=1.0, max_characters=length)
        sides = [read_documents(out / f"{side}.parquet") for side in ("train", "heldout")]
        assert {one.source for one in sides[0]}.isdisjoint({one.source for one in sides[1]})
        assert card["documents"] >= least and all(len(one.text) <= length for side in sides for one in side)
        assert any(f"pieces of about {length:,} characters; corpus.max_characters sets it" in one for one in messages)
    card, _ = told(tmp_path / "whole", folder, max_overlap=1.0, max_characters=0)
    assert card["documents"] == 12


def test_markers_and_licences_are_not_in_the_text(tmp_path: Path) -> None:
    chance = random.Random(1)
    stories = "\n<|endoftext|>\n".join(paragraph(chance, 5) for _ in range(30))
    book = f"The Project Gutenberg EBook\n\n*** START OF THIS PROJECT GUTENBERG EBOOK A ***\n{stories}"
    (tmp_path / "a.txt").write_text(
        f"{book}\n*** END OF THIS PROJECT GUTENBERG EBOOK A ***\nLicence.", encoding="utf-8"
    )
    card, messages = told(tmp_path / "out", tmp_path / "a.txt", max_overlap=1.0)
    assert card["documents"] == 30 and card["boundaries"]["marker"]["documents"] == 30
    texts = [one.text for side in ("train", "heldout") for one in read_documents(tmp_path / "out" / f"{side}.parquet")]
    assert not any("<" in text or "Gutenberg" in text.title() for text in texts)
    assert card["skipped"]["characters of Project Gutenberg headers and licences"] > 100
    assert any("characters of Project Gutenberg" in one for one in messages)


def test_the_report_says_where_documents_end(tmp_path: Path) -> None:
    chance = random.Random(8)
    (tmp_path / "a.txt").write_text("\n".join(sentence(chance) for _ in range(60)), encoding="utf-8")
    told(tmp_path / "out", tmp_path / "a.txt", max_overlap=1.0)
    assert "1 text file: each line is a document (60, in 60 pieces)." in json.dumps(
        section(View("corpus", directory=tmp_path / "out"))
    )


def test_paragraphs_and_lines_stay_once_if_that_is_asked_for(tmp_path: Path) -> None:
    chance = random.Random(3)
    shared = [sentence(chance) for _ in range(3)]
    texts = [f"{paragraph(chance, 3)}\n\n{shared[number % 3]}\n{sentence(chance)}\n\nYes." for number in range(9)]
    source = rows_file(tmp_path / "a.jsonl", [*texts, f"{shared[0]}\n{shared[1]}"])
    for pieces, kept in (("lines", [1, 1, 1]), ("paragraphs", [4, 4, 3]), ("keep", [4, 4, 3])):
        out = tmp_path / pieces
        told(out, source, max_overlap=1.0, prose=False, drop_banners=False, duplicate_pieces=pieces)
        found = "\n".join(one.text for s in ("train", "heldout") for one in read_documents(out / f"{s}.parquet"))
        assert [found.count(one) for one in shared] == kept
        assert found.count("Yes.") == 9  # too short to count
    steps = json.loads((tmp_path / "lines" / "card.json").read_text(encoding="utf-8"))["steps"]
    step = next(step for step in steps if step["name"] == "duplicate lines")
    assert step["removed"] == {"only duplicate lines": 1} and step["pieces"]["copied"]["count"] == 8


def test_a_corpus_of_several_parts_is_the_same_as_of_one(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    settings = {"pii": "redact", "rules": ["c4"], "duplicate_pieces": "lines", "measure_selection": False}
    build(tmp_path / "one", source=str(source), **settings)
    monkeypatch.setattr("tutelage.corpus.shelf._PART_CHARACTERS", 20_000)
    monkeypatch.setattr("tutelage.corpus.shelf._BATCH_CHARACTERS", 5000)
    for workers in (1, 2):
        build(tmp_path / str(workers), workers=workers, source=str(source), **settings)
        for name in FILES:
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / str(workers) / name).read_bytes(), name


def test_wrong_banding_is_named(tmp_path: Path) -> None:
    for bands, rows in ((14, 0), (0, 8), (128, 128)):
        with pytest.raises(ConfigError, match=r"near_duplicate_bands|hashes a document"):
            CorpusConfig.parse({"near_duplicate_bands": bands, "near_duplicate_rows": rows})
