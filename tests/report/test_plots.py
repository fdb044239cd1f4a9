"""Charts: valid markup, right places, nothing that could run or load."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.report.plots import Bar, Line, Segment, bar_chart, line_chart, smooth, spaced, strip, thin, ticks

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(numbers, st.floats(1e-3, 1e6))
def test_ticks_are_round_and_inside(low: float, width: float) -> None:
    high = low + width
    found = ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1)
    assert all(low - slack <= tick <= high + slack for tick in found)
    assert len(found) <= 12
    assert found == sorted(set(found))


def test_ticks_golden() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.12, 0.71) == [0.2, 0.4, 0.6]
    assert ticks(3, 3) == [3]
    assert ticks(1, 2, least=1.0) == [1, 2]


@given(st.lists(st.tuples(numbers, numbers), max_size=40), st.text(max_size=12).filter(str.isprintable))
def test_line_chart_is_well_formed_for_any_points(points: list[tuple[float, float]], name: str) -> None:
    svg = line_chart([Line(name, points)], x_label="step", y_label=name, title=name, references=[(name, 1.0)])
    if not points:
        assert svg == ""
        return
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    assert len(root.findall("polyline")) == 1


def test_non_finite_points_are_left_out() -> None:
    svg = line_chart(
        [Line("loss", [(1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0)])], x_label="", y_label="", title=""
    )
    points = re.findall(r'polyline class="line accent" points="([^"]+)"', svg)[0]
    assert len(points.split()) == 2


def test_lower_loss_is_drawn_lower() -> None:
    svg = line_chart([Line("loss", [(0, 4.0), (10, 1.0)])], x_label="", y_label="", title="")
    (first, last) = re.findall(r'points="([^"]+)"', svg)[0].split()
    assert float(first.split(",")[0]) < float(last.split(",")[0])
    assert float(first.split(",")[1]) < float(last.split(",")[1])


def test_bar_lengths_are_in_proportion_and_whiskers_around_the_value() -> None:
    svg = bar_chart([Bar("a", 1.0), Bar("b", 2.0, 1.5, 2.5, "accent")], title="t", unit="u")
    root = ET.fromstring(svg)
    widths = [float(rect.attrib["width"]) for rect in root.iter("rect") if rect.attrib["class"].startswith("bar")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    low, high = map(float, re.findall(r'class="whisker" d="M([\d.]+) [\d.]+H([\d.]+)', svg)[0])
    bar = next(rect for rect in root.iter("rect") if "accent" in rect.attrib["class"])
    assert low < float(bar.attrib["x"]) + float(bar.attrib["width"]) < high
    assert "interval 1.50 to 2.50" in svg


def test_names_are_escaped() -> None:
    hostile = "<script>alert(1)</script>"
    charts = (
        bar_chart([Bar(hostile, 1.0, note=hostile)], title=hostile, label=600),
        line_chart([Line(hostile, [(0, 1), (1, 2)])], x_label=hostile, y_label=hostile, title=hostile),
        strip([Segment(hostile, 1.0, note=hostile)], title=hostile),
    )
    for svg in charts:
        assert "<script" not in svg
        ET.fromstring(svg)


def test_nothing_to_draw_gives_nothing() -> None:
    assert bar_chart([Bar("a", None), Bar("b", math.nan)], title="") == ""
    assert strip([Segment("a", 0.0)], title="") == ""
    assert line_chart([], x_label="", y_label="", title="") == ""


@given(st.lists(numbers, min_size=1, max_size=60))
def test_smooth_keeps_the_range_and_a_constant(values: list[float]) -> None:
    points = list(enumerate(values))
    smoothed = [y for _, y in smooth(points)]
    slack = 1e-9 * max(1.0, *(abs(value) for value in values)) * 100
    assert min(values) - slack <= min(smoothed) and max(smoothed) <= max(values) + slack
    assert [y for _, y in smooth([(x, 2.5) for x, _ in points])] == pytest.approx([2.5] * len(points))


def test_smooth_does_not_lag_behind_a_straight_line() -> None:
    points = [(float(x), 3.0 * x) for x in range(200)]
    assert [y for _, y in smooth(points)] == pytest.approx([y for _, y in points])


@given(st.lists(st.floats(0, 100), max_size=8))
def test_spaced_labels_keep_their_distance(wanted: list[float]) -> None:
    placed = sorted(spaced(wanted, 10, 0, 100))
    assert all(b - a >= 10 - 1e-9 for a, b in itertools.pairwise(placed))


def test_thin_keeps_both_ends() -> None:
    points = [(float(x), 0.0) for x in range(1000)]
    assert len(thin(points, 50)) == 50
    assert thin(points, 50)[0] == points[0] and thin(points, 50)[-1] == points[-1]


def test_a_single_point_is_drawn() -> None:
    training, held = Line("training", [(1, 3.0), (2, 2.0)]), Line("held out", [(2, 2.5)], "ink")
    svg = line_chart([training, held], x_label="step", y_label="loss", title="loss")
    assert svg.count('class="point ink"') == 1 and 'class="point accent"' not in svg
