"""A row as the model reads it, with its target text marked."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.tokenizer.tokenizer import Tokenizer

LEARNED = "learned"  # meaning of the marked text, unless a sample has `how`
LONGEST = 600  # tokens of a sample
Run = tuple[str, bool]  # text, whether it is marked


def runs(tok: Tokenizer, ids: Sequence[int], weights: Sequence[float]) -> list[Run]:
    """The text of the ids, control tokens by name, split where the loss begins or ends. weights[i]: of id i."""
    ids, weights = ids[:LONGEST], weights[:LONGEST]
    found: list[Run] = []
    done, start = "", 0
    for at in range(1, len(ids) + 1):
        if at < len(ids) and (weights[at] > 0) == (weights[at - 1] > 0):
            continue
        # Decode from the beginning each time: the text of a token may depend on the previous one.
        text = tok.decode(ids[:at], skip_special=False)
        found.append((text[len(done) :], weights[start] > 0))
        done, start = text, at
    return found


def marked(found: Sequence[Run], opening: str = "⟦", closing: str = "⟧") -> str:
    """The runs as one text, with marks around target text, for output without colour."""
    return "".join(f"{opening}{text}{closing}" if learned else text for text, learned in found)
