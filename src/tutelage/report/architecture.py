"""A drawing of a decoder: the path of a token from embedding to logits."""

from __future__ import annotations

from html import escape

from tutelage.model.config import ModelConfig
from tutelage.model.describe import features, parameters
from tutelage.store.format import compact

_WIDTH, _BOX, _GAP = 560, 46, 18
_LEFT, _INNER = 60, 440
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c1b19}.q{fill:#7d7a73;font-size:11.5px}"
    ".b{fill:#fdfcf8;stroke:#c9c3b6}.a{fill:#e3efed;stroke:#0f6b66}.l{stroke:#7d7a73;fill:none}"
)


def drawing(config: ModelConfig, name: str = "") -> str:
    """A standalone SVG of the architecture. Equal layers are drawn once and counted."""
    said, sizes = features(config), parameters(config)
    parts: list[str] = []
    y = 34.0
    if name:
        parts.append(_text(_LEFT, 20, f"{name} · {compact(sum(sizes.values()))} parameters"))
    y = _box(parts, y, "Embedding", said["embedding"], "b")
    for count, layer in layer_groups(config):
        y = _block(parts, y, config, layer, count)
    y = _box(parts, y, "Norm", "", "b")
    y = _box(parts, y, "Head", said["head"], "b", last=True)
    title = escape(f"Architecture of {name or config.family}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y:.0f}" role="img" aria-label="{title}">'
        f"<title>{title}</title><style>{_STYLE}</style>"
        f'<rect width="{_WIDTH}" height="{y:.0f}" fill="#fdfcf8"/>{"".join(parts)}</svg>\n'
    )


def layer_groups(config: ModelConfig) -> list[tuple[int, int]]:
    """(how many, number of the first) of each run of identical layers; with more than four runs, layers are counted by
    kind."""
    kinds = [(config.layer_type(layer), config.has_rope(layer), config.has_experts(layer)) for layer in range(
        config.num_layers)]  # fmt: skip
    runs: list[tuple[int, int]] = []
    for layer, kind in enumerate(kinds):
        if runs and kinds[runs[-1][1]] == kind:
            runs[-1] = (runs[-1][0] + 1, runs[-1][1])
        else:
            runs.append((1, layer))
    if len(runs) <= 4:
        return runs
    return [(kinds.count(kind), kinds.index(kind)) for kind in dict.fromkeys(kinds)]


def _block(parts: list[str], y: float, config: ModelConfig, layer: int, count: int) -> float:
    one = config.model_copy(
        update={
            "num_layers": 1,
            "layer_types": (config.layer_type(layer),),
            "rope_layers": (config.has_rope(layer),),
            "experts": config.experts.model_copy(update={"first_dense": 0, "every": 1, "dense_layers": ()})
            if config.experts and config.has_experts(layer)
            else None,
        }
    )
    said = features(one)
    top = y
    y += 14
    norm = config.norm_place
    rows = []
    kind = {"full": "Attention", "sliding": "Attention in a window", "delta": "Gated delta rule"}
    mixing = said.get("attention") if config.layer_type(layer) != "delta" else said["mixing"]
    second = f"{said['positions']}; {said['mixing']}" if config.layer_type(layer) != "delta" else ""
    rows.append((kind[config.layer_type(layer)], mixing or "", second))
    rows.append(("Experts", said["experts"], "") if "experts" in said else ("Feed-forward", said["feed-forward"], ""))
    for title, text, more in rows:
        before = y
        if norm != "post":
            y = _thin(parts, y, "norm")
        y = _box(parts, y, title, text, "a", more=more)
        if norm != "pre":
            y = _thin(parts, y, "norm")
        parts.append(
            f'<path class="l" d="M{_LEFT + _INNER / 2} {before - 6:.0f} H{_LEFT + _INNER + 14} V{y - 8:.0f} '
            f'H{_LEFT + _INNER / 2}"/>'
        )
    parts.insert(
        0,
        f'<rect x="{_LEFT - 16}" y="{top:.0f}" width="{_INNER + 46}" height="{y - top - 4:.0f}" rx="10" fill="none" '
        'stroke="#c9c3b6" stroke-dasharray="4 4"/>',
    )
    parts.append(_text(12, (top + y) / 2, f"× {count}"))
    return y + 8


def _box(parts: list[str], y: float, title: str, text: str, kind: str, more: str = "", last: bool = False) -> float:
    height = _BOX + (16 if more else 0) - (0 if text else 16)
    parts.append(f'<rect class="{kind}" x="{_LEFT}" y="{y:.0f}" width="{_INNER}" height="{height}" rx="6"/>')
    parts.append(_text(_LEFT + 14, y + 19, title))
    for index, line in enumerate(each for each in (text, more) if each):
        parts.append(_text(_LEFT + 14, y + 36 + 16 * index, line, "q"))
    y += height
    if not last:
        parts.append(f'<path class="l" d="M{_LEFT + _INNER / 2} {y:.0f} V{y + _GAP:.0f}"/>')
    return y + _GAP


def _thin(parts: list[str], y: float, text: str) -> float:
    parts.append(f'<rect class="b" x="{_LEFT + 150}" y="{y:.0f}" width="{_INNER - 300}" height="20" rx="5"/>')
    parts.append(_text(_LEFT + _INNER / 2 - 14, y + 14, text, "q"))
    parts.append(f'<path class="l" d="M{_LEFT + _INNER / 2} {y + 20:.0f} V{y + 30:.0f}"/>')
    return y + 30


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(text)}</text>'
