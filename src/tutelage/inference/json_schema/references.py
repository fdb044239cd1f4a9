"""Where the references of a schema lead; only within itself, for nothing is loaded."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from tutelage.inference.json_schema.keywords import Schema, parts, stuck


class References:
    """The targets of references within one schema."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._named: dict[str, tuple[str, Any]] = {}  # "#anchor" and $id -> where, what
        self._own = root.get("$id", "") if isinstance(root, dict) else ""
        for path, node in parts(root) if isinstance(root, dict) else []:
            if isinstance(node.get("$anchor"), str):
                self._named[f"#{node['$anchor']}"] = (path, node)
            if isinstance(node.get("$id"), str) and path != "#":
                if any(str(one.get("$ref", "")).startswith("#") for _, one in parts(node)):
                    raise stuck(path, "$id", "references within a schema that has an $id of its own are not supported")
                self._named[node["$id"]] = (path, node)

    def target(self, ref: str, path: str) -> tuple[str, Schema]:
        """(where, what) a reference leads to. path: where it stands. Raises ConfigError for one that leads nowhere or
        out of the schema."""
        if ref in self._named:
            return self._named[ref]
        inner = ref.removeprefix(self._own.rstrip("#")) if self._own else ref
        if inner in self._named:
            return self._named[inner]
        if inner not in ("", "#") and not inner.startswith("#/"):
            why = "is no anchor of the schema" if inner.startswith("#") else "leads out of the schema"
            raise stuck(path, "$ref", f"{ref!r} {why}, and nothing is loaded")
        node, where = self._root, "#"
        for part in inner.lstrip("#").split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            where += f"/{part}"
            if isinstance(node, dict) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                raise stuck(path, "$ref", f"there is no {ref!r}")
        if not isinstance(node, dict | bool):
            raise stuck(path, "$ref", f"{ref!r} is no schema")
        return where, node
