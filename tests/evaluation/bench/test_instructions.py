from __future__ import annotations

import pytest

from tutelage.evaluation.bench.instructions import kept, speaks
from tutelage.store.errors import InputError

CASES = [
    ("punctuation:no_comma", {}, "no commas here", "one, two"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "one two three", "one two"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "one two", "one two three"),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two.", "One, two."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one\n\ntwo"),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"}, "one\n\nthen, two", "then\n\none"),
    ("keywords:existence", {"keywords": ["sea", "sky"]}, "Sea and sky", "sea only"),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "rocket", "a rock."),
    ("keywords:frequency", {"keyword": "la", "frequency": 2, "relation": "at least"}, "la la", "la"),
    ("keywords:letter_frequency", {"letter": "z", "let_frequency": 2, "let_relation": "less than"}, "Z", "zz"),
    ("language:response_language", {"language": "ru"}, "Привет, мир", "Hello world"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b]", "[a]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. More", "Bye."),
    ("detectable_format:constrained_response", {}, "My answer is yes.", "yes"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:multiple_sections",
     {"section_spliter": "PART", "num_sections": 2}, "PART 1 a PART 2", "PART 1"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n* b", "* a\n- b\n- c"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b*", "*a* and **"),
    ("detectable_format:title", {}, "<<A title>>\ntext", "<< >>"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. I do.", "I do."),
    ("combination:two_responses", {}, "one ****** two", "one ****** one"),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "AN A", "An a"),
    ("change_case:english_capital", {}, "THE CAT IS HERE", "The cat"),
    ("change_case:english_lowercase", {}, "the cat is here", "The cat is here"),
    ("startend:end_checker", {"end_phrase": "The end."}, "And so on. the end.", "The end. Or not"),
    ("startend:quotation", {}, '"All of it"', '"Half" of it'),
]  # fmt: skip


def row(*named: tuple[str, dict[str, object]]) -> dict[str, object]:
    return {"instruction_id_list": [name for name, _ in named], "kwargs": [{**given, "n": None} for _, given in named]}


@pytest.mark.parametrize(("name", "given", "good", "bad"), CASES)
def test_each_instruction_is_verified(name: str, given: dict[str, object], good: str, bad: str):
    assert kept(row((name, given)), good)["prompt_strict"] == 1
    assert kept(row((name, given)), bad)["prompt_strict"] == 0
    assert kept(row((name, given)), "  ")["prompt_strict"] == 0


def test_loosely_a_first_line_is_overlooked_and_a_prompt_keeps_all_or_nothing():
    both = row(("punctuation:no_comma", {}), ("change_case:english_lowercase", {}))
    found = kept(both, "Sure, here it is:\nall of it is here")
    assert found == {"prompt_strict": 0, "share_strict": 0, "prompt_loose": 1, "share_loose": 1}
    assert kept(both, "Yes it is")["share_strict"] == 0.5


def test_languages():
    assert speaks("Der Hund ist nicht da und die Katze auch", "de")
    assert not speaks("The dog is not there and the cat is", "de")
    assert speaks("...", "de")


def test_an_unknown_instruction_is_no_shrug():
    with pytest.raises(InputError, match="unknown IFEval instruction"):
        kept(row(("made:up", {})), "a")
