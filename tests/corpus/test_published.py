"""Published rules decide as datatrove does: by frozen decisions, and live where datatrove is."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import read_documents
from tutelage.corpus.published.batch import (
    ALPHA,
    PUNCTUATION,
    SENTENCE_END,
    STOP_WORDS,
    STOPS,
    SYMBOL,
    Cutter,
    Splitting,
    features_of,
    repeated,
    sentences_of,
    several,
)  # fmt: skip
from tutelage.corpus.published.chain import FINEWEB, Judged, judge
from tutelage.corpus.published.english import by_all_rules, fineweb_words
from tutelage.corpus.published.grams import Grams, commonest, repeated_over
from tutelage.corpus.stage import build_corpus
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog

# Decisions of datatrove 0.10.1 and words of spaCy 3.8 (blank English), texts from books in the public domain.
GOLDEN = json.loads(Path(__file__).with_name("fineweb_golden.json").read_text(encoding="utf-8"))
OURS = {
    "dup_para_frac": "gopher: repeated paragraphs",
    "dup_para_char_frac": "gopher: characters of repeated paragraphs",
    "dup_line_frac": "gopher: repeated lines",
    "dup_line_char_frac": "gopher: characters of repeated lines",
    **{f"top_{n}_gram": f"gopher: commonest {n}-gram" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"gopher: repeated {n}-grams" for n in range(5, 11)},
    "gopher_short_doc": "gopher: too few words",
    "gopher_long_doc": "gopher: too many words",
    "gopher_below_avg_threshold": "gopher: short words",
    "gopher_above_avg_threshold": "gopher: long words",
    "gopher_too_many_hashes": "gopher: hashes",
    "gopher_too_many_ellipsis": "gopher: ellipses",
    "gopher_too_many_bullets": "gopher: bullets",
    "gopher_too_many_end_ellipsis": "gopher: lines end in ellipses",
    "gopher_below_alpha_threshold": "gopher: few letters",
    "gopher_enough_stop_words": "gopher: few stop words",
    "lorem_ipsum": "c4: lorem ipsum",
    "curly_bracket": "c4: curly bracket",
    "too_few_sentences": "c4: too few sentences",
    "line_punct_ratio": "fineweb: lines end in no mark",
    "short_line_ratio": "fineweb: short lines",
    "char_dup_ratio": "fineweb: repeated lines",
    "list_ratio": "fineweb: lists",
}


def judged(texts: list[str], sets: tuple[str, ...] = FINEWEB, splitting: Splitting = "fineweb") -> Judged:
    return judge(pa.array(texts, pa.string()), sets, Cutter(splitting))


def reasons(texts: list[str], sets: tuple[str, ...] = FINEWEB, splitting: Splitting = "fineweb") -> list[str | None]:
    found = judged(texts, sets, splitting)
    return [found.rules[rule] if rule >= 0 else None for rule in found.broken.tolist()]


def test_each_frozen_decision_is_ours_with_its_reason_and_the_text_that_is_left() -> None:
    rows = GOLDEN["texts"]
    found = judged([row["text"] for row in rows])
    for row, rule, left in zip(rows, found.broken.tolist(), found.texts.to_pylist(), strict=True):
        assert (found.rules[rule] if rule >= 0 else None) == OURS.get(row["removed"]), row["name"]
        if row["removed"] is None:
            assert left == (row["left"] or row["text"]), row["name"]
    assert len({row["removed"] for row in rows}) > 18  # most rules have their say


def test_each_text_is_judged_by_itself() -> None:
    texts = [row["text"] for row in GOLDEN["texts"]]
    assert reasons(texts) == [reasons([text])[0] for text in texts]


def test_words_are_those_of_spacy() -> None:
    assert {chunk: fineweb_words(chunk) for chunk in GOLDEN["words"]} == GOLDEN["words"]


@pytest.mark.parametrize("splitting", ["fineweb", "paper"])
def test_words_never_lose_or_add_a_character(splitting: Splitting) -> None:
    chance = random.Random(1)
    for _ in range(3000):
        chunk = "".join(chance.choice("aZé.,'’\"(-)$5€…:/_日n't") for _ in range(chance.randint(1, 9)))
        assert "".join(fineweb_words(chunk)) == chunk


def test_the_short_way_to_words_gives_what_all_rules_give() -> None:
    chance = random.Random(2)
    parts = [*GOLDEN["words"], "..", "…", "'s", "’s", "US$", "5km", "m/s", "a.m.", "Mt.", "can", "n't", ":)", "x=y"]
    parts += list("aZ1.,'\"(){}[]_-+%$/:=<>#*é日’“—")
    for chunk in ("".join(chance.choices(parts, k=chance.randint(1, 7))) for _ in range(20_000)):
        assert fineweb_words(chunk) == by_all_rules(chunk), chunk


PROSE = next(row["text"] for row in GOLDEN["texts"] if row["removed"] is None and "\n" not in row["text"])


def test_the_paper_counts_what_stands_between_spaces() -> None:
    text = " ".join(f"{word} ( , ) - '" for word in PROSE.split()[:60])
    assert reasons([text], ("gopher_quality",)) == ["gopher: few letters"]
    assert Cutter("paper").batch(pa.array(["don't (stop), now."])).words.lengths.tolist() == [3]
    assert Cutter("fineweb").batch(pa.array(["don't (stop), now."])).words.lengths.tolist() == [8]


@pytest.mark.parametrize("one", STOPS)
def test_each_stop_word_counts(one: str) -> None:
    plain = "Birds sing loudly near old stone houses. " * 12
    other = "the" if one != "the" else "be"
    assert reasons([plain + one], ("gopher_quality",)) == ["gopher: few stop words"]
    assert reasons([f"{plain} {one} {one}"], ("gopher_quality",)) == ["gopher: few stop words"]
    assert reasons([f"{plain} {one} {other}"], ("gopher_quality",)) == [None]


def test_a_word_is_described_by_its_characters() -> None:
    words = ["of", "ofé", "été", "a1", "12", "—", ".", "。", "(", "¿", "日本", "₂", "with", "With", "x" * 40]
    found = features_of(pa.array(words)).tolist()
    assert [one & 0xFFFFFF for one in found] == [len(word) for word in words]
    assert [word for word, one in zip(words, found, strict=True) if one & ALPHA] == [
        "of", "ofé", "été", "a1", "日本", "with", "With", "x" * 40
    ]  # fmt: skip
    assert [word for word, one in zip(words, found, strict=True) if one & SYMBOL] == ["—", ".", "。", "("]
    assert [word for word, one in zip(words, found, strict=True) if one & SENTENCE_END] == [".", "。"]
    assert [word for word, one in zip(words, found, strict=True) if one & PUNCTUATION] == ["—", "(", "¿"]
    assert [one >> STOP_WORDS for one in found] == [8, *[0] * 11, 128, 0, 0]


def test_with_the_paper_lines_of_c4_must_end_in_a_mark() -> None:
    lines = [f"{sentence}." for sentence in PROSE.split(". ")[:8]]
    text = "\n".join([*lines, "A heading without a mark at its end", "And so it goes on and on ..."])
    assert judged([text], ("c4",)).texts.to_pylist() == [text]
    assert judged([text], ("c4_lines",)).texts.to_pylist() == ["\n".join(lines)]


def test_refinedweb_takes_navigation_counters_and_shouting_and_pages_that_are_full_of_them() -> None:
    prose = [f"{sentence}." for sentence in (PROSE + " " + PROSE).split(". ") if len(sentence.split()) > 6]
    noise = ["SUBSCRIBE NOW AND SAVE", "12 likes", "1.5k views", "2024", "Home", "Sign in to comment", "Items in cart"]
    long = "\n".join([*prose, *noise[:2], *prose])
    assert judged([long], ("refinedweb",)).texts.to_pylist() == ["\n".join([*prose, *prose])]
    spaced = judged([long.replace("\n", "\n\n")], ("refinedweb",))  # empty lines are none that can be taken
    assert spaced.lines == 2 and spaced.characters == sum(map(len, noise[:2])) + 2
    assert reasons(["\n".join([*prose[:3], *noise])], ("refinedweb",)) == ["refinedweb: lines cleaned away"]


def test_sentences_are_counted_by_line() -> None:
    lines = ["One. Two! Three?", "No end", "", 'Mr. Smith came. "He left." said', "... and so (on).", "Wait!!! Now."]
    counts = sentences_of(Cutter().batch(pa.array(["\n".join(lines)])).words)
    assert counts.tolist() == [3, 1, 0, 3, 1, 2]


def test_repeated_things_are_found_within_their_text() -> None:
    keys = np.array([5, 6, 5, 5, 7, 6], np.uint64) << np.uint64(40)
    owners = np.array([0, 0, 0, 1, 1, 1])
    assert repeated(keys, owners).tolist() == [False, False, True, False, False, False]
    places, begins = several(keys, owners)
    assert [sorted(group.tolist()) for group in np.split(places, begins[1:])] == [[0, 2]]
    assert [found.tolist() for found in several(keys[:2], owners[:2])] == [[], []]


def repeated_in(words: list[str], size: int) -> float:
    """The share of characters in n-grams that were met before, one after the other."""
    seen: set[tuple[str, ...]] = set()
    taken = place = 0
    while place + size <= len(words):
        gram = tuple(words[place : place + size])
        if gram in seen:
            taken += sum(map(len, gram))
            place += size
        else:
            seen.add(gram)
            place += 1
    return taken / max(1, len(" ".join(words)))


def commonest_in(words: list[str], size: int) -> float:
    counts = Counter(tuple(words[place : place + size]) for place in range(len(words) - size + 1))
    return max(((len(" ".join(gram)) * count) for gram, count in counts.most_common(1)), default=0) / len(
        " ".join(words)
    )


def test_n_grams_are_counted_as_if_one_looked_at_each_text_alone() -> None:
    chance = random.Random(3)
    texts = [[chance.choice(["a", "bb", "ccc", "dd"]) for _ in range(chance.randint(1, 60))] for _ in range(300)]
    texts += [[f"{number}x" for number in range(chance.randint(1, 30))] * chance.randint(1, 3) for _ in range(100)]
    batch = Cutter("paper").batch(pa.array([" ".join(words) for words in texts]))
    grams = Grams(batch.words.hashes, batch.owners, batch.word_chars, batch.chars)
    for size in (2, 3):
        assert (commonest(grams, size) / batch.chars).tolist() == [commonest_in(words, size) for words in texts]
    some = np.arange(len(texts)) % 3 > 0
    grams = grams.only(some)
    for size, most in ((5, 0.15), (6, 0.3), (9, 0.1)):
        taken, bound = repeated_over(grams, size, most)
        shares = np.array([repeated_in(words, size) for words in texts]) * some
        assert taken.tolist() == (shares > most).tolist()
        assert 20 < taken.sum() < 200 and (bound >= shares).all()


def test_a_batch_of_which_nothing_is_left_is_judged_too() -> None:
    assert reasons(["\n".join(["The same line."] * 20)] * 2) == ["gopher: repeated lines"] * 2
    assert reasons([]) == []


def corpus(tmp_path: Path, texts: list[str], **settings: Any) -> tuple[dict[str, Any], list[str], list[str]]:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    events: list[dict[str, Any]] = []
    config = CorpusConfig.parse(
        {"source": str(source), "prose": False, "max_overlap": 1.0, "measure_selection": False, **settings}
    )
    build_corpus(config, tmp_path / "out", EventLog(listeners=(events.append,)), 1, 1)
    card = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    kept = [one.text for s in ("train", "heldout") for one in read_documents(tmp_path / "out" / f"{s}.parquet")]
    return card, kept, [event["message"] for event in events if event["event"] == "note"]


def test_the_step_counts_each_rule_and_leaves_other_languages_alone(tmp_path: Path) -> None:
    texts = list(dict.fromkeys(row["text"] for row in GOLDEN["texts"]))
    card, kept, notes = corpus(tmp_path, texts, rules=list(FINEWEB), near_duplicate_threshold=1.0, drop_banners=False)
    step = next(step for step in card["steps"] if step["name"] == "rules")
    assert step["documents_in"] - sum(step["removed"].values()) == step["documents_out"]
    assert {"gopher: hashes", "c4: lorem ipsum", "fineweb: repeated lines"} <= set(step["removed"])
    assert step["pieces"]["c4 and refinedweb: lines"]["count"] >= 2
    assert not any("JavaScript" in text for text in kept)
    for language in ("German", "Japanese"):
        assert next(row["text"] for row in GOLDEN["texts"] if row["name"] == language) in kept
    assert any("not in English: they stay as they are" in note for note in notes)


def test_lines_are_counted_in_the_documents_that_the_rules_are_for(tmp_path: Path) -> None:
    german = "Der Fluss war die ganze Woche hoch, und der Müller sah vom Fenster aus auf das Wasser.\nAlles steht hier."
    english = [f"{PROSE.replace('.', f' {number}.')}\nMENU" for number in range(2)]
    texts = [*english, f"{german}\nHOME\nMENU", f"{german} Ja.\nHOME"]
    card, kept, _ = corpus(tmp_path, texts, rules=["refinedweb"], near_duplicate_threshold=1.0, drop_banners=False)
    step = next(step for step in card["steps"] if step["name"] == "rules")
    assert step["pieces"]["c4 and refinedweb: lines"]["count"] == 2
    assert sorted(kept) == sorted([*(text.removesuffix("\nMENU") for text in english), *texts[2:]])


def test_an_unknown_rule_is_named_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="gopher"):
        CorpusConfig.parse({"rules": ["gofer"]})


@pytest.mark.slow
@pytest.mark.parity
def test_datatrove_decides_the_same_of_the_documentation_of_python() -> None:
    filters = pytest.importorskip("datatrove.pipeline.filters")
    data = pytest.importorskip("datatrove.data")
    pytest.importorskip("spacy")
    import sys

    texts = [
        module.__doc__ for module in list(sys.modules.values()) if len(getattr(module, "__doc__", None) or "") > 200
    ]
    chain = [
        filters.GopherRepetitionFilter(), filters.GopherQualityFilter(),
        filters.C4QualityFilter(filter_no_terminal_punct=False), filters.FineWebQualityFilter(),
    ]  # fmt: skip
    theirs = [
        all(one.filter(document) is True for one in chain)
        for document in (data.Document(t, str(n)) for n, t in enumerate(texts))
    ]
    ours = [reason is None for reason in reasons(texts)]
    assert np.mean([a == b for a, b in zip(ours, theirs, strict=True)]) >= 0.999
