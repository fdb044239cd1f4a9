"""Python in the documentation: imports, names and signatures hold, and it is run on tiny models."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import typing
from pathlib import Path
from typing import Any

import pytest

import tutelage
from byte_model import random_model
from documented import PAGES, ROOT, Piece, python, run_blocks
from tutelage.inference.language_model import LanguageModel
from tutelage.interchange.peft import save_adapter
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import LoraConfig, add_lora
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.translation import Translation, with_translation

MESSAGES = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "An apple."}]
ON_TINY_MODELS = ("README.md", "docs/adapters.md", "docs/generation.md", "docs/preferences.md")


WITH_PYTHON = [str(page.relative_to(ROOT)) for page in PAGES if python(page)]


# Without running it.


class Names:
    """What the names of a page stand for, block after block; an instance stands as its class."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {"tutelage": tutelage}
        self.wrong: list[str] = []

    def read(self, block: Piece) -> None:
        self.block = block
        for statement in ast.parse(block.text).body:
            for node in ast.walk(statement):
                if isinstance(node, ast.ImportFrom) and node.module != "__future__":
                    self.take_from(node)
                elif isinstance(node, ast.Import):
                    self.known |= {name.asname or name.name: importlib.import_module(name.name) for name in node.names}
                elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                    self.known[node.name] = None
            for node in ast.walk(statement):
                if isinstance(node, (ast.Call, ast.Attribute, ast.Name)):
                    self.meaning(node)
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self.known[statement.targets[0].id] = self.meaning(statement.value)

    def take_from(self, node: ast.ImportFrom) -> None:
        assert node.module
        home = importlib.import_module(node.module)
        for name in node.names:
            if not hasattr(home, name.name):
                importlib.import_module(f"{node.module}.{name.name}")
            self.known[name.asname or name.name] = getattr(home, name.name)

    def meaning(self, node: ast.AST) -> Any:
        """What an expression stands for; None where that is not known."""
        if isinstance(node, ast.Name):
            if node.id[0].isupper() and isinstance(node.ctx, ast.Load) and node.id not in {*self.known, *dir(builtins)}:
                self.complain(node, f"{node.id} is not imported")
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute):
            of = self.meaning(node.value)
            if of is None or hasattr(of, node.attr):
                return getattr(of, node.attr, None)
            if not (inspect.isclass(of) and is_field(of, node.attr)):
                self.complain(node, f"{of} has no {node.attr}")
        if isinstance(node, ast.Call):
            called = self.meaning(node.func)
            if callable(called):
                self.check_call(node, called)
                return called if inspect.isclass(called) else returned_by(called)
        return None

    def check_call(self, node: ast.Call, called: Any) -> None:
        in_class = "." in getattr(called, "__qualname__", "").replace("<locals>.", "")
        of_instance = inspect.isfunction(called) and in_class
        try:
            inspect.signature(called).bind(
                *[None] * (len(node.args) + of_instance), **{str(word.arg): None for word in node.keywords}
            )
        except TypeError as error:
            self.complain(node, f"{ast.unparse(node.func)}: {error}")

    def complain(self, node: ast.expr, text: str) -> None:
        line = f"{self.block.page.relative_to(ROOT)}:{self.block.line + node.lineno - 1}: {text}"
        self.wrong += [line] if line not in self.wrong else []


def is_field(of: type, name: str) -> bool:
    """Whether instances have it though the class has not."""
    stated = any(name in inspect.get_annotations(base) for base in of.__mro__)
    return stated or re.search(rf"\bself\.{name}\b", inspect.getsource(of)) is not None


def returned_by(function: Any) -> Any:
    """The class of what it returns, where that can be told."""
    try:
        found = typing.get_type_hints(function).get("return")
    except NameError:  # imported for type checkers alone
        return None
    return found if inspect.isclass(found) and found.__module__.startswith("tutelage.") else None


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_imports_names_and_signatures(page: str) -> None:
    names = Names()
    for block in python(ROOT / page):
        names.read(block)
    assert not names.wrong, "\n".join(names.wrong)


def test_the_reference_is_of_what_exists_and_is_explained() -> None:
    named = re.findall(r"^::: (\S+)\.(\w+)$", (ROOT / "docs" / "reference.md").read_text("utf-8"), flags=re.MULTILINE)
    assert {f"tutelage.{name}" for name in tutelage.__all__} <= {".".join(place) for place in named}
    for module, name in named:
        assert inspect.getdoc(getattr(importlib.import_module(module), name)), f"{module}.{name} has no docstring"


def test_wrong_python_is_found() -> None:
    names = Names()
    code = (
        "from tutelage import Sampling\n"
        "lm = tutelage.load('x', dtpye='auto')\n"
        "lm.generate(['a'], Sampling(max_token=3))\n"
        "lm.generat(['a'])\nlm.classify()\nBeam(3)\ntutelage.open('x')\nlm.score([('a', 'b')])\n"
    )
    names.read(Piece(ROOT / "page.md", 1, code, "python"))
    assert [line.split(":")[1] for line in names.wrong] == ["2", "3", "4", "5", "6", "7"]


# Running it.


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A folder with the models that pages name: tiny ones, of random weights."""
    place = tmp_path_factory.mktemp("models")
    runs, base = place / "runs", random_model(tokenizer)
    labelled = DecoderLM(base.config.with_(num_labels=2, labels=("good", "bad")), seed=1)
    judge = DecoderLM(base.config.with_(num_labels=1, pad_token_id=0), seed=1)
    translating = with_translation(tokenizer, Translation("In German: {text}"))
    LanguageModel(base, tokenizer).save(runs / "quickstart")
    LanguageModel(base, translating).save(runs / "pairs-translate")
    LanguageModel(labelled, tokenizer).save(runs / "reviews-classify" / "lora")
    LanguageModel(judge, tokenizer).save(runs / "artifacts" / "reward-...")
    add_lora(adapted := random_model(tokenizer), LoraConfig(rank=2), seed=1)
    for name in "ab":
        save_adapter(adapted, runs / name / "adapter")
    return place


@pytest.mark.parametrize("page", ON_TINY_MODELS)
def test_on_tiny_models(page: str, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models)
    run_blocks(ROOT / page, {"messages": MESSAGES[:1] if "adapters" in page else MESSAGES})
