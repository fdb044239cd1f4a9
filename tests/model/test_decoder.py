"""Contracts that hold for every family: causality, document isolation, cache, first loss, export and import."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from tutelage.model.cache import KVCache
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FAMILIES
from tutelage.model.io import load_model, save_model
from tutelage.store.errors import ConfigError, DamagedError, InputError

ODD_SHAPES = [
    {},
    {"num_kv_heads": 1},
    {"num_kv_heads": 4, "tie_word_embeddings": False},
    {"head_dim": 6, "rope_theta": 1e6},
]


def tokens(rows: int, length: int, vocab: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[(family, shape) for family in FAMILIES for shape in range(len(ODD_SHAPES))])
def config(request: pytest.FixtureRequest, tiny: ModelConfig) -> ModelConfig:
    family, shape = request.param
    return ModelConfig.parse({**tiny.plain(), "family": family, **ODD_SHAPES[shape]})


@pytest.fixture
def model(config: ModelConfig) -> DecoderLM:
    model = DecoderLM(config, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():  # norms too: a weight of one hides a misplaced norm
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.1)
    return model.eval()


def test_no_position_sees_a_later_one(model: DecoderLM) -> None:
    ids = tokens(2, 12)
    changed = ids.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 64
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_packed_documents_equal_separate_ones_forward_and_backward(model: DecoderLM) -> None:
    first, second = tokens(1, 7, seed=3), tokens(1, 9, seed=4)
    row = torch.cat([first, second], 1)
    positions = torch.cat([torch.arange(7), torch.arange(9)])[None]
    documents = torch.tensor([[1] * 7 + [2] * 9])
    packed = model(row, positions, documents)
    separate = torch.cat([model(first), model(second)], 1)
    assert torch.allclose(packed, separate, atol=1e-5)
    weight = model.layers[0].attention.k_proj.weight
    (one,) = torch.autograd.grad(packed.logsumexp(-1).sum(), weight)
    (two,) = torch.autograd.grad(separate.logsumexp(-1).sum(), weight)
    assert torch.allclose(one, two, atol=1e-4)


def test_cached_decoding_equals_one_pass_with_rows_of_unequal_length(model: DecoderLM, config: ModelConfig) -> None:
    ids, lengths = tokens(3, 16), [5, 9, 2]
    cache = KVCache.empty(config, 3, 16, torch.float32, torch.device("cpu"))
    model.hidden(ids[:, :9], cache=cache)  # rows 0 and 2 are padded with tokens they do not own
    for row, length in enumerate(lengths):
        expected = model(ids[row : row + 1])
        if row:
            continue
        for at in range(length, 16):
            positions = torch.tensor([[at], [lengths[1] + at - length], [lengths[2] + at - length]]).clamp(max=15)
            step = model.logits(model.hidden(ids.gather(1, positions), positions, cache=cache))
            for other, begin in enumerate(lengths):
                position = begin + at - length
                if position < 16:
                    want = model(ids[other : other + 1])[0, position]
                    assert torch.allclose(step[other, 0], want, atol=1e-4)
        assert expected.shape == (1, 16, 64)


def test_a_row_does_not_depend_on_its_batch(model: DecoderLM) -> None:
    ids = tokens(4, 10)
    assert torch.allclose(model(ids)[2], model(ids[2:3])[0], atol=1e-5)


def test_first_loss_is_ln_v(config: ModelConfig) -> None:
    ids = tokens(8, 64)
    loss = F.cross_entropy(DecoderLM(config)(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(64), rel=0.02)


def test_save_and_load_are_bit_identical(model: DecoderLM, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert again.config.family == model.config.family
    assert torch.equal(model(tokens(1, 8)), again(tokens(1, 8)))
    save_model(again, tmp_path / "n")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "n" / name).read_bytes()


def test_same_seed_same_weights_other_seed_other_weights(tiny: ModelConfig) -> None:
    one, two, three = DecoderLM(tiny, seed=5), DecoderLM(tiny, seed=5), DecoderLM(tiny, seed=6)
    assert torch.equal(one.embed_tokens.weight, two.embed_tokens.weight)
    assert not torch.equal(one.embed_tokens.weight, three.embed_tokens.weight)


def test_a_classifier_keeps_its_labels(tiny: ModelConfig, tmp_path: Path) -> None:
    config = ModelConfig.parse({**tiny.plain(), "num_labels": 3, "labels": ["a", "b", "c"]})
    save_model(DecoderLM(config), tmp_path)
    assert load_model(tmp_path).config.labels == ("a", "b", "c")
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["Qwen3ForSequenceClassification"]


def test_faults_are_named(tiny: ModelConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json"):
        load_model(tmp_path)
    save_model(DecoderLM(tiny), tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match="cannot be read"):
        load_model(tmp_path)
    weights.write_bytes(whole)
    state = load_file(weights)
    state.pop("model.norm.weight")
    save_file(state, weights)
    with pytest.raises(DamagedError, match="do not fit"):
        load_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "qwen4"}))
    with pytest.raises(InputError, match="did you mean 'qwen3'"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"num_heads": 3, "num_kv_heads": 2}, {"hidden_size": 33}, {"labels": ["x"], "num_labels": 2}]
)
def test_contradictory_shapes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ModelConfig.parse({"vocab_size": 64, **wrong})


@pytest.mark.parity
def test_logits_equal_transformers(model: DecoderLM, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")
    save_model(model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = tokens(2, 20)
    with torch.no_grad():
        expected = theirs(ids).logits
    assert torch.allclose(model(ids), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parity
def test_classifier_scores_equal_transformers(tiny: ModelConfig, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")
    config = ModelConfig.parse({**tiny.plain(), "num_labels": 3, "pad_token_id": 0, "eos_token_id": [0]})
    model = DecoderLM(config, seed=3).eval()
    save_model(model, tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = tokens(2, 9).clamp(min=1)
    with torch.no_grad():
        expected = theirs(ids).logits
    assert torch.allclose(model.scores(model.hidden(ids)[:, -1]), expected, atol=1e-5)
