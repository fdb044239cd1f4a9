"""Duplicates: recall, precision and determinism on synthetic copies."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.dedup import exact_keys, first_of_each, near_clusters, near_duplicates
from tutelage.corpus.document import Document
from tutelage.corpus.minhash import Banding, banding, minhash, recall_curve, shared_bands
from tutelage.corpus.near import near_duplicates_of, preferred
from tutelage.corpus.scripts import units_of
from tutelage.corpus.shelf import Shelf
from tutelage.corpus.split import leaked, split
from tutelage.corpus.words import Splitter, grams, text_batches
from tutelage.corpus.workshop import Workshop
from tutelage.store.events import EventLog

WORDS = [f"word{number}" for number in range(3000)]


def make_text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(words)) + "."


def edit(text: str, chance: random.Random, share: float) -> str:
    return " ".join(chance.choice(WORDS) if chance.random() < share else word for word in text.split())


def documents(texts: list[str]) -> list[Document]:
    return [Document(f"{number:016x}", text, "s", f"n{number}") for number, text in enumerate(texts)]


def test_exact_duplicates_are_equal_but_for_white_space() -> None:
    texts = ["One, two.", "One,\n two. ", "One two", "one, two.", "two. One,", "One,  two."]
    assert first_of_each(exact_keys(texts)).tolist() == [0, 0, 2, 3, 4, 0]


OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "&", "|", "^"]


@pytest.mark.parametrize(
    "texts",
    [
        [f"def combine(left, right):\n    return left {sign} right" for sign in OPERATORS],
        [f"I bought this telephone last week and this is how I feel about it now {face}" for face in "😀😡😢👍👎🎉"],
        ["वह कल घर की ओर गया था", "वह कल घर के ओर गया था", "वह कल घर को ओर गया था", "वह कल घर का ओर गया था"],
    ],
)
def test_an_operator_an_emoji_a_vowel_sign_makes_another_document(texts: list[str]) -> None:
    own = list(range(len(texts)))
    assert first_of_each(exact_keys(texts)).tolist() == near_clusters(texts, 0.7).tolist() == own


def unspaced(chance: random.Random, letters: str, count: int) -> str:
    return "".join(chance.choice(letters) for _ in range(count))


@pytest.mark.parametrize(
    "letters",
    [
        "".join(map(chr, range(0x4E00, 0x4E00 + 900))),
        "".join(map(chr, (*range(0x3041, 0x3094), *range(0x6700, 0x6800)))),
        "".join(map(chr, range(0x0E01, 0x0E2F))) + "\u0e34\u0e48\u0e30",
    ],
    ids=["Chinese", "Japanese", "Thai"],
)
def test_scripts_without_spaces_keep_their_documents_and_find_near_ones(letters: str) -> None:
    chance = random.Random(5)
    originals = [unspaced(chance, letters, chance.randint(20, 400)) for _ in range(60)]
    edited = [text[:10] + chance.choice(letters) + text[11:] + "。" for text in originals]
    clusters = near_clusters(originals + edited, 0.6).tolist()
    assert clusters[:60] == list(range(60))  # Jaccard 0 between different ones
    # One letter of n changes 8 (Thai 12) of n - 7 (n - 11) pieces in a row of five; short texts may fall below 0.6.
    long = [index for index in range(60) if len(originals[index]) > 120]
    assert len(long) > 30 and all(clusters[index + 60] == index for index in long)


def test_recall_on_edited_copies_and_precision_on_others() -> None:
    chance = random.Random(1)
    originals = [make_text(chance, chance.randint(60, 300)) for _ in range(300)]
    texts = originals + [edit(text, chance, 0.02) for text in originals]
    clusters = near_clusters(texts, 0.7)
    found = sum(int(clusters[index + 300] == index) for index in range(300))
    alike = sum(jaccard(texts[index], texts[index + 300], 5) >= 0.7 for index in range(300))
    assert alike > 200 and 0.97 * alike <= found <= alike  # nearly every pair above the threshold, no other
    assert len(set(clusters[:300].tolist())) == 300


def jaccard(left: str, right: str, size: int) -> float:
    sets = []
    for text in (left, right):
        words = text.rstrip(".").split()
        sets.append({tuple(words[index : index + size]) for index in range(len(words) - size + 1)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_one_sentence_documents() -> None:
    texts = [
        "Return the number of nodes in the graph, counting each of them exactly once.",
        "Return the number of nodes in the graph, counting each of them exactly twice.",
        "Return the number of edges of a tree.",
        "Return the number of nodes of a tree.",
    ]
    assert near_clusters(texts, 0.7).tolist() == [0, 0, 2, 3]


def test_no_pair_falls_between_the_two_lengths_of_gram() -> None:
    chance = random.Random(2)
    for length in range(28, 54):
        text = make_text(chance, length)
        assert near_clusters([text, text.removesuffix(".") + " more."], 0.7).tolist() == [0, 0], length


def chain(count: int) -> list[str]:
    """Texts of 100 words; each differs from the one before it in ten, so that the ends have nothing in common."""
    words = [f"w{number}" for number in range(100 + 10 * count)]
    return [" ".join(words[10 * number : 10 * number + 100]) for number in range(count)]


def test_a_chain_of_likenesses_does_not_fall_into_one() -> None:
    texts = chain(30)
    assert jaccard(texts[0], texts[1], 5) >= 0.7 > jaccard(texts[0], texts[2], 5)
    assert near_clusters(texts, 0.7).tolist() == [index - index % 2 for index in range(30)]


def test_each_removed_text_is_like_the_one_kept_for_it() -> None:
    chance = random.Random(7)
    texts = chain(40)
    chance.shuffle(texts)
    clusters = near_clusters(texts, 0.7).tolist()
    for index, kept in enumerate(clusters):
        assert kept == index or jaccard(texts[index], texts[kept], 5) >= 0.7
    kept_ones = sorted(set(clusters))
    assert all(jaccard(texts[left], texts[right], 5) < 0.7 for left in kept_ones for right in kept_ones if left < right)
    assert 13 < len(kept_ones) < 30


@pytest.mark.parametrize(
    ("threshold", "kept"), [(0.95, [0, 1, 2]), (0.82, [0, 1, 2]), (0.81, [0, 0, 2]), (0.6, [0, 0, 0])]
)
def test_the_threshold_is_the_one_given(threshold: float, kept: list[int]) -> None:
    assert near_clusters(chain(3), threshold).tolist() == kept


@given(st.lists(st.text(st.sampled_from(list("abc ")), max_size=60), max_size=12), st.floats(0.1, 1.0))
def test_clusters_are_well_formed(texts: list[str], threshold: float) -> None:
    clusters = near_clusters(texts, threshold).tolist()
    assert all(cluster <= index and clusters[cluster] == cluster for index, cluster in enumerate(clusters))


def signatures(sets: list[np.ndarray], size: int = 128) -> np.ndarray:
    owners = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    return minhash(np.concatenate(sets).astype(np.uint64), owners, len(sets), size)


@pytest.mark.parametrize(("common", "each"), [(500, 1000), (20, 40), (3, 4), (1, 1), (0, 30)])
def test_minhash_estimates_jaccard_of_sets_of_any_size(common: int, each: int) -> None:
    values = np.random.Generator(np.random.PCG64(1)).integers(0, 2**63, (60, 2 * each - common))
    found = signatures([half for row in values for half in (row[:each], row[each - common :])], 256)
    agree = float((found[::2] == found[1::2]).mean())
    assert abs(agree - common / (2 * each - common)) < 0.05
    assert (found != 2**64 - 1).all()  # no place is left empty, however small a set is


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_banding_finds_pairs_at_the_threshold(threshold: float) -> None:
    by = banding(threshold)
    assert by.bands * by.rows <= 128 and by.recall(threshold) >= 0.98


def test_candidates_that_are_none_are_counted_and_stay() -> None:
    chance = random.Random(4)
    originals = [make_text(chance, 100) for _ in range(200)]
    near = [edit(text, chance, 0.02) for text in originals[:50]]  # about 0.8
    far = [edit(text, chance, 0.12) for text in originals[50:150]]  # about 0.3
    found = near_duplicates(originals + near + far, 0.7)
    gone = int((found.kept_for != np.arange(350)).sum())
    assert found.alike == gone and 30 < gone < 60
    functions = near_duplicates([f"def combine(left, right):\n    return left {sign} right" for sign in OPERATORS], 0.7)
    assert functions.compared > 0 == functions.alike
    assert found.compared - found.alike > 5  # the hashing lets some of the far ones through, the true similarity none


def test_the_recall_curve_is_what_the_hashing_does() -> None:
    curve = recall_curve(0.7)
    assert list(curve) == [0.3, 0.5, 0.7, 0.8, 0.9] and curve[0.7] >= 0.98 and curve[0.3] < 0.5
    by = banding(0.7)
    assert recall_curve(0.7, Banding(14, 8))[0.8] == pytest.approx(0.9236, abs=1e-4)  # that of FineWeb
    values = np.random.Generator(np.random.PCG64(1)).integers(0, 2**63, (200, 120), dtype=np.uint64)
    pairs = [half for base in values for half in (base[:90], base[30:])]  # 60 of 120 in common: Jaccard 0.5
    found = signatures(pairs)[:, : by.bands * by.rows]
    same = (found[::2] == found[1::2]).reshape(200, by.bands, by.rows)
    assert abs(float(same.all(axis=2).any(axis=1).mean()) - curve[0.5]) < 0.12


def test_texts_that_share_bands_are_groups_and_the_same_group_is_one() -> None:
    bands = [np.array([7, 8, 7, 9, 8], np.uint64), np.array([1, 2, 1, 2, 3], np.uint64)]
    found = shared_bands(iter(bands), np.arange(10, 15))
    members = [sorted(found.texts[found.groups == group].tolist()) for group in range(found.groups.max() + 1)]
    assert sorted(members) == [[10, 12], [11, 13], [11, 14]]
    assert shared_bands(iter([np.zeros(0, np.uint64)]), np.zeros(0, np.int64)).texts.tolist() == []


@pytest.mark.parametrize("by", [banding(0.7), Banding(14, 8)])
def test_on_disk_the_clusters_are_those_in_memory(tmp_path: Path, by: Banding) -> None:
    chance = random.Random(6)
    originals = [make_text(chance, chance.choice([12, 40, 200])) for _ in range(80)]
    given = documents(originals + [edit(text, chance, 0.03) for text in originals] + originals[:9])
    shelf = Shelf.of(given)
    found = near_duplicates_of(shelf, 0.7, by, Workshop(tmp_path, 0, EventLog()))
    order = preferred(shelf.kept)
    if by == banding(0.7):
        assert found.kept_for.tolist() == near_clusters([given[index].text for index in order], 0.7).tolist()
    assert int((found.kept_for != np.arange(len(given))).sum()) > 40 and not list(tmp_path.iterdir())


def test_grams_do_not_cross_texts() -> None:
    (batch,) = text_batches(["a b c", "d", "c d e f"])
    values, owners = grams(Splitter(units_of).words(batch), 3)
    assert owners.tolist() == [0, 2, 2] and len(set(values.tolist())) == 3
    (one,) = text_batches(["a"])
    assert grams(Splitter(units_of).words(one), 3)[0].tolist() == []


def test_split_is_by_id_alone() -> None:
    many = documents([f"text {number}" for number in range(4000)])
    sides = split(Shelf.of(many, 1), 0.05)
    assert len(sides.train) + len(sides.heldout) == 4000 and 140 < len(sides.heldout) < 260
    fewer = split(Shelf.of(many[:2000], 1), 0.05)
    assert set(fewer.heldout.kept.ids) <= set(sides.heldout.kept.ids)
    assert set(fewer.train.kept.ids) <= set(sides.train.kept.ids)
    assert split(Shelf.of(many, 2), 0.05).heldout.rows.tolist() != sides.heldout.rows.tolist()


def test_a_small_corpus_holds_out_one() -> None:
    sides = split(Shelf.of(documents(["a", "b", "c"]), 1), 0.001)
    assert len(sides.heldout) == 1 and len(sides.train) == 2
    assert len(split(Shelf.of(documents(["a"]), 1), 0.001).heldout) == 0


def test_leaks_are_found_by_grams_and_by_sentences() -> None:
    chance = random.Random(3)
    whole = make_text(chance, 200)
    parts = whole.split()
    train = documents([whole, "It is here. Return a copy of it."])
    heldout = documents([
        " ".join(parts[:60]) + " " + make_text(chance, 20),  # mostly a stretch of a training text
        " ".join(parts[:20]) + " " + make_text(chance, 60),  # a little of it
        "Return a copy of it.",  # a whole sentence, shorter than a gram
        "Return a copy of them.",
        make_text(chance, 50),
    ])  # fmt: skip
    assert [share > 0.5 for share in leaked(train, heldout)] == [True, False, True, False, False]
    assert leaked([], heldout) == [0.0] * 5 and leaked(train, []) == []


def test_of_duplicates_the_one_that_knows_most_and_then_the_longest_stays() -> None:
    plain, longer = Document("1", "short", "s"), Document("2", "much longer", "s")
    labelled, signed = Document("4", "a", "s", label="x"), Document("3", "a", "s", signature="f()")
    assert preferred(Shelf.of([plain, longer, labelled, signed]).kept).tolist() == [3, 2, 1, 0]
