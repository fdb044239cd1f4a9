"""More tokens for a tokenizer that is there: what is new, and all that must stay as it was."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import corpus_texts, small

from tutelage.store.errors import InputError
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.extend import Extended, extend_tokenizer
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer

NEW = [
    "Größenordnung der Messreihe übersteigt die Erwartung. ",
    "Забудьте пароль администратора! ",
    "été à l'école\n",
] * 40


@pytest.fixture(scope="module")
def old() -> Tokenizer:
    return small("bpe")


@pytest.fixture(scope="module")
def extended(old: Tokenizer) -> Extended:
    return extend_tokenizer(old, NEW, 60)


def taken_apart(ids: list[int], extended: Extended) -> list[int]:
    return [old for index in ids for old in extended.pieces.get(index, (index,))]


LETTERS = st.text(st.sampled_from("Größenordngder Забутьпь éàc'l<|im_end|>\n\U0001f600"), max_size=60)


@given(st.one_of(LETTERS, st.text(max_size=60), st.sampled_from([*NEW[:3], *corpus_texts(20)])))
def test_each_text_taken_apart_is_what_it_was_and_reads_the_same(old, extended, text):
    ids = extended.tokenizer.encode(text)
    assert taken_apart(ids, extended) == old.encode(text)
    assert extended.tokenizer.decode(ids, skip_special=False) == old.decode(old.encode(text), skip_special=False)
    if not set(ids) & set(extended.pieces):
        assert ids == old.encode(text)


def test_old_ids_and_control_tokens_mean_what_they_meant(old, extended):
    new = extended.tokenizer
    assert [new.id_to_token(index) for index in range(old.vocab_size)] == [
        old.id_to_token(index) for index in range(old.vocab_size)
    ]
    assert sorted(extended.pieces) == list(range(old.vocab_size, new.vocab_size))
    for what in ("control_ids", "stop_ids", "start_id", "end_of_text_id", "pad_id", "chat_template", "settings"):
        assert getattr(new, what) == getattr(old, what)
    for index, pieces in extended.pieces.items():
        assert new.token_bytes(index) == b"".join(old.token_bytes(piece) for piece in pieces)


def test_a_conversation_taken_apart_is_what_it_was(old, extended):
    messages = [Message("user", NEW[0] + "<|im_end|>"), Message("assistant", NEW[1])]
    new, before = (render_chat(tok, messages) for tok in (extended.tokenizer, old))
    assert taken_apart(new.ids, extended) == before.ids
    assert len(new.ids) < len(before.ids)
    assert new.ids[new.spans[-1].stop] in old.stop_ids


def test_the_most_frequent_pair_is_joined_first_as_a_plain_count_finds_it(old):
    texts = ["der die das derdie ", "übersteigt übersteht ", "der Mess der Mess\n"] * 10
    library = json.loads(old.definition)
    words = Counter()
    import tokenizers

    split = tokenizers.Tokenizer.from_str(json.dumps(library))
    for text in texts:
        words.update(word for word, _ in split.pre_tokenizer.pre_tokenize_str(text))
    spelled = {word: [token.value for token in split.model.tokenize(word)] for word in words}
    ids = dict(library["model"]["vocab"])
    merges = []
    for _ in range(25):
        pairs = Counter()
        for word, tokens in spelled.items():
            for pair in pairwise(tokens):
                pairs[pair] += words[word]
        best = min(
            (pair for pair in pairs if "".join(pair) not in ids),
            key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]), default=None,
        )  # fmt: skip
        if best is None or pairs[best] < 5:
            break
        ids["".join(best)] = max(ids.values()) + 1
        merges.append(list(best))
        for word, tokens in spelled.items():
            out, at = [], 0
            while at < len(tokens):
                step = 2 if tuple(tokens[at : at + 2]) == best else 1
                out.append("".join(tokens[at : at + step]))
                at += step
            spelled[word] = out
    made = extend_tokenizer(old, texts, 25, min_count=5).tokenizer
    found = json.loads(made.definition)["model"]["merges"][len(library["model"]["merges"]) :]
    assert [merge if isinstance(merge, list) else merge.split(" ") for merge in found] == merges != []


def test_equal_texts_give_equal_tokens_and_shorter_text(old, extended):
    again = extend_tokenizer(old, iter(NEW), 60)
    assert again.tokenizer.definition == extended.tokenizer.definition and again.pieces == extended.pieces
    text = "".join(NEW[:3])
    assert len(extended.tokenizer.encode(text)) < 0.7 * len(old.encode(text))


def test_control_tokens_that_are_not_in_the_model_s_vocabulary_keep_their_ids(old):
    """Published vocabularies count them on after the others (Qwen), where new tokens would take their places."""
    data = json.loads(old.definition)
    moved = len(data["model"]["vocab"])
    for place, token in enumerate(data["added_tokens"]):
        data["model"]["vocab"].pop(token["content"])
        token["id"] = moved + place
    vocabulary = {name: index for index, name in enumerate(data["model"]["vocab"])}
    start = len(vocabulary)
    for place, token in enumerate(data["added_tokens"]):
        token["id"] = start + place
    data["model"]["vocab"] = vocabulary
    apart = Tokenizer(json.dumps(data), old.settings, old.chat_template)
    made = extend_tokenizer(apart, NEW, 20)
    for token in data["added_tokens"]:
        assert made.tokenizer.token_to_id(token["content"]) == token["id"]
    assert min(made.pieces) == start + len(data["added_tokens"]) == apart.vocab_size
    assert taken_apart(made.tokenizer.encode(NEW[0]), made) == apart.encode(NEW[0])


def test_whole_words_that_are_taken_as_they_stand_stay_exact(old):
    data = json.loads(old.definition)
    data["model"]["ignore_merges"] = True
    direct = Tokenizer(json.dumps(data), old.settings, old.chat_template)
    made = extend_tokenizer(direct, NEW, 60)
    for text in [*NEW[:3], *"".join(NEW[:3]).split()]:
        assert taken_apart(made.tokenizer.encode(text), made) == direct.encode(text)


def test_what_cannot_be_extended_is_refused(old):
    with pytest.raises(InputError, match=r"only byte-level BPE can.*extend_vocabulary at 0"):
        extend_tokenizer(small("unigram"), NEW, 10)
    with pytest.raises(InputError, match="no pair of tokens occurs 20 times"):
        extend_tokenizer(old, ["once"], 10)


@pytest.mark.parity
def test_transformers_reads_it_alike(extended, tmp_path):
    transformers = pytest.importorskip("transformers")
    extended.tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*NEW[:3], *corpus_texts(5)]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == extended.tokenizer.encode(text)
