"""The identity of a model from elsewhere: whatever is read of it counts, and nothing else."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
from gguf_samples import describe, entry, gguf

from tutelage.inference.language_model import LanguageModel
from tutelage.interchange.source import KNOWN, content_identity
from tutelage.model.io import save_model
from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import life
from tutelage.recipe.plan import inputs_of
from tutelage.store.errors import InputError
from tutelage.store.files import replaced_files
from tutelage.store.hashing import sha256_file


@pytest.fixture(params=[10**9, 60_000], ids=["one file", "shards"])
def model(request: pytest.FixtureRequest, lm: LanguageModel, tmp_path: Path) -> Path:
    lm.save(tmp_path / "model")
    save_model(lm.model, tmp_path / "model", request.param)
    assert (tmp_path / "model" / "model.safetensors").exists() == (request.param == 10**9)
    return tmp_path / "model"


def changed(path: Path) -> None:
    """The same file with its last bit flipped; of a text, the line end for another."""
    content = path.read_bytes()
    last = {b"\n": b" ", b" ": b"\n"}.get(content[-1:], bytes([content[-1] ^ 1]))
    path.write_bytes(content[:-1] + last)


def test_everything_that_is_read_counts(model: Path) -> None:
    before = content_identity(model)
    (model / "special_tokens_map.json").write_text("{}\n")
    for path in sorted(model.iterdir()):
        here = content_identity(model)
        changed(path)
        assert content_identity(model) != here, path.name
        changed(path)
        assert content_identity(model) == here
    assert content_identity(model) != before


def test_a_chat_template_makes_another_model(model: Path, tmp_path: Path) -> None:
    """As a recipe sees it: a base adopted again when only its template was edited."""
    recipe = Recipe.parse({"name": "r", "base": {"source": str(model)}})
    node = next(node for node in life(recipe) if node.spec.kind == "adopt")
    before = inputs_of(node, {})
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}")
    edited = inputs_of(node, {})
    (model / "chat_template.jinja").unlink()
    assert len({str(each) for each in (before, edited, inputs_of(node, {}))}) == 3


def test_papers_and_the_place_do_not_count(model: Path, tmp_path: Path) -> None:
    before = content_identity(model)
    for name in ("README.md", "LICENSE", "optimizer.pt"):
        (model / name).write_text("more")
    shutil.move(model, tmp_path / "elsewhere")
    assert content_identity(tmp_path / "elsewhere") == content_identity(str(tmp_path / "elsewhere")) == before


def test_a_committed_save_counts_even_if_it_was_killed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content_identity(model)
    monkeypatch.setattr("tutelage.store.files.finish_save", lambda folder: None)
    with replaced_files(model) as out:
        (out / "chat_template.jinja").write_text("new")
    monkeypatch.undo()
    assert content_identity(model) != before and (model / "chat_template.jinja").read_text() == "new"


def test_every_part_of_a_gguf_model_counts(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        entries = [entry(f"split.{key}", 2, struct.pack("<H", value)) for key, value in (("no", number), ("count", 2))]
        content = gguf(entries, [describe(name, (2,), 0, 0)], struct.pack("<2f", 1, 2))
        (tmp_path / f"m-{number + 1:05d}-of-00002.gguf").write_bytes(content)
    first, second = sorted(tmp_path.glob("*.gguf"))
    before = content_identity(first)
    assert content_identity(second) == before
    changed(second)
    assert content_identity(first) != before
    second.unlink()
    with pytest.raises(InputError, match="missing: m-00002"):
        content_identity(first)


def test_each_file_of_a_kind_that_is_read_counts_under_its_name(tmp_path: Path) -> None:
    """Whatever the files are: which of them a loader will take is not known here."""
    (tmp_path / "folder.json").mkdir()
    found = [content_identity(tmp_path)]
    for name in ("a.json", "a.safetensors", "a.jinja", "a.bin", "a.model", "a.gguf", "folder.json/a.json"):
        (tmp_path / name).write_text("{}")
        found.append(content_identity(tmp_path))
    assert len(set(found)) == 8
    (tmp_path / "a.bin").rename(tmp_path / "b.bin")
    assert content_identity(tmp_path) not in found


def test_a_file_alone_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert content_identity(tmp_path / "m.gguf") == sha256_file(tmp_path / "m.gguf")


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert content_identity("smollm2") == content_identity(Path("smollm2")) == KNOWN["smollm2"].sha256
    with pytest.raises(InputError, match="does not exist"):
        content_identity("org/name")
    (tmp_path / "smollm2").mkdir()
    assert content_identity("smollm2") == content_identity("~/smollm2") == content_identity(tmp_path / "smollm2")
    assert content_identity("smollm2") != KNOWN["smollm2"].sha256  # what lies there goes before the name
