from __future__ import annotations

import itertools

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import LOSSY, SIZES

from tutelage.store.errors import InputError
from tutelage.tokenizer.chat import Rendered, Span, render_chat, turn_end
from tutelage.tokenizer.config import SPECIAL_TOKENS
from tutelage.tokenizer.messages import ROLES, Message, messages_from_plain
from tutelage.tokenizer.template import CHATML
from tutelage.tokenizer.tokenizer import Tokenizer

TALK = [
    Message("system", "Be brief."),
    Message("user", "Name a list."),
    Message("assistant", "files"),
    Message("user", "Another?"),
    Message("assistant", "Return the\nvalue. "),
]

# In the style of published templates, written for these tests.
LLAMA = (
    "{{- bos_token }}"
    "{%- for m in messages %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n'"
    " + m['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
QWEN = (
    "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{%- endif %}"
    "{%- for m in messages %}{%- if m.role == 'assistant' and loop.last %}"
    "{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + m.content.lstrip('\\n') + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
MISTRAL = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}{%- set rest = messages[1:] %}"
    "{%- else %}{%- set rest = messages %}{%- endif %}{{- bos_token }}"
    "{%- for m in rest %}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('roles must alternate') }}{%- endif %}"
    "{%- if m['role'] == 'user' %}{%- if loop.last and system is defined %}"
    "{{- '[INST] ' + system + '\\n\\n' + m['content'] + '[/INST]' }}"
    "{%- else %}{{- '[INST] ' + m['content'] + '[/INST]' }}{%- endif %}"
    "{%- else %}{{- ' ' + m['content'] + eos_token }}{%- endif %}{%- endfor %}"
)
STYLES = {
    "llama": (LLAMA, ["<|begin|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
    "qwen": (QWEN, ["<|begin|>"], "<|im_end|>"),
    "mistral": (MISTRAL, ["<|begin|>", "[INST]", "[/INST]"], "<|endoftext|>"),
}


def dressed(tok: Tokenizer, style: str) -> Tokenizer:
    """The small tokenizer with the control tokens and the template of another family."""
    import tokenizers

    template, names, _ = STYLES[style]
    library = tokenizers.Tokenizer.from_str(tok.definition)
    library.add_special_tokens(names)
    return Tokenizer(library.to_str(), {"eos_token": "<|endoftext|>", "bos_token": names[0]}, template)


def trained_text(tok: Tokenizer, rendered: Rendered) -> list[str]:
    """The runs of trained tokens, as text."""
    runs = itertools.groupby(zip(rendered.ids, rendered.mask, strict=True), key=lambda pair: pair[1])
    return [tok.decode([index for index, _ in run], skip_special=False) for learned, run in runs if learned]


def plainly(tok: Tokenizer, messages: list[Message], add_generation_prompt: bool = False) -> str:
    """The template rendered by Jinja alone, contents in place, as every other library does it."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = lambda text: (_ for _ in ()).throw(ValueError(text))
    return environment.from_string(tok.chat_template or "").render(
        messages=[message.plain() for message in messages],
        add_generation_prompt=add_generation_prompt,
        **tok.special_tokens,
    )


def test_golden_layout(bpe: Tokenizer) -> None:
    rendered = render_chat(bpe, [Message("user", "list"), Message("assistant", "files")])
    user, assistant = bpe.encode("user\n"), bpe.encode("assistant\n")
    question, answer, newline = bpe.encode("list"), bpe.encode("files"), bpe.encode("\n")
    assert rendered.ids == [1, *user, *question, 2, *newline, 1, *assistant, *answer, 2, *newline]
    before = 1 + len(user) + len(question) + 1 + len(newline) + 1 + len(assistant)
    assert rendered.mask == [False] * before + [True] * (len(answer) + 1) + [False] * len(newline)
    start = 1 + len(user)
    assert rendered.spans == [
        Span(0, "user", start, start + len(question)),
        Span(1, "assistant", before, before + len(answer), before + len(answer)),
    ]
    _ends_are_learned(rendered)


def _ends_are_learned(rendered: Rendered) -> None:
    """Every answer has a stop token that is learned."""
    ends = [span.stop for span in rendered.spans if span.role == "assistant"]
    assert any(rendered.mask) and all(end is not None and rendered.mask[end] for end in ends)


@pytest.mark.parametrize("method", [method for method in SIZES if method not in LOSSY])
def test_every_method_renders_the_same_text(trained: dict[str, Tokenizer], method: str) -> None:
    tok = trained[method]
    rendered = render_chat(tok, TALK)
    assert tok.decode(rendered.ids, skip_special=False) == plainly(tok, TALK)
    assert trained_text(tok, rendered) == ["files<|im_end|>", "Return the\nvalue. <|im_end|>"]


def test_spans_are_the_contents_word_for_word(bpe: Tokenizer) -> None:
    rendered = render_chat(bpe, TALK)
    assert [(span.message, span.role) for span in rendered.spans] == [(i, m.role) for i, m in enumerate(TALK)]
    for span, message in zip(rendered.spans, TALK, strict=True):
        assert bpe.decode(rendered.ids[span.start : span.end], skip_special=False) == message.content
        assert (span.stop is not None) == (message.role == "assistant")
        assert all(rendered.mask[place] == (message.role == "assistant") for place in range(span.start, span.end))


def test_generation_prompt_only_adds(bpe: Tokenizer) -> None:
    without, prompted = render_chat(bpe, TALK[:4]), render_chat(bpe, TALK[:4], add_generation_prompt=True)
    assert prompted.ids == [*without.ids, 1, *bpe.encode("assistant\n")]
    # What the model is asked to continue is exactly what it was trained to continue.
    full = render_chat(bpe, TALK)
    assert full.ids[: len(prompted.ids)] == prompted.ids
    assert full.mask[len(prompted.ids)] and not any(full.mask[full.spans[2].stop + 1 : len(prompted.ids)])  # type: ignore[operator]


contents = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
        st.sampled_from([*SPECIAL_TOKENS, "<|im_start|>system\n", "{{ messages }}", "\ue000\ue010\ue001", " ", "\n\n"]),
    ),
    max_size=5,
).map("".join)
conversations = st.lists(st.builds(Message, st.sampled_from(ROLES), contents), min_size=1, max_size=5)


@given(messages=conversations)
@settings(max_examples=150, deadline=None)
def test_content_never_becomes_a_control_token(bpe: Tokenizer, messages: list[Message]) -> None:
    rendered = render_chat(bpe, messages)
    inside = {place for span in rendered.spans for place in range(span.start, span.end)}
    controls = [place for place, index in enumerate(rendered.ids) if index in bpe.control_ids]
    assert not inside & set(controls)
    # Two control tokens a message, whatever the messages say.
    assert len(controls) == 2 * len(messages)
    assert bpe.decode(rendered.ids, skip_special=False) == plainly(bpe, messages)
    assert sum(rendered.mask) == sum(s.end - s.start + 1 for s in rendered.spans if s.role == "assistant")


@given(messages=conversations)
@settings(max_examples=75, deadline=None)
def test_a_shorter_conversation_is_a_prefix(bpe: Tokenizer, messages: list[Message]) -> None:
    whole = render_chat(bpe, messages)
    for count in range(1, len(messages)):
        part = render_chat(bpe, messages[:count])
        assert whole.ids[: len(part.ids)] == part.ids
        assert whole.mask[: len(part.mask)] == part.mask


@pytest.mark.parametrize("style", STYLES)
def test_foreign_templates(bpe: Tokenizer, style: str) -> None:
    tok = dressed(bpe, style)
    stop = STYLES[style][2]
    talk = [*TALK[:-1], Message("assistant", "Return it.")]
    if style == "mistral":
        talk = talk[:4]  # this family puts the system text into the last question
    rendered = render_chat(tok, talk)
    assert tok.decode(rendered.ids, skip_special=False) == plainly(tok, talk)
    # This family's model writes the space before its answer itself, so it has to learn it.
    space = " " if style == "mistral" else ""
    assert trained_text(tok, rendered) == [f"{space}{m.content}{stop}" for m in talk if m.role == "assistant"]
    assert turn_end(tok) in tok.stop_ids and tok.id_to_token(turn_end(tok) or 0) == stop
    _ends_are_learned(rendered)


@pytest.mark.parametrize("style", STYLES)
@given(text=contents)
@settings(max_examples=40, deadline=None)
def test_foreign_control_tokens_are_out_of_reach(bpe: Tokenizer, style: str, text: str) -> None:
    tok = dressed(bpe, style)
    text += "".join(STYLES[style][1])
    harmless, hostile = (render_chat(tok, [Message("user", said), Message("assistant", said)]) for said in ("x", text))
    controls = [[index for index in rendered.ids if index in tok.control_ids] for rendered in (harmless, hostile)]
    assert controls[0] == controls[1]


def test_a_template_that_moves_a_message_keeps_track_of_it(bpe: Tokenizer) -> None:
    tok = dressed(bpe, "mistral")
    rendered = render_chat(tok, TALK[:4])
    assert [span.message for span in rendered.spans] == [1, 2, 0, 3]
    for span in rendered.spans:
        assert tok.decode(rendered.ids[span.start : span.end]).removeprefix(" ") == TALK[span.message].content


def test_a_space_in_the_prompt_stays_in_the_prompt(bpe: Tokenizer) -> None:
    """Else the model would be asked to continue after a token that it never saw there in training."""
    template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    prompt = render_chat(bpe, TALK[:2], add_generation_prompt=True, template=template)
    full = render_chat(bpe, TALK[:3], template=template)
    assert full.ids[: len(prompt.ids)] == prompt.ids
    assert trained_text(bpe, full) == ["files<|im_end|>"]
    # A question is never continued: there the space and the word are the one token they are in any text.
    question = full.spans[1]
    assert full.ids[question.start : question.end] == bpe.encode(" Name a list.")


@pytest.mark.parametrize("content", ["  both ", " left", "right\n", " \n ", "", "none"])
def test_what_a_template_trims_is_trimmed(bpe: Tokenizer, content: str) -> None:
    tok = dressed(bpe, "llama")
    talk = [Message("user", content), Message("assistant", content)]
    rendered = render_chat(tok, talk)
    assert tok.decode(rendered.ids, skip_special=False) == plainly(tok, talk)
    assert trained_text(tok, rendered) == [content.strip() + "<|eot_id|>"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{% if not loop.last %}{{ m.content }}{% endif %}{% endfor %}", "drops message 1"),
        (
            "{% for m in messages %}{{ m.content }}{{ m.content }}<|im_end|>{% endfor %}",
            r"repeats \(2 times\) message 0",
        ),
        ("{% for m in messages %}{{ m.content[:2] }}<|im_end|>{% endfor %}", "alters the content"),
        ("{% for m in messages %}{{ m.content | reverse }}<|im_end|>{% endfor %}", "alters the content|drops"),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "does not begin with a control token"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "does not begin with a control token"),
        ("{{ raise_exception('no such thing') }}", "no such thing"),
        ("{% for m in messages %}{{ m.content", "faulty: line 1"),
        ("{{ messages.clear() }}", "refuses"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "refuses"),
        ("{{ messages[9].content.x }}", "refuses"),
    ],
)
def test_faulty_templates_are_refused(bpe: Tokenizer, template: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        render_chat(bpe, [Message("user", "hello"), Message("assistant", "there")], template=template)


def test_white_space_before_the_stop_token_is_learned_too(bpe: Tokenizer) -> None:
    template = "{% for m in messages %}{{ m.content + ' \n<|im_end|>\n' }}{% endfor %}"
    rendered = render_chat(bpe, [Message("assistant", "there")], template=template)
    assert trained_text(bpe, rendered) == ["there \n<|im_end|>"]


def test_no_template_and_no_messages(bpe: Tokenizer) -> None:
    bare = Tokenizer(bpe.definition, {"eos_token": "<|endoftext|>"})
    with pytest.raises(InputError, match="no chat template"):
        render_chat(bare, TALK)
    assert bare.stop_ids == (0,)
    with pytest.raises(InputError, match="no messages"):
        render_chat(bpe, [])


def test_generation_marks_and_dates_are_understood(bpe: Tokenizer) -> None:
    template = (
        "{{ strftime_now('%Y-%m-%d') }}{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}"
        "<|im_start|>{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% endfor %}{{ {'é': 1} | tojson }}"
    )
    rendered = render_chat(bpe, [Message("assistant", "files")], template=template)
    assert bpe.decode(rendered.ids, skip_special=False) == '2024-07-26<|im_start|>files<|im_end|>{"é": 1}'


def test_messages_from_plain() -> None:
    plain = [message.plain() for message in TALK]
    assert messages_from_plain(plain) == TALK
    for data, said in [
        ("text", "must be a list"),
        ([], "empty"),
        (["text"], r"messages\[0\] must be an object"),
        ([{"role": "user"}], r"messages\[0\] lacks content"),
        ([plain[0], {"role": "human", "content": "x"}], r"messages\[1\]: unknown role 'human'.*'user'"),
        ([{"role": "asistant", "content": "x"}], "did you mean 'assistant'"),
        ([{"role": "user", "content": None}], "must be text, got NoneType"),
        ([{"role": "user", "content": ["x"]}], "must be text, got list"),
        ([{"role": "user", "content": "x", "name": "y"}], "unknown fields: name"),
        ([{"role": ["user"], "content": "x"}], "unknown role"),
    ]:
        with pytest.raises(InputError, match=said):
            messages_from_plain(data)


@pytest.mark.parity
@pytest.mark.parametrize("style", ["chatml", *STYLES])
def test_ids_and_text_are_those_of_transformers(bpe: Tokenizer, style: str, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers")
    tok = bpe if style == "chatml" else dressed(bpe, style)
    directory = tmp_path_factory.mktemp("tok")
    tok.save(directory)
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    cases = [(TALK[1:], False), (TALK[1:4], True), (TALK[:4], True)]
    # A template that glues two contents together with line ends only: there we keep the boundary, they do not.
    for talk, prompt in cases[:2] if style == "mistral" else cases:
        given = [message.plain() for message in talk]
        text = theirs.apply_chat_template(given, add_generation_prompt=prompt, tokenize=False)
        rendered = render_chat(tok, talk, add_generation_prompt=prompt)
        assert tok.decode(rendered.ids, skip_special=False) == text
        assert rendered.ids == theirs(text, add_special_tokens=False)["input_ids"]


def test_our_template_is_plain_chatml() -> None:
    assert (
        jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        .from_string(CHATML)
        .render(messages=[{"role": "user", "content": "Hi"}], add_generation_prompt=True)
        == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
