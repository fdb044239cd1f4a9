"""A corpus, a tokenizer and a base model small enough to finetune in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.io import save_model
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_text
from tutelage.store.stage import Job
from tutelage.tokenizer.template import CHATML
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.config import TrainingConfig
from tutelage.training.data.packing import Example, Segment
from tutelage.training.distributed.world import World
from tutelage.training.objective import Prepares

VERBS = ["Return", "Compute", "Remove", "Sort", "Merge", "Count"]
THINGS = {
    "graphs": ["nodes", "edges", "paths", "cliques", "cycles"],
    "files": ["directories", "archives", "links", "handles", "names"],
    "text": ["words", "lines", "letters", "tokens", "sentences"],
}
PLACES = ["first table", "second table", "given list", "open store"]
COLUMNS = ["id", "text", "source", "name", "kind", "signature", "summary", "label"]


class Heard:
    """An event log that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self.log = EventLog(listeners=(self.events.append,))

    def messages(self, kind: str) -> str:
        return "\n".join(event["message"] for event in self.events if event["event"] == kind)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def corpus_rows() -> list[dict]:
    rows = []
    for label, things in THINGS.items():
        for verb in VERBS:
            for thing in things:
                for place in PLACES:
                    summary = f"{verb} the {thing} of the {place}."
                    name = f"{label}.{verb.lower()}_{thing}"
                    identity = sha256_text(name + summary)[:16]
                    signature = f"{verb.lower()}_{thing}({place.split()[1]}, limit=None)"
                    rows.append(
                        dict(zip(COLUMNS, [identity, summary, label, name, "function", signature, summary, label],
                                 strict=True))
                    )  # fmt: skip
    return sorted(rows, key=lambda row: row["id"])


def write_corpus(directory: Path, rows: list[dict]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    held = len(rows) // 6
    pq.write_table(pa.Table.from_pylist(rows[held:], schema), directory / "train.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:held], schema), directory / "heldout.parquet")
    return directory


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), corpus_rows())


@pytest.fixture(scope="session")
def tok() -> Tokenizer:
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator([row["text"] for row in corpus_rows()], trainer)
    settings = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    return Tokenizer(json.dumps(json.loads(trained.to_str())), settings, CHATML)


@pytest.fixture(scope="session")
def shape(tok) -> ModelConfig:
    return FamilyConfig(
        vocab_size=tok.vocab_size, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2,
        num_kv_heads=1, max_position_embeddings=128, bos_token_id=tok.eos_id, eos_token_id=tok.stop_ids,
        pad_token_id=tok.pad_id,
    )  # fmt: skip


@pytest.fixture(scope="session")
def base(tmp_path_factory, tok, shape) -> Path:
    directory = tmp_path_factory.mktemp("base")
    save_model(DecoderLM(shape, seed=1), directory)
    tok.save(directory)
    return directory


def answers_of(example: Example) -> list[Segment]:
    """The chosen and the rejected conversation of a pair, each as if it stood alone."""
    (one, *others) = example.segments
    if one.branches is None:
        return [one, *others]
    places = [[at for at, branch in enumerate(one.branches) if branch in (0, number)] for number in (1, 2)]

    def of(own: list[int]) -> Segment:
        extras = {name: [values[at] for at in own] for name, values in one.extras.items()}
        return Segment(*([values[at] for at in own] for values in (one.tokens, one.targets, one.weights)), extras)

    return [of(own) for own in places]


def loss_and_gradient(objective, model: DecoderLM, parts: int) -> tuple[float, torch.Tensor]:
    """Mean loss of all training rows, and its gradient, from so many microbatches."""
    rows = objective.rows["train"]
    batches = [rows.batch(numbers) for numbers in np.array_split(np.arange(len(rows)), parts)]
    model.zero_grad()
    total = weight = 0.0
    if isinstance(objective, Prepares):
        objective.prepare(model, batches, World())
    for batch in batches:
        loss = objective.loss(model, batch)
        loss.sum.backward()
        total, weight = total + float(loss.sum.detach()), weight + float(loss.weight)
    return total / weight, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]) / weight


def quick(steps: int, **more) -> TrainingConfig:
    settings = {"steps": steps, "batch_rows": 4, "learning_rate": 5e-3, "warmup_steps": 2, "log_every": 5}
    return TrainingConfig(**{**settings, "threads": 1, "precision": "float32", "device": "cpu", **more})


def job(config, out: Path, log: EventLog | None = None, seed: int = 5, name: str = "step", **inputs) -> Job:
    """A job whose files go under `out`: `out/out`, `out/work`."""
    there = {role: path for role, path in inputs.items() if path is not None}
    return Job(name, config, there, out / "out", out / "work", log or EventLog(), seed, seed)
