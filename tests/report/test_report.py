"""The report of full, unfinished, failed, skipped and cached runs: complete, safe, self-contained, repeatable.

All of them are one real life of a few seconds, altered afterwards.
"""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import tutelage.report
from miniature_life import ALL_STEPS, miniature, write_documented
from tutelage.recipe.run import run_recipe
from tutelage.report.collect import collect, remarks
from tutelage.report.write import write_report
from tutelage.store.errors import InputError


class Page(HTMLParser):
    """Tags, attributes, section ids and text of a page; every opened tag must be closed."""

    VOID = ("meta", "link", "br", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def page(run: Path) -> tuple[str, Page]:
    html = write_report(run).read_text(encoding="utf-8")
    parsed = Page(html)
    assert parsed.open == []
    return html, parsed


def sections(html: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)">', html)


def section(html: str, name: str) -> str:
    return html.split(f'<section id="{name}">')[1].split("</section>")[0]


STAGES = ["corpus", "tokenizer", "base", "topics", "chat", "better.pairs", "better", "baselines", "evaluate"]


@pytest.fixture(scope="session")
def life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a whole life that ran once."""
    root = tmp_path_factory.mktemp("life")
    run_recipe(miniature(write_documented(root / "docs.jsonl"), ALL_STEPS), root / "runs", forecast={"base": 2.0})
    return root / "runs"


@pytest.fixture
def run(life: Path, tmp_path: Path) -> Path:
    """The run folder of a copy of it."""
    shutil.copytree(life, tmp_path / "runs")
    return tmp_path / "runs" / "tiny"


def change(run: Path, **stages: dict[str, Any]) -> None:
    """Alter what run.json says of stages; a status other than ran or cached takes the artifact away."""
    record = json.loads((run / "run.json").read_text())
    for row in record["stages"]:
        row |= stages.get(row["stage"].replace(".", "_"), {})
        if row["status"] not in ("ran", "cached"):
            row["artifact"] = row["metrics"] = None
    (run / "run.json").write_text(json.dumps(record))


def place(run: Path, stage: str) -> Path:
    record = json.loads((run / "run.json").read_text())
    return (run / next(row["artifact"] for row in record["stages"] if row["stage"] == stage)).resolve()


def test_every_stage_has_its_section_in_the_order_of_the_life(run: Path) -> None:
    html, parsed = page(run)
    wanted = ["glance", *(name.replace(".", "-") for name in STAGES), "cost", "advice", "provenance"]
    assert sections(html) == wanted
    for said in (
        "270 of 270 documents kept",
        "A model of",
        "Classification finetuning: topics",
        "1 malformed record",
        "Instruction finetuning: chat",
        "Answers to held-out prompts",
        "ppmd primed",
        "17 rows too long",
        "PEP 257 rule",
    ):
        assert said in parsed.text, said
    assert parsed.tags.count("svg") >= 12


def test_each_room_tells_of_its_own_stage(run: Path) -> None:
    html, _ = page(run)
    assert "Loss (nats per token)" in section(html, "base") and "Inside the blocks" in section(html, "base")
    assert "Macro-F1" in section(html, "topics") and "Reward margin" in section(html, "better")
    assert "Documents left after each step" in section(html, "corpus")
    assert "xz primed" in section(html, "baselines").split("<details>")[0]
    for name in ("chat", "better"):
        assert "has learned the rule, not how to document" in section(html, name), name


def test_what_was_not_used_stands_in_the_head_and_in_the_section(run: Path) -> None:
    audit = {"rows": 90, "kept": 88, "dropped": {"no label": 2}, "ignored": {"sender": 88}, "labels": {"files": 88},
             "warnings": ["3 texts occur twice"]}  # fmt: skip
    metrics = {"audit": audit, "dropped_labels": {"text": 5}, "cut_texts": 1}
    change(run, topics={"metrics": metrics}, better_pairs={"metrics": {"pairs": 9, "truncated_samples": 4}})
    html, _ = page(run)
    head = html.split("</header>")[0]
    said = "2 rows dropped, 5 rows of labels that are too rare, 1 field not used, 1 text truncated."
    assert said in head and "4 samples truncated at the limit" in head
    for word in ("no label", "sender", "3 texts occur twice"):
        assert word in section(html, "topics"), word


def test_a_step_is_named_as_its_recipe_names_it_and_no_other_stage_is(run: Path) -> None:
    titles = {name: view.title for name, view in collect(run).stages.items()}
    assert titles["topics"] == "Classification finetuning: topics" and titles["better.pairs"].endswith(": better")
    assert (titles["base"], titles["baselines"], titles["evaluate"]) == ("Pretraining", "Baselines", "Evaluation")


def test_verdicts_come_from_paired_comparisons_alone(run: Path) -> None:
    path = place(run, "evaluate") / "evaluation.json"
    data = json.loads(path.read_text())
    accuracy = next(c for c in data["comparisons"] if c["measure"] == "accuracy" and c["b"].startswith("TF-IDF"))
    for outcome, mark in (("better", "better"), ("worse", "worse"), ("not resolved", "not-resolved"),
                          ("too few items", "too-few-items")):  # fmt: skip
        accuracy["outcome"] = outcome
        path.write_text(json.dumps(data))
        row = next(r for r in section(page(run)[0], "glance").split("<tr>") if "Classification accuracy" in r)
        assert f'class="{mark}"' in row, outcome
    data["comparisons"] = []
    path.write_text(json.dumps(data))
    glance = section(page(run)[0], "glance")
    assert "not compared" in glance and 'class="better"' not in glance and 'class="worse"' not in glance


def test_a_loss_within_the_margin_is_told_beside_the_verdict(run: Path) -> None:
    path = place(run, "evaluate") / "evaluation.json"
    data = json.loads(path.read_text())
    chrf = next(c for c in data["comparisons"] if "claim" in c)
    for outcome, claim, said in (("worse", "did not suffer", "lost no more than 1 chrF"),
                                 ("worse", "suffered", "lost more than 1 chrF"),
                                 ("not resolved", "open", "whether it lost more than 1 chrF is open")):  # fmt: skip
        chrf |= {"outcome": outcome, "claim": claim}
        path.write_text(json.dumps(data))
        row = next(r for r in section(page(run)[0], "glance").split("<tr>") if "chrF after" in r)
        assert f'class="{outcome.replace(" ", "-")}"' in row and said in row


def test_two_classifiers_are_each_shown_beside_their_own_rivals(run: Path) -> None:
    path = place(run, "evaluate") / "evaluation.json"
    data = json.loads(path.read_text())
    other = json.loads(json.dumps(next(f for f in data["figures"] if f["measure"] == "accuracy")))
    for row, value in zip(other["rows"], (0.111, 0.999, 0.222), strict=True):
        row |= {"value": value, "who": "moods" if row["kind"] == "model" else row["who"]}
    data["figures"].append(other)
    path.write_text(json.dumps(data))
    html, _ = page(run)
    assert "99.9 %" not in section(html, "topics") and "99.9 %" not in section(html, "glance")
    assert section(html, "topics").count(">majority class<") == 2  # accuracy and macro-F1


def test_a_section_that_fails_leaves_the_report_standing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tutelage.tokenizer import report

    def fails(view: object) -> list[dict[str, str]]:
        raise KeyError("vocabulary")

    monkeypatch.setattr(report, "sentence", fails)
    for section_of in (fails, lambda view: [{"kind": "song", "text": "la"}], lambda view: [{"kind": "prose"}]):
        monkeypatch.setattr(report, "section", section_of)
        html, parsed = page(run)
        assert "The section of Tokenizer could not be made" in parsed.text
        assert "Its summary could not be made (KeyError: 'vocabulary')." in parsed.text
        assert "Vocab size" in section(html, "tokenizer") and "Documents left" in section(html, "corpus")


def test_a_healthy_run_has_no_section_that_failed(run: Path) -> None:
    assert "could not be made" not in page(run)[1].text  # neither a section nor a summary


def test_a_stage_without_a_section_shows_its_main_metrics_its_scores_and_what_it_did_not_use(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from tutelage.store.kinds import spec_of
    from tutelage.store.stage import StageSpec

    def without_section(kind: str) -> StageSpec | None:
        found = spec_of(kind)
        return dataclasses.replace(found, section=None) if found else None

    monkeypatch.setattr("tutelage.report.write.spec_of", without_section)
    html, _ = page(run)
    topics = section(html, "topics")
    for said in (
        "Heldout accuracy",
        "Classification accuracy.",
        "Classification macro-F1.",
        "polyline",
        "Texts truncated",
    ):
        assert said in topics, said
    assert "Xz primed bits per byte" in section(html, "baselines").split("<details>")[0]


def test_an_adopted_model_is_shown_with_its_scores(run: Path) -> None:
    change(run, base={"kind": "adopt", "metrics": {"adopted": "org/name", "parameters": 39_000}})
    html, parsed = page(run)
    assert "Not trained here: the model is org/name" in section(html, "base") and "ppmd primed" in section(html, "base")
    assert "Bits per byte, held out" in section(html, "glance")
    assert "From org/name, 39.0 k parameters; bits per byte" in parsed.text


def test_the_confidence_is_the_evaluations_own(run: Path) -> None:
    path = place(run, "evaluate") / "evaluation.json"
    path.write_text(path.read_text().replace('"confidence": 0.95', '"confidence": 0.9'))
    html, _ = page(run)
    assert "90 % intervals" in section(html, "glance") and "95 %" not in section(html, "glance")


def test_whether_it_learned_anything_stands_at_the_top_and_in_the_section(run: Path) -> None:
    path = place(run, "evaluate") / "evaluation.json"
    data = json.loads(path.read_text())
    assert [line["who"] for line in data["learned"]] == ["topics", "chat", "better"]
    html, _ = page(run)
    head = html.split('<dl class="headline">')[0]
    for line in data["learned"]:
        said = line["text"][1:].split(":")[0]
        assert said in head and said in section(html, line["who"])


def test_better_by_over_optimising_is_not_called_better(run: Path) -> None:
    path = place(run, "evaluate") / "evaluation.json"
    data = json.loads(path.read_text())
    text = "better: 88.8 % pass the rule, of the true docstrings 54.0 %; distinct-2 fell from 0.41 (chat) to 0.084"
    data["alarms"] = [{"who": "better", "text": text}]
    for one in data["comparisons"]:
        if (one["a"], one["b"], one["measure"]) == ("better", "chat", "win rate"):
            one |= {"outcome": "better", "caution": text}
    path.write_text(json.dumps(data))
    html, _ = page(run)
    row = next(r for r in section(html, "glance").split("<tr>") if "Win rate" in r)
    assert "better by over-optimising" in row and 'class="better"' not in row
    assert text in html.split('<dl class="headline">')[0] and text in section(html, "better")


def test_loops_and_endless_answers_stand_in_a_table_of_everybody_asked_the_same(run: Path) -> None:
    html, _ = page(run)
    for name in ("chat", "better"):
        told = section(html, name).split("Never ends, sampled", 1)[1].split("</table>")[0]
        for who in ("base", "chat", "better", "the true docstrings"):
            assert f">{who}</span>" in told, (name, who)


def test_nothing_is_loaded_and_nothing_runs(run: Path) -> None:
    html, parsed = page(run)
    assert "script" not in parsed.tags and "link" not in parsed.tags and "iframe" not in parsed.tags
    assert not [value for name, value in parsed.attributes if name in ("src", "srcset", "data", "action")]
    assert all(value.startswith("#") for name, value in parsed.attributes if name in ("href", "xlink:href"))
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import|javascript:", html)
    assert "default-src 'none'" in html


@pytest.mark.parametrize(
    "hostile",
    ["</pre></style><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7919 * 7919 }}{% raw %}",
     "</title><svg onload=x>"],
)  # fmt: skip
def test_hostile_text_of_models_and_data_is_only_shown(run: Path, hostile: str) -> None:
    samples = place(run, "evaluate") / "samples.jsonl"
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    for line in lines:
        line |= {"prompt": hostile, "outputs": {hostile: hostile, "chat": hostile}}
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    card = place(run, "corpus") / "card.json"
    data = json.loads(card.read_text())
    data["labels"][hostile] = 5
    card.write_text(json.dumps(data))
    with (run / "events.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"event": "warning", "time": 1.0, "message": hostile}) + "\n")
    change(run, topics={"status": "failed", "why": hostile})
    html, parsed = page(run)
    assert "script" not in parsed.tags and "img" not in parsed.tags
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert hostile in parsed.text
    assert str(7919 * 7919) not in html


def test_what_reproduces_it_is_pinned(run: Path) -> None:
    card = place(run, "corpus") / "card.json"
    record = json.loads(card.read_text()) | {"packages": {"python": "3.11.7", "networkx": "3.9"}}
    card.write_text(json.dumps(record))
    text = section(page(run)[0], "provenance")
    manifest = json.loads((place(run, "evaluate") / "manifest.json").read_text())
    version = manifest["packages"]["numpy"]
    assert f"numpy=={version}" in text and "networkx==3.9" in text and "tutelage run recipe.yaml" in text
    assert (
        "Python 3.11.7" in text
        and "python==" not in text
        and "tutelage==" not in text
        and "+cpu" not in text.split("pip install")[1].split("tutelage run")[0]
    )


def test_an_interrupted_run_says_where_it_stopped_and_shows_the_curve_so_far(run: Path) -> None:
    after = {name.replace(".", "_"): {"status": "pending"} for name in STAGES[3:]}
    change(run, base={"status": "interrupted"}, **after)
    events = (run / "events.jsonl").read_text().splitlines()
    last = max(number for number, line in enumerate(events) if '"stage": "base"' in line and '"step"' in line)
    (run / "events.jsonl").write_text("\n".join(events[: last + 1]) + "\n")
    html, parsed = page(run)
    assert "Interrupted after step 4. The same command resumes" in parsed.text
    assert parsed.text.count("Not reached.") == 6
    assert "glance" not in sections(html) and "polyline" in section(html, "base")


def test_a_run_killed_before_its_record_was_written(run: Path) -> None:
    events = (run / "events.jsonl").read_text().splitlines()
    steps = [number for number, line in enumerate(events) if '"event": "step"' in line]
    (run / "events.jsonl").write_text("\n".join(events[: steps[1] + 1]) + "\n")
    (run / "run.json").unlink()
    _, parsed = page(run)
    assert "Interrupted after step" in parsed.text and "tiny" in parsed.text


def test_a_failed_stage_gives_its_reason(run: Path) -> None:
    change(run, topics={"status": "failed", "why": "loss is NaN at step 3"})
    html, parsed = page(run)
    assert parsed.text.count("Failed: loss is NaN at step 3.") >= 2
    assert 'class="notice warning"' in section(html, "topics") and "failed" in html.split("</header>")[0]


def test_a_skipped_stage_is_named_with_its_reason(run: Path) -> None:
    change(run, topics={"status": "skipped", "why": "the corpus has no labels"})
    assert "Skipped: the corpus has no labels." in section(page(run)[0], "topics")


def test_a_cached_run_says_so_and_counts_no_time_twice(run: Path) -> None:
    change(run, **{name.replace(".", "_"): {"status": "cached"} for name in STAGES})
    html, parsed = page(run)
    assert "Every stage came from the cache" in parsed.text
    assert parsed.text.count("came from the cache: same configuration") == len(STAGES)
    assert "when it was made" in section(html, "cost")


def test_a_stage_of_a_kind_that_is_not_known_is_shown_as_it_is(run: Path) -> None:
    change(run, topics={"kind": "of_another_version"})
    html, _ = page(run)
    assert "Of another version: topics" in section(html, "topics") and "polyline" in section(html, "topics")


def test_same_folder_same_bytes(run: Path, tmp_path: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first and str(tmp_path).encode() not in first


@pytest.mark.parametrize("stage", STAGES)
def test_missing_or_damaged_files_leave_the_rest_standing(run: Path, stage: str) -> None:
    artifact = place(run, stage)
    for path in artifact.rglob("*"):
        if path.is_file():
            path.write_bytes(b"\xff\xfe{ not json")
    page(run)
    shutil.rmtree(artifact)
    assert "Provenance" in page(run)[1].text


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"stages": 3, "forecast": []}', '{"stages": [{"stage": "corpus", "artifact": 5}]}']
)
def test_odd_run_json(run: Path, content: str) -> None:
    (run / "run.json").write_text(content)
    assert "tiny" in page(run)[1].text


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        write_report(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_remarks_of_an_earlier_run_hold_only_while_the_stage_is_cached() -> None:
    def event(kind: str, stage: str = "", **more: str) -> dict[str, str]:
        return {"event": kind, **({"stage": stage} if stage else {}), **more}

    first = [
        event("run_start"), event("warning", message="old recipe"), event("stage_start", "corpus"),
        event("note", "corpus", message="odd file"), event("stage_end", "corpus", status="ran"),
        event("stage_start", "pretrain"), event("warning", "pretrain", message="loss spike"),
        event("stage_end", "pretrain", status="ran"),
    ]  # fmt: skip
    second = [
        event("run_start"), event("stage_start", "corpus"), event("stage_end", "corpus", status="cached"),
        event("stage_start", "pretrain"), event("stage_end", "pretrain", status="ran"),
    ]  # fmt: skip
    assert [e["message"] for e in remarks(first)] == ["old recipe", "odd file", "loss spike"]
    assert [e["message"] for e in remarks([*first, *second])] == ["odd file"]


def test_a_new_run_of_a_stage_does_not_show_the_curve_of_the_old_one(run: Path) -> None:
    change(run, base={"status": "interrupted"})
    old = {"event": "step", "time": 1.0, "stage": "base", "step": 9999, "loss": 1.0}
    ended = {"event": "stage_end", "time": 2.0, "stage": "base", "status": "ran"}
    path = run / "events.jsonl"
    now = [line for line in path.read_text().splitlines() if '"stage_end"' not in line]
    path.write_text("\n".join([json.dumps(old), json.dumps(ended), *now]) + "\n")
    assert max(row["step"] for row in collect(run).stages["base"].curve) == 4


def test_every_text_colour_stands_out_from_the_paper() -> None:
    """A contrast of 4.5 (WCAG 2.2, 1.4.3), in the light, in the dark and on paper."""
    css = (Path(tutelage.report.__file__).parent / "report.css").read_text(encoding="utf-8")

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] if len(colour) == 7 else [
            int(digit * 2, 16) / 255 for digit in colour[1:]]  # fmt: skip
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    schemes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", block)) for block in re.findall(r":root \{.*?\}", css, re.S)
    ]
    assert len(schemes) == 3
    for scheme in schemes:
        for name in ("ink", "soft", "faint", "accent"):
            low, high = sorted((light(scheme[name]), light(scheme["paper"])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, scheme)
