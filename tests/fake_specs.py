"""The real graph with work that is over at once, for tests of what runs when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as dc_replace
from typing import Any

import pytest

from tutelage.recipe import graph
from tutelage.store.stage import Job, Part, StageSpec


class Specs:
    """The specs as the graph takes them, with work that is over at once; single ones can be changed."""

    CONSTANTS = ("CORPUS", "TOKENIZER", "PRETRAIN", "ADOPT", "BASELINES", "EVALUATE")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, Any] | None = None) -> None:
        self.ran: list[str] = []
        self.metrics = metrics or {"figure": 1.0}
        self.changes: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, dict[str, Any]] = {}  # kind -> inputs, where a reason not to run is asked for
        self.audit: Callable[[Any, Any], int | None] | None = None
        real = graph.method
        for name in self.CONSTANTS:
            monkeypatch.setattr(graph, name, self.quick(getattr(graph, name)))
        monkeypatch.setattr(graph, "method", lambda name: self.quick(real(name)))

    def quick(self, spec: StageSpec) -> StageSpec:
        def run(job: Job) -> dict[str, Any]:
            changed = self.changes.get(job.name, {})
            if "run" in changed:
                return dict(changed["run"](job))
            self.ran.append(job.name)
            (job.out / "data.txt").write_text(job.name + str(sorted(job.inputs)))
            return dict(self.metrics)

        def why_not(config: Any, inputs: Any) -> str | None:
            self.asked[spec.kind] = dict(inputs)
            reason: str | None = self.changes[spec.kind]["reason"]
            return reason

        def parts(config: Any) -> tuple[Part, ...]:
            return tuple(dc_replace(part, spec=self.quick(part.spec)) for part in spec.parts(config))

        asks = why_not if "reason" in self.changes.get(spec.kind, {}) else None
        return dc_replace(
            spec, run=run, why_not=asks, parts=parts, audit=spec.audit and self.audit, result_facts=None, sentence=None,
            section=None,
        )  # fmt: skip
