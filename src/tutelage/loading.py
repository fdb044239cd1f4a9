"""`tutelage.load`: any model a user can name, ready to be used, with adapters if wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tutelage.inference import language_model
from tutelage.inference.language_model import LanguageModel
from tutelage.interchange.source import is_foreign, open_model
from tutelage.model.lora_config import Quantisation
from tutelage.store.device import Precision, choose_device, choose_precision
from tutelage.store.events import EventLog

AdapterSource = Path | str | Mapping[str, float]


def load(
    source: Path | str,
    device: str = "auto",
    dtype: Precision = "float32",
    log: EventLog | None = None,
    adapters: Mapping[str, AdapterSource] | None = None,
    quantisation: Quantisation = "none",
) -> LanguageModel:
    """Load a run (its chat model), artifact or model directory, a .gguf file, `smollm2`, or org/name on the hub.

    device: "auto" takes the GPU where there is one. dtype: "float32", "bfloat16", or "auto" for the fast one.
    adapters: name -> directory in PEFT's layout, or {directory: weight} for the sum of several; used by
    `with_adapter(name)`, while the weights exist once. quantisation: "nf4" or "nf4_double" holds matrices in 4 bits.
    Raises InputError that says what is there if it is no model, DamagedError if its files are not whole.
    """
    if not is_foreign(str(source)):
        lm = language_model.load(source, device, dtype, quantisation)
    else:
        place = choose_device(device)
        made = open_model(str(source), log or EventLog(), place, choose_precision(dtype, place), quantisation)
        lm = LanguageModel(*made)
    for name, adapter in (adapters or {}).items():
        lm.adapters[name] = adapted(lm, adapter)
    return lm


def adapted(lm: LanguageModel, adapter: AdapterSource) -> LanguageModel:
    """A model of the same weights with an adapter, or with the sum of several ({directory: weight}); `lm` stays as it
    is. A tokenizer that lies beside the adapter is used."""
    from tutelage.interchange.peft import load_adapter, load_sum, with_head_of
    from tutelage.model.lora import shared_copy
    from tutelage.tokenizer.tokenizer import Tokenizer

    model = shared_copy(lm.model)
    if isinstance(adapter, Mapping):
        load_sum(model, {Path(directory).expanduser(): weight for directory, weight in adapter.items()})
        return LanguageModel(model, lm.tokenizer)
    directory = Path(adapter).expanduser()
    load_adapter(with_head_of(model, directory), directory)
    own = (directory / "tokenizer.json").is_file()
    return LanguageModel(model, Tokenizer.load(directory) if own else lm.tokenizer)
