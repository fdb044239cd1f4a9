"""Looking at a corpus: what each rule took, the documents themselves, and how two corpora differ."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tutelage.cli.main import app
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.look import compared, kept, read_card, removals, removed
from tutelage.corpus.stage import build_corpus
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog

WORDS = [
    "river",
    "mountain",
    "harbour",
    "engine",
    "garden",
    "letter",
    "window",
    "teacher",
    "forest",
    "island",
    "boat",
    "road",
]


def texts(count: int) -> list[str]:
    chance = random.Random(4)
    return [
        f"The {chance.choice(WORDS)} of number {number} lies by the {chance.choice(WORDS)} and keeps a "
        f"{chance.choice(WORDS)} near the {chance.choice(WORDS)}."
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("corpora")
    rows = [*texts(60), *texts(12), "heavy is the head", "One half. another half. Ende"]
    source = root / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows), encoding="utf-8")
    for name, settings in (("one", {}), ("other", {"prose": False})):
        config = CorpusConfig.parse(
            {"source": str(source), "max_overlap": 1.0, "measure_selection": False, "heldout": 0.2, **settings}
        )
        build_corpus(config, root / name, EventLog(), 1, 1)
    return root / "one", root / "other"


def test_every_rule_is_listed_with_what_it_took(corpora: tuple[Path, Path]) -> None:
    rows = {(row["step"], row["reason"]): row for row in removals(corpora[0])}
    assert rows["exact duplicates", "exact duplicate"]["documents"] == 12
    assert rows["prose", "unfinished"]["documents"] == 1 and rows["prose", "unfinished"]["pieces"] >= 1


def test_removed_documents_are_shown_with_the_kept_one(corpora: tuple[Path, Path]) -> None:
    found = removed(corpora[0], "exact duplicate", 3)
    assert len(found) == 3 and all(row["text"] == row["kept_text"] for row in found)
    assert len(removed(corpora[0], "prose", 99)) >= 2
    with pytest.raises(ConfigError, match="no rule 'exact duplicat'") as error:
        removed(corpora[0], "exact duplicat", 3)
    assert error.value.hint and "exact duplicate" in error.value.hint


def test_kept_documents_are_shown_by_side_and_text(corpora: tuple[Path, Path]) -> None:
    assert len(kept(corpora[0], "train", 7)) == 7
    found = kept(corpora[0], "train", 99, "NUMBER 3 ")
    assert all("number 3 " in row["text"] for row in found) and len(found) <= 1
    with pytest.raises(ConfigError, match="no side 'trian'"):
        kept(corpora[0], "trian", 1)
    with pytest.raises(InputError, match="is no corpus"):
        read_card(corpora[0].parent)


def test_two_corpora_are_compared(corpora: tuple[Path, Path]) -> None:
    found = compared(*corpora)
    documents = [read_card(corpus)["documents"] for corpus in corpora]
    assert found["documents"] == documents
    assert found["same"] + found["changed"] + found["only"][1] == documents[1]
    reasons: dict[str, Any] = {row["reason"]: row["documents"] for row in found["removed"]}
    assert reasons["unfinished"] == [1, 0]
    same = compared(corpora[0], corpora[0])
    assert (same["only"], same["changed"], same["heldout_in_one_trained_on_in_the_other"]) == ([0, 0], 0, [0, 0])


def test_the_verbs_speak_json_and_words(corpora: tuple[Path, Path]) -> None:
    run = CliRunner().invoke
    listed = run(app, ["corpus", "inspect", str(corpora[0]), "--json"])
    assert json.loads(listed.stdout)["removed"]
    shown = run(app, ["corpus", "inspect", str(corpora[0]), "--rule", "exact duplicate", "-n", "1"])
    assert shown.exit_code == 0 and "kept instead" in shown.stdout
    assert "number" in run(app, ["corpus", "inspect", str(corpora[0]), "--side", "heldout"]).stdout
    assert "unfinished" in run(app, ["corpus", "compare", *map(str, corpora)]).stdout
    assert json.loads(run(app, ["corpus", "compare", *map(str, corpora), "--json"]).stdout)["same"] > 10


def test_the_card_as_croissant_names_files_fields_and_steps(corpora: tuple[Path, Path]) -> None:
    card = json.loads((corpora[0] / "croissant.json").read_text(encoding="utf-8"))
    assert card["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert [file["@id"] for file in card["distribution"]] == ["train.parquet", "heldout.parquet"]
    assert all(len(file["sha256"]) == 64 for file in card["distribution"])
    assert [step["name"] for step in card["prov:wasGeneratedBy"]][:2] == ["read", "prose"]
