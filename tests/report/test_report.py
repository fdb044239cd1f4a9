"""The report of full, unfinished, failed, skipped and cached runs: complete, safe, self-contained, repeatable."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_run import STAGES, build

from tutelage.report.card import model_card
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
    return re.findall(r'<section id="(\w+)">', html)


def section(html: str, name: str) -> str:
    return html.split(f'<section id="{name}">')[1].split("</section>")[0]


def test_full_run_has_every_section(tmp_path: Path) -> None:
    html, parsed = page(build(tmp_path))
    assert sections(html) == [
        "glance", "samples", "corpus", "tokenizer", "pretraining", "classification", "instruction", "preference",
        "evaluation", "cost", "advice", "provenance",
    ]  # fmt: skip
    assert "14,210 of 31,204 documents kept (45.5 %)" in parsed.text
    assert "Held-out bits per byte 1.583, better than xz primed (1.772)." in parsed.text
    assert "Accuracy 76.1 %, worse than TF-IDF + logistic regression (79.2 %)." in parsed.text
    assert "preferred did not suffer against instructed" in parsed.text
    assert "12 tokens per parameter" in parsed.text
    assert "9 min 06 s" in parsed.text
    assert parsed.tags.count("svg") >= 12


def test_speed_and_the_inside_of_the_blocks_are_shown(tmp_path: Path) -> None:
    _, parsed = page(build(tmp_path))
    for shown in ("10,873", "42.7%", "268 GFLOP/s", "4 min 12 s", "316 MB", "Inside the blocks", "0.0314", "Step 1200"):
        assert shown in parsed.text.replace("\u00a0", " ").replace(" %", "%"), shown


def test_glance_marks_worse_and_unresolved_as_plainly_as_better(tmp_path: Path) -> None:
    glance = section(page(build(tmp_path))[0], "glance")
    rows = {re.sub("<[^>]+>", "", row.split("</td>")[0]): row for row in glance.split("<tr>")[2:]}
    assert 'class="worse"' in rows["Classification accuracy"]
    assert 'class="better"' in rows["Instruction, chrF"]
    assert 'class="not-resolved"' in rows["Classification macro-F1"]
    assert (
        "Instructed" in rows["Win rate against the instructed model"]
        and "50.0 %" in rows["Win rate against the instructed model"]
    )


def test_nothing_is_loaded_and_nothing_runs(tmp_path: Path) -> None:
    html, parsed = page(build(tmp_path))
    assert "script" not in parsed.tags and "link" not in parsed.tags and "iframe" not in parsed.tags
    assert not [value for name, value in parsed.attributes if name in ("src", "srcset", "data", "action")]
    assert all(value.startswith("#") for name, value in parsed.attributes if name in ("href", "xlink:href"))
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import|javascript:", html)
    assert "default-src 'none'" in html


@pytest.mark.parametrize(
    "hostile",
    [
        "</pre></style><script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }}{% raw %}",
        "</title><svg onload=x>",
    ],
)
def test_hostile_text_of_models_and_data_is_only_shown(tmp_path: Path, hostile: str) -> None:
    run = build(tmp_path, answer=hostile, prompt=hostile, statuses={"classify": "failed"}, why={"classify": hostile})
    card = next((tmp_path / "artifacts").glob("corpus-*")) / "card.json"
    data = json.loads(card.read_text())
    data["labels"][hostile] = 5
    data["steps"][0]["examples"][0] |= {"text": hostile, "name": hostile}
    card.write_text(json.dumps(data))
    with (run / "events.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"event": "warning", "time": 1.0, "message": hostile}) + "\n")
    html, parsed = page(run)
    assert "script" not in parsed.tags and "img" not in parsed.tags
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert hostile in parsed.text
    assert "49" not in section(html, "samples")


def test_interrupted_run_says_where_it_stopped_and_shows_the_curve_so_far(tmp_path: Path) -> None:
    run = build(tmp_path, upto="baselines", status="interrupted", statuses={"pretrain": "interrupted"})
    html, parsed = page(run)
    assert "Interrupted after step 400." in parsed.text
    assert parsed.text.count("Not reached.") >= 5
    assert "glance" not in sections(html)
    assert "polyline" in section(html, "pretraining")
    assert "The one to beat on held-out text is xz primed: 1.772 bits per byte." in parsed.text


def test_what_an_earlier_run_began_is_not_called_interrupted(tmp_path: Path) -> None:
    run = build(tmp_path, upto="baselines", statuses={"pretrain": "interrupted"})
    record = json.loads((run / "run.json").read_text())
    for row in record["stages"]:
        row["status"] = "pending" if row["status"] == "interrupted" else row["status"]
    (run / "run.json").write_text(json.dumps(record))
    _, parsed = page(run)
    assert "Interrupted after step 400." in parsed.text  # killed in this very run
    events = (run / "events.jsonl").read_text().rpartition("\n")[0]
    (run / "events.jsonl").write_text(f'{events}\n{{"event": "run_start", "time": 1700009999.0}}\n')
    _, parsed = page(run)
    assert "Interrupted" not in parsed.text


def test_killed_run_without_run_json(tmp_path: Path) -> None:
    run = build(tmp_path, upto="baselines", statuses={"pretrain": "running"})
    (run / "run.json").unlink()
    _, parsed = page(run)
    assert "Interrupted after step 400." in parsed.text
    assert "quickstart" in parsed.text


def test_failed_run_gives_the_reason(tmp_path: Path) -> None:
    run = build(
        tmp_path,
        upto="pretrain",
        status="failed",
        statuses={"classify": "failed"},
        why={"classify": "loss is NaN at step 3"},
    )
    html, parsed = page(run)
    assert parsed.text.count("Failed: loss is NaN at step 3.") >= 2
    assert 'class="notice warning"' in section(html, "classification")
    assert "failed" in html.split("</header>")[0]


def test_skipped_stages_are_named_with_their_reason(tmp_path: Path) -> None:
    skipped = dict.fromkeys(("classify", "instruct", "pairs", "prefer"), "skipped")
    html, parsed = page(build(tmp_path, statuses=skipped, why={"classify": "the corpus has no labels"}))
    assert "Skipped: the corpus has no labels." in section(html, "classification")
    assert parsed.text.count("Skipped") >= 5


def test_cached_run_says_so_and_counts_no_time_twice(tmp_path: Path) -> None:
    run = build(tmp_path, statuses=dict.fromkeys(STAGES, "cached"))
    html, parsed = page(run)
    assert "Every stage came from the cache" in parsed.text
    assert parsed.text.count("came from the cache: same configuration") == 8
    assert "when it was made" in section(html, "cost")
    assert 'class="life"' in html and "Held-out bits per byte 1.583" in parsed.text


def test_same_folder_same_bytes(tmp_path: Path) -> None:
    first = write_report(build(tmp_path / "a")).read_bytes()
    second = write_report(build(tmp_path / "b")).read_bytes()
    assert first == second
    assert str(tmp_path).encode() not in first


@pytest.mark.parametrize("stage", STAGES)
def test_missing_or_damaged_files_leave_the_rest_standing(tmp_path: Path, stage: str) -> None:
    run = build(tmp_path)
    artifact = next((tmp_path / "artifacts").glob(f"{stage}-*"))
    for path in artifact.iterdir():
        path.write_bytes(b"\xff\xfe{ not json")
    page(run)
    shutil.rmtree(artifact)
    _, parsed = page(run)
    assert "Provenance" in parsed.text


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"stages": 3, "forecast": []}', '{"stages": [{"stage": "corpus", "artifact": 5}]}']
)
def test_odd_run_json(tmp_path: Path, content: str) -> None:
    run = build(tmp_path)
    (run / "run.json").write_text(content)
    _, parsed = page(run)
    assert "quickstart" in parsed.text


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


def test_a_new_run_of_a_stage_does_not_show_the_curve_of_the_old_one(tmp_path: Path) -> None:
    run = build(tmp_path, upto="baselines", statuses={"pretrain": "interrupted"})
    old = {"event": "step", "time": 1.0, "stage": "pretrain", "step": 9999, "loss": 1.0}
    ended = {"event": "stage_end", "time": 2.0, "stage": "pretrain", "status": "ran"}
    path = run / "events.jsonl"
    path.write_text(f"{json.dumps(old)}\n{json.dumps(ended)}\n" + path.read_text())
    steps = [row["step"] for row in collect(run).stage("pretrain").curve]
    assert max(steps) == 400


def test_model_card_is_plain_markdown(tmp_path: Path) -> None:
    text = model_card(build(tmp_path))
    assert text.startswith("---\nlibrary_name: transformers\n")
    assert "| Bits per byte, held out | Base | 1.583 | 1.556 to 1.611 | xz primed 1.772 (better) |" in text
    assert "TF-IDF + logistic regression 79.2 % (worse)" in text
    assert "2,816," in text or "2,815," in text
    hostile = model_card(build(tmp_path / "b", statuses={"classify": "failed"}, why={"classify": "<script>|"}))
    assert "<script>" not in hostile.replace("\\<", "")
