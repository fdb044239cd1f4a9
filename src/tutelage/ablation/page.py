"""`ablation.html`: the verdicts on one self-contained page that fits a phone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.ablation.grid import cells
from tutelage.tokenizer.compare import rows

MARKS = {"better": "better", "worse": "worse", "failed": "worse"}


def render(found: dict[str, Any]) -> str:
    """The page as HTML text, from `result.plain`. No script, no external resources."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tutelage.ablation", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.jinja").render(
        found=found,
        arms=[_shown(arm, found) for arm in found["arms"]],
        noise=_noise(found),
        cells=cells(found) if found["grid"] else [],
        measures=rows(found["measures"]) if found.get("measures") else [],
    )


def _shown(arm: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What the page draws for an arm: text next to marks, so that nothing has to be read inside a drawing."""
    cost = arm["cost"] or {}
    per = [
        {"cost": name, "outcome": one["outcome"], "why": _ratio(one)} for name, one in (arm.get("per") or {}).items()
    ]
    return {
        **arm,
        "mark": MARKS.get(arm["outcome"], "open"),
        "svg": _markup(forest(arm, found)),
        "dots": _markup(dots(arm["values"], found)),
        "runs": ", ".join(f"{value:.4f}" for value in arm["values"]),
        "value": "" if arm["mean"] is None else f"{arm['mean']:.4f}",
        "change": ""
        if arm.get("difference") is None
        else f"{arm['difference']:+.4f} ({arm['difference_percent']:+.1f} %)",
        "percent": "" if arm.get("difference") is None else f"{arm['difference_percent']:+.1f} %",
        "p_said": ""
        if arm.get("p_adjusted") is None
        else f"{arm['p_adjusted']:.3f}"
        if arm["p_adjusted"] >= 0.001
        else "< 0.001",
        "spent": f"{cost['steps']:,} steps · {cost['tokens']:,} tokens · {cost['seconds']:.1f} s" if cost else "",
        "size": f"{cost['parameters']:,} parameters" if cost.get("parameters") else "",
        "shown_per": per,
    }


def _ratio(one: dict[str, Any]) -> str:
    return f"{one['ratio']:.2f}× the cost" + (f"; {one['why']}" if one["why"] else "")


def _noise(found: dict[str, Any]) -> dict[str, str] | None:
    noise = found["noise"]
    if noise is None:
        return None
    mean = noise["mean"]
    needed = noise["seeds_needed"]
    return {
        "deviation": f"{noise['deviation']:.4f} ({100 * noise['deviation'] / mean:.2f} %)",
        "single": f"{noise['single_run']:.3f} ({100 * noise['single_run'] / mean:.1f} %)",
        "needed": "more than 64" if needed is None else str(needed),
    }


_WIDTH, _HEIGHT = 600.0, 34.0


def forest(arm: dict[str, Any], found: dict[str, Any]) -> str:
    """The difference with its interval around zero; left of it is better. The scale is the same for all arms."""
    if arm.get("difference") is None or arm["low"] is None:
        return ""
    reach = _reach(found["arms"])
    zero = _WIDTH / 2

    def at(value: float) -> float:
        return zero + max(-1.0, min(1.0, value / reach)) * (zero - 8)

    low, high, middle, line = at(arm["low"]), at(arm["high"]), at(arm["difference"]), _HEIGHT / 2
    label = (
        f"{arm['arm']}: {arm['difference']:+.4f}, interval {arm['low']:+.4f} to {arm['high']:+.4f} {found['measure']}"
    )
    return (
        f'<svg class="forest {MARKS.get(arm["outcome"], "open")}" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" '
        f'aria-label="{_escape(label)}" preserveAspectRatio="none"><title>{_escape(label)}</title>'
        f'<path class="zero" d="M{zero} 0V{_HEIGHT}"/><path class="span" d="M{low:.1f} {line}H{high:.1f}"/>'
        f'<path class="end" d="M{low:.1f} {line - 6}v12M{high:.1f} {line - 6}v12"/>'
        f'<rect class="point" x="{middle - 4:.1f}" y="{line - 7}" width="8" height="14"/></svg>'
    )


def dots(values: Sequence[float], found: dict[str, Any]) -> str:
    """The runs of an arm, one mark per seed, on a common scale."""
    everyone = [value for arm in found["arms"] for value in arm["values"]]
    if not values or len(everyone) < 2:
        return ""
    low, high = min(everyone), max(everyone)
    wide = (high - low) or 1.0
    places = [8 + (value - low) / wide * (_WIDTH - 16) for value in values]
    said = ", ".join(f"{value:.4f}" for value in values)
    marks = "".join(f'<path d="M{place:.1f} 3v{_HEIGHT - 6}"/>' for place in places)
    return (
        f'<svg class="dots" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{said}" '
        f'preserveAspectRatio="none"><title>{said}</title>'
        f'<path class="rule" d="M0 {_HEIGHT / 2}H{_WIDTH}"/>{marks}</svg>'
    )


def _reach(arms: Sequence[dict[str, Any]]) -> float:
    """The largest bound of any arm."""
    bounds = [abs(arm[side]) for arm in arms if arm.get("low") is not None for side in ("low", "high")]
    return max(bounds, default=1.0) or 1.0


def _escape(text: str) -> str:
    from html import escape

    return escape(text, quote=True)


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)
