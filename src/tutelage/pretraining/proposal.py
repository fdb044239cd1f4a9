"""Propose settings of pretraining for a text, a machine and a time budget.

Every width is timed on this machine for about a second. The one with the lowest expected bits per byte
(`pretraining/expected.py`) after as many tokens as the time allows is chosen, with at most four passes over the text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.config import PretrainConfig
from tutelage.pretraining.expected import expected_bits
from tutelage.pretraining.forecast import BESIDE_STEPS, sizes
from tutelage.pretraining.rules import FREE_PASSES
from tutelage.pretraining.scaling import Predicted
from tutelage.pretraining.shape_rules import MOST_OF_MEDIUM, MOST_OF_SMALL
from tutelage.pretraining.sizing import HEAD_PAYS, WIDTHS, embedding_rate, model_of
from tutelage.store.device import available_memory
from tutelage.store.errors import ConfigError
from tutelage.store.stage import Facts, Machine
from tutelage.tokenizer.config import SMALLEST_CHOSEN, TokenizerConfig, bytes_per_token

SHORTEST, LONGEST = 256, 1024  # context length; the default recipe and later finetuning need the former
FEWEST_TOKENS = 1.0  # per parameter; with fewer a model hardly learns anything
UNKNOWN_TEXT = 2.2  # bits per byte by PPMd for a text that cannot be sampled; it does not affect the choice of size
MEMORY_SHARE = 0.6  # of free memory


@dataclass(frozen=True)
class Candidate:
    """A model that could be trained in the time: its data and its expected result."""

    width: int
    model: ModelConfig
    keys: dict[str, Any]
    vocab_size: int
    bytes_per_token: float
    seconds_per_token: float
    tokens: float
    passes: float
    bits: Predicted

    @property
    def parameters(self) -> float:
        return float(sizes(self.model)["parameters"])


@dataclass(frozen=True)
class Proposal:
    """The chosen candidate, all candidates, and the seconds to fill."""

    taken: Candidate
    looked_at: tuple[Candidate, ...]
    seconds: float


def propose(corpus: Facts, seconds: float, machine: Machine) -> Proposal:
    """The pretraining with the lowest expected bits per byte in this many seconds.

    corpus: its facts from `corpus.forecast`. Raises ConfigError if no model sees one token per parameter in that time.
    """
    found = list(_candidates(corpus, seconds, machine))
    if not found:
        raise ConfigError(
            f"{seconds:.0f} s of pretraining are too few for the smallest model", hint="give more --hours"
        )
    taken = min(found, key=lambda one: one.bits.middle)
    return Proposal(taken, tuple(found), seconds)


def _candidates(corpus: Facts, seconds: float, machine: Machine) -> Iterator[Candidate]:
    """Widths from the smallest on, until there is no time for one token per parameter, memory runs out, or two in a
    row are worse than the best."""
    room, best, worse = MEMORY_SHARE * available_memory(), math.inf, 0
    for width in WIDTHS:
        vocabulary = vocabulary_of(width, corpus["train_bytes"])
        token_bytes = bytes_per_token(vocabulary)
        keys = model_of(width, vocabulary)
        context = context_of(corpus["document_bytes"] / token_bytes)
        model = FamilyConfig(**{**keys, "vocab_size": vocabulary, "max_position_embeddings": context})
        parameters = float(sizes(model)["parameters"])
        train_tokens = corpus["train_bytes"] / token_bytes + corpus["train_documents"]
        readable = FREE_PASSES * train_tokens
        settings = PretrainConfig().training.model_copy(
            update={"embedding_rate": embedding_rate(model.tie_word_embeddings)}
        )
        if readable < FEWEST_TOKENS * parameters and best < math.inf:
            return
        rate = machine.training_seconds_per_token(model, context, settings)
        tokens = min(seconds / (rate * BESIDE_STEPS), readable) if rate else readable
        if tokens < FEWEST_TOKENS * parameters and (best < math.inf or tokens < readable):
            return
        if best < math.inf and machine.training_memory(model, context, settings) > room:
            return
        passes = tokens / train_tokens
        bits = expected_bits(
            sizes(model)["block_parameters"], vocabulary, corpus["train_bytes"], passes * corpus["train_bytes"],
            corpus.get("ppmd_bits", UNKNOWN_TEXT), corpus.get("text", ""),
        )  # fmt: skip
        yield Candidate(width, model, keys, vocabulary, token_bytes, rate, tokens, passes, bits)
        worse = 0 if bits.middle < best else worse + 1
        best = min(best, bits.middle)
        if worse == 2:
            return


def vocabulary_of(width: int, train_bytes: float) -> int:
    """The size that suits the text (`TokenizerConfig.sized`), halved until the embeddings leave enough for the
    blocks."""
    size = TokenizerConfig().sized(train_bytes).vocab_size
    while size > SMALLEST_CHOSEN and not _leaves_blocks(width, size):
        size //= 2
    return size


def context_of(document_tokens: float) -> int:
    """The smallest power of two that holds a document of mean length."""
    return min(LONGEST, max(SHORTEST, 2 ** math.ceil(math.log2(max(1.0, document_tokens)))))


def _leaves_blocks(width: int, vocabulary: int) -> bool:
    parts = sizes(ModelConfig(**model_of(width, vocabulary), vocab_size=vocabulary))
    embeddings = parts["embedding_parameters"] + parts["head_parameters"]
    most = MOST_OF_MEDIUM if parts["parameters"] >= HEAD_PAYS else MOST_OF_SMALL
    return bool(embeddings <= most * parts["parameters"])
