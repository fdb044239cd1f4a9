"""`tutelage classify`: which classifier of a run is used, and what is said of texts that it is not sure of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tutelage.cli.main import main
from tutelage.evaluation.classifiers import tfidf_baseline, tfidf_multilabel
from tutelage.evaluation.combined import Combined
from tutelage.evaluation.lexical import LexicalClassifier
from tutelage.inference.familiarity import Familiarity
from tutelage.inference.language_model import LanguageModel, load
from tutelage.inference.scoring import last_states
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.tokenizer.tokenizer import Tokenizer

Classify = Callable[..., tuple[str, str]]


@pytest.fixture
def run(lm: LanguageModel, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two classifiers, beside which TF-IDF was measured."""
    monkeypatch.chdir(tmp_path)
    stages = []
    for name in ("head", "lora"):
        config = FamilyConfig.parse({**lm.config.plain(), "num_labels": 2, "labels": ["ham", "spam"]})
        model = DecoderLM(config, seed=1)
        LanguageModel(model, tokenizer).save(tmp_path / "store" / name)
        stages.append({"stage": name, "kind": "classify", "makes": "classifier", "artifact": f"../store/{name}"})
    words = (("cash", "spam"), ("hi", "ham"))
    train = [{"text": f"{word} {n}", "label": label} for n in range(9) for word, label in words]
    tfidf_baseline(train, train[:1]).classifier.save(tmp_path / "store" / "evaluate" / "tfidf")
    stages.append({"stage": "evaluate", "kind": "evaluate", "makes": "figures", "artifact": "../store/evaluate"})
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"stages": stages, "chat_model": None}))
    recommend(tmp_path, "TF-IDF")
    return folder


def recommend(place: Path, *uses: str) -> None:
    choices = [{"use": use, "text": f"use {use}"} for use in uses]
    (place / "store" / "evaluate" / "evaluation.json").write_text(json.dumps({"choices": choices}))


@pytest.fixture
def classify(capsys: pytest.CaptureFixture[str]) -> Classify:
    def call(*arguments: str) -> tuple[str, str]:
        with pytest.raises(SystemExit):
            main(["classify", *arguments])
        said = capsys.readouterr()
        return said.out, said.err

    return call


def test_a_run_classifies_by_what_its_evaluation_recommends(run: Path, classify: Classify) -> None:
    out, err = classify("cash now", "-m", str(run))
    assert out.startswith("spam") and "using tfidf, as the evaluation recommends" in err
    assert classify("hi there", "-m", str(run))[0].startswith("ham")
    recommend(run.parent, "lora")
    _, err = classify("hi there", "-m", str(run))
    assert "using lora" in err


def test_one_may_be_named(run: Path, classify: Classify) -> None:
    out, err = classify("cash now", "-m", f"{run}/tfidf", "--json")
    assert json.loads(out)["label"] == "spam" and not err
    assert "using" not in classify("cash now", "-m", f"{run}/head")[1]


def test_both_together_are_used_where_they_are_recommended(run: Path, classify: Classify) -> None:
    place = run.parent / "store" / "evaluate"
    lexical = LexicalClassifier.load(place / "tfidf")
    alone = json.loads(classify("cash now", "-m", f"{run}/head", "--json")[0])["probabilities"]
    Combined("head", 0.0, 1.0, lexical).save(place / "head+tfidf")
    recommend(run.parent, "head + TF-IDF")
    out, err = classify("cash now", "-m", str(run), "--json")
    assert "using head+tfidf" in err
    assert json.loads(out)["probabilities"] == pytest.approx(lexical.classify(["cash now"])[0])
    Combined("head", 1.0, 0.0, lexical).save(place / "head+tfidf")
    out, err = classify("cash now", "-m", f"{run}/head+tfidf", "--json")
    assert json.loads(out)["probabilities"] == pytest.approx(alone) and not err
    assert "has no classifier lora+tfidf" in classify("cash", "-m", f"{run}/lora+tfidf")[1]


def test_two_tasks_recommend_nothing_for_both(run: Path, classify: Classify) -> None:
    recommend(run.parent, "head", "TF-IDF")
    _, err = classify("cash now", "-m", str(run))
    assert "using" not in err  # the last classifier that was made


def test_what_is_not_sure_is_not_named(run: Path, classify: Classify) -> None:
    out, _ = classify("neither of them", "-m", f"{run}/tfidf", "--at-least", "0.99")
    assert out.startswith("none (")
    out, _ = classify("neither of them", "-m", f"{run}/tfidf", "--at-least", "0.99", "--json")
    assert json.loads(out)["label"] is None and set(json.loads(out)["probabilities"]) == {"ham", "spam"}
    assert not classify("cash", "-m", f"{run}/tfidf", "--at-least", "0.5")[0].startswith("none")


def test_a_run_without_tfidf_says_so(run: Path, classify: Classify) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "stages": record["stages"][:2]}))
    assert "has no TF-IDF classifier" in classify("cash", "-m", f"{run}/tfidf")[1]


def test_a_text_unlike_those_of_the_training_is_none_of_these(run: Path, classify: Classify, tmp_path: Path) -> None:
    model = load(tmp_path / "store" / "head")
    known = [f"hi {n}" for n in range(30)] + [f"cash {n}" for n in range(30)]
    states = last_states(model.model, model.read(known)).numpy()
    Familiarity.fit(states, np.arange(60) // 30, states).save(tmp_path / "store" / "head")
    out, _ = classify("zzz!!! ###", "hi 7", "-m", f"{run}/head", "--unlike", "0.05")
    foreign, fitting = out.splitlines()
    assert foreign.startswith("none of these (") and not fitting.startswith("none")
    out, _ = classify("zzz!!! ###", "-m", f"{run}/head", "--unlike", "0.05", "--json")
    assert json.loads(out)["label"] is None and json.loads(out)["familiar"] < 0.05
    assert "none" not in classify("zzz!!! ###", "-m", f"{run}/head")[0]
    assert "TF-IDF cannot tell" in classify("hi", "-m", f"{run}/tfidf", "--unlike", "0.05")[1]


def test_all_likely_labels_of_a_multi_label_classifier_are_named(run: Path, classify: Classify, tmp_path: Path) -> None:
    train = [
        {"text": f"{a} {b}", "labels": sorted({a, b} - {"x"})} for a in ("cash", "x", "x") for b in ("rain", "x", "x")
    ]
    tfidf_multilabel(train * 9, ["cash"]).classifier.save(tmp_path / "store" / "evaluate" / "tfidf")
    both, none = classify("cash rain", "nothing", "-m", f"{run}/tfidf")[0].splitlines()
    assert {word for word in both.split("|")[0].split() if word.isalpha()} == {"cash", "rain"}
    assert none.startswith("none (")
    assert json.loads(classify("rain", "-m", f"{run}/tfidf", "--json")[0])["labels"] == ["rain"]
    assert classify("cash rain", "-m", f"{run}/tfidf", "--at-least", "0.999")[0].startswith("none (")
