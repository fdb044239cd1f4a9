"""Under-trained tokens: those that no text had are found by their rows, and the surest come first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.evaluation.undertrained import times_seen, undertrained
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import train


@pytest.fixture(scope="module")
def tok() -> Tokenizer:
    return train(TokenizerConfig(method="byte", vocab_size=259), ["text"], EventLog())


def rows(tok: Tokenizer, unseen: list[int], padding: int = 0) -> torch.Tensor:
    """Random rows; those of unseen tokens were all pushed the same way."""
    generator = torch.Generator().manual_seed(1)
    made = torch.randn(tok.vocab_size + padding, 32, generator=generator)
    push = 3 * torch.randn(32, generator=generator)
    for index in [*unseen, *range(tok.vocab_size, tok.vocab_size + padding)]:
        made[index] = push + 0.3 * torch.randn(32, generator=generator)
    return made


def test_tokens_are_counted(tok: Tokenizer) -> None:
    seen = times_seen(tok, ["abca"] * 700)
    assert seen[tok.encode("a")[0]] == 1400 and seen.sum() == 2800
    assert times_seen(tok, []).sum() == 0


def test_unseen_tokens_are_found_with_and_without_the_text(tok: Tokenizer) -> None:
    unseen = [20, 30, 40, 50, 60]
    made = rows(tok, unseen, padding=5)
    seen = np.full(tok.vocab_size, 100)
    seen[unseen[:3]] = 0
    seen[unseen[3:]] = 1
    found = undertrained(made, made, tok, seen)
    assert sorted(one.id for one in found.suspects) == unseen
    assert found.agreement == 1.0 and found.unseen == 5
    closeness = [one.closeness for one in found.suspects]
    assert closeness == sorted(closeness, reverse=True) and closeness[-1] > 0.9
    alone = undertrained(made, made, tok)
    assert sorted(one.id for one in alone.suspects) == unseen
    assert alone.suspects[0].seen is None and alone.agreement is None


def test_a_model_whose_rows_say_nothing_is_not_accused(tok: Tokenizer) -> None:
    made = rows(tok, [])
    found = undertrained(made, made, tok, np.full(tok.vocab_size, 50))
    assert len(found.suspects) <= 6 and found.unseen == 0
