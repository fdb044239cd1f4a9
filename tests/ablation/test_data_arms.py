"""Leaving out sources, filters and steps one by one; and documents that are the same whatever a filter made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.ablation.data import filter_arms, held_out_otherwise, source_arms, source_sizes
from tutelage.ablation.measure import corpus_items
from tutelage.ablation.tokenizers import settings_of, tokenizer_question
from tutelage.corpus.document import Document, write_documents
from tutelage.store.errors import ConfigError, InputError


def corpus(path: Path, train: dict[str, int], heldout: dict[str, str]) -> Path:
    path.mkdir(parents=True)
    texts = [(label, f"{label} {number}") for label, count in train.items() for number in range(count)]
    write_documents(path / "train.parquet", [Document(text, text * 9, "file", label=label) for label, text in texts])
    write_documents(path / "heldout.parquet", [Document(name, text, "file") for name, text in heldout.items()])
    return path


def test_each_filter_that_is_taken_is_left_out_once() -> None:
    arms = filter_arms(None, ["corpus.select={target: a.txt, scores: b.csv}"])
    assert [arm.name for arm in arms] == [
        "as in the recipe", "without prose", "without shared paragraphs", "without near duplicates",
        "without selection", "without diversity in selection", "without quality in selection",
        "without relevance in selection",
    ]  # fmt: skip
    assert arms[4].recipe.corpus.select is None
    assert arms[5].recipe.corpus.select and arms[5].recipe.corpus.select.weights == {"quality": 0.5, "relevance": 0.5}
    assert not any(arm.recipe.finetune for arm in arms)
    more = ["corpus.languages=[en]", "corpus.rules=[c4]", "corpus.blocklist=a.txt", "corpus.pii=drop",
            "corpus.duplicate_pieces=lines"]  # fmt: skip
    left_out = {arm.name: arm.recipe.corpus for arm in filter_arms(None, more)}
    assert left_out["without languages"].languages == left_out["without published rules"].rules == ()
    assert left_out["without blocklist"].blocklist == ""
    assert left_out["without personal data"].pii == left_out["without duplicate lines"].duplicate_pieces == "keep"
    few = filter_arms(None, ["corpus.prose=false", "corpus.drop_banners=false", "corpus.near_duplicate_threshold=1"])
    assert len(few) == 1


def test_each_source_is_left_out_of_training_alone(tmp_path: Path) -> None:
    first = filter_arms(None, ["pretrain.mix={temperature: 2.0}"])[0]
    place = corpus(tmp_path / "a", {"sea": 50, "land": 100, "tiny": 1}, {"x": "y"})
    arms = source_arms(first, place, "label")
    assert [arm.name for arm in arms] == ["without land", "without sea"]
    mix = arms[0].recipe.pretrain and arms[0].recipe.pretrain.mix
    assert mix and (mix.weights, mix.temperature) == ({"land": 0.0}, 2.0)
    assert arms[0].recipe.corpus == first.recipe.corpus
    with pytest.raises(InputError, match="one label only"):
        source_arms(first, corpus(tmp_path / "b", {"sea": 5}, {"x": "y"}), "label")


def test_the_size_of_a_source_is_that_of_its_texts(tmp_path: Path) -> None:
    documents = [Document(str(at), "é" * at, "file", label=("a", None, "b")[at % 3]) for at in range(1, 5000)]
    write_documents(tmp_path / "train.parquet", documents)
    expected = {name: sum(2 * at for at in range(1, 5000) if at % 3 == left)
                for left, name in enumerate(("a", "", "b"))}  # fmt: skip
    assert source_sizes(tmp_path, "label") == expected


def test_documents_are_matched_by_what_they_were(tmp_path: Path) -> None:
    first = corpus(tmp_path / "a", {"s": 1}, {"1": "whole text", "2": "other", "3": "only here"})
    other = corpus(tmp_path / "b", {"s": 1}, {"1": "whole", "2": "other", "4": "only there"})
    items = corpus_items([first, other], 10)
    assert [row["text"] for row in items.rows] == ["whole text", "other"]
    assert items.left_out == 1
    with pytest.raises(InputError, match="no held-out document in common"):
        corpus_items([first, corpus(tmp_path / "c", {"s": 1}, {"9": "x"})], 10)


def test_tokenizers_are_named_by_method_size_and_split(tmp_path: Path) -> None:
    assert settings_of("bpe:2048:gpt2") == {"method": "bpe", "vocab_size": 2048, "split": "gpt2"}
    assert settings_of("byte") == {"method": "byte"}
    (tmp_path / "my.model").write_bytes(b"")
    assert settings_of(str(tmp_path / "my.model")) == {"source": str(tmp_path / "my.model")}
    question = tokenizer_question(["bpe:512", "unigram:600"], None, ["pretrain.training.steps=7"], 2)
    assert [arm.name for arm in question.arms] == ["bpe:512", "unigram:600"]
    assert [arm.recipe.tokenizer.vocab_size for arm in question.arms] == [512, 600]
    assert question.match == "compute"
    assert all(arm.recipe.pretrain and arm.recipe.pretrain.training.steps == 7 for arm in question.arms)
    for specs, said in ((["bpe:512"], "two or more"), (["bqe:1", "bpe:512"], "bqe"),
                        (["a/b", "bpe:512"], "neither"),
                        (["bpe:512", "bpe:512"], "given twice"), (["bpe:5", "byte"], "at least 260")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            tokenizer_question(specs, None, [], 2)


def test_held_out_text_that_lacks_a_source_is_said(tmp_path: Path) -> None:
    sides = {"train": {"books": 50, "reviews": 50}, "heldout": {"reviews": 10}}
    for side, counts in sides.items():
        documents = [Document(f"{side}{name}{at}", "text", "file", label=name)
                     for name, count in counts.items() for at in range(count)]  # fmt: skip
        write_documents(tmp_path / f"{side}.parquet", documents)
    assert "books 0% instead of 50%, reviews 100% instead of 50%" in held_out_otherwise(tmp_path, "label")
    even = [Document(f"{name}{at}", "text", "file", label=name) for name in ("books", "reviews") for at in range(5)]
    write_documents(tmp_path / "heldout.parquet", even)
    assert held_out_otherwise(tmp_path, "label") == ""
