"""Docstrings are read from source, never imported; signatures and labels are as stated."""

from __future__ import annotations

import platform
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tutelage.corpus.document import Document
from tutelage.corpus.fields import FIELDS, label_of
from tutelage.corpus.python_docs import REQUIRED, PythonFile, is_test, package_versions, python_files, read_python_file

SOURCE = '''"""Tools for graphs."""
raise SystemExit("never imported")
if True:
    def walk(graph, start, /, depth=3, *rest, mode="a very long default", quick: bool = True, **more) -> int:
        """Walk over ``graph``.

        Parameters
        ----------
        graph : Graph
        """
        def inner():
            """Not documentation."""

class Graph(Base):
    """A graph of nodes and
    edges. It is small.
    """
    def __init__(self, nodes=()):
        self.nodes = nodes
    @property
    def size(self):
        """Number of nodes."""
    @staticmethod
    def read(path):
        """Read a graph from path."""
    @classmethod
    def empty(cls, *, kind=None):
        """graph(kind) -> Graph"""
    async def wait(self):
        """Wait."""
'''


@pytest.fixture
def documents(tmp_path: Path) -> dict[str | None, Document]:
    path = tmp_path / "tools.py"
    path.write_text(SOURCE, encoding="utf-8")
    found, malformed = read_python_file(PythonFile(path, "pack/tools.py", "pack"))
    assert not malformed
    return {document.name: document for document in found}


def test_names_kinds_and_signatures(documents: dict[str | None, Document]) -> None:
    table = {name: (document.kind, document.signature) for name, document in documents.items()}
    assert table == {
        "pack.tools": ("module", None),
        "pack.tools.walk": (
            "function", "walk(graph, start, /, depth=3, *rest, mode=..., quick=True, **more)",
        ),
        "pack.tools.Graph": ("class", "Graph(nodes=())"),
        "pack.tools.Graph.size": ("function", None),
        "pack.tools.Graph.read": ("function", "Graph.read(path)"),
        "pack.tools.Graph.empty": ("function", "Graph.empty(*, kind=None)"),
        "pack.tools.Graph.wait": ("function", "Graph.wait()"),
    }  # fmt: skip


def test_text_and_summary(documents: dict[str | None, Document]) -> None:
    walk = documents["pack.tools.walk"]
    assert walk.text.startswith("Walk over ``graph``.\n\nParameters\n-----") and walk.summary == "Walk over graph."
    assert documents["pack.tools.Graph"].summary == "A graph of nodes and edges."
    assert documents["pack.tools.Graph.empty"].summary is None  # a signature is no summary
    assert documents["pack.tools.Graph.wait"].summary is None  # nor is one word
    assert {document.source for document in documents.values()} == {"pack"}


def test_long_signatures_are_cut(tmp_path: Path) -> None:
    arguments = ", ".join(f"argument_number_{number}" for number in range(30))
    path = tmp_path / "a.py"
    path.write_text(f'def f({arguments}):\n    """Do it."""\n', encoding="utf-8")
    ((document,), _) = read_python_file(PythonFile(path, "a.py", "a"))
    assert document.signature is not None
    assert len(document.signature) <= 120 and document.signature.endswith(", ...)")


def test_what_does_not_parse_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text('"""Doc."""\ndef f(:\n', encoding="utf-8")
    found, (place,) = read_python_file(PythonFile(path, "a.py", "pack"))
    assert not found and (place.file, place.line, place.why) == ("pack:a.py", 2, "not valid Python")


def test_topics_are_literals(tmp_path: Path) -> None:
    path = tmp_path / "topics.py"
    path.write_text("topics = {'if': 'The if statement.\\n', 'for': 'The for loop.'}\n", encoding="utf-8")
    found, _ = read_python_file(PythonFile(path, "pydoc_data/topics.py", "python"))
    assert [(one.name, one.kind, one.text) for one in found] == [
        ("if", "topic", "The if statement."), ("for", "topic", "The for loop."),
    ]  # fmt: skip


def test_required_is_what_the_project_requires() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    names = {Requirement(line).name for line in project["project"]["dependencies"]}
    # packaging reads the requirements and comes with the others in any case; prompt_toolkit and fastokens came later,
    # and the corpus stays as it is; the others only measure, and their documentation is as large as all the rest.
    assert set(REQUIRED) == names - {
        "packaging", "prompt_toolkit", "fastokens", "scikit-learn", "scipy", "threadpoolctl", "pyppmd",
    }  # fmt: skip


def test_files_of_this_python() -> None:
    files = python_files("required", exclude_tests=True)
    packages = {file.package for file in files}
    names = {file.name for file in files}
    assert {"python", "numpy", "torch", "networkx"} <= packages
    assert not packages & {"tutelage", "pytest", "mypy", "hypothesis"}
    assert "pydoc_data/topics.py" in names and not any(map(is_test, names))
    assert files == sorted(files, key=lambda file: (file.package, file.name))
    assert len({file.path for file in files}) == len(files)


def test_versions_of_what_is_read() -> None:
    found = package_versions("required")
    read = {file.package for file in python_files("required", exclude_tests=True)}
    assert read <= set(found) and found["python"] == platform.python_version() and "tutelage" not in found


@pytest.mark.parametrize("name", ["a/tests/b.py", "test_x.py", "a/x_test.py", "conftest.py", "idlelib/idle_test/a.py"])
def test_test_modules(name: str) -> None:
    assert is_test(name) and not is_test("numpy/testing/utils.py")


def test_labels() -> None:
    assert label_of("networkx.algorithms.dag") == "graphs"
    assert label_of("torch.nn.modules.linear") == "learning"
    assert label_of("torch._inductor.ir") == "compilers"
    assert label_of("torch.version") is None and label_of("res") is None
    assert label_of("re") == "text" and label_of("json.decoder") == "data formats"
    listed = [prefix for prefixes in FIELDS.values() for prefix in prefixes.split()]
    assert len(listed) == len(set(listed)), "a prefix stands under two labels"
