"""One process of a run of several, for test_parallel.py: `worker.py FOLDER` does the runs of FOLDER/runs.json."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.errors import TutelageError
from tutelage.store.events import EventLog
from tutelage.training.batch import Batch
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import train
from tutelage.training.objective import Loss
from tutelage.training.world import current_world, join_world, leave_world


def documents(seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, 60, (60,), generator=generator).tolist()
    lengths = torch.randint(3, 30, (60,), generator=generator).tolist()
    return [[(start + 3 * at) % 60 + 4 for at in range(length)] for start, length in zip(starts, lengths, strict=True)]


class StruckNextToken(NextToken):
    """The process `rank` sends itself the signal `number` in its `at`-th loss."""

    rank, at, number, calls = -1, 0, 0, 0

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        type(self).calls += 1
        if self.calls == self.at and int(os.environ["RANK"]) == self.rank:
            os.kill(os.getpid(), self.number)
        return super().loss(model, batch)


def run(settings: dict[str, Any], folder: Path) -> None:
    world, out = current_world(), folder / settings["name"]
    out.mkdir(exist_ok=True)
    model = DecoderLM(ModelConfig.parse(settings["model"]), seed=1)
    rows = {"train": pack_documents(documents(0), 0, 32), "validation": pack_documents(documents(1)[:11], 0, 32)}
    objective = StruckNextToken(rows, torch.ones(64, dtype=torch.int64), 0)
    objective.rank, objective.at, objective.number = settings.get("struck", (-1, 0, 0))
    work = Path(settings.get("work", out / "work"))
    result = train(model, objective, TrainingConfig.parse(settings["training"]), work, EventLog(), seed=1)
    save_file(model.state_dict(), out / f"{world.rank}.safetensors")
    if world.first:
        kept = {"curve": result.curve, "final": result.final, "tokens": result.tokens}
        (out / "result.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    try:
        join_world()
        for each in json.loads((place / "runs.json").read_text()):
            run(each, place)
        leave_world()
    except TutelageError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(3)  # a group with a lost process cannot be closed in order
