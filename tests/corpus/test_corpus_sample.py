"""A sample of a source says how hard its text is, without reading all of it."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.forecast import forecast
from tutelage.corpus.sample import PIECE, PIECES, PYTHON_BITS, compressed_bits, ppmd_bits, sampled
from tutelage.guidance.machine import Idle

WORDS = ["alpha", "beta", "gamma", "delta", "omega", "sigma"]


def prose(seed: int, size: int) -> str:
    chance = random.Random(seed)
    return "".join(f"{' '.join(chance.choices(WORDS, k=8))}.\n" for _ in range(size // 45))


def noise(size: int) -> str:
    chance = random.Random(1)
    return "".join("\n" if at % 80 == 79 else chance.choice("abcdefghijklmnopqrstuvwxyz ") for at in range(size))


def test_harder_text_needs_more_bits(tmp_path: Path) -> None:
    (tmp_path / "easy.txt").write_text(prose(0, 60_000))
    (tmp_path / "hard.txt").write_text(noise(60_000))
    easy, hard = (ppmd_bits(CorpusConfig(source=str(tmp_path / name))) for name in ("easy.txt", "hard.txt"))
    assert easy is not None and hard is not None and easy < 2 < 4 < hard < 5.5


def test_pieces_come_from_all_over_the_source_and_are_bounded(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.txt" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_text(f"file {number} line\n" * 20_000)
    sample = sampled(paths)
    assert len(sample) <= PIECES * (PIECE + 1) and all(f"file {number}".encode() in sample for number in range(3))
    assert sample.startswith(b"file")  # a whole line
    assert sampled([]) == b""


def test_rows_are_read_by_their_text(tmp_path: Path) -> None:
    text = prose(3, 40_000).splitlines()
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": line, "n": at}) + "\n" for at, line in enumerate(text))
    )
    sample = sampled([tmp_path / "rows.jsonl"])
    assert b"{" not in sample and b"alpha" in sample


def test_what_cannot_be_told_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "page.html").write_text("<p>" + prose(1, 40_000))
    for source in (tmp_path / "short.txt", tmp_path / "page.html", tmp_path / "missing", "hf:some/set"):
        assert ppmd_bits(CorpusConfig(source=str(source))) is None
    assert ppmd_bits(CorpusConfig()) == PYTHON_BITS


def test_the_forecast_of_a_corpus_tells_it(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(prose(0, 60_000))
    facts = forecast(CorpusConfig(source=str(tmp_path)), {}, Idle()).facts
    assert facts["ppmd_bits"] == ppmd_bits(CorpusConfig(source=str(tmp_path)))


def test_bits_are_those_of_the_compressor() -> None:
    assert compressed_bits(b"a" * 10_000) < 0.05
