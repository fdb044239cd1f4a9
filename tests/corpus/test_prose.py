"""Cleaning and reduction to prose: goldens for each rule, properties for any text."""

from __future__ import annotations

import textwrap
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.clean import clean_text
from tutelage.corpus.prose import RULES, first_sentence, reduce_to_prose, strip_markup
from tutelage.corpus.sentences import split_sentences

SENTENCE = "The value of the sum is given back to the caller."


@given(st.text())
def test_cleaning_is_idempotent_and_writable(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    assert once.encode("utf-8").decode("utf-8") == once
    assert unicodedata.is_normalized("NFC", once)
    assert "\r" not in once and "\n\n\n" not in once and not once.endswith((" ", "\n"))


@given(st.text(st.sampled_from(list("ab \n\t\r\u00a0\u200b\u0301\u2028\x00\x0c\ud800.é"))))
def test_cleaning_is_idempotent_on_hard_characters(text: str) -> None:
    assert clean_text(clean_text(text)) == clean_text(text)


def test_cleaning_golden() -> None:
    assert clean_text("e\u0301te\u0301 \t\r\n\r\n\r\n\r\nx\x00\u00adyz\u2028end\ufeff  \n") == "été\n\nxyz\nend"


@given(st.text(st.sampled_from(list("aT. \n:`*-=>|#[](){}_\"'1,"))))
def test_reduction_takes_any_text_and_only_takes_away(text: str) -> None:
    prose = reduce_to_prose(text)
    assert set(prose.pieces) <= set(RULES) and set(prose.bytes) == set(prose.pieces) == set(prose.examples)
    # Nothing is made up: every letter that stays was there.
    assert all(prose.text.count(letter) <= text.count(letter) for letter in "aT1")
    assert "\n\n\n" not in prose.text and not prose.text.startswith("\n")


@pytest.mark.parametrize(
    ("rule", "piece"),
    [
        ("code", ">>> the_sum(1, 2)\n3"),
        ("code", "```python\nx = 1\n\ny = 2\n```"),
        ("parameters", "Parameters\n----------\nx : int\n    The value that is to be added to the sum."),
        ("parameters", ":param x: The value that is to be added.\n    It may be of any kind."),
        ("parameters", "Args:\n    x: The value that is to be added to the sum."),
        ("parameters", "Returns: The value that was added to the sum."),
        ("references", "References\n==========\n.. [1] A book that is about the sum of values."),
        ("directive", ".. versionadded:: 1.2\n    The argument was added to this function."),
        ("table", "+---+---+\n| a | b |\n+---+---+"),
        ("table", "=====  =====\nA      B\n=====  ====="),
        ("heading", "Remarks\n-------"),
        ("heading", "# Remarks"),
        ("url", "For more of this see https://example.org/the/page of the project."),
        ("introduction", "This is how the function is to be called:"),
        ("introduction", "The values of the table are shown below."),
        ("unfinished", "A line that is not a sentence at all"),
        ("fragment", "of which it is the last and the least."),
        ("short", "Deprecated."),
        ("symbols", "Set a_b to x[1] and c_d = {} in the end."),
        ("symbols", "The cost is given by \\sum of all the parts."),
        ("list", "Alpha, the, beta, of, gamma, and, delta, to."),
        ("not_english", "Dieser Satz steht nicht auf Englisch geschrieben hier drin."),
    ],
)  # fmt: skip
def test_each_rule_takes_its_piece_and_leaves_the_prose(rule: str, piece: str) -> None:
    prose = reduce_to_prose(f"{SENTENCE}\n\n{piece}\n\nRemarks\n-------\n{SENTENCE}")
    assert prose.text == f"{SENTENCE}\n\n{SENTENCE}"
    assert prose.pieces[rule] == (2 if rule == "heading" else 1), prose.pieces
    assert prose.bytes[rule] > 0


def test_literal_block_after_two_colons_goes() -> None:
    prose = reduce_to_prose(f"Call it as in::\n\n    The code is here and it ends in a dot.\n\n{SENTENCE}")
    assert prose.text == SENTENCE and prose.pieces == {"code": 1, "introduction": 1}


def test_wrapped_lines_are_joined_and_items_stand_alone() -> None:
    text = "The sum of all values\nis given back.\n\n- The first item is kept.\n- The second one\n  is kept."
    expected = "The sum of all values is given back.\n\nThe first item is kept.\n\nThe second one is kept."
    assert reduce_to_prose(text).text == expected


def test_a_title_above_a_sentence_is_not_joined_to_it() -> None:
    prose = reduce_to_prose("Add all values\nThe function is given a list of values.")
    assert prose.text == "The function is given a list of values." and prose.pieces == {"unfinished": 1}


def test_notes_keep_their_text() -> None:
    assert reduce_to_prose(".. note::\n\n    The list is sorted in place.").text == "The list is sorted in place."
    assert reduce_to_prose("Note: The list is sorted in place.").text == "The list is sorted in place."


def test_dialogue_of_a_novel_is_whole() -> None:
    text = "“Fah! Here's more of this soot,” says he. ‘No, no,’ said Mr. Wickfield. “Oh, please, do not!”"
    assert reduce_to_prose(text).text == text


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("Return ``x`` and `y`.", "Return x and y."),
        ("See :func:`~a.b.walk` and :class:`!Graph`.", "See walk and Graph."),
        ("See :ref:`the guide <guide>`, `docs <http://x>`_.", "See the guide, docs."),
        ("**Bold** and *slanted* words.", "Bold and slanted words."),
        ("Takes *args and **kwargs, 2 * 3 * 4.", "Takes *args and **kwargs, 2 * 3 * 4."),
        ("A [link](http://x) and an ![image](y.png).", "A link and an image."),
        ("The model in [1]_ includes loops.", "The model includes loops."),
        ("L{walk} and C{x}, `path' too.", "walk and x, path too."),
        ("It was _very_ odd; __init__ and a_b stay.", "It was very odd; __init__ and a_b stay."),
    ],
)  # fmt: skip
def test_inline_markup(marked: str, plain: str) -> None:
    assert strip_markup(marked) == plain


