"""Atomic, durable writes: a file or directory exists whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tutelage.store.errors import ConfigError, DamagedError
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
    # Opened first: as soon as the file is there, another process may give the directory another name.
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        os.fsync(directory)
    finally:
        os.close(directory)
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file atomically: completely, or not at all."""
    with new_file(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def write_json(path: Path, data: Any) -> None:
    write_atomic(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary sibling to fill; on success fsync it and rename it to `final`, on error remove it.

    For our own directories only: an existing `final` is replaced with all its content. For a directory named by a user
    see `users_directory`.
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


RECORD = ".tutelage-files.json"  # in a folder named by a user: the files that we wrote, name -> SHA-256
SAVED, _REMOVED = ".tutelage-saved", "removed.json"


@contextlib.contextmanager
def replaced_files(folder: Path, removed: Callable[[], Iterable[str]] = tuple) -> Iterator[Path]:
    """Yield an empty folder; on success its files replace those of the same name in `folder`, all together.

    removed: names in `folder` to remove as well, called after everything is written. Other files are not touched. A
    kill before the commit (the rename to `SAVED`) leaves the old files; after it, `finish_save` completes the save when
    the model is opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finish_save(folder)
    staged = folder / f"{SAVED}.{os.getpid()}.tmp"
    _forget_unfinished(folder)
    staged.mkdir()
    try:
        yield staged
        names = {str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file()}
        write_json(staged / _REMOVED, sorted(set(removed()) - names))
        for path in (*sorted(staged.rglob("*")), staged):
            fsync_path(path)
        staged.rename(folder / SAVED)
        fsync_path(folder)
        finish_save(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def finish_save(folder: Path) -> None:
    """Complete a save into `folder` that was committed and then interrupted; usually there is none.

    Raises DamagedError if the files cannot be moved (a read-only disk).
    """
    saved = folder / SAVED
    if saved.is_symlink() or not (saved / _REMOVED).is_file():
        return None
    try:
        removed = json.loads((saved / _REMOVED).read_text(encoding="utf-8"))
        for path in sorted(saved.rglob("*")):
            name = path.relative_to(saved)
            if path.is_file() and str(name) != _REMOVED and _inside(folder, name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                path.replace(folder / name)
        # The folder, and with it this list, may be untrusted: never remove anything outside.
        for old in (folder / str(name) for name in removed if _inside(folder, str(name))):
            old.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # also its folder, if now empty
                if old.parent != folder:
                    old.parent.rmdir()
        fsync_path(folder)
        done = folder / f"{SAVED}.{os.getpid()}.tmp"  # a folder of this name is never completed again
        shutil.rmtree(done, ignore_errors=True)
        saved.rename(done)
        shutil.rmtree(done, ignore_errors=True)
    except FileNotFoundError:  # another process is completing it too
        return finish_save(folder)
    except (ValueError, TypeError):
        raise DamagedError(f"{saved / _REMOVED} is damaged", hint=f"remove {saved}") from None
    except OSError as error:
        raise DamagedError(
            f"a save into {folder} was interrupted and cannot be finished: {error.strerror or error}",
            hint="make the folder writable and open it again",
        ) from None


def _forget_unfinished(folder: Path) -> None:
    """Remove temporary files of saves into `folder` that were killed before the commit."""
    for path in folder.glob(f"{SAVED}.*.tmp"):
        pid = path.name.split(".")[-2]
        if pid == str(os.getpid()) or not _alive(pid):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def users_directory(final: Path) -> Iterator[Path]:
    """Yield an empty folder whose files become those of `final`, a folder named by a user; no file of theirs is lost.

    `final` must not exist, be empty, or contain only files that we wrote and that have not changed since. It remains
    the same folder (it may be a shell's working directory); see `replaced_files` for a kill. Raises ConfigError before
    anything is written, naming the other files.
    """
    if final.is_dir():
        finish_save(final)
        _forget_unfinished(final)
    if in_the_way := not_ours(final):
        shown = ", ".join(in_the_way[:5]) + (f" and {len(in_the_way) - 5} more" if len(in_the_way) > 5 else "")
        raise ConfigError(
            f"{final} contains files not written by tutelage: {shown}", hint="give a new folder; nothing was changed"
        )
    before = _recorded(final)
    place = replaced_files(final, lambda: before) if final.exists() else new_directory(final.absolute())
    with place as out:
        yield out
        files = sorted(path for path in out.rglob("*") if path.is_file())
        write_json(out / RECORD, {str(path.relative_to(out)): sha256_file(path) for path in files})


def not_ours(folder: Path) -> list[str]:
    """Entries of a folder not written by `users_directory`, or changed since; for a file its own name."""
    if not folder.exists() and not folder.is_symlink():
        return []
    if not folder.is_dir():
        return [folder.name]
    ours = {name for name, sha256 in _recorded(folder).items() if _has(folder / name, sha256)}
    kept = {part for name in ours for part in (name, *map(str, Path(name).parents))} | ({RECORD} if ours else set())
    return sorted(name for path in folder.rglob("*") if (name := str(path.relative_to(folder))) not in kept)


def _recorded(folder: Path) -> dict[str, str]:
    """Files in the record of a folder; names that lead out of the folder are ignored."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {name: str(sha256) for name, sha256 in record.items() if _inside(folder, name)}
    except (OSError, ValueError, AttributeError):
        return {}


def _inside(folder: Path, name: str | Path) -> bool:
    return (folder / name).parent.resolve().is_relative_to(folder.resolve()) and ".." not in Path(name).parts


def _has(path: Path, sha256: str) -> bool:
    return path.is_file() and not path.is_symlink() and sha256_file(path) == sha256
