"""llama.cpp runs what is written, and what is read from a published file is what the reference reads."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import gguf_samples as samples
import numpy as np
import pytest
import torch

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.interchange.export import export_model
from tutelage.interchange.gguf.load import read_gguf
from tutelage.interchange.gguf.parity import check_gguf, llama_cpp
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.writer import write_gguf
from tutelage.interchange.source import fetch_known
from tutelage.loading import load
from tutelage.model.hf_config import to_hf_config
from tutelage.model.io import hf_weights
from tutelage.store.errors import TutelageError
from tutelage.store.events import EventLog
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer

pytestmark = pytest.mark.parity

CLASSES = {
    "llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "gemma": "Gemma", "gemma2": "Gemma2", "gemma3_text": "Gemma3",
}  # fmt: skip


class LlamaCpp:
    """llama.cpp with one file: log-probabilities of the next token after a prompt of ids or text."""

    def __init__(self, path: Path) -> None:
        pytest.importorskip("xllamacpp")
        self.server = llama_cpp(path)

    def complete(self, prompt: str | list[int], **more: Any) -> dict[str, Any]:
        asked = {"prompt": prompt, "temperature": 0.0, "n_predict": 1, "cache_prompt": False, **more}
        answer: dict[str, Any] = self.server.handle_completions(asked)
        return answer["choices"][0]

    def next_token(self, prompt: str | list[int], vocab_size: int) -> dict[int, float] | None:
        """None where the token is half a character: llama.cpp then waits for the rest and gives no numbers."""
        found = self.complete(prompt, n_probs=vocab_size)["logprobs"]
        return None if found is None else {t["id"]: t["logprob"] for t in found["content"][0]["top_logprobs"]}


def loud(model: torch.nn.Module, tied: bool) -> None:
    """Weights large enough for every part to matter to the logits."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * 0.2)
            else:
                weight.copy_(torch.randn_like(weight) * (0.12 if tied and "embed" in name else weight.shape[1] ** -0.5))


@pytest.mark.parametrize("name", samples.CONFIGS)
def test_llama_cpp_computes_the_same(tmp_path: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("xllamacpp")
    config = samples.CONFIGS[name]
    kind = CLASSES[config["model_type"]]
    settings = getattr(transformers, f"{kind}TextConfig" if kind == "Gemma3" else f"{kind}Config")(**config)
    model = getattr(transformers, f"{kind}ForCausalLM")(settings).eval()
    loud(model, config["tie_word_embeddings"])
    tok, path = samples.bpe_tokenizer(), tmp_path / "model.gguf"
    write_gguf(path, settings.to_dict(), model.state_dict(), tok, "f32")
    runner, compared = LlamaCpp(path), 0
    ids = tok.encode("Return the list of all files in directory 12, naïve café. Return the list")
    for length in range(2, 26):
        theirs = runner.next_token(ids[:length], config["vocab_size"])
        if theirs is None:
            continue
        with torch.no_grad():
            ours = model(torch.tensor([ids[:length]])).logits[0, -1].float().log_softmax(-1)
        # llama.cpp takes Gemma's GELU from a table in half precision.
        tolerance = 1e-2 if "gemma" in name else 2e-4
        assert max(abs(ours[index].item() - value) for index, value in theirs.items()) < tolerance
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize("tok", [samples.bpe_tokenizer, samples.sentencepiece_tokenizer])
def test_llama_cpp_cuts_text_as_we_do(tmp_path: Path, tok: Any) -> None:
    pytest.importorskip("xllamacpp")
    made: Tokenizer = tok()
    config = {**samples.LLAMA, "vocab_size": 512}
    path = tmp_path / "model.gguf"
    write_gguf(path, config, samples.random_weights(config), made, "f32")
    runner, compared = LlamaCpp(path), 0
    before = [made.bos_id] if made.bos_id is not None else []
    for text in ("Return the list", "all  files,\n 12 naïve", "don't 3.14 学習 🎉", "café " * 5, "Das ist größer."):
        by_text = runner.next_token(text, 512)
        by_ids = runner.next_token([*before, *made.encode(text)], 512)
        if by_text is not None or by_ids is not None:
            assert by_text == by_ids, text
            compared += 1
    assert compared >= 2


def test_a_tokenizer_that_llama_cpp_reads_otherwise_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp")
    path, tok = tmp_path / "model.gguf", samples.bpe_tokenizer()
    write_gguf(path, samples.LLAMA, samples.random_weights(samples.LLAMA), tok, "f32")
    prompts = ["Return the list", "all files in directory 12", "naïve café", "Return the list of all", "don't 3.14"]
    model, _ = read_gguf(path)
    assert check_gguf(path, model, tok, prompts).passed is True
    encode = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda self, text: encode(self, text)[::-1])
    found = check_gguf(path, model, tok, prompts)
    assert found.passed is False and "tokenizes" in found.why


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0", "q4_0", "q4_1"])
def test_llama_cpp_runs_every_kind(tmp_path: Path, kind: Any) -> None:
    pytest.importorskip("xllamacpp")
    path, tok = tmp_path / "model.gguf", samples.bpe_tokenizer()
    weights = samples.random_weights(samples.LLAMA)
    write_gguf(path, samples.LLAMA, weights, tok, kind)
    answer = LlamaCpp(path).complete("Return the list", n_predict=8, ignore_eos=True)
    assert answer["finish_reason"] == "length" and answer["text"]


