"""The files of a source: which there are, which can be read, and what else lies beside them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tutelage.corpus.rows import InputFile
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.hashing import sha256_files, sha256_text
from tutelage.store.text import without_compression

TEXTS = (".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".org", ".adoc")
PLAIN = (".txt", ".text")  # of these, without markup; so is what has no known suffix
CODE = (
    ".py", ".pyi", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".java", ".kt",
    ".scala", ".go", ".rs", ".rb", ".php", ".pl", ".lua", ".swift", ".jl", ".hs", ".sh", ".bash", ".sql", ".r",
)  # fmt: skip
PAGES = (".html", ".htm", ".xhtml")
TABLES = (".csv", ".tsv")
SUBTITLES = (".srt", ".vtt")
ARROW = (".arrow", ".feather")
OFFICE = (".pdf", ".docx", ".odt", ".eml", ".epub")
SUFFIXES = (
    *TEXTS, *SUBTITLES, *PAGES, *TABLES, ".json", ".jsonl", ".ndjson", ".parquet", *ARROW, ".xml", ".ipynb", *OFFICE,
    ".mbox", *CODE,
)  # fmt: skip
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")
_NUMBERED = re.compile(r"[^.]*|.*\.\d+")  # no suffix, or a number: news and mail archives keep a text a file so
_NO_TEXTS = {"makefile", "dockerfile", "license", "licence", "copying", "notice", "procfile", "gemfile", "codeowners"}
# What the library `datasets` writes about rows, beside them.
ABOUT_ROWS = ("dataset_info.json", "dataset_dict.json", "state.json", "dataset_infos.json")
_UNPACK = "unpack it first and name its folder"
_HEAD = 4096  # bytes by which text is told from other files
_DUMP = re.compile(r"\.xml(-p\d+p\d+[\w-]*)?$")  # the parts of a Wikipedia dump are named so
_HINT = f"known: {' '.join(SUFFIXES)}, most also as .gz, .bz2, .xz or .zst"


def input_files(source: str) -> list[InputFile]:
    """Files of a folder (sorted; the name of a first-level folder labels what is in it) or the single file.

    Symbolic links are followed. A single file of no known kind is read as plain text. Raises ConfigError where nothing
    is there, InputError for a folder without a readable file.
    """
    root = Path(source).expanduser()
    if root.is_file():
        if root.name.lower().endswith(_ARCHIVES):
            raise InputError(f"{source} is an archive", hint=_UNPACK)
        return [InputFile(root, _shown(root.name), None)]
    if not root.is_dir():
        raise ConfigError(f"there is no file or folder {source}", hint="or 'python', or hf:NAME")
    files = [
        InputFile(path, "/".join(parts), parts[0] if len(parts) > 1 else None)
        for path, parts in _walk(root, Counter())
        if _known(path)
    ]
    if not files:
        others = other_files(source)
        named = f"; it has {', '.join(f'{count:,} {what}' for what, count in others.items())}" if others else ""
        packed = any(str(path).lower().endswith(_ARCHIVES) for path, _ in _walk(root, Counter()))
        raise InputError(f"{source} holds no file that can be read{named}", hint=_UNPACK if packed else _HINT)
    return sorted(files, key=lambda file: file.name)


def other_files(source: str) -> dict[str, int]:
    """What a folder holds that is not read, by kind, with counts."""
    root = Path(source).expanduser()
    others: Counter[str] = Counter()
    for path, _ in _walk(root, others) if root.is_dir() else ():
        if path.name.lower().endswith(_ARCHIVES):
            others["archives (to be unpacked first)"] += 1
        elif not _known(path):
            others[f"files of unknown kind ({_shown(path.suffix.lower()) or 'no suffix'})"] += 1
    return dict(sorted(others.items(), key=lambda pair: (-pair[1], pair[0])))


def files_identity(files: list[InputFile]) -> str:
    """Hash of names and contents; a file that cannot be opened counts by its name."""
    readable, closed = [], []
    for file in files:
        try:
            file.path.open("rb").close()
            readable.append((file.name, file.path))
        except OSError:
            closed.append(file.name)
    identity = sha256_files(readable)
    return sha256_text("\0".join([identity, *closed])) if closed else identity


def is_dump(name: str) -> bool:
    return _DUMP.search(without_compression(name)) is not None


def _known(path: Path) -> bool:
    name = without_compression(path.name)
    if name in ABOUT_ROWS and any(any(path.parent.glob(place)) for place in ("*.arrow", "*/*.arrow")):
        return False
    return name.endswith(SUFFIXES) or is_dump(name) or (_NUMBERED.fullmatch(name) is not None and _is_text(path))


def _is_text(path: Path) -> bool:
    """Whether a file without a suffix is text, by its first bytes: UTF-8, or another encoding without control bytes."""
    if path.name.lower() in _NO_TEXTS:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return bool(head.strip()) and not any(byte < 32 and byte not in b"\t\n\v\f\r\x1b" for byte in head)


def _shown(name: str) -> str:
    """The name of a file as text; bytes that are not UTF-8 as backslash escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _walk(root: Path, others: Counter[str]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Files below a folder, links followed; what is no file, hidden or a circle is counted in `others`."""
    above = {root.resolve()}
    yield from _folder(root, (), above, others)


def _folder(
    folder: Path, parts: tuple[str, ...], above: set[Path], others: Counter[str]
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        others["folders that cannot be opened"] += 1
        return
    for entry in entries:
        path, inner = folder / entry.name, (*parts, _shown(entry.name))
        if entry.name.startswith("."):
            others["hidden files and folders"] += 1
        elif entry.is_dir():
            real = path.resolve()
            if real in above:
                others["links to a folder that they lie in"] += 1
            else:
                yield from _folder(path, inner, above | {real}, others)
        elif entry.is_file():
            yield path, inner
        else:
            others["broken links and special files"] += 1
