"""Every command that the documentation writes out whole is run, but for those that `LEFT_OUT` names: as typed, in a
folder with the files that pages name, where every model is a small one and training takes a few steps."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from byte_model import random_model
from command_line import MODEL, VERBS
from documented import PAGES, commands
from documented_place import MODELS, write_files, write_models, write_rows
from miniature_life import ALL_STEPS, miniature, write_texts
from tutelage.cli.main import main
from tutelage.inference.language_model import LanguageModel
from tutelage.interchange.export import export_gguf
from tutelage.model.decoder import DecoderLM
from tutelage.recipe.config import Recipe
from tutelage.recipe.run import run_recipe
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer

pytestmark = pytest.mark.slow

LEFT_OUT = {
    r"serve.*": "a server runs until it is stopped: tests/serving",
    r"mcp.*": "so does this one: tests/agents",
    r"evaluate .*--(suite|task hellaswag).*": "needs the data of benchmarks: tests/evaluation/bench",
    r"corpus inspect --rule near.*": "the texts here have no near duplicates: tests/cli",
    r"generate \.\.\. .*": "says what is added to a command",
}
SHORTER = {
    r"finetune (?!.*--audit).*": ["--set", "training.steps=2"],
    r"finetune reinforce.*": ["--set", "training.steps=1", "--set", "max_tokens=8", "--set", "num_generations=2"],
    r"ablate .*--search.*|tokenizer compare.*": ["--set", "pretrain.training.steps=2"],
}
OF_A_RUN = ("advise", "corpus", "lineage", "report", "trace", "watch")  # verbs that want a run and no model alone
VERDICTS = (0, 3, 4)  # exit codes of what compares runs: better, not, too few to say


def whole() -> list[tuple[str, ...]]:
    """Each whole command once, that no pattern leaves out."""
    found = {command.arguments: None for page in PAGES for command in commands(page, VERBS) if command.whole}
    left_out = re.compile("|".join(LEFT_OUT))
    return [words for words in found if words and not left_out.fullmatch(" ".join(words))]


def test_what_is_left_out_is_documented() -> None:
    every = [" ".join(command.arguments) for page in PAGES for command in commands(page, VERBS) if command.whole]
    assert all(any(re.fullmatch(pattern, one) for one in every) for pattern in (*LEFT_OUT, *SHORTER))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A folder with the files that pages name, the run `quickstart`, and a model for every other name."""
    place = tmp_path_factory.mktemp("documented")
    recipe = miniature(write_texts(place / "my_texts"), {}, name="quickstart")
    base = Recipe.parse({**recipe.plain(), "evaluate": None})
    run_recipe(base, place / "runs")
    write_files(place)
    step: dict[str, Any] = {**ALL_STEPS["topics"], "lora": {"rank": 8}, "training": {"optimizer": "adamw", "steps": 3}}
    topics = {**base.plain(), "finetune": {"topics": step}}
    for name in ("recipe", "best"):
        (place / f"{name}.yaml").write_text(yaml.safe_dump({**topics, "name": name}))
    (place / "recipes" / "quickstart.yaml").write_text(yaml.safe_dump(base.plain()))
    small = DecoderLM(random_model(tokenizer).config.with_(max_position_embeddings=512), seed=1)
    LanguageModel(small, tokenizer).save(place / "small")
    write_models(place, small, tokenizer)
    (place / "path" / "to").mkdir(parents=True)
    export_gguf(small, tokenizer, place / "path" / "to" / "model.gguf", EventLog(), kind="f32")
    adopted = (place / "recipes" / "adopt.yaml").read_text()
    adopted = adopted.replace("smollm2", "small").replace("epochs: 1", "steps: 2").replace("epochs: 2, ", "")
    (place / "recipes" / "adopt.yaml").write_text(adopted)
    for name in ("with-rules", "without"):
        shutil.copytree(place / "runs" / "quickstart", place / "runs" / name, symlinks=True)
    write_rows(place)
    return place


@pytest.mark.parametrize("words", whole(), ids=" ".join)
def test_whole_commands(words: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verb = words[0]
    model = "runs/quickstart" if verb in OF_A_RUN else MODELS.get(verb, "small")
    typed = [model if MODEL.fullmatch(word) and word != "runs/quickstart" else word for word in words]
    for pattern, more in SHORTER.items():
        if re.fullmatch(pattern, " ".join(words)):
            typed += more
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["tutelage", *typed])  # what further processes are started with
    monkeypatch.setattr("sys.stdin", io.StringIO("Well played.\n"))
    with pytest.raises(SystemExit) as ended:
        main(typed)
    compares = verb == "ablate" or words[:2] == ("tokenizer", "compare")
    assert ended.value.code in (VERDICTS if compares else (0,))
