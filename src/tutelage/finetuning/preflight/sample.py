"""A row as the model reads it, what is learned of it told apart."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.tokenizer.tokenizer import Tokenizer

LEARNED = "learned"  # what is told apart, unless a sample says otherwise (`how`)
LONGEST = 600  # tokens of a sample
Run = tuple[str, bool]  # text, whether it is learned


def runs(tok: Tokenizer, ids: Sequence[int], weights: Sequence[float]) -> list[Run]:
    """The text of the ids, control tokens by name, cut where learning begins or ends. weights[i]: of id i."""
    ids, weights = ids[:LONGEST], weights[:LONGEST]
    found: list[Run] = []
    done, start = "", 0
    for at in range(1, len(ids) + 1):
        if at < len(ids) and (weights[at] > 0) == (weights[at - 1] > 0):
            continue
        # From the beginning each time: what a token is read as may hang on the one before it.
        text = tok.decode(ids[:at], skip_special=False)
        found.append((text[len(done) :], weights[start] > 0))
        done, start = text, at
    return found


def marked(found: Sequence[Run], opening: str = "⟦", closing: str = "⟧") -> str:
    """As one text, what is learned between marks: for where there is no colour."""
    return "".join(f"{opening}{text}{closing}" if learned else text for text, learned in found)
