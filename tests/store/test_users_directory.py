"""A folder that a user named is never emptied of what is theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from killed import in_killed_process
from tutelage.store.errors import ConfigError
from tutelage.store.files import RECORD, SAVED, finish_save, not_ours, replaced_files, users_directory


def fill(folder: Path, text: str = "weights") -> None:
    with users_directory(folder) as out:
        (out / "model.bin").write_text(text)
        (out / "adapter").mkdir()
        (out / "adapter" / "config.json").write_text("{}")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_or_empty_folder_is_filled_and_may_be_filled_again(tmp_path: Path) -> None:
    fill(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty")
    fill(tmp_path / "new", "better")
    assert (tmp_path / "new" / "model.bin").read_text() == "better"
    assert not_ours(tmp_path / "new") == [] and (tmp_path / "new" / RECORD).exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("theirs", ["notes.md", "src/app.py", ".git/HEAD", "adapter/mine.txt", "config.json"])
@pytest.mark.parametrize("exported_before", [False, True])
def test_what_is_theirs_is_named_and_kept(theirs: str, exported_before: bool, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    if exported_before:
        fill(folder)
    (folder / theirs).parent.mkdir(parents=True, exist_ok=True)
    (folder / theirs).write_text("mine")
    before = contents(folder)
    with pytest.raises(ConfigError, match=theirs.split("/")[0]) as refused:
        fill(folder, "other")
    assert contents(folder) == before and "nothing was changed" in str(refused.value.hint)


def test_a_file_of_ours_that_they_changed_is_theirs(tmp_path: Path) -> None:
    fill(tmp_path / "m")
    (tmp_path / "m" / "adapter" / "config.json").write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match=r"adapter/config\.json"):
        fill(tmp_path / "m", "other")
    assert (tmp_path / "m" / "model.bin").read_text() == "weights"


def test_an_error_while_filling_leaves_the_old(tmp_path: Path) -> None:
    fill(tmp_path / "m")
    with pytest.raises(RuntimeError), users_directory(tmp_path / "m") as out:
        (out / "model.bin").write_text("half")
        raise RuntimeError
    assert (tmp_path / "m" / "model.bin").read_text() == "weights"


def test_a_file_or_a_link_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        fill(tmp_path / "file")


def test_an_exported_folder_stays_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell may stand in it: `tutelage export .` must not leave it in a removed one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    fill(Path())
    fill(Path(), "better")
    assert Path("model.bin").read_text() == "better"
    assert Path.cwd() == tmp_path / "here"


def test_what_an_earlier_export_wrote_and_this_one_does_not_goes(tmp_path: Path) -> None:
    fill(tmp_path / "m")
    with users_directory(tmp_path / "m") as out:
        (out / "one.bin").write_text("1")
    assert {path.name for path in (tmp_path / "m").iterdir()} == {"one.bin", RECORD}


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    seen = set()
    for moment in range(30):
        folder = tmp_path / str(moment)
        fill(folder, "old")
        status = in_killed_process(moment, lambda folder=folder: fill(folder, "new"))
        finish_save(folder)
        seen.add((folder / "model.bin").read_text())
        fill(folder, "newer")  # and nothing that the kill left is in the way
        assert contents(folder).keys() == {"model.bin", "adapter/config.json", RECORD}
        if status == 0:
            break
    assert seen == {"old", "new"} and status == 0


def test_a_folder_from_elsewhere_reaches_nothing_outside_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "m" / SAVED).mkdir(parents=True)
    (tmp_path / "m" / "link").symlink_to(tmp_path)
    (tmp_path / "m" / SAVED / "link").mkdir()
    (tmp_path / "m" / SAVED / "link" / "mine.txt").write_text("theirs")
    names = ["../mine.txt", str(tmp_path / "mine.txt"), "link/mine.txt"]
    (tmp_path / "m" / SAVED / "removed.json").write_text(json.dumps(names))
    finish_save(tmp_path / "m")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    (tmp_path / "m" / RECORD).write_text(json.dumps(dict.fromkeys(names, "")))
    with pytest.raises(ConfigError, match="link"):
        fill(tmp_path / "m")


def test_an_error_while_saving_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), replaced_files(tmp_path, lambda: ["a"]) as out:
        (out / "a").write_text("new")
        raise RuntimeError
    assert contents(tmp_path) == {"a": b"old"}
