"""A model that calls tools when it is told to, and tools for it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from torch import Tensor

from tool_templates import QWEN
from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM
from tutelage.tokenizer.tokenizer import Tokenizer


def tool(name: str, strict: bool | None = None, **properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    function = {"name": name, "description": f"The {name}.", "parameters": schema}
    return {"type": "function", "function": function | ({} if strict is None else {"strict": strict})}


TOOLS = [tool("weather", city={"enum": ["Bonn", "Ulm"]}), tool("days", count={"type": "integer", "maximum": 99})]


class Scripted(DecoderLM):
    """Says what it is told to, and then ends."""

    script: list[int]
    start = 0
    at = 0

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, *args: Any, **more: Any) -> Tensor:
        assert positions is not None
        self.at = int(positions[0, -1])
        if tokens.shape[1] > 1:
            self.start = self.at
        return super().hidden(tokens, positions, *args, **more)

    def logits(self, hidden: Tensor) -> Tensor:
        made = super().logits(hidden)
        made[..., self.script[min(self.at - self.start, len(self.script) - 1)]] += 1000
        return made


def tool_model(lm: LanguageModel) -> LanguageModel:
    """`lm` with a template that writes tools, and a script."""
    tok = Tokenizer(lm.tokenizer.definition, lm.tokenizer.settings, QWEN)
    made = copy.copy(lm.model)
    made.config = lm.config.with_(max_position_embeddings=4096)
    made.__class__ = Scripted
    made.script = []  # type: ignore[assignment]
    return LanguageModel(made, tok)


def to_say(model: Any, says: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the model its script; None: it says what comes to its mind."""
    monkeypatch.setattr(model.model, "__class__", DecoderLM if says is None else Scripted)
    model.model.script = [*model.tokenizer.encode(says or ""), model.tokenizer.stop_ids[-1]]


CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
OTHER = '\n<tool_call>\n{"name": "days", "arguments": {"count": 3}}\n</tool_call>'
