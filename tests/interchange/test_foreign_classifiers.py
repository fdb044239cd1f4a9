"""Classifiers of several families as transformers saves them: the same labels, the same probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.inference.language_model import load
from tutelage.tokenizer.tokenizer import Tokenizer

TEXTS = ["Return the path.", "Größe 🎉", "x", "Sort the lines of a file in place, and then say how many there were."]
SIZES = {
    "vocab_size": 288, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
GPT2 = {
    "vocab_size": 288, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "bos_token_id": 0,
    "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2}
NAMED = {"id2label": {0: "neg", 1: "pos", 2: "neutral"}, "label2id": {"neg": 0, "pos": 1, "neutral": 2}}


@pytest.mark.parity
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("labels", [{}, NAMED], ids=["two unnamed labels", "three named"])
@pytest.mark.parametrize(
    ("family", "sizes"), [("Llama", GROUPED), ("Qwen2", GROUPED), ("GPT2", GPT2), ("GPTNeoX", SIZES)]
)
def test_probabilities_are_those_of_transformers(
    family: str, sizes: dict[str, Any], labels: dict[str, Any], tied: bool, tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:  # fmt: skip
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{family}Config")(**sizes, **labels, tie_word_embeddings=tied)
    torch.manual_seed(1)
    theirs = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        theirs.score.weight.normal_(0, 0.5)
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    their_tok = transformers.AutoTokenizer.from_pretrained(tmp_path)
    names = list((labels or {"id2label": {0: "LABEL_0", 1: "LABEL_1"}})["id2label"].values())
    for text, ours in zip(TEXTS, load(tmp_path, dtype="float32").classify(TEXTS), strict=True):
        with torch.no_grad():
            expected = theirs(**their_tok(text, return_tensors="pt", return_token_type_ids=False)).logits[0]
        assert list(ours) == names
        assert list(ours.values()) == pytest.approx(expected.double().softmax(-1).tolist(), abs=1e-6)
