"""Whatever a model is made of, it trains, resumes bit for bit after a kill, takes adapters, and decodes in batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from family_configs import CONFIGS, fields
from tutelage.inference.decoding import generate_ids
from tutelage.inference.sampling import Sampling
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.lora import LoraConfig, add_lora, merge_lora
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import train

FAMILIES = sorted(CONFIGS)


def model(family: str) -> DecoderLM:
    return DecoderLM(FamilyConfig.parse({**fields(family, 0), "initializer_range": 0.02}), seed=1)


def balanced_by_a_loss(family: str) -> bool:
    experts = FamilyConfig.parse(fields(family, 0)).experts
    return experts is not None and experts.balance == "auxiliary"


def objective() -> NextToken:
    generator = torch.Generator().manual_seed(0)
    documents = [
        [(start + 3 * at) % 60 + 4 for at in range(length)]
        for start, length in zip(
            torch.randint(0, 60, (40,), generator=generator).tolist(),
            torch.randint(3, 30, (40,), generator=generator).tolist(),
            strict=True,
        )
    ]
    return NextToken({"train": pack_documents(documents, 0, 32)}, torch.ones(96, dtype=torch.int64), 0)


def settings(optimizer: str, **changes: object) -> TrainingConfig:
    return TrainingConfig.parse(
        {"steps": 30, "batch_rows": 4, "learning_rate": 5e-3, "warmup_steps": 2, "log_every": 1, "optimizer": optimizer,
         "checkpoint_seconds": 0, "precision": "float32", "threads": 1, **changes}
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_and_resumes_bit_for_bit(family: str, tmp_path: Path, log: EventLog) -> None:
    whole = model(family)
    result = train(whole, objective(), settings("muon", checkpoint_seconds=1e9), tmp_path / "whole", log, 1)
    losses = [point["loss"] for point in result.curve if "loss" in point]
    assert losses[-1] < 0.9 * losses[0]

    class Killed(NextToken):
        calls = 0

        def loss(self, *arguments):  # type: ignore[no-untyped-def]
            type(self).calls += 1
            if type(self).calls == 8:
                raise RuntimeError("killed")
            return super().loss(*arguments)

    inner = objective()
    with pytest.raises(RuntimeError, match="killed"):
        train(model(family), Killed(inner.rows, inner.token_bytes, 0), settings("muon"), tmp_path / "killed", log, 1)
    again = model(family)
    train(again, inner, settings("muon"), tmp_path / "killed", log, 1)
    for (name, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


# A loss that balances experts is of the part it is computed on, by its definition.
@pytest.mark.parametrize("family", [name for name in FAMILIES if not balanced_by_a_loss(name)])
def test_microbatches_add_up(family: str, tmp_path: Path, log: EventLog) -> None:
    one, four = model(family), model(family)
    train(one, objective(), settings("adamw", steps=2), tmp_path / "1", log, 1)
    train(four, objective(), settings("adamw", steps=2, accumulation=4), tmp_path / "4", log, 1)
    for (name, a), b in zip(one.state_dict().items(), four.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=3e-4, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_start_at_nothing_and_merge(family: str) -> None:
    adapted = DecoderLM(FamilyConfig.parse(fields(family, 0)), seed=1).eval()
    text = torch.arange(20)[None]
    plain = adapted(text)
    add_lora(adapted, LoraConfig(), seed=1)
    assert torch.equal(adapted(text), plain)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if name.endswith("lora_B"):
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(3))
    changed = adapted(text)
    assert not torch.allclose(changed, plain, atol=1e-3)
    merge_lora(adapted)
    torch.testing.assert_close(adapted(text), changed, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_in_a_batch_are_answers_alone(family: str) -> None:
    one = DecoderLM(FamilyConfig.parse(fields(family, 0)), seed=1).eval()
    prompts = [[5], [7, 9, 30, 31, 32, 33, 34, 35], list(range(40, 65))]
    sampling = Sampling(max_tokens=12)
    together = [output.ids for output in generate_ids(one, prompts, sampling, ())]
    for prompt, ids in zip(prompts, together, strict=True):
        assert generate_ids(one, [prompt], sampling, ())[0].ids == ids
        text = list(prompt)
        for _ in range(12):
            with torch.no_grad():
                text.append(int(one(torch.tensor([text]))[0, -1].argmax()))
        assert ids == text[len(prompt) :]
