"""Atomic, durable writes: a file or directory exists whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tutelage.store.errors import ConfigError
from tutelage.store.hashing import sha256_file


def fsync_path(path: Path) -> None:
    """Flush one file or directory entry to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file next to `path` to write to; on success fsync it and rename it over `path`, on error remove it.

    A reader sees the old content or the new, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file at once, or leave the old one as it is."""
    with new_file(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def write_json(path: Path, data: Any) -> None:
    write_atomic(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary sibling to fill; on success fsync it and rename it to `final`, on error remove it.

    For places of our own alone: an existing `final` is moved aside first and then removed with all that it holds. A
    folder that a user names is filled by `users_directory`.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for path in sorted(temporary.rglob("*")):
            fsync_path(path)
        fsync_path(temporary)
        if final.exists():
            old = final.with_name(f".{final.name}.{os.getpid()}.old")
            final.rename(old)
            temporary.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(final)
        fsync_path(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


RECORD = ".tutelage-files.json"  # in a folder that a user named: what we wrote there, name -> SHA-256


@contextlib.contextmanager
def users_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary sibling to fill, which becomes `final`, a folder that a user named; nothing of theirs is lost.

    `final` must not be there, be empty, or hold nothing but what was written here before and is unchanged since.
    Raises ConfigError, before anything is written, naming what is in the way.
    """
    if in_the_way := not_ours(final):
        shown = ", ".join(in_the_way[:5]) + (f" and {len(in_the_way) - 5} more" if len(in_the_way) > 5 else "")
        raise ConfigError(
            f"{final} holds what was not written here: {shown}", hint="give a new folder; nothing was changed"
        )
    with new_directory(final.absolute()) as out:
        yield out
        files = sorted(path for path in out.rglob("*") if path.is_file())
        write_json(out / RECORD, {str(path.relative_to(out)): sha256_file(path) for path in files})


def not_ours(folder: Path) -> list[str]:
    """Entries of a folder that `users_directory` did not write, or that were changed since; a file is its own."""
    if not folder.exists() and not folder.is_symlink():
        return []
    if not folder.is_dir():
        return [folder.name]
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        ours = {name for name, sha256 in record.items() if sha256_file(folder / name) == sha256}
    except (OSError, ValueError, AttributeError):
        ours = set()
    kept = {part for name in ours for part in (name, *map(str, Path(name).parents))} | ({RECORD} if ours else set())
    return sorted(name for path in folder.rglob("*") if (name := str(path.relative_to(folder))) not in kept)
