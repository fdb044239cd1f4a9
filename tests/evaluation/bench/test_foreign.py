from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.evaluation.bench.foreign import TransformersModel
from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.protocol import Ask, Measured, Pair, Roll
from tutelage.evaluation.bench.selftest import refuse_wrong, self_test
from tutelage.inference.language_model import LanguageModel
from tutelage.store.errors import InputError


@pytest.mark.parity
def test_a_model_of_transformers_is_measured_as_ours(tmp_path: Path, lm: LanguageModel):
    pytest.importorskip("transformers")
    lm.save(tmp_path / "model")
    theirs, ours = TransformersModel(str(tmp_path / "model")), OurModel(lm, "ours")
    assert isinstance(theirs, Measured)
    assert isinstance(ours, Measured)
    refuse_wrong(self_test(theirs), "theirs")
    pairs = [Pair("One ", "two"), Pair("", "alone"), Pair("a" * 120, " and on"), Pair("One", " three")]
    for a, b in zip(theirs.score(pairs), ours.score(pairs), strict=True):
        assert a.logprob == pytest.approx(b.logprob, abs=1e-3)
        assert (a.tokens, a.greedy, a.cut) == (b.tokens, b.greedy, b.cut)
    text = [Roll("Some text that goes on. " * 9), Roll("Some text that goes on. " * 9, overlap=False)]
    for a, b in zip(theirs.rolling(text), ours.rolling(text), strict=True):
        assert a.logprob == pytest.approx(b.logprob, rel=1e-4)
    for ask in (Ask("One", ("e",), 9), Ask("Say it", max_tokens=5, chat=True)):
        assert theirs.generate([ask])[0].text == ours.generate([ask])[0].text


def test_what_transformers_cannot_load_is_said(tmp_path: Path):
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="cannot load"):
        TransformersModel(str(tmp_path))
