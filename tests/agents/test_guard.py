"""What an agent may name, and what it may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.agents.guard import Guard
from tutelage.store.errors import ConfigError


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret\n")
    return tmp_path / "outside"


@pytest.fixture
def guard(tmp_path: Path, outside: Path) -> Guard:
    (tmp_path / "root" / "texts").mkdir(parents=True)
    (tmp_path / "root" / "texts" / "a.txt").write_text("some text\n")
    return Guard(tmp_path / "root")


def test_paths_inside_are_made_whole_and_others_refused(guard: Guard, outside: Path) -> None:
    assert guard.path("texts", "path") == str(guard.root / "texts")
    assert guard.path("not/yet/there", "path") == str(guard.root / "not/yet/there")
    for given in ("..", "../outside", str(outside), "texts/../../outside", "/etc/passwd", "~", "", "a\0b"):
        with pytest.raises(ConfigError):
            guard.path(given, "path")
    # A name that only begins like the root is another folder.
    (guard.root.parent / "root2").mkdir()
    with pytest.raises(ConfigError, match="outside"):
        guard.path(str(guard.root.parent / "root2"), "path")


def test_links_are_followed_before_they_are_judged(guard: Guard, outside: Path) -> None:
    (guard.root / "link").symlink_to(outside)
    (guard.root / "inner").symlink_to(guard.root / "texts")
    assert guard.path("inner/a.txt", "path").endswith("texts/a.txt")
    for given in ("link", "link/secret.txt", "link/new"):
        with pytest.raises(ConfigError, match="outside"):
            guard.path(given, "path")
    (guard.root / "texts" / "deep").mkdir()
    (guard.root / "texts" / "deep" / "b.txt").symlink_to(outside / "secret.txt")
    with pytest.raises(ConfigError, match="link that leads outside"):
        guard.path("texts", "path")


@pytest.mark.parametrize(
    "line",
    [
        "corpus: {source: OUT}",
        "corpus: {source: ../outside}",
        "finetune: {chat: {method: instruct, data: OUT/secret.txt}}",
        "pretrain: {mixture: [{corpus: OUT, weight: 1}]}",
        "base: OUT",
        "corpus: {source: 'hf:someone/texts'}",
        "base: someone/model",
        "base: smollm2",
    ],
)
def test_a_recipe_reaches_no_further_than_the_root(guard: Guard, outside: Path, line: str) -> None:
    (guard.root / "recipe.yaml").write_text(line.replace("OUT", str(outside)) + "\n")
    with pytest.raises(ConfigError) as error:
        guard.recipe("recipe.yaml", [])
    assert any(said in str(error.value) for said in ("outside", "fetched"))


def test_overrides_are_looked_at_too(guard: Guard, outside: Path) -> None:
    guard.recipe(None, ["corpus.source=texts"])
    with pytest.raises(ConfigError, match=r"corpus\.source: .* outside"):
        guard.recipe(None, [f"corpus.source={outside}"])
    with pytest.raises(ConfigError, match="did you mean"):
        guard.recipe(None, ["corpus.sourc=texts"])


def test_models_are_local_unless_fetching_is_allowed(guard: Guard) -> None:
    for name in ("smollm2", "org/name", "http://host/v1", "hf:dir"):
        with pytest.raises(ConfigError):
            guard.model(name)
    free = Guard(guard.root, network=True)
    assert free.model("org/name") == "org/name"
    with pytest.raises(ConfigError, match="network"):
        free.model("http://host/v1")
    with pytest.raises(ConfigError):
        free.model("../outside/model")


def test_a_run_that_names_artifacts_outside_is_refused(guard: Guard) -> None:
    run = guard.root / "runs" / "crafted"
    run.mkdir(parents=True)
    stages = [{"stage": "base", "artifact": "../../../outside"}]
    (run / "run.json").write_text(json.dumps({"stages": stages, "chat_model": "../../../outside"}))
    for given in ("runs/crafted", "runs/crafted/base"):
        with pytest.raises(ConfigError, match="outside"):
            guard.model(given)
    (guard.root / "runs" / "latest").write_text("../../outside\n")
    with pytest.raises(ConfigError, match="outside"):
        guard.latest("runs")
