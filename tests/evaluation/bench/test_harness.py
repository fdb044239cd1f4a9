from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.evaluation.bench.harness import adapter, read_results, read_samples
from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.protocol import Ask, Pair, Roll
from tutelage.inference.language_model import LanguageModel
from tutelage.store.errors import ConfigError, InputError


def test_without_the_harness_it_says_what_to_install():
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="not installed"):
            adapter()


def test_the_harness_on_our_model_gives_our_scores(lm: LanguageModel):
    instance = pytest.importorskip("lm_eval.api.instance").Instance
    registry = pytest.importorskip("lm_eval.api.registry")
    ours, theirs = OurModel(lm, "ours"), registry.get_model("tutelage")(model=lm)
    pairs = [("One line ", "goes on"), ("", "Alone"), ("a" * 90, " and a long way"), ("One line", " ends")]
    asked = [instance("loglikelihood", {}, pair, 0) for pair in pairs]
    for got, one in zip(theirs.loglikelihood(asked), ours.score([Pair(*pair) for pair in pairs]), strict=True):
        assert got == (pytest.approx(one.logprob, abs=1e-4), one.greedy)
    text = "A text that is longer than what the model can read. " * 8
    (rolled,) = theirs.loglikelihood_rolling([instance("loglikelihood_rolling", {}, (text,), 0)])
    assert rolled == pytest.approx(ours.rolling([Roll(text, overlap=False)])[0].logprob, rel=1e-6)
    settings = {"until": ["e"], "max_gen_toks": 9, "do_sample": False}
    (written,) = theirs.generate_until([instance("generate_until", {}, ("One", settings), 0)])
    assert written == ours.generate([Ask("One", ("e",), 9)])[0].text
    with pytest.raises(ConfigError, match="greedily"):
        theirs.generate_until([instance("generate_until", {}, ("One", {"do_sample": True}), 0)])


@pytest.mark.parity
def test_scores_are_those_of_its_own_backend(tmp_path: Path, lm: LanguageModel):
    """Pairs, whole texts and answers, against its Hugging Face backend on the same weights."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    instance = pytest.importorskip("lm_eval.api.instance").Instance
    lm.save(tmp_path / "model")
    theirs = huggingface.HFLM(pretrained=str(tmp_path / "model"), dtype="float32", device="cpu", batch_size=3)
    ours = OurModel(lm, "ours")
    pairs = [("One line ", "goes on"), ("", "Alone"), ("a" * 120, " and a long way"), ("One line", " ends"),
             ("Grüße  \n", "aus Köln"), ("Q: 1+1\nA:", " 2")]  # fmt: skip
    found = theirs.loglikelihood([instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    for (logprob, greedy), one in zip(found, ours.score([Pair(*pair) for pair in pairs]), strict=True):
        assert one.logprob == pytest.approx(logprob, abs=1e-3)
        assert one.greedy == greedy
    text = "A text that is longer than what the model can read. " * 8
    (whole,) = theirs.loglikelihood_rolling([instance("loglikelihood_rolling", {}, (text,), 0)], disable_tqdm=True)
    assert ours.rolling([Roll(text, overlap=False)])[0].logprob == pytest.approx(whole, rel=1e-5)


def test_its_result_files_are_read(tmp_path: Path):
    path = tmp_path / "results.json"
    row = {"alias": "gsm8k", "acc,none": 0.5, "acc_stderr,none": 0.1, "exact_match,strict-match": 0.25}
    path.write_text(json.dumps({"results": {"gsm8k": row}}))
    assert read_results(path) == {"gsm8k": {"acc": 0.5, "exact_match,strict-match": 0.25}}
    path.write_text('{"results": 3}')
    with pytest.raises(InputError, match="not a result file"):
        read_results(path)


def test_its_samples_become_rows_of_ours(tmp_path: Path):
    path = tmp_path / "samples_arc_easy_2026-01-01T00-00-00.000.jsonl"
    sample = {"doc_id": 3, "filter": "none", "metrics": ["acc", "acc_norm"], "acc": 1.0, "acc_norm": 0.0}
    path.write_text(json.dumps(sample) + "\n")
    rows = read_samples(path)
    assert [(row["task"], row["item"], row["metric"], row["value"]) for row in rows] == [
        ("arc_easy", "3", "acc", 1.0), ("arc_easy", "3", "acc_norm", 0.0),
    ]  # fmt: skip
    path.write_text('{"a": 1}\n')
    with pytest.raises(InputError, match="no samples"):
        read_samples(path)
