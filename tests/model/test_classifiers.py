"""Classifiers as transformers saves them are classifiers here, with their labels; what is none is refused clearly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import byte_tokenizer

from tutelage.loading import load
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.hf_config import from_hf_config, to_hf_config
from tutelage.model.io import load_model, save_model
from tutelage.store.errors import ConfigError, InputError
from tutelage.tokenizer.tokenizer import Tokenizer

TEXTS = ["good", "A much longer text than that.", "Grüße 🎉"]


def begins_with_a_token() -> Tokenizer:
    """The byte tokenizer, with a rule that puts a token before every text, as Llama's has."""
    plain = byte_tokenizer()
    definition = json.loads(plain.definition)
    definition["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
    }
    return Tokenizer(json.dumps(definition), {**plain.settings, "bos_token": "<|im_start|>"}, None)


@pytest.mark.parametrize("begin", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("labels", [(), ("ham", "spam"), ("x", "y", "z")])
def test_it_gives_transformers_probabilities(labels: tuple[str, ...], tied: bool, begin: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    more = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    config = transformers.LlamaConfig(
        vocab_size=288, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, initializer_range=0.3, tie_word_embeddings=tied, pad_token_id=0,
        **(more if labels else {}),
    )  # fmt: skip
    torch.manual_seed(1)
    theirs = transformers.LlamaForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    (begins_with_a_token() if begin else byte_tokenizer()).save(tmp_path)
    # Two labels are what transformers takes for granted, so it does not write them down.
    assert ("id2label" in json.loads((tmp_path / "config.json").read_text())) == bool(labels)

    lm = load(tmp_path, device="cpu", dtype="float32")
    their_tok = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    names = list(labels or ("LABEL_0", "LABEL_1"))
    for text, found in zip(TEXTS, lm.classify(TEXTS), strict=True):
        with torch.no_grad():
            expected = theirs(**their_tok(text, return_tensors="pt")).logits.softmax(-1)[0].tolist()
        assert list(found) == names
        assert list(found.values()) == pytest.approx(expected, abs=1e-5)


def test_a_bare_pair_of_labels_goes_out_and_in(tiny: ModelConfig, tmp_path: Path) -> None:
    save_model(DecoderLM(FamilyConfig.parse({**tiny.plain(), "num_labels": 2})), tmp_path)
    assert load_model(tmp_path).config.labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "bert", "architectures": ["BertForSequenceClassification"]}, "bert.*only decoders"),
        ({"architectures": ["Qwen3ForTokenClassification"]}, "ForTokenClassification has an unsupported head"),
        ({"architectures": ["Qwen3ForRewardModel"]}, "ForRewardModel has an unsupported head"),
        ({"problem_type": "regression"}, "regression is not supported"),
    ],
)
def test_other_heads_are_refused_clearly(change: dict[str, Any], says: str, tiny: ModelConfig) -> None:
    config = to_hf_config(FamilyConfig.parse({**tiny.plain(), "num_labels": 2}))
    assert from_hf_config(config).num_labels == 2
    with pytest.raises(InputError, match=says):
        from_hf_config({**config, **change})


def test_whether_a_text_has_one_label_or_any_number_goes_out_and_in(tiny: ModelConfig) -> None:
    config = FamilyConfig.parse({**tiny.plain(), "num_labels": 2})
    assert "problem_type" not in to_hf_config(config)
    several = config.with_(multi_label=True)
    assert to_hf_config(several)["problem_type"] == "multi_label_classification"
    assert from_hf_config(to_hf_config(several)).multi_label and not from_hf_config(to_hf_config(config)).multi_label
    with pytest.raises(ConfigError, match="num_labels"):
        config.with_(num_labels=0, multi_label=True)


def test_a_head_that_the_config_does_not_name_is_not_lost_silently(tiny: ModelConfig, tmp_path: Path) -> None:
    save_model(DecoderLM(tiny), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "score.weight": torch.zeros(2, 32)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="have a classification head"):
        load_model(tmp_path)
