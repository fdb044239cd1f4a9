"""Calls of tools: the form that a template has, the grammar of it, and reading it from any pieces."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import tokenizers

from tool_templates import LLAMA, MISTRAL, QWEN
from tutelage.inference.calls import CallReader, CallStep, calls_constraint
from tutelage.inference.choosing import Chooser, TokenTable, choose
from tutelage.inference.sampling import Sampling
from tutelage.store.errors import InputError
from tutelage.tokenizer.call_form import ID, arguments_of, call_form
from tutelage.tokenizer.tokenizer import Tokenizer

CITY = {"type": "object", "properties": {"city": {"enum": ["Bonn", "Ulm"]}}, "required": ["city"]}
DAYS = {"type": "object", "properties": {"days": {"type": "integer", "maximum": 9}}, "required": ["days"]}
for schema in (CITY, DAYS):
    schema["additionalProperties"] = False
TOOLS = {"weather": CITY, "forecast": DAYS}
STYLES = {
    "qwen": (QWEN, ["<|im_start|>", "<|im_end|>"], ["<tool_call>", "</tool_call>"]),
    "llama": (LLAMA, ["<|begin|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"], []),
    "mistral": (MISTRAL, ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]",
                          "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"], []),
}  # fmt: skip
ONE = {
    "qwen": '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>',
    "llama": '{"name": "weather", "parameters": {"city": "Bonn"}}',
    "mistral": '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Bonn"}, "id": "a1b2c3d4e"}]',
}
TWO = {
    "qwen": ONE["qwen"] + '\n<tool_call>\n{"name": "forecast", "arguments": {"days": 3}}\n</tool_call>',
    "mistral": ONE["mistral"][:-1] + ', {"name": "forecast", "arguments": {"days": 3}, "id": "000000000"}]',
}


def dressed(tokenizer: Tokenizer, style: str) -> Tokenizer:
    template, control, plain = STYLES[style]
    library = tokenizers.Tokenizer.from_str(tokenizer.definition)
    library.add_special_tokens(control)
    library.add_tokens(plain)
    settings = {"eos_token": control[1], "pad_token": "<|endoftext|>", "bos_token": control[0]}
    return Tokenizer(library.to_str(), settings, template)


def read(reader: CallReader, text: str, sizes: random.Random | None = None) -> tuple[str, list[tuple[str, str]]]:
    said: list[str | CallStep] = []
    while text:
        size = len(text) if sizes is None else sizes.choice([1, 1, 2, 5, 30])
        said += reader.feed(text[:size])
        text = text[size:]
    said += reader.close()
    calls: list[list[str]] = []
    for one in said:
        if isinstance(one, CallStep):
            if one.name is not None:
                calls.append([one.name, ""])
            assert one.index == len(calls) - 1
            calls[-1][1] += one.arguments
    return "".join(one for one in said if isinstance(one, str)), [(name, given) for name, given in calls]


def test_the_form_is_that_of_the_template(tokenizer: Tokenizer) -> None:
    qwen, llama, mistral = (call_form(dressed(tokenizer, style)) for style in STYLES)
    assert (qwen.open, qwen.middle, qwen.close) == ('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>")
    assert qwen.between == '}\n</tool_call>\n<tool_call>\n{"name": "' and qwen.lead == "<tool_call>"
    assert (llama.open, llama.middle, llama.close) == ('{"name": "', '", "parameters": ', "}")
    assert llama.between is None and not qwen.control and not llama.control
    assert mistral.between == f', "id": "{ID}"}}, {{"name": "'
    assert mistral.close == f', "id": "{ID}"}}]' and len(mistral.control) == 1


def test_a_template_without_tools_has_no_form(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="knows no tool"):
        call_form(tokenizer)
    python = QWEN.replace("call.arguments | tojson", "call.arguments.items() | list | string")
    with pytest.raises(InputError, match="does not write tool calls as a name"):
        call_form(Tokenizer(tokenizer.definition, tokenizer.settings, python))


@pytest.mark.parametrize("style", STYLES)
def test_calls_are_read_from_any_pieces(style: str, tokenizer: Tokenizer) -> None:
    form, sizes = call_form(dressed(tokenizer, style)), random.Random(0)
    weather, days = ("weather", '{"city": "Bonn"}'), ("forecast", '{"days": 3}')
    cases = [
        ("", "", []), ("Hello {there} <tool \n", "Hello {there} <tool \n", []), (ONE[style], "", [weather]),
        (f" I look.\n{ONE[style]}\n", " I look.", [weather]), (f"{ONE[style]} Done.", "  Done."[1:], [weather]),
        (ONE[style].replace("weather", "delete_all"), ONE[style].replace("weather", "delete_all"), []),
        (ONE[style].replace('"Bonn"', r'"}\"{"'), "", [("weather", r'{"city": "}\"{"}')]),
        (ONE[style].replace('": ', '":  \n'), "", [("weather", '{"city":  \n"Bonn"}')]),
    ]  # fmt: skip
    if style in TWO:
        cases.append((TWO[style], "", [weather, days]))
    for text, said, calls in cases:
        for _ in range(20):
            assert read(CallReader(form, list(TOOLS)), text, sizes) == (said, calls), text


@pytest.mark.parametrize("style", STYLES)
def test_what_is_cut_is_given_out_as_far_as_it_came(style: str, tokenizer: Tokenizer) -> None:
    form, text = call_form(dressed(tokenizer, style)), ONE[style]
    start = text.index('{"city"')
    for end in range(len(text)):
        said, calls = read(CallReader(form, list(TOOLS)), text[:end])
        if end <= start:
            assert (said, calls) == (text[:end], [])
        else:
            assert said == "" and calls[0][0] == "weather" and '{"city": "Bonn"}'.startswith(calls[0][1])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("how", ["required", "auto"])
def test_a_random_model_that_is_held_to_calls_makes_them(style: str, how: Any, tokenizer: Tokenizer) -> None:
    import torch

    tok = dressed(tokenizer, style)
    form, generator = call_form(tok), torch.Generator().manual_seed(1)
    constraint = calls_constraint(form, tok, TOOLS, how, one=False)
    table = TokenTable(tok.vocab_size, tok.stop_ids, tok)
    called = 0
    for row in range(8):
        chooser, ids = Chooser(Sampling(temperature=1.0, constraint=constraint, max_tokens=400), [5], table, row), []
        lead = tok.encode_control(form.lead)
        while len(ids) < 400 and (not ids or ids[-1] not in tok.stop_ids):
            logits = torch.randn(1, tok.vocab_size, generator=generator)
            logits[0, list(tok.stop_ids)] += 4.0
            if len(ids) < len(lead):  # else it would hardly ever begin one by itself
                logits[0, lead[len(ids)]] += 100.0
            ids.append(choose(logits, [chooser])[0].id)
        if ids[-1] not in tok.stop_ids:
            continue
        said, calls = read(CallReader(form, list(TOOLS)), tok.decode_showing(form.control, ids[:-1]))
        assert calls and not said
        for name, given in calls:
            found = json.loads(given)
            assert found["city"] in ("Bonn", "Ulm") if name == "weather" else found["days"] <= 9
        called += len(calls)
    assert called >= 4


def test_arguments_are_objects() -> None:
    assert arguments_of('{"a": [1]}') == {"a": [1]}
    for text in ("", "[1]", '"{}"', "{", "null"):
        with pytest.raises(InputError, match="arguments of a tool call"):
            arguments_of(text)


def test_white_space_in_arguments_has_an_end(tokenizer: Tokenizer) -> None:
    tok = dressed(tokenizer, "llama")
    constraint = calls_constraint(call_form(tok), tok, TOOLS, "required", one=True)
    state = TokenTable(tok.vocab_size, tok.stop_ids, tok).grammar(Sampling(constraint=constraint))
    assert state is not None
    for token in tok.encode('{"name": "weather", "parameters": {'):
        state.take(token)
    (space,) = tok.encode(" ")
    for _ in range(20):
        assert state.allowed()[space]
        state.take(space)
    assert not state.allowed()[space]
