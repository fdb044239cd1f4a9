"""The report's section on a tokenizer."""

from __future__ import annotations

from tutelage.store import format as f
from tutelage.store.blocks import Block, Cell, facts, fold, table
from tutelage.store.plain import as_dict, flatten
from tutelage.store.view import View


def sentence(view: View) -> str:
    measures = {**view.metrics, **view.json("measures.json")}
    vocabulary, per = measures.get("vocab_size"), measures.get("bytes_per_token")
    parts = [f"{f.number(vocabulary)} tokens" if vocabulary else "", f"{f.number(per)} bytes per token" if per else ""]
    return f.sentence(", ".join(part for part in parts if part))


def section(view: View) -> list[Block | None]:
    measures = view.json("measures.json") or {key: v for key, v in view.metrics.items() if key != "timing"}
    scalars = {key: value for key, value in measures.items() if not isinstance(value, dict)}
    rows: list[list[Cell]] = [
        [
            f.words(str(kind)).capitalize(),
            {"text": " · ".join(repr(str(token))[1:-1] for token in tokens), "mark": "code"},
        ]
        for kind, tokens in as_dict(measures.get("vocabulary")).items()
        if isinstance(tokens, list) and tokens
    ]
    return [
        facts(flatten(scalars)),
        fold("Tokens: the longest, the commonest, the unused", [table(["", "Tokens"], rows)]),
        fold("Trained on", [facts(flatten(as_dict(measures.get("trained_on"))))]),
    ]
