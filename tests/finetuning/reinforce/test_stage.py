from __future__ import annotations

import json

import pytest

from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.stage import reinforce

from ..conftest import job, quick

LETTERS = "abcdefgh"


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    rows = [{"prompt": f"Say {one} and {two}", "answer": "e"} for one in LETTERS for two in LETTERS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(path, **more):
    settings = {"data": str(path), "max_tokens": 6, "num_generations": 8,
                "rewards": {"said": {"rule": "contains"}, "ends": {"rule": "ends", "weight": 0.2}},
                "training": {**quick(30, log_every=1).plain(), "learning_rate": 2e-2}, **more}
    return ReinforceConfig.parse(settings)


def test_smoke(base, problems, tmp_path, heard):
    metrics = reinforce(job(config(problems), tmp_path, heard.log, model=base))
    print(json.dumps(metrics, indent=1))
    print(heard.messages("warning"))
    for e in heard.events:
        if e["event"] == "step": print({k: (round(v,3) if isinstance(v,float) else v) for k,v in e.items()})
