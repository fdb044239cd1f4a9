"""Export with proof: a Hugging Face directory checked against transformers, a GGUF file against llama.cpp."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.interchange.gguf.parity import check_gguf
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.writer import WRITER, KindName, write_gguf
from tutelage.interchange.source import copy_extras
from tutelage.model.decoder import DecoderLM
from tutelage.model.hf_config import to_hf_config
from tutelage.model.io import hf_weights, save_model
from tutelage.store.errors import ConfigError, TutelageError
from tutelage.store.events import EventLog
from tutelage.store.files import users_directory
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer

PROMPTS = (
    "Return the",
    "The quick brown fox jumps over 13 lazy dogs.",
    "def add(a, b):\n    return a + b\n",
    "Grüße, naïve café! 你好 🎉",
)
TOLERANCE = 1e-4  # relative to the largest logit, float32


@dataclass(frozen=True)
class Parity:
    """Result of a comparison; `passed` is None where it could not be made, and `why` says so."""

    passed: bool | None
    prompts: int = 0
    max_difference: float = 0.0
    why: str = ""


def export_model(
    model: DecoderLM, tok: Tokenizer, directory: Path, log: EventLog, source: Path | None = None
) -> dict[str, Any]:
    """Write a Hugging Face directory and check it against transformers where that is installed.

    source: where README and licence are taken from. Raises ConfigError if `directory` holds anything that no
    export wrote, TutelageError if the check fails (nothing is left then).
    """
    with users_directory(directory) as out:
        save_model(model, out)
        tok.save(out)
        if source is not None:
            copy_extras(source, out)
        parity = check_parity(model, tok, out)
        if parity.passed is False:
            raise TutelageError(f"export failed its parity check: {parity.why}", hint="nothing was written")
    log.note(f"exported to {directory}; {_said(parity, 'logits', 'transformers')}")
    return {"directory": str(directory), "parity": asdict(parity)}


def export_gguf(
    model: DecoderLM, tok: Tokenizer, path: Path, log: EventLog, kind: KindName = "f16", name: str = ""
) -> dict[str, Any]:
    """Write a GGUF file and have llama.cpp run it where `xllamacpp` is installed.

    Raises ConfigError if `path` is there and no export of ours, InputError for a model that GGUF cannot hold,
    TutelageError if the check fails (nothing is left then).
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a directory", hint="give a file name that ends in .gguf")
    if path.exists() and not _is_our_gguf(path):
        raise ConfigError(f"{path} is there and was not written here", hint="give a new name; nothing was changed")
    trial = path.with_name(f".{path.name}.unchecked")
    try:
        written = write_gguf(trial, to_hf_config(model.config), hf_weights(model), tok, kind, name or path.stem)
        passed, prompts, largest, why = check_gguf(trial, kind, PROMPTS)
        parity = Parity(passed, prompts, largest, why)
        if parity.passed is False:
            raise TutelageError(f"export failed its parity check: {parity.why}", hint="nothing was written")
        trial.replace(path)
    finally:
        trial.unlink(missing_ok=True)
    said = _said(parity, "log-probabilities", "llama.cpp")
    log.note(f"exported to {path}, {written['bytes'] / 1e6:.1f} MB as {kind}; {said}")
    return {"file": str(path), **written, "parity": asdict(parity)}


def _is_our_gguf(path: Path) -> bool:
    try:
        return GGUFFile.open(path).metadata.get(WRITER) == "tutelage"
    except TutelageError:
        return False


def _said(parity: Parity, what: str, whose: str) -> str:
    if not parity.passed:
        return parity.why
    return f"parity passed: {what} within {parity.max_difference:.1e} of those of {whose} on {parity.prompts} prompts"


@torch.no_grad()
def check_parity(model: DecoderLM, tok: Tokenizer, directory: Path) -> Parity:
    """Compare token ids, chat rendering and logits (or class scores) with what transformers makes of `directory`."""
    if importlib.util.find_spec("transformers") is None:
        return Parity(None, why="parity not checked: transformers is not installed (pip install transformers)")
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if not hasattr(transformers, _class_of(model)):
        return Parity(None, why=f"parity not checked: transformers has no {_class_of(model)}")
    their_tok = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    kind = "AutoModelForSequenceClassification" if model.config.num_labels else "AutoModelForCausalLM"
    theirs = getattr(transformers, kind).from_pretrained(directory, local_files_only=True, dtype=torch.float32).eval()
    if tok.chat_template is not None:
        conversation = [Message("user", PROMPTS[0]), Message("assistant", PROMPTS[1]), Message("user", PROMPTS[2])]
        rendered = render_chat(tok, conversation, add_generation_prompt=True).ids
        as_dicts = [{"role": message.role, "content": message.content} for message in conversation]
        their_text = their_tok.apply_chat_template(as_dicts, add_generation_prompt=True, tokenize=False)
        if tok.decode(rendered, skip_special=False) != their_text:
            return Parity(False, why="the chat template renders differently in transformers")
    largest = 0.0
    for prompt in PROMPTS:
        ids = tok.encode(prompt)
        their_ids = their_tok(prompt, add_special_tokens=False)["input_ids"]
        if ids != their_ids:
            return Parity(False, why=f"token ids of {prompt!r} differ: {ids[:8]} and {their_ids[:8]}")
        tokens = torch.tensor([ids])
        expected = theirs(tokens).logits.float()
        hidden = model.hidden(tokens)
        ours = model.scores(hidden[:, -1]) if model.config.num_labels else model.logits(hidden)
        largest = max(largest, ((ours - expected).abs().max() / expected.abs().max().clamp(min=1e-9)).item())
    if largest > TOLERANCE:
        return Parity(False, len(PROMPTS), largest, f"logits differ by {largest:.1e} of the largest")
    return Parity(True, len(PROMPTS), largest)


def _class_of(model: DecoderLM) -> str:
    return str(to_hf_config(model.config)["architectures"][0])
