"""Text as it comes: whole characters only, stop strings cut even where they span tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.inference.text import BROKEN, TextStream
from tutelage.tokenizer.tokenizer import Tokenizer


def pieces(tokenizer: Tokenizer, ids: list[int], stops: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(tokenizer.decode, tokenizer.token_bytes, stops)
    return [*(stream.feed(token_id) for token_id in ids), stream.close()]


@given(text=st.text(max_size=40))
def test_pieces_are_whole_characters_and_join_to_the_text(tokenizer: Tokenizer, text: str) -> None:
    made = pieces(tokenizer, tokenizer.encode(text))
    assert "".join(made) == text
    assert BROKEN in text or not any(BROKEN in piece for piece in made)


@given(ids=st.lists(st.integers(0, 258), max_size=60))
def test_any_ids_give_what_decoding_them_at_once_gives(tokenizer: Tokenizer, ids: list[int]) -> None:
    assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


@given(
    text=st.text(alphabet="ab\n#é", max_size=30),
    stops=st.lists(st.text("ab\n#", min_size=1, max_size=4), max_size=3),
)
def test_the_text_ends_before_the_first_stop_string(tokenizer: Tokenizer, text: str, stops: list[str]) -> None:
    ends = [index for index in range(len(text) + 1) if any(text[:index].endswith(stop) for stop in stops)]
    expected = text
    if ends:  # the string that is complete first, and of several the one that began first
        until = text[: ends[0]]
        expected = min((until[: until.find(stop)] for stop in stops if stop in until), key=len)
    assert "".join(pieces(tokenizer, tokenizer.encode(text), tuple(stops))) == expected


@pytest.mark.parametrize("text", ["one\n\ntwo", "\n\n", "ab\n\n"])
def test_nothing_of_a_stop_string_is_shown_early(tokenizer: Tokenizer, text: str) -> None:
    stream = TextStream(tokenizer.decode, tokenizer.token_bytes, ("\n\n",))
    shown = ""
    for token_id in tokenizer.encode(text):
        shown += stream.feed(token_id)
        assert "\n" not in shown
    assert stream.stopped and shown == text.split("\n\n")[0]


def test_what_looked_like_a_stop_string_comes_out_after_all(tokenizer: Tokenizer) -> None:
    assert "".join(pieces(tokenizer, tokenizer.encode("a STO"), ("STOP",))) == "a STO"


@given(text=st.text(max_size=20), cut=st.integers(0, 60))
def test_a_text_that_is_cut_within_a_character_ends_before_it(tokenizer: Tokenizer, text: str, cut: int) -> None:
    ids = tokenizer.encode(text)[:cut]
    stream = TextStream(tokenizer.decode, tokenizer.token_bytes)
    made = "".join(map(stream.feed, ids)) + stream.close(cut=True)
    assert text.startswith(made)
    assert len(text.encode()[: len(b"".join(map(tokenizer.token_bytes, ids)))]) - len(made.encode()) < 4


@pytest.mark.parametrize("data", [b"a\xff", b"a\xc3a", b"a\xef\xbf\xbd", b"a\x80"])
def test_what_is_no_beginning_of_a_character_is_shown_also_where_it_is_cut(tokenizer: Tokenizer, data: bytes) -> None:
    ids = [
        next(one for one in range(tokenizer.vocab_size) if tokenizer.token_bytes(one) == bytes([byte])) for byte in data
    ]
    stream = TextStream(tokenizer.decode, tokenizer.token_bytes)
    assert "".join(map(stream.feed, ids)) + stream.close(cut=True) == data.decode(errors="replace")
