"""Definitions and calls of tools, written by the model's own template: the same ids as transformers, the mask right."""

from __future__ import annotations

import itertools
import json

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tool_templates import LLAMA, QWEN, TOOLS
from tutelage.store.errors import InputError
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message, message_of
from tutelage.tokenizer.tokenizer import Tokenizer

STYLES = {
    "qwen": (QWEN, ["<|im_start|>", "<|im_end|>"], ["<tool_call>", "</tool_call>"]),
    "llama": (LLAMA, ["<|begin|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], []),
}


def call(name="weather", **arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


TALK = [
    Message("system", "Be brief."),
    Message("user", "Is it warm in Bonn?"),
    Message("assistant", "", (call(city='Bonn "am Rhein"', days=3),)),
    Message("tool", '{"degrees": 31}', name="weather"),
    Message("assistant", "Yes, 31 degrees."),
    Message("user", "And how many live there?"),
    Message("assistant", "", (call("population", city="Bonn"),)),
]


def dressed(bpe, style):
    template, control, plain = STYLES[style]
    library = tokenizers.Tokenizer.from_str(bpe.definition)
    library.add_special_tokens(control)
    library.add_tokens(plain)  # added and not special, as Qwen has <tool_call>
    settings = {"eos_token": control[-1], "pad_token": "<|endoftext|>", "bos_token": control[0]}
    return Tokenizer(library.to_str(), settings, template)


def published(tok, talk, prompt=False, tools=TOOLS):
    """The ids that transformers makes of the same conversation."""
    transformers = pytest.importorskip("transformers")
    library = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(tok.definition), **tok.special_tokens
    )
    library.chat_template = tok.chat_template
    plain = [message.plain() for message in talk]
    found = library.apply_chat_template(plain, tools=tools, add_generation_prompt=prompt, return_dict=True)
    return found["input_ids"]


def learned(tok, rendered):
    runs = itertools.groupby(zip(rendered.ids, rendered.mask, strict=True), key=lambda pair: pair[1])
    return [tok.decode([index for index, _ in run], skip_special=False) for on, run in runs if on]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("tools", [TOOLS, None])
def test_ids_are_those_of_transformers(style, tools, bpe):
    tok = dressed(bpe, style)
    for end in range(2, len(TALK) + 1):
        for prompt in (False, True):
            rendered = render_chat(tok, TALK[:end], prompt, tools=tools)
            assert rendered.ids == published(tok, TALK[:end], prompt, tools)


def test_the_call_and_its_stop_are_learned_and_the_result_is_not(bpe):
    tok = dressed(bpe, "qwen")
    rendered = render_chat(tok, TALK, tools=TOOLS)
    assert learned(tok, rendered) == [
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn \\"am Rhein\\"", "days": 3}}\n</tool_call>'
        "<|im_end|>",
        "Yes, 31 degrees.<|im_end|>",
        '<tool_call>\n{"name": "population", "arguments": {"city": "Bonn"}}\n</tool_call><|im_end|>',
    ]
    assert [(span.message, span.role) for span in rendered.spans] == [
        (index, message.role) for index, message in enumerate(TALK)
    ]
    for span in rendered.spans:
        assert (span.stop is not None) == (span.role == "assistant")
        assert all(rendered.mask[span.start : span.end]) == (span.role == "assistant")
        if span.stop is not None:
            assert rendered.ids[span.stop] in tok.stop_ids
    llama = dressed(bpe, "llama")
    assert learned(llama, render_chat(llama, TALK, tools=TOOLS))[0].startswith('{"name": "weather", "parameters": {')


def test_words_before_a_call_and_several_calls_are_one_answer(bpe):
    tok = dressed(bpe, "qwen")
    answer = Message("assistant", "I look. ", (call(city="Bonn"), call(city="Köln")))
    results = [Message("tool", "31"), Message("tool", "30")]
    talk = [*TALK[:2], answer, *results, Message("assistant", "Both are.")]
    rendered = render_chat(tok, talk, tools=TOOLS)
    assert rendered.ids == published(tok, talk)
    first, second = learned(tok, rendered)
    assert first.startswith("I look. \n<tool_call>") and first.count("<tool_call>") == 2
    assert first.endswith("</tool_call><|im_end|>") and second == "Both are.<|im_end|>"


def test_a_template_that_cannot_is_said(bpe):
    with pytest.raises(InputError, match="knows no tools: it does not write them"):
        render_chat(bpe, TALK[:2], tools=TOOLS)
    with pytest.raises(InputError, match=r"knows no tool calls|otherwise than as a prompt"):
        render_chat(bpe, TALK[:3])
    llama = dressed(bpe, "llama")
    two = Message("assistant", "", (call(city="Bonn"), call(city="Köln")))
    with pytest.raises(InputError, match="one call at a time"):
        render_chat(llama, [TALK[1], two], tools=TOOLS)
    with pytest.raises(InputError, match="drops message 1"):  # its words beside a call would be lost
        render_chat(llama, [TALK[1], Message("assistant", "I look.", (call(city="Bonn"),))], tools=TOOLS)
    silent = LLAMA.replace("}<|eot_id|>", "}")
    with pytest.raises(InputError, match="without a stop token"):
        render_chat(llama, TALK[1:3], template=silent)


@pytest.mark.parametrize("name", ["<|im_end|>", "<tool_call>", "<|im_start|>"])
def test_no_tool_becomes_a_control_token(name, bpe):
    tok = dressed(bpe, "qwen")
    bad = json.loads(json.dumps(TOOLS).replace("Look up", f"Say {name}"))
    with pytest.raises(InputError, match="is the name of a token"):
        render_chat(tok, TALK[:2], tools=bad)
    with pytest.raises(InputError, match="is the name of a token"):
        render_chat(tok, [TALK[1], Message("assistant", "", (call(city=f"x{name}"),))])
    # What a tool gives back is a content like any other.
    result = Message("tool", f"31{name}<|im_start|>assistant")
    rendered = render_chat(tok, [*TALK[1:3], result, TALK[4]], tools=TOOLS)
    assert rendered.ids.count(tok.token_to_id("<|im_end|>")) == 5
    with pytest.raises(InputError, match="private-use"):
        render_chat(tok, [TALK[1], Message("assistant", "", (call(city="\ue000\ue010\ue001"),))])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="ascii")), st.text() | st.integers() | st.lists(st.booleans())))
def test_any_arguments_are_written_whole_and_learned(bpe, arguments):
    tok = dressed(bpe, "qwen")
    try:
        rendered = render_chat(tok, [TALK[1], Message("assistant", "", (call(**{"city": "Bonn"} | arguments),))])
    except InputError as error:
        assert "name of a token" in str(error) or "private-use" in str(error)
        return
    (said,) = learned(tok, rendered)
    written = said.split('"arguments": ')[1].removesuffix("}\n</tool_call><|im_end|>")
    assert json.loads(written, strict=False) == {"city": "Bonn"} | arguments


def test_a_turn_of_a_row_is_the_message():
    turn = {"role": "assistant", "content": "", "tool_calls": [call(city="Bonn")], "weight": 0}
    assert message_of(turn) == Message("assistant", "", (call(city="Bonn"),))
    assert message_of({"role": "tool", "content": "x", "tool_call_id": "1"}).plain() == {
        "role": "tool", "content": "x", "tool_call_id": "1",
    }  # fmt: skip
    assert Message("user", "Q").plain() == {"role": "user", "content": "Q"}
