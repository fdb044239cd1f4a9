"""The files, rows and models that the pages name, for the tests that run what they show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from documented import ROOT
from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.translation import Translation, with_translation

MODELS = {"classify": "runs/reviews-classify", "translate": "runs/pairs-translate"}
"""Of verbs that no language model will do for, where `write_models` writes theirs."""


def write_models(place: Path, base: DecoderLM, tokenizer: Tokenizer) -> None:
    """A classifier and a translator, of random weights."""
    labelled = DecoderLM(base.config.with_(num_labels=2, labels=("1", "2")), seed=1)
    LanguageModel(labelled, tokenizer).save(place / MODELS["classify"])
    translating = with_translation(tokenizer, Translation("In German: {text}"))
    LanguageModel(base, translating).save(place / MODELS["translate"])


def write_files(place: Path) -> None:
    """The files that pages name."""
    films = [("A dull film", "Well played")[number % 2] + f" no {number},{number % 2 + 1}" for number in range(80)]
    (place / "reviews.csv").write_text("\n".join(["body,stars", *films]))
    (place / "rows.csv").write_text("\n".join(["body,topic", *films]))
    (place / "new.csv").write_text("text\nWell played.\nA dull film.\n")
    answers = [
        {"prompt": f"What is {number} and {number}?", "response": f"It is {2 * number}."} for number in range(40)
    ]
    (place / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    asked = [{"prompt": "One and one is", "choices": ["two", "ten"], "answer": 0}]
    for name in ("rows.jsonl", "cases.jsonl"):
        (place / name).write_text("".join(json.dumps(row) + "\n" for row in asked * 3))
    (place / "text.txt").write_text("Return every node of the first table. " * 40)
    shutil.copytree(ROOT / "recipes", place / "recipes")


def write_rows(place: Path) -> None:
    """Rows of the methods that `write_files` has none for."""

    def lines(name: str, rows: list[dict[str, Any]]) -> None:
        (place / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    asked = [f"What is {number} and {number}?" for number in range(40)]
    lines("pairs.jsonl", [{"prompt": one, "chosen": f"It is {2 * at}.", "rejected": f"No {at}."}
                          for at, one in enumerate(asked)])  # fmt: skip
    lines("problems.jsonl", [{"prompt": one, "answer": str(2 * at)} for at, one in enumerate(asked)])
    english, german = [f"The house no {at}." for at in range(40)], [f"Das Haus Nr. {at}." for at in range(40)]
    (place / "train.en").write_text("\n".join(english) + "\n")
    (place / "train.de").write_text("\n".join(german) + "\n")
    (place / "pairs.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in zip(english, german, strict=True)))
