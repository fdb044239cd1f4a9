"""What stands in the training text: the route, and what the page shows of it in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from fastapi.testclient import TestClient
from page_model import Scripted, ask, press, scripted
from served import indexed, serving

from tutelage.inference.language_model import LanguageModel
from tutelage.pretraining.trace import Index
from tutelage.serving.app import make_app
from tutelage.serving.protocol import Limits

TEXTS = [
    "Return the number of items in the container, or zero if it is empty.",
    "A cat sat on the old red mat and slept there for a long while.",
    "Return the number of items in the basket. <b>Nothing</b> else is done.",
]
SAID = "😀 I say: **cat sat on the old red mat** and slept. Return the number of items in the store."


@pytest.fixture(scope="module")
def index(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return indexed(tmp_path_factory.mktemp("traced"), TEXTS, lm.tokenizer)


@pytest.fixture
def server(lm: LanguageModel, index: Index) -> TestClient:
    app = make_app(lm, "tiny", limits=Limits(traced_chars=200), traced=[index])
    return TestClient(app, base_url="http://127.0.0.1")


def test_spans_come_with_their_documents(server: TestClient) -> None:
    made = server.post("/v1/trace", json={"model": "tiny", "input": SAID, "least_words": 5}).json()
    assert [SAID[one["begin"] : one["end"]] for one in made["spans"]] == [one["text"] for one in made["spans"]]
    assert [(one["text"], one["count"]) for one in made["spans"]] == [
        ("cat sat on the old red mat", 1), ("Return the number of items in the", 2)
    ]  # fmt: skip
    assert [one["name"] for one in made["spans"][1]["documents"]] == ["name-0", "name-2"]
    assert made["share"] == pytest.approx((26 + 33) / len(SAID)) and made["least_words"] == 5
    assert len(server.post("/v1/trace", json={"model": "tiny", "input": SAID}).json()["spans"]) == 2
    assert server.post("/v1/trace", json={"model": "tiny", "input": ""}).json()["spans"] == []


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [({"input": "x" * 201}, 400, "input"), ({"least_words": 0}, 400, "least_words"), ({"model": "no"}, 404, "model"),
     ({"corpus": "/etc"}, 400, "corpus")],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(server: TestClient, fields: Any, status: int, param: str) -> None:
    response = server.post("/v1/trace", json={"model": "tiny", "input": "x", **fields})
    assert response.status_code == status and response.json()["error"]["param"] == param


def test_without_a_text_to_look_in_there_is_no_such_route(lm: LanguageModel) -> None:
    server = TestClient(make_app(lm, "tiny"), base_url="http://127.0.0.1")
    assert server.post("/v1/trace", json={"model": "tiny", "input": "x"}).status_code == 404
    assert "/v1/trace" not in server.get("/openapi.json").json()["paths"]


@pytest.fixture
def model(lm: LanguageModel) -> Scripted:
    made = scripted(lm)
    made.said = SAID
    return made


@pytest.fixture
def page(browser: Browser, model: Scripted, index: Index) -> Iterator[Browser]:
    with serving(model, Limits(seconds=20), traced=[index]) as port:
        browser.show(1100)
        browser.said.clear()
        browser.open(f"http://127.0.0.1:{port}/")
        yield browser
        assert not browser.said, browser.said
        browser.call("Page.navigate", url="about:blank")


def marked(page: Browser) -> list[str]:
    return page.js("[...document.querySelectorAll('.traced mark')].map((one) => one.textContent)")


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@needs_browser
def test_the_page_marks_spans_and_shows_their_documents(page: Browser) -> None:
    ask(page, "why?")
    press(page, "Trace")
    page.wait("document.querySelector('.traced')")
    assert marked(page) == ["cat sat on the old red mat", "Return the number of items in the"]
    # Rendered as before, and marked in it.
    assert page.js("document.querySelector('.traced strong mark').textContent") == "cat sat on the old red mat"
    assert "65 % of this" in page.js("document.querySelector('.traced .hint').textContent")
    page.js("document.querySelectorAll('.traced mark')[1].click()")
    told = page.js("document.querySelector('.where').innerText")
    assert "7 words, 2 times" in told and "source-0 · name-0" in told and "source-2 · name-2" in told
    # Markup of a document stays text.
    assert "basket. <b>Nothing</b>" in told and "container, or zero" in told
    press(page, "Trace")
    assert not marked(page) and page.js("document.querySelector('article.model strong').textContent")


@needs_browser
def test_by_keyboard_alone(page: Browser) -> None:
    ask(page, "why?")
    page.js("[...document.querySelectorAll('button')].find((one) => one.textContent === 'Trace').focus()")
    page.press("Enter")
    page.wait("document.querySelector('.traced')")
    page.js("document.querySelector('.traced mark').focus()")
    page.press("Enter")
    assert "source-1" in page.js("document.querySelector('.where').innerText")
    assert page.js("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.press("Enter")
    assert page.js("document.querySelector('.where').hidden")


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_on_a_phone(page: Browser, model: Scripted, dark: bool) -> None:
    model.said = f"It is so: {TEXTS[1]}"
    page.show(390, dark=dark)
    ask(page, "why?")
    press(page, "Trace")
    page.wait("document.querySelector('.traced')")
    page.js("document.querySelector('.traced mark').click()")
    assert page.js("document.documentElement.scrollWidth <= innerWidth")
    # A span runs on over the end of a line: it is no box.
    assert page.js("[...document.querySelectorAll('.traced mark')].some((one) => one.getClientRects().length > 1)")


@needs_browser
def test_a_text_without_a_span_says_so(page: Browser, model: Scripted) -> None:
    model.said = "Nothing of it."
    ask(page, "why?")
    press(page, "Trace")
    page.wait("document.querySelector('.traced')")
    assert not marked(page) and "No span of 6 words" in page.js("document.querySelector('.traced').innerText")


@needs_browser
def test_spans_count_characters_and_may_overlap(page: Browser) -> None:
    spans = "[{ begin: 1, end: 5 }, { begin: 3, end: 8 }]"
    assert page.js(f"withinOf('😀bcdefghij', {spans})") == ["", "", "0", "0", "0,1", "0,1", "1", "1", "1", "", ""]


MARKED = {
    "plain one two three": ["one two"],
    "a **one** two": ["one", " two"],
    "[x](https://a.one/)**one** two": ["one", " two"],
    "- a [one](https://one.two) two\n- b": ["one", " two"],
    "```one\nx = one two\n```": ["one two"],
    "$one$ and \\* so one\ntwo `one`": ["one\ntwo"],
    "| a | b |\n|---|---|\n| one | two |": ["one", "two"],
    "1. one two\n2. > x": ["one two"],
    "one *two*": ["one ", "two"],
}


@needs_browser
def test_what_is_marked_in_a_rendered_text_is_what_the_span_holds(page: Browser) -> None:
    """The last "one ... two" of each text is the span, whatever stands between."""
    page.js("""globalThis.marks = (text) => {
      const found = [...text.matchAll(/one[^a-z]*(\\]\\(.*?\\) )?two/g)].at(-1), body = element("div"), made = [];
      markdown(text, body);
      const spans = [{ begin: found.index, end: found.index + found[0].length }];
      const mark = (_, part) => { made.push(part); return element("mark", "", part); };
      markUp(body, text, withinOf(text, spans), mark);
      const plain = element("div");
      markdown(text, plain);
      return [made, body.textContent === plain.textContent];
    }; 1""")
    for text, parts in MARKED.items():
        assert page.js(f"marks({json.dumps(text)})") == [parts, True], text
