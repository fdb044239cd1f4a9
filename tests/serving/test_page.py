"""The chat page in a real browser: what is shown, what is kept, what goes wrong and is said truly."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from page_model import Scripted, ask, press, scripted, shown
from served import serving

from tutelage.cli import transcript
from tutelage.evaluation.bench.items import prepare
from tutelage.evaluation.bench.own import own_task
from tutelage.finetuning.data.preferences import read_preferences
from tutelage.inference.language_model import LanguageModel
from tutelage.serving.page import page as whole_page
from tutelage.serving.protocol import Limits
from tutelage.store.events import EventLog

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@pytest.fixture
def model(lm: LanguageModel) -> Scripted:
    made = scripted(lm)
    made.adapters["other"] = scripted(lm)
    return made


@pytest.fixture
def page(browser: Browser, model: Scripted) -> Iterator[Browser]:
    with serving(model, Limits(seconds=20)) as port:
        browser.show(1200)
        browser.said.clear()
        browser.open(f"http://127.0.0.1:{port}/")
        yield browser
        assert not [line for line in browser.said if "status of" not in line], browser.said
        browser.call("Page.navigate", url="about:blank")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [375, 1200])
def test_all_is_on_the_screen(page: Browser, width: int, dark: bool) -> None:
    page.show(width, dark=dark)
    ask(page, "w" * 300)
    assert page.js("document.documentElement.scrollWidth <= innerWidth")
    for part in ("send", "prompt", "opensettings", "model", "beside", "export"):
        left, right, bottom = page.js(
            f"(({{left, right, bottom}}) => [left, right, bottom])($('{part}').getBoundingClientRect())"
        )
        assert 0 <= left < right <= width and bottom <= 800, part


def test_it_is_small() -> None:
    assert len(whole_page().encode()) < 150_000


def test_an_answer_with_its_figures(page: Browser) -> None:
    ask(page, "why?")
    assert shown(page) == ["why?", "hello"]
    assert "6 tokens · " in page.js("log.innerText") and "ended by itself" in page.js("log.innerText")
    assert "tokens" in page.js("$('meter').innerText")


def test_markdown_is_rendered_and_markup_stays_text(page: Browser, model: Scripted) -> None:
    model.said = (
        "# T\n\n**b** `c` <img src=x onerror=alert(1)> [l](javascript:alert(1)) [m](https://a.example)\n\n"
        "- one\n  - two\n\n"
        "```py\n<b>x</b>\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n$x^2 \\le \\frac{1}{2}$\n\n1. a\n2. b"
    )
    ask(page, "why?")
    found = page.js(
        "[...document.querySelector('article.model .text').querySelectorAll('*')].map((one) => one.tagName)"
    )
    assert {"H1", "STRONG", "CODE", "UL", "LI", "PRE", "TABLE", "OL", "A"} <= set(found)
    assert "IMG" not in found and found.count("A") == 1 and found.count("B") == 0
    text = shown(page)[1]
    assert "<img src=x onerror=alert(1)>" in text and "<b>x</b>" in text
    assert page.js("document.querySelector('article.model math annotation').textContent") == "x^2 \\le \\frac{1}{2}"
    # What was rendered while it came is what is rendered at once.
    assert page.js(
        "(() => { const a = element('div'); markdown(branch()[1].content, a); return a.innerHTML })()"
    ) == page.js("(() => { drawn.clear(); draw(); return document.querySelector('article.model .text').innerHTML })()")


MATHS = {
    "x^2_i": "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>",
    "\\frac{1}{n}": "<mfrac><mn>1</mn><mi>n</mi></mfrac>",
    "\\sqrt[3]{2}": "<mroot><mn>2</mn><mrow><mn>3</mn></mrow></mroot>",
    "\\alpha \\le 1.5": '<mi>α</mi><mo stretchy="false">≤</mo><mn>1.5</mn>',
    "f'": "<msup><mi>f</mi><mo>′</mo></msup>",
    "\\mathbb{R}^n": "<msup><mi>ℝ</mi><mi>n</mi></msup>",
    "\\mathbf{w}x": "<mi>𝐰</mi><mi>x</mi>",
    "\\text{if } a": "<mtext>if&nbsp;</mtext><mi>a</mi>",
    "\\unknown{<b>}": "<mtext>\\unknown</mtext><mrow><mo>&lt;</mo><mi>b</mi><mo>&gt;</mo></mrow>",
    "a}": "<mi>a</mi><mtext>}</mtext>",
    "\\frac": "<mfrac><mrow></mrow><mrow></mrow></mfrac>",
    "x^": "<msup><mi>x</mi><mrow></mrow></msup>",
}


MATHML = {
    "math", "semantics", "annotation", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msup", "msub", "msubsup", "munder",
    "mover", "munderover", "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd",
}  # fmt: skip


def test_maths_is_typeset(page: Browser) -> None:
    page.js("""globalThis.shownMaths = (text, block) =>
      maths(text, block).querySelector("semantics").firstChild.innerHTML; 1""")
    for source, expected in MATHS.items():
        assert page.js(f"shownMaths({json.dumps(source)}, false)") == expected, source

    def shown_as(source: str, block: bool) -> str:
        return page.js(f"shownMaths({json.dumps(source)}, {json.dumps(block)})")

    limits = shown_as("\\sum_{i=1}^n i", True)
    assert limits.startswith("<munderover><mo") and "∑" in limits
    matrix = shown_as("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", True)
    assert matrix.count("<mtr>") == 2 and matrix.count("<mtd>") == 4 and matrix.count('fence="true"') == 2
    fenced = shown_as("\\left(\\frac{a}{b}\\right]", False)
    assert ">(</mo>" in fenced and ">]</mo>" in fenced and "right" not in fenced


def test_displayed_maths_within_a_line_is_maths(page: Browser) -> None:
    page.js("""globalThis.parts = (text) => {
      const node = element("div"), tex = (one) => one.querySelector("annotation").textContent;
      markdown(text, node);
      return [...node.firstChild.childNodes].map((one) => one.className === "maths" ? tex(one) : one.textContent);
    }; 1""")

    def texts(text: str) -> list[str]:
        parts: list[str] = page.js(f"parts({json.dumps(text)})")
        return parts

    assert texts("so $$x^2$$ is") == ["so ", "x^2", " is"] and texts("so \\[x^2\\] is") == ["so ", "x^2", " is"]
    assert "".join(texts("it costs $$ and \\[ no more")) == "it costs $$ and [ no more"


def test_maths_is_nodes_of_known_kinds_whatever_is_written(page: Browser) -> None:
    parts = [
        "\\frac", "\\sqrt", "{", "}", "^", "_", "[", "]", "&", "\\\\", "\\left", "\\right", "(", ".", "'", "x", "12",
        "\\begin{matrix}", "\\end{matrix}", "\\begin{zzz}", "\\mathbf", "\\text", "\\hat", "\\sum", "\\limits", "<img>",
        "\\not", "\\", "é", "😀", " ", "\\sin", "\\pmod", "\\operatorname*", "\\overbrace",
    ]  # fmt: skip
    chance = random.Random(2)
    texts = ["".join(chance.choices(parts, k=chance.randrange(1, 25))) for _ in range(1500)]
    kinds = page.js(f"""[...new Set({json.dumps(texts)}.flatMap((text) =>
      [false, true].flatMap((block) => [...maths(text, block).querySelectorAll("*")].map((one) => one.tagName))))]""")
    assert set(kinds) <= MATHML
    deep = json.dumps("{" * 3000 + "x" + "}" * 900)
    assert page.js(f"maths({deep}).querySelectorAll('*').length") < 9000


def test_a_long_answer_costs_a_multiple_of_its_length_and_not_of_its_square(page: Browser) -> None:
    page.js("""
      globalThis.cost = async (count, block) => {
        const box = element("div"), live = new LiveText(box);
        log.append(box);
        for (let at = 0; at < count; at++) { live.feed(block); live.draw(); }
        live.end();
        return [live.rendered / (count * block.length), box.innerHTML === (() => {
          const whole = element("div"); markdown(block.repeat(count), whole); return whole.innerHTML })()];
      }; 1""")
    for block in ("A paragraph of text.\n\n", "para\n\n```js\nx\n```\n\n# h\n\n"):
        few, many = page.js(f"cost(50, {json.dumps(block)})"), page.js(f"cost(800, {json.dumps(block)})")
        assert few[1] and many[1]
        assert many[0] < 1.5 * few[0] < 12


@pytest.mark.parametrize("by_key", [True, False])
def test_stopped_before_the_first_token_leaves_no_empty_turn(page: Browser, model: Scripted, by_key: bool) -> None:
    model.model.before = 1.0
    ask(page, "first", wait=False)
    if by_key:
        page.press("Escape")
    else:
        page.js("send.click()")
    page.wait("running.size === 0")
    assert page.js("chat.nodes.length") == 0 and page.js("prompt.value") == "first"
    assert "Stopped before the first token" in page.js("log.innerText")
    model.model.before = 0.0
    page.js("send.click()")
    page.wait("running.size === 0 && chat.nodes.length === 2")
    assert model.told == ["first"]


def test_stopped_in_the_middle_keeps_what_there_is_and_says_who_did_it(page: Browser, model: Scripted) -> None:
    model.said, model.model.pause = "x" * 400, 0.02
    ask(page, "why?", wait=False)
    page.wait("document.querySelector('article.live .text')?.innerText.length > 3")
    page.press("Escape")
    page.wait("running.size === 0")
    assert "stopped by you" in page.js("log.innerText") and 3 < len(shown(page)[1]) < 400
    # The server has not counted it: the meter says so, and is not at nothing.
    assert page.js("$('meter').innerText").startswith("over ") and "over 0 " not in page.js("$('meter').innerText")


def test_a_failure_is_not_called_a_stop(page: Browser, model: Scripted) -> None:
    model.model.breaks_after = 3
    ask(page, "why?")
    said = page.js("log.innerText")
    assert "broken off: the server failed" in said and "stopped by you" not in said and shown(page) == ["why?", "hel"]
    model.model.breaks_after = 0
    ask(page, "again?")
    assert "the server failed" in page.js("log.innerText") and page.js("prompt.value") == "again?"
    assert page.js("chat.nodes.length") == 2


def test_a_full_context_loses_neither_question_nor_history(page: Browser, model: Scripted) -> None:
    ask(page, "one")
    ask(page, "y" * model.context)
    said = page.js("log.innerText")
    assert "The context is full" in said and f"holds {model.context}" in said
    assert page.js("prompt.value.length") == model.context and shown(page) == ["one", "hello"]
    press(page, "New chat with it")
    assert page.js("chat.nodes.length") == 0 and page.js("prompt.value.length") == model.context
    assert page.js("chats.size") == 1


def test_editing_and_answering_again_make_branches(page: Browser, model: Scripted) -> None:
    ask(page, "one")
    model.said = "second"
    press(page, "Again")
    page.wait("chat.nodes.length === 3 && running.size === 0")
    assert shown(page) == ["one", "second"] and "2/2" in page.js("log.innerText")
    press(page, "‹")
    assert shown(page) == ["one", "hello"]
    page.js("prompt.focus()")
    page.press("ArrowUp")
    page.js("document.querySelector('.edit textarea').value = 'two'; document.querySelector('.edit textarea').focus()")
    page.press("Enter")
    page.wait("chat.nodes.length === 5 && running.size === 0")
    assert shown(page) == ["two", "second"] and model.told == ["two"]
    press(page, "‹")
    assert shown(page) == ["one", "hello"]


def test_chats_are_kept_found_and_deleted(page: Browser) -> None:
    ask(page, "about cats")
    page.js("$('new').click()")
    ask(page, "about dogs")
    page.call("Page.reload")
    page.wait("typeof served !== 'undefined' && served.length > 0 && $('model').value !== ''")
    assert shown(page) == ["about dogs", "hello"] and page.js("$('chats').children.length") == 2
    page.js("$('search').value = 'CATS'; $('search').dispatchEvent(new Event('input'))")
    assert page.js("$('chats').innerText").startswith("about cats")
    page.js("globalThis.confirm = () => true; $('chats').querySelector('[title^=Delete]').click()")
    page.js("$('search').value = ''; drawChats()")
    assert (
        page.js("$('chats').children.length") == 1
        and page.js("Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).length") == 1
    )


def reload(page: Browser) -> None:
    page.call("Page.reload")
    page.wait("typeof served !== 'undefined' && served.length > 0 && $('model').value !== ''")


def test_closing_the_page_loses_nothing(page: Browser, model: Scripted) -> None:
    page.js("prompt.focus()")
    page.type("half a question")
    reload(page)
    assert page.js("prompt.value") == "half a question"
    page.js("prompt.value = ''")
    model.model.before = 1.0
    ask(page, "first", wait=False)
    reload(page)
    assert page.js("prompt.value") == "first" and page.js("chat.nodes.length") == 0
    page.js("prompt.value = ''")
    model.before, model.pause, model.said = 0.0, 0.05, "x" * 100
    ask(page, "second", wait=False)
    page.wait("branch().at(-1)?.content.length > 3")
    reload(page)
    assert shown(page)[0] == "second" and shown(page)[1].startswith("xxx")
    assert "broken off: the page was closed" in page.js("log.innerText")


def test_two_tabs_lose_nothing_of_each_other(page: Browser, model: Scripted) -> None:
    ask(page, "one")
    first, address = page.session, page.js("location.href")
    second = page.tab()
    try:
        page.open(address)
        page.js("open([...chats.values()][0])")
        assert shown(page) == ["one", "hello"]
        ask(page, "two, in the other tab")
        page.tab(first)
        page.wait("chat.nodes.length === 4")
        assert shown(page) == ["one", "hello", "two, in the other tab", "hello"]
        # While an answer is under way here, something changes there.
        model.model.pause, model.said = 0.03, "x" * 60
        ask(page, "three", wait=False)
        page.wait("branch().at(-1)?.content.length > 3")
        page.tab(second)
        page.js("chat.nodes[1].vote = 1; save()")
        page.tab(first)
        page.wait("chat.nodes[1].vote === 1")
        page.wait("running.size === 0")
        said = shown(page)[-1]
        assert len(said) > 40 and set(said) == {"x"}
        assert page.js("JSON.parse(store.getItem(PREFIX + chat.id)).nodes[1].vote") == 1
        page.tab(second)
        page.wait("chat.nodes.length === 6")
        assert shown(page)[-1] == said
        page.js("remove(chat)")
        page.tab(first)
        page.wait("chats.size === 0")
    finally:
        page.tab(second)
        page.call("Page.close")
        page.tab(first)


def test_a_damaged_or_hostile_chat_does_no_harm(page: Browser) -> None:
    for text in (
        "{",
        "[]",
        '{"nodes": [{"role": "system"}]}',
        '{"nodes": [{"id": 1, "parent": 2, "role": "user", "content": "x"}]}',
    ):
        assert not page.js(f"readChat({json.dumps(text)})?.nodes.length")

    assert page.js("readChat({ messages: [{ role: 'user', content: 'x' }] }).id.length") > 5
    assert page.js("readChat({ nodes: [{ parent: null, role: 'user', content: 'x' }] }).nodes.length") == 0
    node = {"id": "abc", "parent": None, "role": "user", "content": "x", "speed": {}, "stop": [], "vote": "up"}
    more = {"id": "def", "parent": "abc", "role": "assistant", "content": "y", "tokens": "9", "stop": "s"}
    hostile = {"id": "../x", "title": {}, "nodes": [node, more, more], "pick": {"root": "zzz", "__proto__": "abc"}}
    page.js(f"importFile(new File([{json.dumps(json.dumps(hostile))}], 'a.json'))")
    page.wait("chats.size === 1")
    assert shown(page) == ["x", "y"] and page.js("/^[a-z0-9]+$/.test(chat.id)")


def test_a_browser_that_keeps_nothing_still_shows_the_page(page: Browser) -> None:
    blocked = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked') } })"
    number = page.call("Page.addScriptToEvaluateOnNewDocument", source=blocked)["identifier"]
    page.call("Page.reload")
    page.wait("typeof served !== 'undefined' && served.length > 0 && $('model').value !== ''")
    page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=number)
    ask(page, "one")
    assert shown(page) == ["one", "hello"] and page.js("$('chats').children.length") == 1


@pytest.mark.parametrize("ending", ["json", "md"])
def test_what_is_exported_can_be_imported(page: Browser, ending: str, tmp_path: Path) -> None:
    page.js("$('system').value = 'be brief'; $('system').dispatchEvent(new Event('input'))")
    ask(page, "## one\n\ntext")
    made = page.js("asMarkdown(chat)" if ending == "md" else "asJson(chat)")
    if ending == "json":
        (tmp_path / "chat.json").write_text(made)
        messages, _ = transcript.load(str(tmp_path / "chat.json"), transcript.Sampling())
        assert [one.content for one in messages] == ["be brief", "## one\n\ntext", "hello"]
    page.js(f"importFile(new File([{json.dumps(made)}], 'a.{ending}'))")
    page.wait("chats.size === 2")
    assert shown(page) == ["## one\n\ntext", "hello"] and page.js("chat.system") == "be brief"


def test_the_system_prompt_and_the_sampling_are_sent(page: Browser, model: Scripted) -> None:
    page.js("$('opensettings').click()")
    page.js("$('system').value = 'rhyme'; $('system').dispatchEvent(new Event('input'))")
    page.js("globalThis.one = document.querySelector('[name=temperature]'); one.value = 0.3")
    page.js("one.dispatchEvent(new Event('change'))")
    page.js("$('settings').close()")
    assert page.js("wanted()") == {"temperature": 0.3}
    ask(page, "one")
    assert model.told == ["rhyme", "one"]


def test_tokens_show_what_they_were_chosen_from(page: Browser) -> None:
    page.js("sampling = { logprobs: true }")
    ask(page, "one")
    press(page, "Tokens")
    assert page.js("document.querySelectorAll('.tokens button').length") == 5
    page.js("document.querySelector('.tokens button').click()")
    assert "100.00 %" in page.js("document.querySelector('.choices').innerText")
    page.js("""[...tokensOf.values()][0][1].top_logprobs = [
      { token: "A\\n", logprob: Math.log(0.7) }, { token: "B", logprob: Math.log(0.2) }]; 1""")
    press(page, "Tokens")
    press(page, "Tokens")
    page.js("document.querySelectorAll('.tokens button')[1].click()")
    lines = page.js("document.querySelector('.choices').innerText").split()
    assert lines[:4] == ["A\\n", "70.00", "%", "B"] and "100.00" in lines


def test_a_vote_by_keyboard_keeps_the_focus(page: Browser) -> None:
    ask(page, "one")
    page.js("document.querySelector('[title^=Good]').focus()")
    page.press("Enter")
    assert page.js("document.activeElement.className") == "plain on"
    assert page.js("chat.nodes[1].vote") == 1


def test_a_long_chat_is_drawn_quickly(page: Browser) -> None:
    page.js("""chat.nodes = chain(Array.from({ length: 1000 }, (_, at) => (
      { role: at % 2 ? "assistant" : "user", content: "Some **words** of a message.\\n\\n- a\\n- b" }))); draw()""")
    page.js("globalThis.begun = performance.now(); for (let at = 0; at < 5; at++) draw(); 1")
    assert page.js("(performance.now() - begun) / 5") < 1000
    assert len(shown(page)) == 1000


def test_two_models_side_by_side_and_votes_become_preference_pairs(
    page: Browser, model: Scripted, tmp_path: Path
) -> None:
    model.adapters["other"].said = "another answer"  # type: ignore[attr-defined]
    page.js("$('beside').value = 'tutelage:other'")
    ask(page, "which?")
    assert shown(page) == ["which?", "hello", "another answer"]
    page.js("document.querySelectorAll('[title^=Bad]')[0].click()")
    page.js("document.querySelectorAll('[title^=Good]')[1].click()")
    press(page, "Go on from this")
    assert page.js("branch().at(-1).content") == "another answer"
    lines = page.js("[...chats.values()].flatMap(preferencePairs)")
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(lines) + "\n")
    rows, _ = read_preferences(file, EventLog())
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in rows] == [("which?", "another answer", "hello")]
    cases = tmp_path / "cases.jsonl"
    cases.write_text("\n".join(page.js(f"evaluationCases({json.dumps(lines * 2)})")) + "\n")
    items = prepare(own_task(cases), []).items
    for item, gold in zip(items, (0, 1), strict=True):
        assert [one.context for one in item.pairs] == ["which?", "which?"] and item.gold == (gold,)
        assert item.shown[gold] == "another answer" and set(item.shown) == {"another answer", "hello"}


def test_no_text_takes_long_to_render(page: Browser) -> None:
    signs = [
        "*", "**", "_", "`", "``a", "$", "$a", "[", "[a](", "](", "<https:", "~~a", "\\(", "\\(a\\", "**a", "*a ", "> ",
        "- ", "  - a\n", "|a|\n", "```\n", "$$\n", "\\[\n", "a_b", "1. ", "a  \n", "\\frac{", "x^{", "> - ", "[a](b(c",
        "\\left(", "{", "\\begin{matrix}", "&", "\\sqrt[", "'", "a_b^", "\\hat",
    ]  # fmt: skip
    page.js("""globalThis.longest = (texts) => Math.max(...texts.map((text) => {
      const begin = performance.now(); markdown(text, element("div")); return performance.now() - begin; })); 1""")
    for sign in signs:
        long = sign * (20_000 // len(sign))
        assert page.js(f"longest({json.dumps([long, f'x {long} x', f'$${long[:3900]}$$'])})") < 2000, sign


def test_what_is_rendered_as_it_comes_is_what_is_rendered_at_once(page: Browser) -> None:
    parts = [
        "a b\n", "\n", "\n\n", "- x\n", "  - y\n", "1. z\n", "```js\n", "```\n", "$$\n", "# h\n", "> q\n", "**b** ",
        "`c` ", "| a | b |\n|---|---|\n| 1 | 2 |\n", "  indented\n", "---\n", "\\[x\n", "\\]\n", "text $x$ ",
        "<b>&amp;</b> ",
    ]  # fmt: skip
    chance = random.Random(1)
    texts = ["".join(chance.choices(parts, k=chance.randrange(1, 15))) for _ in range(400)]
    known = "P UL OL LI CODE PRE DIV SPAN BUTTON H1 H2 H3 H4 BLOCKQUOTE TABLE TR TH TD STRONG EM S A BR HR"
    wrong = page.js(f"""(() => {{
      const known = new Set({json.dumps([*known.split(), *MATHML])});
      return {json.dumps(texts)}.filter((text) => {{
        const coming = element("div"), whole = element("div"), live = new LiveText(coming);
        for (let at = 0; at < text.length; at += 3) {{ live.tail += text.slice(at, at + 3); live.draw(); }}
        live.end();
        markdown(text, whole);
        const kinds = [...whole.querySelectorAll("*")].map((one) => one.tagName);
        return coming.innerHTML !== whole.innerHTML || kinds.some((one) => !known.has(one));
      }});
    }})()""")
    assert wrong == []
