"""A folder that a user named is never emptied of what is theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.store.errors import ConfigError
from tutelage.store.files import RECORD, not_ours, users_directory


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
