"""The proof of an export or import finds what a comparison of the written with itself could not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch

from tutelage.interchange.export import export_gguf, export_model
from tutelage.interchange.gguf import writer
from tutelage.interchange.gguf.load import read_gguf
from tutelage.interchange.proof import is_foreign_directory, long_prompt
from tutelage.interchange.source import open_model
from tutelage.model import io
from tutelage.model.config import RopeScaling
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.store.errors import TutelageError
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer

LLAMA3: dict[str, Any] = {"kind": "llama3", "factor": 8.0, "original_length": 128}


def model_of(**keys: Any) -> DecoderLM:
    sizes = {
        "family": "llama", "vocab_size": 288, "hidden_size": 32, "intermediate_size": 64, "num_layers": 2,
        "num_heads": 4, "num_kv_heads": 2, "max_position_embeddings": 160, "eos_token_id": (0,),
        "initializer_range": 0.3,
    }  # fmt: skip
    return DecoderLM(FamilyConfig.parse({**sizes, **keys}), seed=1).eval()


def with_config(model: DecoderLM, **keys: Any) -> DecoderLM:
    """The same weights under another config: what a reader would make that misses something."""
    other = DecoderLM(FamilyConfig.parse({**model.config.plain(), **keys}), seed=None)
    other.load_state_dict(model.state_dict())
    return other.eval()


@pytest.fixture
def foreign(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A directory that transformers wrote, of a Llama with a scaled rope."""
    transformers = pytest.importorskip("transformers")
    io.save_model(model_of(rope_scaling=LLAMA3), tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    theirs.save_pretrained(tmp_path / "foreign")
    tokenizer.save(tmp_path / "foreign")
    return tmp_path / "foreign"


@pytest.mark.parity
def test_an_import_is_compared_with_its_source(foreign: Path, tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    log = EventLog(None, (heard.append,))
    model, tok = open_model(str(foreign), log)
    result = export_model(model, tok, tmp_path / "out", log, foreign)
    for parity in (result["parity"], result["source_parity"]):
        assert parity["passed"] is True and parity["prompts"] == 5 and parity["longest"] == 144
        assert parity["max_difference"] < 1e-5 and parity["short_of"] == ""
    said = [event["message"] for event in heard if event["event"] == "note"]
    assert any(f"the source {foreign}: parity passed" in line for line in said)


def sentencepiece(template: str) -> Tokenizer:
    """Letters, and a space mark put before every text."""
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", "▁", *map(chr, range(33, 127))])}
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="~", fuse_unk=True))
    library.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    library.decoder = tokenizers.decoders.Replace("▁", " ")
    library.add_special_tokens(["<s>", "</s>"])
    return Tokenizer(library.to_str(), {"bos_token": "<s>", "eos_token": "</s>"}, template)


LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
DATED = "{{ '<s>' + strftime_now('%d %b %Y') + '</s>' }}" + LLAMA2.replace("{{ bos_token }}", "")


