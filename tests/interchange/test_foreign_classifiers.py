"""Classifiers as transformers saves them: the same labels, the same probabilities; what is none says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.finetuning.classify.stage import _read_as
from tutelage.finetuning.examples import label_examples
from tutelage.inference.language_model import LanguageModel, load
from tutelage.model.hf_config import from_hf_config
from tutelage.model.io import save_model
from tutelage.store.errors import InputError
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


def beginning(plain: Tokenizer) -> Tokenizer:
    """As Llama's: the begin-of-text token goes before every text."""
    data = json.loads(plain.definition)
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    settings = {**plain.settings, "bos_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    return Tokenizer(json.dumps(data), settings)


@pytest.mark.parity
@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("labels", [{}, NAMED], ids=["two unnamed labels", "three named"])
@pytest.mark.parametrize(
    ("family", "sizes"), [("Llama", GROUPED), ("Qwen2", GROUPED), ("GPT2", GPT2), ("GPTNeoX", SIZES)]
)
def test_probabilities_are_those_of_transformers(
    family: str, sizes: dict[str, Any], labels: dict[str, Any], tied: bool, begins: bool, tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:  # fmt: skip
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{family}Config")(**sizes, **labels, tie_word_embeddings=tied)
    torch.manual_seed(1)
    theirs = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        theirs.score.weight.normal_(0, 0.5)
    theirs.save_pretrained(tmp_path)
    (beginning(tokenizer) if begins else tokenizer).save(tmp_path)
    their_tok = transformers.AutoTokenizer.from_pretrained(tmp_path)
    names = list((labels or {"id2label": {0: "LABEL_0", 1: "LABEL_1"}})["id2label"].values())
    for text, ours in zip(TEXTS, load(tmp_path, dtype="float32").classify(TEXTS), strict=True):
        with torch.no_grad():
            expected = theirs(**their_tok(text, return_tensors="pt", return_token_type_ids=False)).logits[0]
        assert list(ours) == names
        assert list(ours.values()) == pytest.approx(expected.double().softmax(-1).tolist(), abs=1e-6)


def test_a_text_is_learned_as_it_is_classified(tokenizer: Tokenizer) -> None:
    """Both after what the tokenizer puts before a text, and both cut at the same place."""
    tok = beginning(tokenizer)
    rows, cut = _read_as(tok, [{"id": "1", "text": "Sort the lines.", "label": "a"}], 6)
    (example,) = label_examples(tok, rows, ["a", "b"], {"a": 1.0, "b": 1.0})
    (segment,) = example.segments
    assert cut == 1 and list(segment.tokens) == [0, *tok.encode("Sort ")]
    assert list(segment.targets) == [0] * 6 and list(segment.weights) == [0.0] * 5 + [1.0]


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"problem_type": "multi_label_classification"}, "multi label classification"),
        ({"problem_type": "regression", "num_labels": 1}, "regression"),
        ({"id2label": {"0": "LABEL_0"}}, "regression"),
    ],
)
def test_other_heads_are_refused(keys: dict[str, Any], what: str, lm: LanguageModel, tmp_path: Path) -> None:
    save_model(lm.model, tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(InputError, match=what):
        from_hf_config({**data, "architectures": ["Qwen3ForSequenceClassification"], **keys})


@pytest.mark.parametrize("kind", ["bert", "distilbert", "xlm-roberta", "deberta-v2", "modernbert", "t5"])
def test_encoders_are_refused_as_such(kind: str) -> None:
    with pytest.raises(InputError, match=f"'{kind}' is not known") as refused:
        from_hf_config({"model_type": kind, "architectures": ["BertForSequenceClassification"]})
    assert "only decoders" in str(refused.value.hint)