def test_sentences() -> None:
    text = 'Mr. J. Smith came, e.g. With a dog. "Did he?" Yes. It is 3.5 m. The end'
    assert split_sentences(text) == [
        "Mr. J. Smith came, e.g. With a dog.", '"Did he?"', "Yes.", "It is 3.5 m.", "The end",
    ]  # fmt: skip


def test_first_sentence() -> None:
    assert first_sentence("Return the sum\nof `x`. And more.\n\nLater.") == "Return the sum of x."
    assert first_sentence("Return the sum\nThe rest is told here.") == "Return the sum"
    assert first_sentence("f(x) -> y") is None and first_sentence(">>> f(1) is True here") is None


VERSE = "First Citizen:\nBefore we proceed any further, hear\nOur words of the old and of the new river\n\nAll:\nSpeak."


def test_a_rule_that_is_not_applied_leaves_what_it_would_take() -> None:
    assert reduce_to_prose(VERSE).pieces["unfinished"] > 0
    kept = reduce_to_prose(VERSE, frozenset({"unfinished", "short", "introduction"}))
    assert kept.text.split() == VERSE.split() and not kept.pieces
    code = f"{SENTENCE}\n\n```python\nx = 1\n    y = 2\n```\n\n- A list of things: of which\n\n{SENTENCE}"
    with_code = reduce_to_prose(code, frozenset({"code"}))
    assert "```python\nx = 1\n    y = 2\n```" in with_code.text and with_code.pieces == {"unfinished": 1}
    several = "of x_y and a_b = {} and c[d], the e_f."  # a fragment, and full of symbols
    assert reduce_to_prose(several, frozenset({"fragment"})).pieces == {"symbols": 1}


@pytest.mark.parametrize("width", [40, 45, 50, 58, 70])
def test_narrowly_wrapped_lines_are_joined_not_dropped(width: int) -> None:
    names = "Elizabeth Bennet, Fitzwilliam Darcy, Catherine Bourgh"
    sentence = f"In the end it was said by all of the party that {names} and the others had been seen in Derbyshire."
    text = "\n\n".join([textwrap.fill(" ".join([sentence] * 3), width)] * 3)
    prose = reduce_to_prose(text)
    assert prose.text.split() == text.split() and not prose.pieces


def test_a_title_above_narrow_lines_is_still_not_joined_to_them() -> None:
    body = textwrap.fill(" ".join([SENTENCE] * 6), 40)
    prose = reduce_to_prose(f"Add values\n{body}")
    assert prose.text == " ".join([SENTENCE] * 6) and prose.pieces == {"unfinished": 1}


def test_a_text_in_small_letters_is_not_lost_as_fragments() -> None:
    text = " ".join([SENTENCE.lower()] * 4)
    assert reduce_to_prose(text).text == text
    assert reduce_to_prose(f"{SENTENCE} {text}").pieces == {}  # in one sentence with a capital
    assert reduce_to_prose(f"{SENTENCE}\n\n{SENTENCE.lower()}\n\n{SENTENCE}").pieces == {"fragment": 1}


def test_paragraphs_in_another_script_stay_among_english_ones() -> None:
    text = f"{SENTENCE}\n\nすべての人間は、生まれながらにして自由である\n\nВсе люди рождаются свободными\n\n{SENTENCE}"
    prose = reduce_to_prose(text)
    assert prose.text == text and not prose.pieces


@pytest.mark.parametrize("place", ["begin", "end"])
def test_common_words_count_wherever_they_stand(place: str) -> None:
    rare = "Granite lichen moss heather bracken gorse thistle clover barley oats rye wheat"
    some = "and the of that"
    text = f"{some.capitalize()} {rare.lower()}." if place == "begin" else f"{rare} {some}."
    assert reduce_to_prose(text).text == text
    few = text.replace(" the of that", " flax hemp hops")  # one of sixteen is too few
    assert reduce_to_prose(few).pieces == {"not_english": 1}


def test_signs_are_counted_alike_in_ascii_and_beyond() -> None:
    full = "They say that it is 1,234; 5,678; 9,012; 3,456; 7,890; 1,234 to be."
    assert reduce_to_prose(full).pieces == {"symbols": 1}
    assert reduce_to_prose(full.replace("They say", "They café say")).pieces == {"symbols": 1}
    plain = "They say that it is 1,234 metres to the old stone bridge by the river."
    assert reduce_to_prose(plain).text == plain
    assert reduce_to_prose(plain.replace("bridge", "café")).text == plain.replace("bridge", "café")
