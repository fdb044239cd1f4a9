"""Chat templates from elsewhere: bounded, and rendered as transformers renders them, whatever a message says."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from tutelage.store.errors import InputError
from tutelage.tokenizer import template as room
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.template import CHATML, render_template
from tutelage.tokenizer.tokenizer import Tokenizer

ROWS: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": False}


@pytest.mark.parametrize(
    ("bomb", "says"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
         "{% endfor %}", "longer than"),
        ("{{ 'a' * 10**10 }}", "memory"),
        ("{% set x = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set x.s = x.s ~ x.s %}{% endfor %}{{ x.s }}",
         "memory|longer than"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested without end"),
        ("{{ 9 ** (9 ** 9) }}", "longer than|memory"),
        ("{{ ''.__class__.__mro__ }}", "refuses"),
        ("{{ messages.append(1) }}", "refuses"),
        ("{% if %}", "faulty: line 1"),
        ("{{ raise_exception('only user messages') }}", "only user messages"),
    ],
)  # fmt: skip
def test_a_template_that_does_harm_is_one_clear_error(bomb: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SECONDS", 3.0)
    begin = time.monotonic()
    with pytest.raises(InputError, match=says):
        render_template(bomb, ROWS)
    assert time.monotonic() - begin < 30  # a hang, not a speed
    # The next one is rendered as if nothing had happened.
    assert render_template("{{ messages[0].content }}!", ROWS) == "hi!"


def test_many_threads_get_their_own_answers() -> None:
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        rows = {"messages": [{"role": "user", "content": str(number)}]}
        found[number] = render_template("{{ messages[0].content }} of {{ messages | length }}", rows)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{number} of 1" for number in range(20)}


def test_our_own_template_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_WORKER", None)
    assert render_template(CHATML, ROWS) == "<|im_start|>user\nhi<|im_end|>\n"


QWEN_LIKE = (
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and '</think>' in m.content and not loop.last %}"
    "{{ m.content.split('</think>')[-1].lstrip('\n') }}{%- else %}{{ m.content }}{%- endif %}"
    "{{ '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)
TRIMMING = (
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content | trim) + '<|im_end|>\n' }}{%- endfor %}"
)
QUOTING = (
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{%- if m.role == 'user' %}"
    "{{ m.content | tojson(ensure_ascii=False) }}{%- else %}{{ m.content }}{%- endif %}"
    "{{ '<|im_end|>\n' }}{%- endfor %}"
)
DATED = (
    "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %b %Y') + '<|im_end|>\n' }}"
    "{%- for m in messages %}{% if m.content == 'stop' %}{% break %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor %}"
)
TALK = [("user", " Größe? "), ("assistant", "<think>\nlong\n</think>\n\nShort."), ("user", 'say "no"'),
        ("assistant", "<think>x</think>last")]  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("template", [QWEN_LIKE, TRIMMING, QUOTING, DATED, CHATML])
def test_it_renders_as_transformers_does(template: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    from datetime import date

    transformers = pytest.importorskip("transformers")
    tok = Tokenizer(tokenizer.definition, tokenizer.settings, template)
    tok.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    as_dicts = [{"role": role, "content": content} for role, content in TALK]
    expected = theirs.apply_chat_template(as_dicts, tokenize=False)
    ours = render_chat(tok, [Message(role, content) for role, content in TALK], today=date.today().isoformat())
    assert tok.decode(ours.ids, skip_special=False) == expected
    assert ours.ids == theirs(expected, add_special_tokens=False)["input_ids"]


def test_a_template_that_writes_more_because_of_what_is_said_is_refused(tokenizer: Tokenizer) -> None:
    turn = "{{ m.content }}{{ '<|im_end|>' }}{%- endfor %}"
    looking = "{%- for m in messages %}{% if '/no_think' in m.content %}{{ 'quiet ' }}{% endif %}" + turn
    tok = Tokenizer(tokenizer.definition, tokenizer.settings, looking)
    assert render_chat(tok, [Message("user", "hello")]).ids
    forging = "{%- for m in messages %}{% if 'x' in m.content %}{{ '<|im_start|>' }}{% endif %}" + turn
    with pytest.raises(InputError, match="because of what it says"):
        render_chat(Tokenizer(tokenizer.definition, tokenizer.settings, forging), [Message("user", "x")])


LLAMA2 = (
    "{%- for m in messages %}{%- if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
    "{%- else %}{{ ' ' + m.content + ' ' + eos_token }}{%- endif %}{%- endfor %}"
)
VICUNA = (
    "{%- for m in messages %}{%- if m.role == 'user' %}{{ 'USER: ' + m.content + ' ' }}"
    "{%- else %}{{ 'ASSISTANT: ' + m.content + eos_token }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{%- endif %}"
)


def sentencepiece(kind: str, directory: Path, template: str) -> Tokenizer:
    """A BPE of single letters and a few words, with the space mark put before a text in the ways that are about."""
    letters = [chr(code) for code in range(33, 127)] + ["▁", "\n", "é"]
    words = ["he", "hel", "hell", "hello", "▁hello", "wo", "▁wo"]
    vocabulary = {token: index for index, token in enumerate(["<unk>", "<s>", "</s>", *letters, *words])}
    merges = [("h", "e"), ("he", "l"), ("hel", "l"), ("hell", "o"), ("▁", "hello"), ("w", "o"), ("▁", "wo")]
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True))
    if kind == "prepend":
        library.normalizer = tokenizers.normalizers.Sequence(
            [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
        )
        library.decoder = tokenizers.decoders.Sequence(
            [tokenizers.decoders.Replace("▁", " "), tokenizers.decoders.Fuse(), tokenizers.decoders.Strip(" ", 1, 0)]
        )
    else:
        library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace("▁", prepend_scheme=kind, split=False)
        library.decoder = tokenizers.decoders.Metaspace("▁", prepend_scheme=kind)
    library.add_special_tokens(["<unk>", "<s>", "</s>"])
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>",
             "tokenizer_class": "PreTrainedTokenizerFast"}  # fmt: skip
    tok = Tokenizer(library.to_str(), names, template)
    tok.save(directory)
    return tok


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["prepend", "always", "first"])
@pytest.mark.parametrize("template", [LLAMA2, VICUNA], ids=["llama 2", "vicuna"])
@pytest.mark.parametrize("talk", [["hello world"], ["hello", "wow", "he said"], ["a\nb", "hello\n", " c "]])
def test_chat_ids_are_those_of_transformers(kind: str, template: str, talk: list[str], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tok = sentencepiece(kind, tmp_path, template)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    messages = [Message(("user", "assistant")[index % 2], text) for index, text in enumerate(talk)]
    as_dicts = [{"role": message.role, "content": message.content} for message in messages]
    expected = theirs.apply_chat_template(as_dicts, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert render_chat(tok, messages, add_generation_prompt=True).ids == list(expected)


BARE = (  # neither begin-of-text nor anything else before the first content
    "{%- for m in messages %}{%- if m.role == 'system' %}{{ m.content + '\n<<SYS>>' }}"
    "{%- elif m.role == 'user' %}{{ m.content + ' [/INST]' }}{%- else %}{{ m.content + eos_token }}{%- endif %}"
    "{%- endfor %}"
)
FRAMED = BARE.replace("{{ m.content + '\n<<SYS>>' }}", "{{ '<<SYS>>\n' + m.content + '\n<<SYS>>' }}")


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["prepend", "always", "first"])
@pytest.mark.parametrize("template", [BARE, FRAMED], ids=["bare", "framed"])
@pytest.mark.parametrize("system", ["", "hello"])
def test_an_empty_or_a_first_content_gives_the_ids_of_transformers(
    kind: str, template: str, system: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    tok = sentencepiece(kind, tmp_path, template)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    talk = [("system", system), ("user", "hello"), ("assistant", "wow")]
    as_dicts = [{"role": role, "content": text} for role, text in talk]
    expected = theirs.apply_chat_template(as_dicts, tokenize=True, return_dict=False)
    assert render_chat(tok, [Message(role, text) for role, text in talk]).ids == list(expected)
