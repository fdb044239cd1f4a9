"""Sources and disks that misbehave while a corpus is made: nothing is lost in silence, and nothing hangs."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.corpus import readers, reading, shelf
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document
from tutelage.corpus.runs import Run, save_array
from tutelage.corpus.sources import input_files, other_files
from tutelage.corpus.stage import build_corpus, source_identity
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

ONE = "The river runs from the mountain to the harbour, and nobody has ever stopped it.\n"
TWO = "A letter lay on the table of the teacher, who had not opened the window for a week.\n"


def build(source: Path, out: Path, workers: int = 1, **settings: Any) -> dict[str, Any]:
    config = CorpusConfig(source=str(source), prose=False, measure_selection=False, heldout=0.2, **settings)
    return build_corpus(config, out, EventLog(), seed=1, workers=workers)


def write_rows(path: Path, count: int) -> None:
    rows = ({"text": " ".join(f"word{number}of{at}" for at in range(40))} for number in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def in_process_with_files_of(most: int, function: Callable[[], object]) -> int:
    """The error number that a function ends with in a process whose files may have so many bytes; 0 where it is done,
    -1 for an error without a number."""

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            function()
        except OSError as error:
            os._exit(200 if error.errno is None else error.errno)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    return -1 if process.exitcode == 200 else int(process.exitcode or 0)


@pytest.mark.parametrize("most", [20_000, 60_000, 110_000])
def test_a_disk_that_is_full_ends_the_run_and_says_so(most: int, tmp_path: Path) -> None:
    """Wherever it is met (the keys of near duplicates are its largest file): the number of the error tells the command
    line what happened."""
    write_rows(tmp_path / "rows.jsonl", 600)
    out = tmp_path / "out"
    assert in_process_with_files_of(most, lambda: build(tmp_path / "rows.jsonl", out)) == errno.EFBIG
    assert not (out / "card.json").exists()
    assert build(tmp_path / "rows.jsonl", out)["documents"] == 600


def test_a_disk_that_was_full_for_a_moment_costs_no_row_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the error of writing was taken for one of the file that was read, whose other rows were then missing."""
    write_rows(tmp_path / "rows.jsonl", 50)
    add, calls = shelf.ShelfWriter.add, 0

    def full_once(writer: shelf.ShelfWriter, document: Document) -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(writer, document)

    monkeypatch.setattr(shelf.ShelfWriter, "add", full_once)
    with pytest.raises(OSError, match="No space left") as caught:
        build(tmp_path / "rows.jsonl", tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC
    assert build(tmp_path / "rows.jsonl", tmp_path / "out")["documents"] == 50


def test_arrays_say_why_they_cannot_be_written(tmp_path: Path) -> None:
    """numpy's own `tofile` and `save` give an error without a number."""
    values = np.arange(5000, dtype=np.uint64)
    path = tmp_path / "values"
    for write in (lambda: save_array(path, values), lambda: Run.write(path, values, values)):
        assert in_process_with_files_of(9000, write) == errno.EFBIG
        assert in_process_with_files_of(900_000, write) == 0
    save_array(path, values.reshape(50, 100)[:, 3:])
    assert np.load(path, mmap_mode="r").tolist() == values.reshape(50, 100)[:, 3:].tolist()


@pytest.mark.parametrize("change", ["more", "less", "other", "gone"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text would stand in a corpus that is named after what the file held before."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text(ONE, encoding="utf-8")
    (source / "b.txt").write_text(TWO, encoding="utf-8")

    def changed(file: Any, *rest: Any) -> Any:
        if file.name == "b.txt":
            if change == "gone":
                file.path.unlink()
            else:
                file.path.write_text({"more": TWO + ONE, "less": TWO[:30], "other": TWO[::-1]}[change], "utf-8")
        return readers.read_file(file, *rest)

    monkeypatch.setattr(reading, "read_file", changed)
    with pytest.raises(InputError, match=r"b\.txt was changed or removed while the corpus was read"):
        build(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_file_is_neither_opened_nor_waited_for(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text(ONE, encoding="utf-8")
    (source / "b.txt").write_text(TWO, encoding="utf-8")
    os.mkfifo(source / "pipe.txt")
    (source / "link.txt").symlink_to("pipe.txt")
    (source / "zeros.txt").symlink_to("/dev/zero")
    before = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(source)  # the path of a socket may only be short
        try:
            listening.bind("socket.txt")
        finally:
            os.chdir(before)
    assert [file.name for file in input_files(str(source))] == ["a.txt", "b.txt"]
    assert other_files(str(source)) == {"broken links and special files": 4}
    assert build(source, tmp_path / "out")["documents"] == 2


def test_names_that_are_not_utf8_are_shown_with_their_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / os.fsdecode(b"caf\xe9")).mkdir(parents=True)
    try:
        (source / os.fsdecode(b"caf\xe9/th\xe9.txt")).write_text(ONE, encoding="utf-8")
        (source / os.fsdecode(b"na\xefve.\xe9\xe9")).write_bytes(b"\0\1\2")
    except OSError:
        pytest.skip("this file system takes no such names")
    (source / "b.txt").write_text(TWO, encoding="utf-8")
    assert len(source_identity(CorpusConfig(source=str(source)))) == 64
    assert build(source, tmp_path / "out")["documents"] == 2
    card = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    assert set(card["sources"]) == {r"caf\xe9/th\xe9.txt", "b.txt"} and card["labels"] == {r"caf\xe9": 1}
    assert card["skipped"] == {r"files of unknown kind (.\xe9\xe9)": 1}


def test_of_many_places_that_cannot_be_read_the_first_are_listed_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_FILES_TOGETHER", 1)
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        (source / f"{name}.jsonl").write_text('{"body": "x"}\n' * 250 + json.dumps({"text": f"{ONE} {name}" * 3}))
    assert build(source, tmp_path / "out", near_duplicate_threshold=1.0, max_overlap=1.0)["malformed"] == 750
    card = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    assert card["malformed_count"] == 750
    assert [one["line"] for one in card["malformed"]] == list(range(1, 101)) and card["malformed"][0][
        "file"
    ] == "a.jsonl"


def test_thousands_of_empty_files_are_counted(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3000):
        (source / f"{number}.txt").touch()
    (source / "a.txt").write_text(ONE, encoding="utf-8")
    (source / "b.txt").write_text(TWO, encoding="utf-8")
    assert build(source, tmp_path / "out", workers=2)["documents_read"] == 3002
    (read, *_) = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))["steps"]
    assert read["removed"] == {"empty": 3000} and read["documents_out"] == 2
