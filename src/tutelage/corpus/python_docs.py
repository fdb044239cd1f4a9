"""The documentation of this Python: language reference and docstrings, read from source, never imported."""

from __future__ import annotations

import ast
import inspect
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement

from tutelage.corpus.clean import clean_text
from tutelage.corpus.document import Document, Malformed, document_id
from tutelage.corpus.fields import label_of
from tutelage.corpus.prose import first_sentence

# The packages Tutelage requires (a test holds this equal to pyproject.toml). Stated here so that the corpus
# is the same whether Tutelage is installed or run from a checkout, and development tools do not change it.
REQUIRED = (
    "jinja2", "numpy", "pyarrow", "pydantic", "pyyaml", "resiliparse", "rich", "sacrebleu", "safetensors",
    "tokenizers", "torch", "typer", "zstandard",
)  # fmt: skip

_TEST_FOLDERS = frozenset({"test", "tests", "idle_test", "_test", "_tests"})
# Folders whose modules belong to another package, or lie outside the import root.
_ELSEWHERE = frozenset({"site-packages", "dist-packages", "_bundled", "_vendor", "_vendored", ".."})
_LONGEST_DEFAULT = 16
_LONGEST_SIGNATURE = 120


@dataclass(frozen=True, slots=True)
class PythonFile:
    """A source file: where it is, its path below the import root, and the package it belongs to."""

    path: Path
    name: str
    package: str


def python_files(packages: str, exclude_tests: bool) -> list[PythonFile]:
    """Source files of the standard library and of the chosen packages (`required` or `installed`), sorted."""
    library = Path(sysconfig.get_path("stdlib"))
    found = {}
    for path in library.rglob("*.py"):
        parts = path.relative_to(library).parts
        if not _ELSEWHERE & set(parts):
            found[path] = PythonFile(path, "/".join(parts), "python")
    for distribution in _distributions(packages):
        package = distribution.metadata["Name"].lower()
        for file in distribution.files or ():
            path = Path(str(file.locate()))
            if file.suffix == ".py" and not _ELSEWHERE & set(file.parts) and path.is_file():
                found[path] = PythonFile(path, str(PurePosixPath(file)), package)
    chosen = [file for file in found.values() if not (exclude_tests and is_test(file.name))]
    return sorted(chosen, key=lambda file: (file.package, file.name))


def package_versions(packages: str) -> dict[str, str]:
    """Versions of Python and of the packages that `python_files` reads: others have other documentation."""
    return {"python": platform.python_version()} | {
        one.metadata["Name"].lower(): one.version for one in _distributions(packages)
    }


def is_test(name: str) -> bool:
    """Whether a path below the import root is a test module."""
    *folders, file = name.split("/")
    return (
        bool(_TEST_FOLDERS & set(folders))
        or "torch/testing/_internal" in name
        or file.startswith("test_")
        or file.endswith("_test.py")
        or file == "conftest.py"
    )


def _distributions(packages: str) -> list[metadata.Distribution]:
    if packages == "installed":
        installed = {item.metadata["Name"].lower(): item for item in metadata.distributions()}
        return [installed[name] for name in sorted(installed) if name != "tutelage"]
    closure: dict[str, metadata.Distribution] = {}
    queue = [Requirement(name) for name in REQUIRED]
    while queue:
        requirement = queue.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in closure or name == "tutelage":
            continue
        try:
            closure[name] = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        queue += _requirements(closure[name], requirement.extras)
    return [closure[name] for name in sorted(closure)]


def _requirements(distribution: metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for line in distribution.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *sorted(extras))):
            yield requirement


def read_python_file(file: PythonFile) -> tuple[list[Document], list[Malformed]]:
    """Documents of one source file: its docstrings, or the topics of the language reference."""
    data = file.path.read_bytes()
    if b'"""' not in data and b"'''" not in data and file.name != "pydoc_data/topics.py":
        return [], []  # no docstring worth reading: most files without one are tables of data
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 0
        return [], [Malformed(f"{file.package}:{file.name}", line, "not valid Python")]
    if file.name == "pydoc_data/topics.py":
        return list(_topics(tree)), []
    parts = file.name.removesuffix(".py").split("/")
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return list(_docstrings(tree, module, "", file.package)), []


def _topics(tree: ast.Module) -> Iterator[Document]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "topics":
            for name, text in ast.literal_eval(node.value).items():
                yield _document("python", name, "topic", text, None, None)


def _docstrings(tree: ast.AST, module: str, scope: str, package: str) -> Iterator[Document]:
    """Docstrings of a module or class body, also below `if` and `try`, but not inside functions."""
    if isinstance(tree, ast.Module) and (text := ast.get_docstring(tree, clean=False)):
        yield _document(package, module, "module", text, None, label_of(module))
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.If, ast.Try, ast.ExceptHandler, ast.With)):
            yield from _docstrings(node, module, scope, package)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            qualified = f"{scope}.{node.name}" if scope else node.name
            if text := ast.get_docstring(node, clean=False):
                kind = "class" if isinstance(node, ast.ClassDef) else "function"
                signature = render_signature(node, qualified)
                label = label_of(module)
                yield _document(package, f"{module}.{qualified}", kind, text, signature, label)
            if isinstance(node, ast.ClassDef):
                yield from _docstrings(node, module, qualified, package)


def _document(package: str, name: str, kind: str, raw: str, signature: str | None, label: str | None) -> Document:
    text = clean_text(inspect.cleandoc(raw))
    summary = first_sentence(text) if kind != "topic" else None
    return Document(document_id(package, name, text), text, package, name, kind, signature, summary, label)


def render_signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, qualified: str) -> str | None:
    """`name(arguments)` without annotations, long defaults as `...`; None where there is nothing to call.

    A class is called with the arguments of its `__init__`; methods lose `self` and carry their class's name.
    """
    if isinstance(node, ast.ClassDef):
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                return _call(qualified, item, bound=True)
        return None
    decorators = {ast.unparse(item).split(".")[-1] for item in node.decorator_list}
    if any("property" in name for name in decorators) or decorators & {"setter", "getter", "deleter"}:
        return None
    return _call(qualified, node, bound="." in qualified and "staticmethod" not in decorators)


def _call(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef, bound: bool) -> str:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    shown = [
        _parameter(argument, default)
        for argument, default in zip(positional, [*defaults, *arguments.defaults], strict=True)
    ]
    if arguments.posonlyargs:
        shown.insert(len(arguments.posonlyargs), "/")
    if bound and positional:
        shown = shown[1:]
        if shown and shown[0] == "/":
            shown = shown[1:]
    if arguments.vararg:
        shown.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        shown.append("*")
    shown += [
        _parameter(argument, default)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        shown.append(f"**{arguments.kwarg.arg}")
    text = f"{name}({', '.join(shown)})"
    while len(text) > _LONGEST_SIGNATURE and len(shown) > 1:
        shown = [*(shown[:-2] if shown[-1] == "..." else shown[:-1]), "..."]
        text = f"{name}({', '.join(shown)})"
    return text


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return argument.arg
    value = ast.unparse(default)
    return f"{argument.arg}={value if len(value) <= _LONGEST_DEFAULT else '...'}"
