"""The command line as a user types it: exit codes, messages, JSON, and nothing lost between verbs."""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_specs import Specs
from tutelage.cli.main import app, main
from tutelage.cli.options import FoundClassifier
from tutelage.cli.results import _left_out as left_out
from tutelage.store.errors import TrainingError
from tutelage.store.stage import Job

Cli = Callable[..., "Done"]


class Done:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch) -> Specs:
    return Specs(monkeypatch, {"heldout_accuracy": 0.5, "undefined": float("nan")})


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, specs: Specs) -> Cli:
    """Runs the command in an empty directory, with stages that write a word each instead of their work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tutelage.store.device.measure_gemm", lambda *_, **__: 50e9)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("Some text. " * 20)

    def call(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, captured.out, captured.err)

    return call


STAGES = 9
CORPUS = ("--corpus", "texts")
VERBS = ["quickstart", "run", "plan", "corpus", "tokenizer", "pretrain", "finetune", "evaluate", "tasks", "chat",
         "generate", "translate", "classify", "serve", "export", "import", "model", "report", "lineage", "advise",
         "doctor", "version", "compare", "ablate", "judge", "quality", "mcp", "watch", "trace", "data"]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("quickstrat", "did you mean 'quickstart'"),
        ("plan --sets a=b", "did you mean '--set'"),
        ("--debugg plan", "did you mean '--debug'"),
        ("plan --set", "'--set' requires an argument"),
        ("plan --set seed", "not of the form key=value"),
        ("plan --set finetune.prefer.betta=1", "did you mean 'beta'"),
        ("plan --set finetune.instruct=null", "finetune.prefer.from: there is no step 'instruct'"),
        ("plan --set adopt.source=smollm2", "`adopt` is now `base`"),
        ("plan none.yaml", "none.yaml does not exist"),
        ("plan texts", "texts cannot be read"),
        ("run", "Missing argument 'recipe'"),
        ("run a.yaml b.yaml", "unexpected extra argument"),
        ("finetune classfy", "did you mean 'classify'"),
        ("tokenizer compair", "did you mean 'compare'"),
        ("corpus tests/", "tutelage corpus --source tests/"),
        ("finetune classfy rows.csv", "did you mean 'classify'"),
        ("finetune classify rows.csv", "rows.csv does not exist"),
        ("finetune classify --model smollm2", "go with a file"),
        ("finetune classify texts --model smollm2 --column text", "not of the form OURS=THEIRS"),
        ("chat --temperature hot", "'--temperature'"),
        ("chat", "tutelage quickstart"),
        ("chat --model nowhere", "nowhere does not exist"),
        ("report nowhere", "nowhere is not a run folder"),
        ("quickstart --corpus nowhere", "nowhere"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_was_meant(cli: Cli, tmp_path: Path, command: str, says: str) -> None:
    done = cli(*command.split())
    assert done.code == 2 and says in done.err and done.err.startswith("error: ") and done.out == ""
    assert "Traceback" not in done.err and len(done.err.splitlines()) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["texts"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_debug_shows_the_traceback_wherever_it_stands(cli: Cli, where: str) -> None:
    command = ["plan", "--set", "x=1"]
    done = cli(*(["--debug", *command] if where == "before" else [*command, "--debug"]))
    assert done.code == 2 and "Traceback" in done.err and done.err.splitlines()[-2] == "error: unknown key 'x'"


def test_the_unexpected_is_one_line_and_says_how_to_see_more(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("of two\nlines")

    monkeypatch.setattr("tutelage.cli.life.look_ahead", broken)
    done = cli("plan")
    assert done.code == 1
    assert done.err.splitlines() == ["error: RuntimeError: of two lines", "hint: run with --debug for the traceback"]
    assert "Traceback" in cli("plan", "--debug").err


def test_the_life_runs_then_comes_from_the_cache_and_json_is_all_there_is_on_stdout(cli: Cli, tmp_path: Path) -> None:
    first = cli("quickstart", *CORPUS, "--json")
    assert first.code == 0, first.err
    assert [stage["status"] for stage in first.json["stages"]] == ["ran"] * STAGES
    assert Path(first.json["report"]).exists() and first.json["status"] == "done"
    again = cli("quickstart", *CORPUS)
    assert again.code == 0 and again.out.count("from the cache") == STAGES
    for words in ("report.html", "tutelage chat", "tutelage serve", "tutelage export"):
        assert words in again.out


def test_advice_is_asked_for_and_all_rules_are_listed(cli: Cli) -> None:
    found = cli("advise", *("--set", "corpus.source=texts"), "--set", "pretrain.training.learning_rate=0.9", "--json")
    assert found.code == 0, found.err
    (rate,) = [item for item in found.json if item["rule"] == "learning-rate"]
    assert rate["level"] == "warning" and rate["fix"].startswith("--set pretrain.training.learning_rate=")
    shown = cli("advise", "--set", "corpus.source=texts", "--set", "pretrain.training.learning_rate=0.9")
    assert rate["message"] in shown.out and rate["fix"] in shown.out
    rules = cli("advise", "--rules", "--json").json
    assert {"stage": "pretrain", "rule": "warmup"}.items() <= next(
        rule for rule in rules if rule["rule"] == "warmup"
    ).items() and all(rule["source"] for rule in rules)


def test_the_doctor_says_what_the_machine_does_and_fails_where_the_core_does(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cli("doctor", "--json")
    assert found.code == 0, found.err + found.out
    assert found.json["gemm_gflops"]["float32"] > 0
    assert "training a model" in cli("doctor").out
    from tutelage.guidance import doctor

    monkeypatch.setattr(doctor, "self_test", lambda: [doctor.Check("saving and loading", False, "differs")])
    failed = cli("doctor")
    assert failed.code == 1 and "saving and loading failed: differs" in failed.out


def test_a_plan_for_many_gpus_is_shown_and_printed(cli: Cli) -> None:
    large = ["--set", "model.hidden_size=2048", "--set", "model.num_layers=24"]
    shown = cli("plan", "--gpus", "1024", "--tokens", "1e12", *large)
    assert shown.code == 0 and "hours" in shown.out and "checkpoint_seconds:" in shown.out
    data = cli("plan", "--gpus", "1024", "--tokens", "1e12", *large, "--json").json
    assert data["gpus"] == 1024 and data["tokens"] == 1e12 and data["mesh"]["shard"] == 8
    assert cli("plan", "--gpus", "0").code == 2


def test_a_plan_runs_nothing_and_tells_what_a_change_would_run(cli: Cli, tmp_path: Path) -> None:
    before = cli("plan", "--set", "corpus.source=texts", "--json")
    assert {stage["status"] for stage in before.json["stages"]} == {"run"}
    assert before.json["forecast_seconds"] > 0 and not (tmp_path / "runs").exists()
    assert cli("quickstart", *CORPUS).code == 0
    changed = cli("plan", "--set", "corpus.source=texts", "--set", "finetune.prefer.beta=0.3", "--json").json
    assert [stage["stage"] for stage in changed["stages"] if stage["status"] == "run"] == ["prefer", "evaluate"]
    shown = cli("plan", "--set", "corpus.source=texts")
    assert shown.out.count("cached") >= STAGES and "Everything is in the cache" in shown.out


def test_a_corpus_whose_name_looks_like_yaml_is_taken_to_the_letter(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "texts").rename(tmp_path / "2024")
    assert cli("quickstart", "--corpus", "2024").code == 0
    assert cli("corpus", "--source", "2024").code == 0


def test_a_stage_alone_does_not_take_the_model_out_of_the_run(cli: Cli, tmp_path: Path) -> None:
    assert cli("quickstart", *CORPUS).code == 0
    alone = cli("corpus", "--source", "texts", "--json")
    assert alone.json["chat_model"] and "prefer" in alone.json["chat_model"]
    (tmp_path / "recipe.yaml").write_text(
        "name: other\ncorpus: {source: texts}\nfinetune: {mine: {method: classify, task: labels}}\n"
    )
    assert cli("finetune", "mine", "--recipe", "recipe.yaml").code == 0
    assert (tmp_path / "runs" / "latest").read_text() == "other\n"
    wrong = cli("finetune", "classify", "--recipe", "recipe.yaml")
    assert wrong.code == 2 and "no step 'classify'" in wrong.err and "mine" in wrong.err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (TrainingError("loss is not finite at step 3", hint="lower the learning rate"), 1, "hint: lower the learning"),
        (KeyboardInterrupt(), 130, "run the same command again"),
        (OSError(28, "No space left on device"), 1, "the disk of runs is full"),
        (
            PermissionError(13, "Permission denied", "there/x"),
            1,
            "error: there/x: Permission denied\nhint: choose another",
        ),
        (ValueError("odd"), 1, "error: ValueError: odd"),
    ],
)
def test_a_run_that_ends_badly_says_so_keeps_what_it_has_and_still_writes_its_report(
    cli: Cli, tmp_path: Path, specs: Specs, error: BaseException, code: int, says: str
) -> None:
    def fail(job: Job) -> dict[str, Any]:
        raise error

    specs.changes["classify"] = {"run": fail}
    done = cli("quickstart", *CORPUS)
    specs.changes.clear()
    assert done.code == code and says in done.err and "Traceback" not in done.err
    assert (tmp_path / "runs" / "quickstart" / "report.html").exists()
    again = cli("quickstart", *CORPUS)
    assert again.code == 0 and again.out.count("from the cache") == 3


def test_ctrl_c_before_a_run_begins_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tutelage.cli.life.look_ahead", stopped)
    done = cli("quickstart", *CORPUS)
    assert done.code == 130
    assert done.err.strip() == "error: stopped\nhint: run the same command again to resume"


def test_a_report_that_fails_does_not_hide_why_the_run_failed(
    cli: Cli, specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> dict[str, Any]:
        raise TrainingError("diverged")

    def no_report(*_: Any) -> None:
        raise KeyError("report")

    specs.changes["corpus"] = {"run": fail}
    monkeypatch.setattr("tutelage.report.write.write_report", no_report)
    assert cli("quickstart", *CORPUS).err == "error: diverged\n"


def test_lineage_and_report_take_the_last_run(cli: Cli, tmp_path: Path) -> None:
    assert cli("quickstart", *CORPUS, "--out", "elsewhere").code == 0
    tree = cli("lineage", "--out", "elsewhere", "--json").json
    assert tree["stage"] == "evaluate" and {part["stage"] for part in tree["inputs"]} >= {"corpus", "prefer"}
    shown = cli("lineage", "--out", "elsewhere").out
    assert "raw text, by content hash" in shown and "prefer" in shown
    assert Path(cli("report", "--out", "elsewhere", "--json").json["report"]).name == "report.html"
    (tmp_path / "elsewhere" / "quickstart" / "run.json").write_text("{")
    damaged = cli("lineage", "elsewhere/quickstart")
    assert damaged.code == 1 and "run.json is damaged" in damaged.err
    assert cli("chat", "--out", "elsewhere", "--message", "x").code == 1


def test_every_option_says_what_it_means() -> None:
    import typer.main

    command = typer.main.get_command(app)
    assert sorted(command.commands) == sorted(VERBS)  # type: ignore[attr-defined]
    verbs = dict(command.commands)  # type: ignore[attr-defined]
    for group in ("corpus", "tokenizer"):
        verbs |= {f"{group} {name}": verb for name, verb in verbs[group].commands.items()}
    for group in ("model", "data"):
        verbs |= {f"{group} {name}": verb for name, verb in verbs.pop(group).commands.items()}
    for name, verb in verbs.items():
        assert name == "version" or "Example: `tutelage" in (verb.help or ""), name
        for parameter in verb.params:
            assert getattr(parameter, "help", None), (name, parameter.name)


def test_help_goes_to_stdout(cli: Cli) -> None:
    for arguments in ((), ("--help",), ("plan", "--help")):
        done = cli(*arguments)
        assert done.code == 0 and "Usage" in done.out and done.err == "", arguments


@pytest.mark.parametrize("arguments", [[], ["quickstart", "--help"], ["chat", "--help"], ["version"], ["tasks"]])
def test_no_help_needs_torch(arguments: list[str]) -> None:
    code = (
        f"import sys, tutelage.cli.main as m\ntry: m.main({arguments!r})\nexcept SystemExit as end: code = end.code\n"
        "assert code == 0 and not {'torch', 'numpy', 'pyarrow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_letters_that_a_terminal_lacks_do_not_end_a_command() -> None:
    code = (
        "import tutelage.__main__ as own, tutelage.cli.main as cli\ncli.main = lambda: print('gr\\xfcn')\nown.start()"
    )
    odd = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=odd)
    assert (done.returncode, done.stdout, done.stderr) == (0, "gr\\xfcn\n", "")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "tutelage", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writer)
    assert done.stderr == "" and done.returncode == 1


def test_text_behind_two_dashes_is_text(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.suppress(KeyError):
        monkeypatch.delenv("TUTELAGE_RUNS")
    done = cli("generate", "--", "--debug")
    assert done.code == 2 and "there is no run" in done.err and "Traceback" not in done.err


def test_classify_reads_a_file_and_never_its_name(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        class tokenizer:
            max_length = None

        class config:
            multi_label = ordinal = False

        def classify(self, texts: list[str]) -> list[dict[str, float]]:
            return [{"long": 0.9, "short": 0.1} if len(text) > 5 else {"short": 0.8, "long": 0.2} for text in texts]

    monkeypatch.setattr("tutelage.cli.classify.find_classifier", lambda *_: FoundClassifier(tmp_path))
    monkeypatch.setattr("tutelage.cli.classify.open_model", lambda *_, **__: Model())
    (tmp_path / "new.txt").write_text("a text of some length\n\nok\n")
    (tmp_path / "new.csv").write_text("id,body\n1,short\n2,not so short\n")
    of_lines = [json.loads(line) for line in cli("classify", "new.txt", "--json").out.splitlines()]
    assert [(row["text"], row["label"]) for row in of_lines] == [("a text of some length", "long"), ("ok", "short")]
    of_column = [json.loads(line) for line in cli("classify", "new.csv", "--column", "body", "--json").out.splitlines()]
    assert [row["label"] for row in of_column] == ["short", "long"]
    missing = cli("classify", "gone.txt")
    assert missing.code == 2 and "gone.txt does not exist" in missing.err
    (tmp_path / "rows").mkdir()
    folder = cli("classify", "rows")
    assert folder.code == 2 and "rows is a folder" in folder.err
    assert cli("classify", "new.txt", "other").code == 2
    assert json.loads(cli("classify", "the file new.txt", "--json").out)["text"] == "the file new.txt"
    (tmp_path / "my new.txt").write_text("one\ntwo\n")
    (tmp_path / "new.txt.xz").write_bytes(lzma.compress(b"one\ntwo\n"))
    for name in ("my new.txt", "new.txt.xz"):
        assert [json.loads(line)["text"] for line in cli("classify", name, "--json").out.splitlines()] == ["one", "two"]


def test_rows_that_were_not_trained_are_named_at_the_end() -> None:
    """Half of the rows may be too long: said once before training, it is out of sight when the figures come."""
    supervision = {"rows": 36, "kept": 15, "too_long": 18, "refused": {"the chat template refuses a system prompt": 3}}
    assert left_out({"supervision": supervision}) == [
        "18 of 36 training rows were dropped: longer than the context",
        "3 of 36 training rows were dropped: the chat template refuses a system prompt",
    ]
    assert left_out({"supervision": {"rows": 9, "kept": 9, "too_long": 0, "refused": {}}}) == []
