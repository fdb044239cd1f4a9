"""The stage of pretraining."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model, save_model
from tutelage.pretraining.config import MixConfig, PretrainConfig
from tutelage.pretraining.encoding import MistakenEncoderError, encoded_texts
from tutelage.pretraining.mixing import mix_of
from tutelage.pretraining.objective import NextToken
from tutelage.pretraining.shards import Mixture, ShardRows, open_shards, write_shards
from tutelage.store.device import return_freed_memory, seed_everything
from tutelage.store.errors import ConfigError, DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic
from tutelage.store.hashing import sha256_file, sha256_json
from tutelage.store.stage import Job
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Rows
from tutelage.training.data.position import epochs
from tutelage.training.distributed.world import current_world
from tutelage.training.loop import TrainResult, train
from tutelage.training.optim.mup import scale_initialisation
from tutelage.training.rate_finder import RateFinding, find_rate

MANY_EPOCHS = 4


def pretrain(job: Job) -> dict[str, Any]:
    """Train a decoder on the corpus's training documents; `out` becomes a model directory.

    It is a fresh one (`config.model`; `vocab_size` 0: the tokenizer's), or the input `model`. Validation is on the
    held-out documents, which select nothing unless `use_best` is on. Returns the main metrics; times are in `timing`.
    """
    begin = time.monotonic()
    config, out, log = job.config.pretrain, job.out, job.log
    tok, decoder, objective = prepare(
        config, job.config.model, job.inputs["corpus"], job.inputs.get("tokenizer", job.inputs.get("model")),
        job.work, log, job.seed,
    )  # fmt: skip
    shape, rows = decoder.config, objective.rows
    encoding = round(time.monotonic() - begin, 2)
    log.emit("model", parameters=decoder.num_parameters(), train_tokens=rows["train"].num_tokens,
             rows=len(rows["train"]), padding=padding_share(rows["train"]))  # fmt: skip
    fresh = job.config.model is not None
    first_loss = math.log(shape.vocab_size) if fresh else None
    result = train(decoder, objective, config.training, job.work, log, job.seed, first_loss, job.data_seed)
    decoder.to("cpu")
    save_model(decoder, out)
    tok.save(out)
    write_curve(out / "curve.jsonl", result)
    return {
        "parameters": decoder.num_parameters(),
        "train_tokens": rows["train"].num_tokens,
        "tokens_seen": result.tokens,
        "epochs": round(result.tokens / rows["train"].num_tokens, 3),
        **mixture_metrics(config, rows["train"], result, log),
        "padding": padding_share(rows["train"]),
        "heldout_loss": result.final["loss"],
        "heldout_bits_per_byte": result.final["bits_per_byte"],
        "steps": result.steps,
        "skipped_steps": len(result.skipped),
        **({"best_step": result.best["step"]} if result.best else {}),
        "timing": {**result.timing, "encoding_seconds": encoding},
    }


def prepare(
    config: PretrainConfig,
    model: ModelConfig | None,
    corpus: Path,
    tokenizer: Path | None,
    work: Path,
    log: EventLog,
    seed: int,
) -> tuple[Tokenizer, DecoderLM, NextToken]:
    """(tokenizer, decoder, objective with its rows). `model` None: the decoder is loaded from `tokenizer`."""
    assert tokenizer is not None
    tok = Tokenizer.load(tokenizer)
    if model is None:
        decoder = load_model(tokenizer)
        if config.context_length > decoder.config.max_position_embeddings:
            longest = decoder.config.max_position_embeddings
            raise ConfigError(f"pretrain.context_length ({config.context_length}) is longer than the model's {longest}")
    else:
        seed_everything(seed)
        decoder = DecoderLM(complete_model_config(model, tok, config.context_length), seed=seed)
        scale_initialisation(decoder, config.training.base_width)
    rows: dict[str, Rows] = {"validation": encoded(corpus, "validation", tok, config, work, log)}
    if config.mix:
        rows["train"] = mixed(corpus, tok, config, config.mix, work, log)
    else:
        own = encoded(corpus, "train", tok, config, work, log)
        rows["train"] = own
    if config.mixture:
        others = [encoded(Path(one.corpus).expanduser(), "train", tok, config, work, log) for one in config.mixture]
        rows["train"] = Mixture([own, *others], [config.weight, *(one.weight for one in config.mixture)])
    tok.release_encoder()  # all texts are encoded
    return_freed_memory()
    token_bytes = torch.tensor([len(tok.token_bytes(token)) for token in range(tok.vocab_size)])
    return tok, decoder, NextToken(rows, token_bytes, tok.end_of_text_id, tok.decode)


def find_learning_rate(
    config: PretrainConfig, model: ModelConfig, corpus: Path, tokenizer: Path, work: Path, log: EventLog, seed: int,
    steps: int = 100,
) -> RateFinding:  # fmt: skip
    """Sweep the learning rate over the first steps of pretraining (see `training.rate_finder`); nothing is trained."""
    _, decoder, objective = prepare(config, model, corpus, tokenizer, work, log, seed)

    def report(step: int, rate: float, loss: float) -> None:
        log.progress("sweeping the learning rate", step, steps, f"rate {rate:.2g}  loss {loss:.3f}")

    return find_rate(decoder, objective, config.training, seed, steps=steps, report=report)


def mixed(corpus: Path, tok: Tokenizer, config: PretrainConfig, mix: MixConfig, work: Path, log: EventLog) -> Mixture:
    """The training rows of a corpus by source, with their shares; see `mixing`."""
    parts = {
        name: encoded(corpus, "train", tok, config, work, log, (mix.by, name))
        for name in sources_of(corpus, mix.by)
        if mix.weights.get(name, 1.0) > 0
    }
    unread = {name: 1 for name in sources_of(corpus, mix.by) if name not in parts}
    sizes = {name: len(part) for name, part in parts.items()}
    steps, rows = config.training.steps, config.training.batch_rows
    samples = steps * rows if steps else config.training.epochs * sum(sizes.values())
    chosen = mix_of(sizes | unread, mix.weights, mix.temperature, mix.max_epochs, samples)
    if chosen.exceeded:
        log.warn(
            f"{samples:,.0f} rows are drawn, more than {mix.max_epochs:g} passes over all sources together: all are "
            "repeated equally often; use fewer steps or more text"
        )
    elif chosen.capped:
        log.note(f"limited to {mix.max_epochs:g} passes, with the excess given to others: {', '.join(chosen.capped)}")
    for name, share in chosen.shares.items():
        log.note(
            f"{name or 'without a name'}: {share:.1%} of the rows" + (f", {sizes[name]:,} different" if share else "")
        )
    return Mixture(list(parts.values()), [chosen.shares[name] for name in parts], list(parts))


def sources_of(corpus: Path, by: str) -> list[str]:
    """Names in a column of the training documents, sorted; documents without one have the empty name."""
    column = pq.read_table(corpus / "train.parquet", columns=[by])[by]
    return sorted({value or "" for value in column.unique().to_pylist()})


def encoded(
    corpus: Path,
    split: str,
    tok: Tokenizer,
    config: PretrainConfig,
    work: Path,
    log: EventLog,
    only: tuple[str, str] | None = None,
) -> ShardRows:
    """Rows of one split of a corpus, from token shards in `work`, which are made if missing or damaged.

    `only`: a column and its required value. With several processes the first one makes the shards.
    """
    name = {"train": "train", "validation": "heldout"}[split]
    source = corpus / f"{name}.parquet"
    count_texts(source)
    identity = sha256_json([sha256_file(source), tok.definition, config.shard_tokens, *(only or ())])
    path = work / f"shards-{identity[:12]}"
    world = current_world()

    if world.first:
        try:
            open_shards(path)
        except DamagedError:
            for left in work.glob(".shards-*.tmp"):  # left by a killed run
                shutil.rmtree(left)

            def write() -> None:
                documents = encoded_texts(source, tok, log, f"encoding {name} documents", only)
                write_shards(documents, path, tok.vocab_size, identity, config.shard_tokens)

            try:
                write()
            except MistakenEncoderError as error:
                log.warn(f"{error}; all texts are encoded again, by tokenizers")
                write()
    world.order()  # the others wait here, without a timeout
    return ShardRows(open_shards(path, verify=False), tok.end_of_text_id, config.context_length)


def mixture_metrics(config: PretrainConfig, rows: Rows, result: TrainResult, log: EventLog) -> dict[str, Any]:
    """Epochs of each source of a mixture, with a warning beyond four."""
    if not isinstance(rows, Mixture):
        return {}
    names = rows.names or ["corpus", *(one.corpus for one in config.mixture)]
    samples = (result.steps + sum(back["from"] - back["to"] for back in result.rollbacks)) * config.training.batch_rows
    passes = dict(zip(names, (round(times, 3) for times in epochs(rows.sources, samples)), strict=True))
    for name, times in passes.items():
        if times > MANY_EPOCHS:
            log.warn(f"{name} was repeated {times:.1f} times; beyond {MANY_EPOCHS} times repeated text helps little "
                     "(Muennighoff et al. 2023)")  # fmt: skip
    return {"source_epochs": passes}


def complete_model_config(model: ModelConfig, tok: Tokenizer, context_length: int) -> ModelConfig:
    """The model config with vocabulary and special ids of the tokenizer. Raises ConfigError if they conflict."""
    if model.vocab_size and model.vocab_size < tok.vocab_size:
        raise ConfigError(
            f"model.vocab_size is {model.vocab_size} but the tokenizer has {tok.vocab_size} tokens",
            hint="leave it at 0 to take the tokenizer's",
        )
    if model.max_position_embeddings < context_length:
        raise ConfigError(
            f"pretrain.context_length ({context_length}) is longer than "
            f"model.max_position_embeddings ({model.max_position_embeddings})"
        )
    return model.with_(
        vocab_size=model.vocab_size or tok.vocab_size,
        bos_token_id=tok.eos_id,
        eos_token_id=tok.stop_ids,
        pad_token_id=tok.pad_id,
    )


def count_texts(path: Path) -> int:
    """Number of documents of a corpus file. Raises InputError if it is missing or empty."""
    if not path.is_file():
        raise InputError(f"{path} is missing: not a corpus directory")
    count = int(pq.ParquetFile(path).metadata.num_rows)
    if not count:
        raise InputError(f"{path} has no documents", hint="lower corpus.heldout or give more text")
    return count


def read_texts(path: Path) -> list[str]:
    """The `text` column of a corpus file. Raises InputError if it is missing or empty."""
    count_texts(path)
    texts: list[str] = pq.read_table(path, columns=["text"])["text"].to_pylist()
    return texts


def padding_share(rows: Any) -> float:
    return round(1 - rows.num_tokens / (len(rows) * rows.length), 5)


def write_curve(path: Path, result: TrainResult) -> None:
    write_atomic(path, "".join(json.dumps(point) + "\n" for point in result.curve))
