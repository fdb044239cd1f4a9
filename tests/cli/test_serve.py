"""`tutelage serve`: the model may be named as with chat, and every limit is an option that acts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.main import main
from tutelage.corpus.document import Document, write_documents
from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.serving.protocol import Limits
from tutelage.store.artifacts import ArtifactStore


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `run_server` is called with."""
    found: dict[str, Any] = {}
    monkeypatch.setattr("tutelage.serving.app.run_server", lambda lm, **options: found.update(options, lm=lm))
    return found


def serve(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *arguments])
    return ended.value.code


def test_the_model_may_be_named_without_an_option(lm: LanguageModel, tmp_path: Path, given: dict[str, Any]) -> None:
    lm.save(tmp_path)
    assert serve(str(tmp_path)) == 0 and given["lm"].context == lm.context
    assert given["limits"] == Limits()


def test_every_limit_is_an_option(lm: LanguageModel, tmp_path: Path, given: dict[str, Any]) -> None:
    lm.save(tmp_path)
    options = {
        "max-tokens": 11, "max-choices": 2, "max-body": 999, "queue": 0, "connections": 3, "timeout": 7,
        "body-timeout": 4,
    }  # fmt: skip
    assert serve("-m", str(tmp_path), *(f"--{name}={value}" for name, value in options.items())) == 0
    limits = given["limits"]
    assert (limits.max_tokens, limits.choices, limits.body_bytes, limits.waiting) == (11, 2, 999, 0)
    assert (limits.connections, limits.seconds, limits.body_seconds, limits.head_seconds) == (3, 7, 4, 4)


def test_a_classifier_goes_beside_the_model(lm: LanguageModel, tmp_path: Path, given: dict[str, Any]) -> None:
    lm.save(tmp_path / "lm")
    config = FamilyConfig.parse({**lm.config.plain(), "num_labels": 2, "labels": ["ham", "spam"]})
    LanguageModel(DecoderLM(config, seed=1), lm.tokenizer).save(tmp_path / "judge")
    assert serve(str(tmp_path / "lm"), "--classifier", f"spam={tmp_path / 'judge'}") == 0
    assert given["classifiers"]["spam"].config.labels == ("ham", "spam")
    given.clear()
    assert serve(str(tmp_path / "lm"), "--classifier", "spam") == 2 and not given


def test_a_text_is_traced_in_that_a_corpus_or_a_model_of_it_names(
    lm: LanguageModel, tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lm.save(tmp_path / "lm")
    store = ArtifactStore(tmp_path / "runs")

    def corpus(out: Path, _: Path) -> dict[str, Any]:
        write_documents(out / "train.parquet", [Document("1", "Count the items of the box one by one.", "box")])
        return {}

    made = store.write("corpus", 1, {}, {}, corpus)
    model = store.write("pretrain", 1, {}, {"corpus": made.identity}, lambda out, _: lm.save(out) or {})
    for source in (made.path, model.path):
        given.clear()
        assert serve(str(tmp_path / "lm"), "--trace", str(source), "--out", str(tmp_path / "runs")) == 0
        (index,) = given["traced"]
        assert index.corpus == made.path and len(index.tokens) == len("Count the items of the box one by one.") + 1
    given.clear()
    assert serve(str(tmp_path / "lm")) == 0 and not given["traced"]
    given.clear()
    alone = store.write("pretrain", 1, {"another": 1}, {}, lambda out, _: lm.save(out) or {})
    assert serve(str(tmp_path / "lm"), "--trace", str(alone.path)) == 1 and not given
    assert "was trained on is not here" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--max-tokens=0", "--queue=-1", "--connections=0", "--timeout=0", "--max-body=x"])
def test_a_limit_that_makes_no_sense_is_refused(option: str, given: dict[str, Any]) -> None:
    assert serve(option) == 2 and not given


def test_a_model_that_cannot_go_back_is_served_without_drafts_and_it_is_said(
    lm: LanguageModel, tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lm.save(tmp_path / "lm")
    assert serve(str(tmp_path / "lm"), "--speculate", "lookup") == 0 and given["lm"].speculation is not None
    config = {
        **lm.config.model_dump(), "family": "custom", "layer_types": ("delta", "full"), "num_kv_heads": 4,
        "delta": {"num_key_heads": 2, "num_value_heads": 2, "key_head_dim": 8, "value_head_dim": 8, "conv_kernel": 4},
    }  # fmt: skip
    LanguageModel(DecoderLM(FamilyConfig.parse(config), seed=1), lm.tokenizer).save(tmp_path / "delta")
    assert serve(str(tmp_path / "delta"), "--speculate", "lookup") == 0 and given["lm"].speculation is None
    assert "does not support speculation" in capsys.readouterr().err
