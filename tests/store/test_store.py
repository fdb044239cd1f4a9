"""Artifacts whole or not at all, errors that help, events that survive a cut."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from tutelage.store.artifacts import ArtifactStore, identity_of, open_artifact
from tutelage.store.config import Config
from tutelage.store.errors import ConfigError, DamagedError, InputError
from tutelage.store.events import EventLog, read_events
from tutelage.store.files import new_directory, write_atomic


class Inner(Config):
    beta: float = 0.1


class Outer(Config):
    steps: int = 3
    inner: Inner | None = Inner()


def fill(out: Path, work: Path) -> dict[str, Any]:
    (out / "data").mkdir()
    (out / "data" / "a.txt").write_text("hello")
    return {"n": 1}


def test_an_artifact_is_written_found_and_verified(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    made = store.write("corpus", 1, {"x": 1}, {}, fill)
    assert made.identity == identity_of("corpus", 1, {"x": 1}, {})
    found = store.find("corpus", made.identity, verify=True)
    assert found is not None and found.metrics == {"n": 1} and found.stage == "corpus"
    assert set(found.manifest["files"]) == {"data/a.txt"}
    assert store.find("corpus", identity_of("corpus", 1, {"x": 2}, {})) is None
    assert store.find("corpus", made.identity[:12] + "0" * 52) is None  # the folder's name is only a part of it
    assert not list((tmp_path / "artifacts").glob(".*")) and not list((tmp_path / "work").iterdir())


def test_a_manifest_says_what_an_artifact_was_made_of(tmp_path: Path) -> None:
    made = ArtifactStore(tmp_path).write("corpus", 3, {"x": 1}, {"i": "1"}, fill)
    manifest = open_artifact(made.path).manifest
    assert manifest == made.manifest
    assert {key: manifest[key] for key in ("stage", "version", "config", "inputs", "metrics")} == {
        "stage": "corpus", "version": 3, "config": {"x": 1}, "inputs": {"i": "1"}, "metrics": {"n": 1}
    }  # fmt: skip
    assert manifest["packages"]["torch"] and manifest["machine"] and "git_commit" in manifest
    assert 0 <= manifest["seconds"] < manifest["started"]


def test_a_folder_is_named_by_stage_and_identity(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    assert store.path("corpus", "0123456789abcdef") == tmp_path / "artifacts" / "corpus-0123456789ab"
    assert store.work("corpus", "0123456789abcdef") == tmp_path / "work" / "corpus-0123456789ab"


def test_a_failed_stage_leaves_no_artifact_but_keeps_its_work(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def full(out: Path, work: Path) -> dict[str, Any]:
        (out / "a").write_text("half")
        (work / "checkpoint").write_text("kept")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.write("corpus", 1, {}, {}, full)
    assert not any((tmp_path / "artifacts").iterdir())
    work = store.work("corpus", identity_of("corpus", 1, {}, {}))
    assert (work / "checkpoint").read_text() == "kept"
    store.write("corpus", 1, {}, {}, lambda out, there: {"found": (there / "checkpoint").read_text()})
    assert not work.exists()


def test_altered_files_are_found(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    made = store.write("corpus", 1, {}, {}, fill)
    (made.path / "data" / "a.txt").write_text("hallo")
    open_artifact(made.path)  # same size: only the hash can tell
    assert store.find("corpus", made.identity) is not None
    with pytest.raises(DamagedError, match="SHA-256"):
        open_artifact(made.path, verify=True)
    (made.path / "data" / "a.txt").write_text("hal")
    with pytest.raises(DamagedError, match="missing or truncated"):
        open_artifact(made.path)
    (made.path / "data" / "a.txt").unlink()
    with pytest.raises(DamagedError, match="missing"):
        open_artifact(made.path)
    for content in ("{}", "[]", '{"files": {"a": 1}}', '{"files": null}'):
        (made.path / "manifest.json").write_text(content)
        with pytest.raises(DamagedError, match="does not list its files"):
            open_artifact(made.path)
    for broken in (b"{", b"\xff"):
        (made.path / "manifest.json").write_bytes(broken)
        with pytest.raises(DamagedError, match="damaged"):
            open_artifact(made.path)
    with pytest.raises(InputError, match="not an artifact"):
        open_artifact(tmp_path)


def test_identity_depends_on_each_part_and_not_on_order() -> None:
    """And is fixed forever: a golden, for with another name every artifact would be made again."""
    base = identity_of("a", 1, {"x": 1, "y": 2}, {"i": "1"})
    assert base == "a3f5bf4414b78fabe5a07598b8e202639bdf47e95bbbb5fd0116269a070f6484"
    assert identity_of("a", 1, {"y": 2, "x": 1}, {"i": "1"}) == base
    others = [("b", 1, {"x": 1, "y": 2}, {"i": "1"}), ("a", 2, {"x": 1, "y": 2}, {"i": "1"}),
              ("a", 1, {"x": 1, "y": 3}, {"i": "1"}), ("a", 1, {"x": 1, "y": 2}, {"i": "2"})]  # fmt: skip
    assert len({identity_of(*other) for other in others} | {base}) == 5


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"stepz": 1}, "unknown key 'stepz'.*did you mean 'steps'"),
        ({"inner": {"bata": 1}}, "unknown key 'inner.bata'.*did you mean 'beta'"),
        ({"inner": {"beta": "much"}}, "inner.beta: input should be a valid number.*'much'"),
    ],
)
def test_wrong_keys_and_values_are_named(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Outer.parse(data)


def test_an_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_atomic(path, "old")

    def broken(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and [item.name for item in tmp_path.iterdir()] == ["a"]


def test_a_directory_may_be_renamed_as_soon_as_its_last_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rank commits a checkpoint once it sees the last file of another rank, which is still in the call."""
    folder, replace = tmp_path / "step.tmp", Path.replace

    def seen_by_another(temporary: Path, path: Path) -> Path:
        found = replace(temporary, path)
        folder.rename(tmp_path / "step")
        return found

    monkeypatch.setattr(Path, "replace", seen_by_another)
    write_atomic(folder / "rank.json", "whole")
    assert (tmp_path / "step" / "rank.json").read_text() == "whole"


def test_a_new_directory_replaces_the_old_one_whole(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with new_directory(tmp_path / "d") as out:
            (out / content).write_text(content)
    assert [item.name for item in (tmp_path / "d").iterdir()] == ["two"]
    with pytest.raises(RuntimeError), new_directory(tmp_path / "d") as out:
        (out / "three").write_text("")
        raise RuntimeError
    assert [item.name for item in tmp_path.rglob("*")] == ["d", "two"]


def test_events_are_stamped_and_a_cut_line_is_passed_over(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    log = EventLog(tmp_path / "events.jsonl", (seen.append,)).for_stage("pretrain")
    log.emit("step", loss=float("nan"), nested={"x": (1, 2)})
    log.note("hi")
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "st')
    events = list(read_events(tmp_path / "events.jsonl"))
    assert events == seen and [event["event"] for event in events] == ["step", "note"]
    assert events[0]["loss"] == "nan" and events[0]["stage"] == "pretrain" and events[0]["nested"] == {"x": [1, 2]}


def test_a_section_given_in_part_keeps_its_parents_defaults() -> None:
    class Parent(Config):
        outer: Outer = Outer(steps=7, inner=Inner(beta=0.9))

    assert Parent.parse({"outer": {"steps": 1}}).outer.inner == Inner(beta=0.9)
    assert Parent.parse({"outer": {"inner": {}}}).outer == Outer(steps=7, inner=Inner(beta=0.9))
    assert Parent.parse({"outer": {"inner": None}}).outer.inner is None
