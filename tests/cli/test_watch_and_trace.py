"""`watch`, `trace` and `plan --hours` as they are typed: what they show, refuse and print as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.main import main
from tutelage.cli.trace import corpora_of
from tutelage.cli.watch import drawn, sparkline, warned
from tutelage.pretraining.trace import Use
from tutelage.recipe.lineage import Ancestor
from tutelage.report.live import Live, advanced
from tutelage.store.artifacts import Artifact

Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that was killed: nothing but its events."""
    folder = tmp_path / "killed"
    folder.mkdir()
    steps = [{"event": "step", "time": 10.0 + at, "stage": "base", "step": at, "total": 50, "loss": 5 - 0.05 * at,
              "tokens_per_second": 900} for at in range(1, 21)]  # fmt: skip
    events = [{"event": "run_start", "time": 9.0, "recipe": "tiny [x]", "stages": ["corpus", "base"]},
              {"event": "stage_end", "time": 9.5, "stage": "corpus", "status": "cached", "seconds": 1.0},
              {"event": "stage_start", "time": 10.0, "stage": "base"}, *steps]  # fmt: skip
    (folder / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in events) + '{"event": "st')
    return folder


def test_a_dead_run_is_shown_once_and_said_to_be_dead(run: Path, capsys: Capture) -> None:
    code, out, _ = call(capsys, "watch", run)
    assert code == 0 and "dead or stopped" in out and "tiny [x]" in out and "training 20 of 50 steps" in out
    code, out, _ = call(capsys, "watch", run, "--json")
    told = json.loads(out)
    assert told["condition"] == "silent" and told["seconds_left_in_stage"] == 30.0 and told["damaged_lines"] == 0


def test_a_screen_holds_the_latest_warnings_and_says_how_many_there_were() -> None:
    every = [f"warning {number}" for number in range(5)]
    assert [str(line) for line in warned(every, None)] == [f"warning: {text}" for text in every]
    shown = [str(line) for line in warned(every, 2)]
    assert shown[:2] == ["warning: warning 3", "warning: warning 4"] and shown[2].startswith("3 earlier warnings")
    assert len(warned(every[:2], 2)) == 2


def test_the_page_is_written_beside_the_run(run: Path, capsys: Capture) -> None:
    code, out, _ = call(capsys, "watch", run, "--page")
    assert code == 0 and (run / "watch.html").is_file() and "watch.html" in out.replace("\n", "")


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: Capture) -> None:
    code, _, said = call(capsys, "watch", tmp_path)
    assert code == 2 and "no events.jsonl" in said
    code, _, said = call(capsys, "watch", "--out", tmp_path)
    assert code == 2 and "there is no run" in said


def test_a_curve_is_drawn_in_eight_heights() -> None:
    assert sparkline([7.0, 0.0, 3.5, 7.0]) == "█▁▅█" and sparkline([1.0, 1.0]) == "▁▁"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trace"], "give a text, or --generate"),
        (["trace", "text", "--generate", "prompt"], "give a text, or --generate"),
        (["plan", "--goal", "chat"], "belong to --hours"),
        (["plan", "--hours", "1", "--gpus", "8"], "proposes a new recipe"),
        (["plan", "--hours", "1", "--goal", "chta"], "--goal chta is unknown"),
        (["report", "x", "--compare", "a", "b"], "names both runs"),
        (["ablate", "--ladder", "64,large"], "is not a list of numbers"),
        (["ablate", "--ladder", "64,128", "--vary", "seed=1,2"], "varies the model size only"),
        (["ablate", "--ladder", "64"], "too few to fit"),
    ],
)
def test_wrong_use_is_said_before_anything_runs(
    arguments: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    code, out, error = call(capsys, *arguments, "--out", tmp_path / "runs")
    assert code == 2 and said in error and not out


def test_a_proposed_recipe_never_takes_the_place_of_a_file(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    code, _, said = call(capsys, "plan", "--hours", "1", "--write", tmp_path / "mine.yaml", "--out", tmp_path / "runs")
    assert code == 2 and "already exists" in said and (tmp_path / "mine.yaml").read_text() == "name: mine\n"


def test_what_a_model_was_trained_on_is_by_stage_and_weight(tmp_path: Path) -> None:
    def made(stage: str, config: dict[str, Any], *inputs: Ancestor) -> Ancestor:
        manifest = {"stage": stage, "config": config}
        return Ancestor(stage, stage, Artifact(tmp_path / stage, manifest), list(inputs))

    corpus, other = made("corpus", {}), made("corpus", {})
    other.artifact = Artifact(tmp_path / "only-the-tokenizers", {"stage": "corpus", "config": {}})
    mix = {"by": "source", "weights": {"a.txt": 0.0, "b.txt": 2.0}}
    base = made("base", {"pretrain": {"mix": mix, "mixture": []}}, corpus, made("tokenizer", {}, other))
    assert corpora_of(base) == {tmp_path / "corpus": [Use("source", frozenset({"a.txt"}))]}
    config = {"pretrain": {"mix": None, "mixture": [{"corpus": str(tmp_path / "x"), "weight": 1.0}]}}
    further = made("further", config, base, corpus)
    assert corpora_of(further) == {
        tmp_path / "corpus": [Use("source", frozenset({"a.txt"})), Use()],
        tmp_path / "x": [Use()],
    }


def test_a_low_screen_shows_the_warnings(run: Path) -> None:
    """A pane of fewer rows than there are lines loses its last ones."""
    from rich.console import Console

    warning = {"event": "warning", "time": 31.0, "stage": "base", "message": "the loss is not finite"}
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()[:-1]]
    console = Console(width=80, height=6, record=True)
    live = advanced(Live(), [*events, warning])
    lines = console.render_lines(drawn(live, 32.0, latest=3))[:6]
    shown = ["".join(part.text for part in line).strip() for line in lines]
    assert shown[2] == "warning: the loss is not finite" and any("20 of 50 steps" in line for line in shown), shown
    console.print(drawn(live, 32.0))
    assert console.export_text().rstrip().endswith("warning: the loss is not finite")
