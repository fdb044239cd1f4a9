"""Every measure says what it does not say."""

from __future__ import annotations

from tutelage.evaluation.cautions import CAUTIONS, cautions_of
from tutelage.evaluation.figures import figure
from tutelage.evaluation.stage import HEADLINES


def test_every_headline_measure_has_cautions() -> None:
    assert [measure for measure in HEADLINES if not cautions_of(measure)] == []
    assert figure("task", "chrF", "0-100", True, [])["cautions"] == list(CAUTIONS["chrF"])
    assert cautions_of("loops, sampled") == cautions_of("loops")
    assert cautions_of("bits per byte, own text") == cautions_of("bits per byte")
    assert cautions_of("a measure of tomorrow") == []
