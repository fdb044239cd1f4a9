"""A server on a real socket, as `run_server` sets it up."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import uvicorn

from tutelage.corpus.document import Document, write_documents
from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM
from tutelage.pretraining.trace import Index, open_index
from tutelage.serving.app import make_app
from tutelage.serving.connections import guarded
from tutelage.serving.protocol import Limits
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer


@contextlib.contextmanager
def serving(lm: LanguageModel, limits: Limits, **options: Any) -> Iterator[int]:
    """The port of a server that runs in a thread, with the protocol of `run_server`."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        make_app(lm, limits=limits, **options),
        http=guarded(limits),
        ws="none",
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


def indexed(folder: Path, texts: Sequence[str], tokenizer: Tokenizer) -> Index:
    """A corpus of these texts, to be traced in."""
    documents = [Document(f"{at:02}", text, f"source-{at}", f"name-{at}") for at, text in enumerate(texts)]
    (folder / "corpus").mkdir()
    write_documents(folder / "corpus" / "train.parquet", documents)
    return open_index(folder / "corpus", tokenizer, folder / "work", EventLog())


def classifier_of(lm: LanguageModel, **more: Any) -> LanguageModel:
    """A classifier of chance weights, with the labels ham and spam."""
    config = lm.config.model_copy(update={"num_labels": 2, "labels": ("ham", "spam"), **more})
    model = DecoderLM(config, seed=1)
    with torch.no_grad():
        model.score.weight.normal_(generator=torch.Generator().manual_seed(3))
    return LanguageModel(model, lm.tokenizer)
