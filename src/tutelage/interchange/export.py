"""Export with parity checks of the written files and of the source against our model (`proof.py`)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tutelage.interchange.gguf.parity import check_gguf, check_written
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.writer import WRITER, KindName, write_gguf
from tutelage.interchange.proof import Parity, check_merge, check_transformers, is_foreign_directory, said
from tutelage.interchange.source import copy_extras
from tutelage.model.adaptable import quantisation_of
from tutelage.model.decoder import DecoderLM
from tutelage.model.hf_config import to_hf_config
from tutelage.model.io import hf_weights, save_model
from tutelage.model.lora import merge_lora
from tutelage.store.errors import ConfigError, TutelageError
from tutelage.store.events import EventLog
from tutelage.store.files import users_directory
from tutelage.tokenizer.tokenizer import Tokenizer


def export_model(
    model: DecoderLM, tok: Tokenizer, directory: Path, log: EventLog, source: Path | None = None, altered: str = ""
) -> dict[str, Any]:
    """Write a Hugging Face directory and check its parity, and that of the source, with the model.

    source: origin of the model; README and licence are copied from there. altered: why the model differs from the
    source ("an adapter was merged"), which is then not compared. Raises ConfigError if `directory` contains files not
    written by an export, TutelageError if a check fails (nothing is written then).
    """
    with users_directory(directory) as out:
        before = _check_source(model, tok, source, altered)
        save_model(model, out)
        tok.save(out)
        if source is not None:
            copy_extras(source, out)
        parity = _passed(check_transformers(model, tok, out), "export failed its parity check")
    log.note(f"exported to {directory}; the model before writing: {said(parity, 'logits', 'transformers')}")
    _tell_source(before, log, source)
    return {"directory": str(directory), "parity": asdict(parity), "source_parity": asdict(before)}


def export_gguf(
    model: DecoderLM,
    tok: Tokenizer,
    path: Path,
    log: EventLog,
    kind: KindName = "f16",
    name: str = "",
    source: Path | None = None,
    altered: str = "",
) -> dict[str, Any]:
    """Write a GGUF file and check its parity, and that of the source, with the model; source, altered: as above.

    Raises ConfigError if `path` exists and is not our export, InputError for a model that GGUF does not support,
    TutelageError if a check fails (nothing is written then).
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a directory", hint="give a file name that ends in .gguf")
    if path.exists() and not _is_our_gguf(path):
        raise ConfigError(
            f"{path} already exists and was not written by tutelage", hint="give a new name; nothing was changed"
        )
    trial = path.with_name(f".{path.name}.unchecked")
    try:
        written = write_gguf(trial, to_hf_config(model.config), hf_weights(model), tok, kind, name or path.stem)
        before = _check_source(model, tok, source, altered)
        parity = _passed(check_written(trial, model, tok), "export failed its parity check")
        trial.replace(path)
    finally:
        trial.unlink(missing_ok=True)
    words = said(parity, "log-probabilities", "llama.cpp")
    log.note(f"exported to {path}, {written['bytes'] / 1e6:.1f} MB as {kind}; {words}")
    _tell_source(before, log, source)
    return {"file": str(path), **written, "parity": asdict(parity), "source_parity": asdict(before)}


def fold_in(model: DecoderLM, tok: Tokenizer, log: EventLog) -> Parity:
    """Merge the model's adapters into its weights in place, and log the largest change in its logits.

    Raises TutelageError, before any change, if it exceeds rounding.
    """
    stored = quantisation_of(model)
    parity = _passed(check_merge(model, tok), "the adapter cannot be merged")
    merge_lora(model)
    log.note(f"the adapter is merged: {said(parity, 'logits', 'the unmerged adapter')}")
    if stored != "none":
        log.note(
            f"it was trained on 4-bit weights ({stored}); the merged weights are based on these, dequantised to float32"
        )
    return parity


def _check_source(model: DecoderLM, tok: Tokenizer, source: Path | None, altered: str) -> Parity:
    """Parity of the source, run by its native program, with our model. Raises TutelageError if they differ."""
    if source is None or altered:
        return Parity(None, why=f"source not compared: {altered or 'the model is in memory only'}")
    if source.is_file():
        return _passed(check_gguf(source, model, tok), f"{source} is not the model that was read from it")
    if not is_foreign_directory(source):
        return Parity(None, why="source not compared: it was written by tutelage")
    return _passed(check_transformers(model, tok, source), f"{source} is not the model that was read from it")


def _passed(parity: Parity, otherwise: str) -> Parity:
    if parity.passed is False:
        raise TutelageError(f"{otherwise}: {parity.why}", hint="nothing was written")
    return parity


def _tell_source(parity: Parity, log: EventLog, source: Path | None) -> None:
    if source is None:
        return
    what, whose = ("log-probabilities", "llama.cpp") if source.is_file() else ("logits", "transformers")
    log.note(f"the source {source}: {said(parity, what, whose)}")


def _is_our_gguf(path: Path) -> bool:
    try:
        return GGUFFile.open(path).metadata.get(WRITER) == "tutelage"
    except TutelageError:
        return False