@pytest.mark.parity
@pytest.mark.parametrize("template", [LLAMA2, DATED], ids=["llama 2", "dated"])
def test_a_chat_model_with_a_space_before_texts_or_a_date_is_imported(template: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    io.save_model(model_of(), tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    theirs.save_pretrained(tmp_path / "foreign")
    sentencepiece(template).save(tmp_path / "foreign")
    model, tok = open_model(str(tmp_path / "foreign"), EventLog())
    result = export_model(model, tok, tmp_path / "out", EventLog(), tmp_path / "foreign")
    assert result["parity"]["passed"] is True and result["source_parity"]["passed"] is True


@pytest.mark.parity
def test_a_template_that_renders_otherwise_is_noticed(foreign: Path, tmp_path: Path) -> None:
    model, tok = open_model(str(foreign), EventLog())
    assert tok.chat_template is not None
    other = Tokenizer(tok.definition, tok.settings, tok.chat_template.replace("<|im_start|>", "<|im_start|> "))
    with pytest.raises(TutelageError, match="the chat template renders differently in transformers"):
        export_model(model, other, tmp_path / "out", EventLog(), foreign)


@pytest.mark.parity
@pytest.mark.parametrize("target", ["out", "out.gguf"])
def test_a_model_misread_from_its_source_is_not_written(foreign: Path, target: str, tmp_path: Path) -> None:
    """The scaling was ignored as it was read, so reading what is written gives the same wrong model."""
    model, tok = open_model(str(foreign), EventLog())
    misread = with_config(model, rope_scaling=None)
    export = export_gguf if target.endswith(".gguf") else export_model
    with pytest.raises(TutelageError, match="is not the model that was read from it: logits differ"):
        export(misread, tok, tmp_path / target, EventLog(), source=foreign)
    assert not (tmp_path / target).exists()
    again = export(misread, tok, tmp_path / target, EventLog(), source=foreign, altered="an adapter was folded in")
    assert again["source_parity"]["why"] == "source not compared: an adapter was folded in"


@pytest.mark.parity
def test_a_model_misread_from_a_gguf_file_is_not_written(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    source = tmp_path / "source.gguf"
    export_gguf(model_of(rope_scaling={"kind": "linear", "factor": 4.0}), tokenizer, source, EventLog(), "f32")
    model, tok = read_gguf(source)
    result = export_model(model, tok, tmp_path / "good", EventLog(), source)
    assert result["source_parity"]["passed"] is True and result["source_parity"]["longest"] == 64
    with pytest.raises(TutelageError, match="is not the model that was read from it: log-prob"):
        export_model(with_config(model, rope_scaling=None), tok, tmp_path / "bad", EventLog(), source)


@pytest.mark.parity
@pytest.mark.parametrize("window", [5, 100])
def test_a_window_lost_in_writing_is_noticed(
    window: int, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: EventLog
) -> None:
    """The window of 100 is longer than every text of the proof: only the long prompt sees it."""
    pytest.importorskip("transformers")
    model = model_of(family="mistral", layer_types=("sliding",), sliding_window=window)
    result = export_model(model, tokenizer, tmp_path / "good", log)
    assert result["parity"]["passed"] is True and result["parity"]["longest"] == max(64, window + 16)
    whole = io.to_hf_config
    monkeypatch.setattr(io, "to_hf_config", lambda config: {**whole(config), "sliding_window": None})
    with pytest.raises(TutelageError, match="export failed its parity check: logits differ"):
        export_model(model, tokenizer, tmp_path / "bad", log)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0", "q4_0"])
def test_a_setting_lost_in_a_gguf_file_is_noticed(
    kind: Any, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: EventLog
) -> None:
    """llama.cpp and our own reader agree about the file: only the model before writing says what it should be."""
    pytest.importorskip("xllamacpp")
    model = model_of(rope_theta=500.0)
    result = export_gguf(model, tokenizer, tmp_path / "good.gguf", log, kind)
    assert result["parity"]["passed"] is True
    whole = writer.config_to_gguf

    def without_theta(config: Any) -> Any:
        architecture, metadata, complete = whole(config)
        return architecture, {key: value for key, value in metadata.items() if "freq_base" not in key}, complete

    monkeypatch.setattr(writer, "config_to_gguf", without_theta)
    with pytest.raises(TutelageError, match=r"differ by|the config in the file differs in rope_theta"):
        export_gguf(model, tokenizer, tmp_path / "bad.gguf", log, kind)
    assert not list(tmp_path.glob("*bad*"))


@pytest.mark.parity
def test_a_weight_quantised_as_another_is_noticed(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: EventLog
) -> None:
    pytest.importorskip("xllamacpp")
    model = model_of()
    whole = writer.to_gguf

    def swapped(weight: Any, tensor: torch.Tensor) -> torch.Tensor:
        return whole(weight, tensor.flip(0) if weight.gguf == "blk.1.ffn_up.weight" else tensor)

    monkeypatch.setattr(writer, "to_gguf", swapped)
    with pytest.raises(TutelageError, match=r"layers\.1\.mlp\.up_proj\.weight in the file differs from the model"):
        export_gguf(model, tokenizer, tmp_path / "m.gguf", log, "q8_0")


@pytest.mark.parametrize(
    ("keys", "parameters", "longest", "short_of"),
    [
        ({}, 10**6, 64, ""),
        ({"layer_types": ("sliding",), "sliding_window": 200}, 10**6, 216, ""),
        ({"layer_types": ("full",), "sliding_window": 200}, 10**6, 64, ""),
        ({"rope_scaling": RopeScaling(**LLAMA3 | {"original_length": 512})}, 10**6, 528, ""),
        # A model of 10 billion parameters: 100 tokens are what the machine can be asked for.
        ({"layer_types": ("sliding",), "sliding_window": 200}, 10**10, 64, "sliding window of 200"),
        (
            {"layer_types": ("sliding",), "sliding_window": 90, "rope_scaling": RopeScaling(**LLAMA3)},
            10**10, 100, "original length of the scaled rope of 128",
        ),
        ({"max_position_embeddings": 40}, 10**6, 38, ""),
    ],
)  # fmt: skip
def test_how_long_a_prompt_is(keys: dict[str, Any], parameters: int, longest: int, short_of: str) -> None:
    config = model_of().config.model_copy(update={"max_position_embeddings": 4096, **keys})
    ids, missed = long_prompt(config, parameters, frozenset({0, 1}), 280)
    assert (len(ids), missed) == (longest, short_of)
    assert set(ids) <= set(range(2, 280)) and len(set(ids)) > 20
    assert ids == long_prompt(config, parameters, frozenset({0, 1}), 280)[0]


def test_what_was_written_here_is_no_foreign_directory(tokenizer: Tokenizer, tmp_path: Path, log: EventLog) -> None:
    model = model_of()
    export_model(model, tokenizer, tmp_path / "a", log)
    io.save_model(model, tmp_path / "b")
    assert not is_foreign_directory(tmp_path / "a") and is_foreign_directory(tmp_path / "b")
    assert not is_foreign_directory(None) and not is_foreign_directory(tmp_path / "b" / "config.json")
    result = export_model(model, tokenizer, tmp_path / "c", log, tmp_path / "a")
    assert json.loads(json.dumps(result))["source_parity"]["why"] == "source not compared: it was written by tutelage"
