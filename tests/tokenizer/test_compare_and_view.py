"""Tokenizers side by side: figures that can be worked out, and a view that loses nothing of the text."""

from __future__ import annotations

import io
import re
from html import unescape

import pytest
from rich.console import Console
from small_tokenizers import corpus_texts

from tutelage.cli.tokenizer import _measured
from tutelage.tokenizer.compare import Sample, compare
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.view import COLOURS, page, views


def test_measures_by_domain_and_their_parity(trained: dict[str, Tokenizer]) -> None:
    samples = [
        *(Sample(text, "english") for text in corpus_texts(40)),
        *(Sample("学習" * 300, "other") for _ in range(2)),
    ]
    found = compare({"bpe": trained["bpe"], "byte": trained["byte"]}, samples)
    assert found["byte"]["domains"] == {"english": 1.0, "other": 1.0}
    assert found["byte"]["parity"] == 1.0
    dear, cheap = found["bpe"]["domains"]["other"], found["bpe"]["domains"]["english"]
    assert found["bpe"]["parity"] == pytest.approx(max(dear, cheap) / min(dear, cheap), rel=1e-3)
    assert found["byte"]["bytes_per_token"] == found["byte"]["digits_per_token"] == 1.0
    assert found["bpe"]["encode_mb_per_cpu_second"] > 0


def test_a_small_domain_has_no_figure(trained: dict[str, Tokenizer]) -> None:
    found = compare({"byte": trained["byte"]}, [Sample("a" * 3000, "long"), Sample("b", "short")])
    assert list(found["byte"]["domains"]) == ["long"]
    assert found["byte"]["parity"] is None


def test_the_view_holds_the_whole_text(trained: dict[str, Tokenizer]) -> None:
    text = "Return <b>all</b>\nfiles & 1999."
    shown = views({"bpe": trained["bpe"], "char": trained["char"]}, text)
    for view in shown:
        assert "".join(view.pieces) == text
        assert all(first[1] != second[1] for first, second in zip(view.coloured, view.coloured[1:], strict=False))
    made = page(shown, text)
    blocks = re.findall(r"<pre>(.*?)</pre>", made, re.DOTALL)
    assert [unescape(re.sub(r"<[^>]+>", "", block)).replace("⏎\n", "\n") for block in blocks] == [text, text]
    assert "http" not in made and COLOURS[0] in made


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_measures_fit_the_terminal(trained: dict[str, Tokenizer], width: int) -> None:
    """As many tokenizers side by side as fit, each with all its figures whole."""
    found = compare(
        {f"{method}:{2**at}": trained[method] for at, method in enumerate(sorted(trained))},
        [Sample(text, "english") for text in corpus_texts(40)],
    )
    console = Console(width=width, file=io.StringIO())
    _measured(console, found)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in said and max(map(len, said.splitlines())) <= width
    names = [name for line in said.splitlines() if ":" in line for name in line.split()]
    assert names == list(found)
    sizes = [size for line in said.splitlines() if line.startswith("vocab size") for size in line.split()[2:]]
    assert sizes == [f"{one['vocab_size']:,}" for one in found.values()]
