"""The next-token objective over packed documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import Example, PackedRows, Rows, Segment, pack
from tutelage.training.objective import Loss, summed_nll


def document_examples(documents: Sequence[Sequence[int]], eos_id: int, length: int) -> list[Example]:
    """Examples of token documents: each starts after the end-of-text token and ends with it as a target.

    A document longer than `length` is split; a later piece starts with the last token before it, so every token
    is a target exactly once.
    """
    examples = []
    for ids in documents:
        stream = [eos_id, *ids, eos_id]
        for at in range(0, len(stream) - 1, length):
            piece = stream[at : at + length + 1]
            weights = [1.0] * (len(piece) - 1)
            examples.append(Example([Segment(piece[:-1], piece[1:], weights)]))
    return examples


class NextToken:
    """Mean negative log-likelihood of the next token; bits per byte, end-of-text excluded, is a metric."""

    name = "next token"

    def __init__(
        self,
        rows: Mapping[str, Rows],
        token_bytes: Tensor,
        eos_id: int,
        decode: Callable[[list[int]], str] | None = None,
    ) -> None:
        """token_bytes [vocab_size] int64: length in bytes of each token. decode: to show how documents begin."""
        self.rows, self.token_bytes, self.eos_id, self.decode = rows, token_bytes, eos_id, decode

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        total, nll, wanted = summed_nll(model, batch)
        targets = batch.targets[wanted]
        text = targets != self.eos_id
        bits = nll[text].sum() / math.log(2)
        length = self.token_bytes.to(targets.device)[targets[text]].sum()
        weight = torch.tensor(float(len(targets)), device=nll.device)
        return Loss(total, weight, {"bits_per_byte": (bits, length)})

    def describe(self, numbers: NDArray[np.int64]) -> str:
        """The beginnings of the documents in these training rows."""
        if self.decode is None:
            return ""
        begins = []
        for number in numbers:
            batch = self.rows["train"].batch(np.array([number]))
            for document in range(1, int(batch.documents.max()) + 1):
                tokens = batch.tokens[batch.documents == document][1:25].tolist()
                begins.append(repr(self.decode(tokens)[:60]))
        return ", ".join(begins[:6])


def pack_documents(documents: Sequence[Sequence[int]], eos_id: int, length: int) -> PackedRows:
    """Rows of whole documents (pieces of those longer than a row)."""
    return pack(document_examples(documents, eos_id, length), length, pad_id=eos_id)
