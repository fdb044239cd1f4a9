"""One base, many adapters: each computes its own, the weights exist once, and the command line says how it merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tutelage
from tutelage.cli.main import main
from tutelage.inference.language_model import LanguageModel
from tutelage.interchange.export import fold_in
from tutelage.interchange.peft import save_adapter
from tutelage.interchange.proof import check_merge
from tutelage.loading import adapted
from tutelage.model.adaptable import is_quantised
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import LoraConfig, add_lora, lora_layers, shared_copy
from tutelage.store.errors import ConfigError, TutelageError
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer

IDS = [[5, 9, 17, 33, 41, 8]]


def trained(model: DecoderLM, seed: int, **lora: object) -> DecoderLM:
    one = shared_copy(model)
    add_lora(one, LoraConfig.parse({"rank": 2, "alpha": 4, **lora}), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in one.parameters():
            if value.requires_grad:
                value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    return one.eval()


@pytest.fixture(scope="module")
def made(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, DecoderLM]]:
    """A base and adapters on it, in a folder, and the models that they are."""
    root = tmp_path_factory.mktemp("adapters")
    lm.save(root / "base")
    models = {"one": trained(lm.model, 1), "two": trained(lm.model, 2, rank=3), "bits": trained(
        shared_copy(lm.model), 3, quantisation="nf4_double")}  # fmt: skip
    labels = ("good", "bad")
    with_head = shared_copy(lm.model)
    with_head.config = lm.model.config.with_(num_labels=2, labels=labels)
    with_head.score = torch.nn.Linear(with_head.config.hidden_size, 2, bias=False)
    models["head"] = trained(with_head, 4)
    for name, model in models.items():
        save_adapter(model, root / name, "base")
    lm.tokenizer.with_max_length(16).save(root / "head")
    return root, models


def test_adapters_are_switched_without_a_copy_of_the_base(made: tuple[Path, dict[str, DecoderLM]]) -> None:
    root, models = made
    lm = tutelage.load(root / "base", adapters={name: root / name for name in ("one", "two", "bits")})
    before = lm.logits(IDS)
    with torch.no_grad():
        for name in ("one", "two", "one", "bits"):
            assert torch.equal(lm.with_adapter(name).logits(IDS), models[name](torch.tensor(IDS)))
    assert torch.equal(lm.logits(IDS), before) and not lora_layers(lm.model)
    own = {id(value) for value in lm.model.parameters()}
    for name in ("one", "two"):
        added = [value for value in lm.with_adapter(name).model.parameters() if id(value) not in own]
        assert sum(value.numel() for value in added) < 0.3 * lm.model.num_parameters()
    with pytest.raises(ConfigError, match=r"no adapter 'tow'.*'two'"):
        lm.with_adapter("tow")


def test_a_sum_is_between_its_parts(made: tuple[Path, dict[str, DecoderLM]]) -> None:
    root, models = made
    sums = {str(weight): {str(root / "one"): weight, str(root / "two"): 1 - weight} for weight in (0.0, 0.5, 1.0)}
    lm = tutelage.load(root / "base", adapters=sums)
    with torch.no_grad():
        torch.testing.assert_close(lm.with_adapter("1.0").logits(IDS), models["one"](torch.tensor(IDS)))
        torch.testing.assert_close(lm.with_adapter("0.0").logits(IDS), models["two"](torch.tensor(IDS)))
    half = lm.with_adapter("0.5").logits(IDS)
    assert not torch.allclose(half, lm.with_adapter("1.0").logits(IDS), atol=1e-2)


def test_a_classifier_comes_with_its_labels_and_its_tokenizer(made: tuple[Path, dict[str, DecoderLM]]) -> None:
    root, _ = made
    lm = tutelage.load(root / "base", adapters={"head": root / "head"})
    head = lm.with_adapter("head")
    assert list(head.classify(["a text"])[0]) == ["good", "bad"] and head.tokenizer.max_length == 16
    assert lm.config.num_labels == 0 and lm.tokenizer.max_length != 16
    with pytest.raises(ConfigError, match="language model"):
        lm.classify(["a text"])


def test_merging_says_how_far_it_moves_the_logits(made: tuple[Path, dict[str, DecoderLM]]) -> None:
    root, _ = made
    said: list[str] = []
    log = EventLog(None, (lambda event: said.append(str(event.get("message"))),))
    lm = adapted(tutelage.load(root / "base", quantisation="nf4_double"), root / "bits")
    live = lm.logits(IDS)
    parity = fold_in(lm.model, lm.tokenizer, log)
    assert parity.passed and 0 < parity.max_difference < 1e-5 and parity.prompts == 5
    assert not is_quantised(lm.model) and not lora_layers(lm.model)
    torch.testing.assert_close(lm.logits(IDS), live, rtol=1e-5, atol=1e-5)
    assert "parity passed: logits within" in said[0] and "dequantised to float32" in said[1]


def test_a_merge_that_loses_something_is_refused(
    made: tuple[Path, dict[str, DecoderLM]], tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = made
    lm = adapted(tutelage.load(root / "base"), root / "one")
    layer = next(iter(lora_layers(lm.model).values()))
    monkeypatch.setattr(layer, "merged_weight", lambda: layer.weight)
    assert check_merge(lm.model, tokenizer).passed is False
    with pytest.raises(TutelageError, match="cannot be merged: merged logits differ by"):
        fold_in(lm.model, tokenizer, EventLog())
    assert lora_layers(lm.model)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    return out, err


def test_the_command_line_takes_an_adapter_everywhere(
    made: tuple[Path, dict[str, DecoderLM]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root, models = made
    base = ("-m", root / "base")
    out, _ = run(capsys, "classify", "a text", *base, "--adapter", root / "head", "--json")
    assert set(json.loads(out)["probabilities"]) == {"good", "bad"}
    texts = [run(capsys, "generate", "Some", *base, "-t", 0, "--max-tokens", 8, "--json")[0]]
    for name in ("one", "bits"):
        adapter = ("--adapter", root / name)
        texts.append(run(capsys, "generate", "Some", *base, *adapter, "-t", 0, "--max-tokens", 8, "--json")[0])
    assert len({json.loads(text)["text"] for text in texts}) == 3
    out, err = run(capsys, "export", tmp_path / "merged", *base, "--adapter", root / "bits", "--json")
    assert json.loads(out)["merged"]["passed"] is True
    merged = tutelage.load(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(merged.logits(IDS), models["bits"](torch.tensor(IDS)), rtol=1e-5, atol=1e-5)
    _, err = run(capsys, "export", tmp_path / "again", *base, "--adapter", root / "one")
    assert "the adapter is merged: parity passed: logits within" in err


@pytest.mark.parametrize("given", ["my-adapter", "a b=my-adapter", "=my-adapter"])
def test_a_server_wants_names_for_its_adapters(
    made: tuple[Path, dict[str, DecoderLM]], capsys: pytest.CaptureFixture[str], given: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "-m", str(made[0] / "base"), "--adapter", given])
    assert ended.value.code == 2 and "expected a name and a folder" in capsys.readouterr().err
