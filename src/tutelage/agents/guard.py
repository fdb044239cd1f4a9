"""What an agent may name: paths inside one root, models and text that need no network, values that are no options."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from tutelage.recipe.config import Recipe

MOST_ENTRIES = 200_000  # of a folder that is looked through for links that lead outside


@dataclass(frozen=True)
class Guard:
    """`root`: nothing outside it is read or written, wherever a link leads. `network`: names of models and data sets
    that would have to be fetched are allowed."""

    root: Path
    network: bool = False

    def path(self, given: str, what: str) -> str:
        """A path inside the root, as it is to be handed on. Raises ConfigError for others, and for links out of it."""
        if "\0" in given or not given.strip():
            raise ConfigError(f"{what}: {given!r} is no path")
        full = self.resolved(given)
        if not self.inside(full):
            raise ConfigError(
                f"{what}: {given} lies outside {self.root}", hint="only what lies in the root is accessible"
            )
        if full.is_dir():
            self.no_way_out(full, what)
        return str(full)

    def model(self, given: str, what: str = "model") -> str:
        """A model inside the root: its folder, or RUN/STEP; or the name of one elsewhere, where that is allowed."""
        if given.startswith(("http:", "https:", "hf:")):
            raise ConfigError(f"{what}: {given} is on the network", hint="name a run or a model directory in the root")
        full = self.resolved(given)
        if full.exists() or full.parent.joinpath("run.json").exists():
            found = self.path(given, what)
            self._run(full if (full / "run.json").is_file() else full.parent, what)
            return found
        if "/" in given.strip("/") or given in ("smollm2",):
            if self.network and not given.startswith(("/", "~", ".")):
                return given
            raise ConfigError(f"{what}: {given} is not in {self.root}", hint="nothing is fetched without --allow-write")
        return self.path(given, what)

    def recipe(self, path: str | None, sets: Sequence[str]) -> None:
        """A recipe file in the root, and all that the recipe reaches. Raises ConfigError naming the key."""
        from tutelage.recipe.config import load_recipe

        self.reaches(load_recipe(Path(self.path(path, "recipe")) if path is not None else None, sets))

    def reaches(self, recipe: Recipe) -> None:
        """Every text of the recipe that names something which exists must lie inside the root; none is on the network.

        Raises ConfigError naming the key. A recipe holds no code, so that this is all it can reach.
        """
        for key, value in _texts(recipe.plain()):
            if value.startswith(("http://", "https://")):
                raise ConfigError(f"{key}: {value} is on the network")
            if value.startswith("hf:") and not self.network:
                raise ConfigError(f"{key}: {value} would be fetched", hint="nothing is fetched without --allow-write")
            if key == "base.source":
                self.model(value, key)
            elif value.strip() and "\0" not in value and len(value) < 4096 and os.path.lexists(self._expanded(value)):
                self.path(value, key)

    def latest(self, runs: str) -> str:
        """The last run, checked like any other."""
        named = Path(self.path(runs, "runs")) / "latest"
        if not named.is_file():
            raise ConfigError(f"there is no run in {runs}/ yet", hint="name a model")
        return self.model(str(named.parent / named.read_text(encoding="utf-8").strip()))

    def _run(self, run: Path, what: str) -> None:
        """Raises ConfigError where the artifacts that a run names lie outside."""
        try:
            stages = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
            places = [str(one["artifact"]) for one in stages if one.get("artifact")]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return  # no run, or a damaged one, which the command says
        for place in places:
            if not self.inside((run / place).resolve()):
                raise ConfigError(f"{what}: {run / 'run.json'} names {place}, which lies outside {self.root}")

    def resolved(self, given: str) -> Path:
        return self._expanded(given).resolve()

    def inside(self, full: Path) -> bool:
        root = self.root.resolve()
        return full == root or root in full.parents

    def no_way_out(self, folder: Path, what: str) -> None:
        """Raises ConfigError where a link somewhere in the folder leads out of the root."""
        seen = 0
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                seen += 1
                if seen > MOST_ENTRIES:
                    raise ConfigError(
                        f"{what}: {folder} has more than {MOST_ENTRIES:,} entries", hint="name a part of it"
                    )
                entry = Path(place, name)
                if entry.is_symlink() and not self.inside(entry.resolve()):
                    raise ConfigError(f"{what}: {entry} is a link that leads outside {self.root}")

    def _expanded(self, given: str) -> Path:
        return self.root / Path(given).expanduser()


def _texts(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested plain data with its dotted key, keys of mappings included."""
    if isinstance(tree, str):
        yield key, tree
    elif isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _texts(value, f"{key}.{number}")
