"""Load a GGUF file as a decoder and its tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch

from tutelage.interchange.gguf.models import model_of
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.tokenizer import read_tokenizer
from tutelage.model.decoder import DecoderLM
from tutelage.model.hf_config import from_hf_config
from tutelage.model.io import build_model
from tutelage.model.lora_config import Quantisation
from tutelage.model.pack import Packing, pack
from tutelage.model.packed import Blocks
from tutelage.tokenizer.tokenizer import Tokenizer


def read_gguf(
    path: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    quantisation: Quantisation = "none",
    packing: Packing | None = None,
) -> tuple[DecoderLM, Tokenizer]:
    """Model and tokenizer of a GGUF file.

    Weights are read and dequantised one at a time (with `quantisation` each is stored in NF4 immediately). `packing`:
    for inference only; with `int4`, 4-bit weights of the file are used without conversion. Raises InputError for an
    unsupported file, DamagedError for a broken one.
    """
    file = GGUFFile.open(path)
    hf_config, weights = model_of(file)
    tokenizer = read_tokenizer(file.metadata).build()
    config = from_hf_config(hf_config, str(path))
    # All stop ids go into the model's config, so that they are kept in every export.
    stops = tuple(dict.fromkeys((*config.eos_token_id, *tokenizer.stop_ids)))
    config = config.with_(eos_token_id=stops)
    blocks: dict[str, Blocks] = {}

    def in_blocks(ours: str, theirs: str) -> bool:
        stored = weights.blocks(theirs) if ours.startswith("layers.") and len(weights.shape(theirs)) == 2 else None
        if stored is not None:
            blocks[ours] = stored
        return stored is not None

    skip = in_blocks if packing == "int4" else None
    model = build_model(config, weights, weights.shape, weights.__getitem__, str(path), dtype, quantisation, skip)
    if packing is not None:
        return pack(model, packing, blocks), tokenizer
    return model.to(device), tokenizer
