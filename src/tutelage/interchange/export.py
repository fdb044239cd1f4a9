"""Export to the Hugging Face layout, with proof: token ids and logits compared with transformers on real prompts."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model, save_model
from tutelage.store.errors import ConfigError, TutelageError
from tutelage.store.events import EventLog
from tutelage.store.files import new_directory
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


def export_model(source: Path, directory: Path, log: EventLog) -> dict[str, Any]:
    """Write the model directory `source` to `directory` and check it against transformers where installed.

    Raises ConfigError if `directory` holds something else, TutelageError if the check fails (nothing is left then).
    """
    if directory.exists() and any(directory.iterdir()) and not (directory / "config.json").exists():
        raise ConfigError(f"{directory} is not empty and holds no model", hint="give a new directory")
    model, tok = load_model(source), Tokenizer.load(source)
    with new_directory(directory.absolute()) as out:
        save_model(model, out)
        tok.save(out)
        for name in ("README.md",):
            if (source / name).exists():
                shutil.copyfile(source / name, out / name)
        parity = check_parity(model, tok, out)
        if parity.passed is False:
            raise TutelageError(f"export failed its parity check: {parity.why}", hint="nothing was written")
    log.note(
        f"exported to {directory}; "
        + (f"logits equal transformers' to {parity.max_difference:.1e}" if parity.passed else parity.why)
    )
    return {"directory": str(directory), "parity": asdict(parity)}


@torch.no_grad()
def check_parity(model: DecoderLM, tok: Tokenizer, directory: Path) -> Parity:
    """Compare token ids, chat rendering and logits (or class scores) with what transformers makes of `directory`."""
    if importlib.util.find_spec("transformers") is None:
        return Parity(None, why="parity not checked: transformers is not installed (pip install transformers)")
    import transformers

    their_tok = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    kind = "AutoModelForSequenceClassification" if model.config.num_labels else "AutoModelForCausalLM"
    theirs = getattr(transformers, kind).from_pretrained(directory, local_files_only=True, dtype=torch.float32).eval()
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
