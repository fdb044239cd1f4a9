"""Coherence measures: against a library and closed forms, and texts that are bad in known ways."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tutelage.evaluation.quality.divergence import between, closeness, closeness_of, ngram_features
from tutelage.evaluation.quality.measures import block_size, blocks, distinct, entropy, self_bleu
from tutelage.evaluation.quality.report import REFERENCES, coherence
from tutelage.evaluation.quality.strategies import STANDARD, cut_alike, read_openings, sampling_of, way_of
from tutelage.evaluation.quality.surprise import surprises
from tutelage.inference.search import Beam, Contrastive
from tutelage.store.errors import ConfigError, InputError


def sentences(seed: int, n: int) -> list[str]:
    """Sentences with an order to learn: who does what to what, three times."""
    generator = np.random.default_rng(seed)
    who = ["the cat", "a dog", "my friend", "the old man", "one bird", "her sister"]
    does = ["sees", "likes", "follows", "finds", "never trusts", "calls"]
    what = ["a red ball", "the small house", "an open door", "the long road", "some cold water", "a new hat"]

    def one() -> str:
        return " ".join(str(generator.choice(part)) for part in (who, does, what))

    return [f"{one()} and {one()} while {one()} again" for _ in range(n)]


def test_self_bleu_is_sacrebleus_with_the_others_as_references() -> None:
    from sacrebleu.metrics.bleu import BLEU

    texts = [*sentences(0, 8), "the cat sees", "the cat"]
    theirs = BLEU(tokenize="none", lowercase=False, effective_order=False, smooth_method="exp")
    ours = self_bleu(texts, group=10)
    for at, text in enumerate(texts[:8]):
        others = texts[:at] + texts[at + 1 :]
        assert ours[at] == pytest.approx(theirs.sentence_score(text, others).score)
    assert self_bleu(["one two three four five"] * 4) == pytest.approx([100.0] * 4)
    assert self_bleu(["just one"]) == []
    assert len(self_bleu(sentences(0, 50))) == 50


def test_blocks_hold_the_same_number_of_words() -> None:
    cut = blocks(["a b c", "d e", "f g h i"], 4)
    assert cut == [[["a", "b", "c"], ["d"]], [["e"], ["f", "g", "h"]]]
    assert block_size([["a b c", "d e f g h i j"], ["x " * 5000]]) == 2
    assert block_size([["x " * 5000]]) == 1000
    assert distinct([["a", "b", "a", "b"], ["a", "b"]]) == 2 / 4  # ab ba ab | ab
    assert distinct([["a"]]) == 0.0
    assert entropy([["a", "b"], ["c", "d"]]) == 2.0
    assert entropy([["a", "a"]]) == 0.0


def test_variety_does_not_depend_on_how_much_was_written() -> None:
    figures, _ = coherence({"much": sentences(1, 400), "little": sentences(2, 100)})
    for figure in figures[:2]:
        much, little = figure["rows"]
        assert much["value"] == pytest.approx(little["value"], rel=0.05)
        assert much["low"] < much["value"] < much["high"]


def test_closeness_of_histograms() -> None:
    same = np.array([500.0, 300.0, 200.0])
    assert closeness(same, same) == pytest.approx(1.0)
    apart = closeness(np.array([1e6, 0.0]), np.array([0.0, 1e6]))
    # Disjoint: the curve x = s^5, y = (1 - s)^5, whose area is 5 B(5, 6) = 1/252.
    assert apart == pytest.approx(1 / 252, rel=0.02)
    assert apart < closeness(np.array([800.0, 200.0]), np.array([200.0, 800.0])) < 0.9
    p, q = np.array([70.0, 20.0, 10.0]), np.array([10.0, 30.0, 60.0])
    assert closeness(p, q) == pytest.approx(closeness(q, p), abs=1e-3)


def test_texts_of_one_kind_are_closer_than_of_two() -> None:
    mine, alike, other = sentences(0, 100), sentences(1, 100), ["Return the number of rows."] * 50 + ["x y z"] * 50
    a, b, c = ngram_features([mine, alike, other])
    assert closeness_of(a, b) > 0.8
    assert closeness_of(a, c) < 0.1
    assert between(a, None, 50) > 0.6 > 0.1 > between(a, c, 50)
    assert between(a, b, 50) == pytest.approx(between(a, None, 50), abs=0.15)
    assert closeness_of(a, b) == closeness_of(a, b)


def test_bad_texts_are_seen_to_be_bad() -> None:
    people, good = sentences(0, 120), sentences(1, 60)
    assert "closeness" not in {one["measure"] for one in coherence({"few": good[:40]}, people)[0]}
    generator = np.random.default_rng(0)
    salad = [" ".join(generator.permutation(text.split())) for text in good]
    loops = ["the cat sees the cat sees " * 5 for _ in good]
    figures, comparisons = coherence({"good": good, "salad": salad, "loops": loops}, people)
    value = {(f["measure"], row["who"]): row["value"] for f in figures for row in f["rows"]}
    assert value["loops", "loops"] == 1.0
    assert value["loops", "good"] == value["loops", REFERENCES] == 0.0
    assert value["repetition", "loops"] > 0.5 > value["repetition", "good"]
    assert value["self-BLEU", "loops"] == pytest.approx(100.0)
    assert value["distinct-2", "salad"] > value["distinct-2", "good"] > value["distinct-2", "loops"]
    assert value["surprise", "salad"] > value["surprise", "good"] + 0.5
    assert value["surprise", "good"] == pytest.approx(value["surprise", REFERENCES], abs=0.3)
    assert value["closeness", "loops"] < 0.3 < value["closeness", "good"]
    assert all(figure["cautions"] for figure in figures)
    found = {(one["a"], one["b"], one["measure"]): one["outcome"] for one in comparisons}
    assert found["loops", "good", "loops"] == "worse"
    assert found["salad", "good", "loops"] == "not resolved"


def test_surprise_is_in_bits_for_each_word() -> None:
    bits, words = surprises(["a b c d"] * 20, [["a b c d", "", "d d"]])[0]
    assert words == [4, 2]
    assert bits[0] / 4 < 0.3 < bits[1] / 2


def test_nothing_is_measured_of_nothing() -> None:
    with pytest.raises(InputError, match="empty: at least two texts"):
        coherence({"empty": ["", " "]})
    with pytest.raises(InputError, match="one: at least two texts"):
        coherence({"one": ["a text"]})


def test_ways_to_decode_are_read() -> None:
    assert sampling_of("greedy", 8, 0).temperature == 0.0
    found = sampling_of("top_p=0.9+temperature=0.8", 8, 3)
    assert (found.top_p, found.temperature, found.max_tokens, found.seed) == (0.9, 0.8, 8, 3)
    assert sampling_of("top_k=40", 8, 0).temperature == 1.0
    assert sampling_of("repetition_penalty=1.2", 8, 0).temperature == 0.0
    assert len({sampling_of(one, 8, 0) for one in STANDARD}) == len(STANDARD)
    for wrong in ("beam=4", "top_p", "top_p=high"):
        with pytest.raises(ConfigError, match=r"not a sampling strategy|unknown decoding strategy"):
            sampling_of(wrong, 8, 0)
    assert way_of("beam=4", 8, 0) == Beam(4, 8) and way_of("contrastive=0.5", 8, 0) == Contrastive(4, 0.5, 8)
    assert way_of("top_k=40", 8, 0) == sampling_of("top_k=40", 8, 0)
    with pytest.raises(ConfigError, match="are searches"):
        way_of("beam=4+top_k=2", 8, 0)


def test_openings_and_references(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    text = " ".join(f"w{at}" for at in range(20))
    path.write_text("".join(json.dumps(row) + "\n" for row in [
        {"prompt": "Why?", "response": "Because."}, {"text": text}, {"text": "too short"}, {"prompt": "No answer"},
    ]))  # fmt: skip
    prompts, references = read_openings(path, 10)
    assert prompts == ["Why?", " ".join(f"w{at}" for at in range(12)), "No answer"]
    assert references == ["Because.", " ".join(f"w{at}" for at in range(12, 20)), ""]
    assert len(read_openings(path, 2)[0]) == 2
    path.write_text('{"text": "short"}\n')
    with pytest.raises(InputError, match="contains no prompts"):
        read_openings(path, 10)
    assert cut_alike(["four", "sixsix"], ["abcdefgh", "ab"]) == ["abcde", "ab"]