@pytest.fixture(scope="module")
def smollm() -> Path:
    try:
        return fetch_known("smollm2", EventLog())
    except TutelageError as error:
        pytest.skip(f"the published model is not at hand: {error.message}")


@pytest.mark.slow
def test_published_file_is_read_as_the_reference_reads_it(smollm: Path) -> None:
    theirs = pytest.importorskip("gguf")
    ours = GGUFFile.open(smollm)
    reader = theirs.GGUFReader(smollm)
    assert len(ours.tensors) == len(reader.tensors) == 272
    for tensor in reader.tensors:
        expected = theirs.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(
            ours.tensor(tensor.name).numpy(), expected.reshape(ours.tensors[tensor.name].shape)
        )


@pytest.mark.slow
def test_published_model_writes_what_llama_cpp_writes_with_its_dequantised_weights(
    smollm: Path, tmp_path: Path
) -> None:
    """Greedy texts of chat prompts, token by token; the file is rewritten as float32, so both compute in it."""
    pytest.importorskip("xllamacpp")
    model, tok = read_gguf(smollm)
    write_gguf(tmp_path / "f32.gguf", to_hf_config(model.config), hf_weights(model), tok, "f32")
    runner, lm = LlamaCpp(tmp_path / "f32.gguf"), LanguageModel(model, tok)
    for question in ("What is the capital of France?", "Write one sentence about rain.", "What is 7 times 8?"):
        prompt = render_chat(tok, [Message("user", question)], add_generation_prompt=True).ids
        theirs = runner.complete(prompt, n_predict=32)["text"]
        ours = lm.chat([Message("user", question)], Sampling(max_tokens=32)).text
        assert ours.strip() == theirs.strip()
    assert "Paris" in lm.chat([Message("user", "What is the capital of France?")], Sampling(max_tokens=16)).text


@pytest.mark.slow
def test_published_model_knows_english(smollm: Path) -> None:
    lm = load(smollm)
    text = (
        "The sun rises in the east and sets in the west. Water boils at one hundred degrees and freezes at zero. "
        "A dog is an animal that barks, and a cat is an animal that likes to sleep in the sun."
    )
    shuffled = " ".join(sorted(text.split(), key=lambda word: word[::-1]))
    bits, scrambled = (-lm.rolling([each])[0] / math.log(2) / len(each.encode()) for each in (text, shuffled))
    assert bits < 1.2 < 1.5 < scrambled


@pytest.mark.slow
def test_published_file_loads_fast(smollm: Path) -> None:
    begin = time.perf_counter()
    model, _ = read_gguf(smollm)
    assert time.perf_counter() - begin < 20  # a hang, not a speed; two or three seconds where nothing else runs
    assert model.num_parameters() == 134_515_008


@pytest.mark.slow
def test_published_model_through_transformers(smollm: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model, tok = read_gguf(smollm)
    result = export_model(model, tok, tmp_path / "hf", EventLog())
    assert result["parity"]["passed"] is True
