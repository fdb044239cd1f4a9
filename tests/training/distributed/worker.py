"""One process of a run of several, for test_parallel.py: `worker.py FOLDER` does the runs of FOLDER/runs.json."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from tutelage.finetuning.classify.objective import Classification
from tutelage.finetuning.instruct.objective import Instruction
from tutelage.finetuning.prefer.objective import Preference
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.errors import TutelageError
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import Example, PackedRows, Segment, branched, pack
from tutelage.training.distributed.dtensor import gather
from tutelage.training.distributed.world import current_world, join_world, leave_world
from tutelage.training.loop import train
from tutelage.training.objective import Loss, Objective
from tutelage.training.optim.soap import REFRESH_EVERY, SOAP


def documents(seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, 60, (60,), generator=generator).tolist()
    lengths = torch.randint(3, 30, (60,), generator=generator).tolist()
    return [[(start + 3 * at) % 60 + 4 for at in range(length)] for start, length in zip(starts, lengths, strict=True)]


def labelled(texts: list[list[int]]) -> PackedRows:
    """The class of a text is its first token's remainder, told at its last token."""
    return pack([
        Example([Segment(ids, [0] * (len(ids) - 1) + [ids[0] % 3], [0.0] * (len(ids) - 1) + [1.0 + ids[0] % 2])])
        for ids in texts
    ], 32)  # fmt: skip


def answered(texts: list[list[int]]) -> PackedRows:
    """The second half of a text is the answer."""
    return pack([
        Example([Segment(ids[:-1], ids[1:], [float(at >= len(ids) // 2) for at in range(1, len(ids))])])
        for ids in texts
    ], 32)  # fmt: skip


def compared(texts: list[list[int]]) -> PackedRows:
    """How a text goes on and the same backwards, branches after what they share; the reference finds every token
    equally likely."""

    def segment(prompt: list[int], answer: list[int], side: float, pair: int) -> Segment:
        ids, before, size = prompt + answer, [0.0] * (len(prompt) - 1), len(answer)
        extras = {
            "reference": [*before, *[-4.0] * size],
            "side": [*before, *[side] * size],
            "pair": [float(pair)] * (len(ids) - 1),
        }
        return Segment(ids[:-1], ids[1:], [*before, *[1.0] * size], dict(extras))

    halves = [(ids[: len(ids) // 2], ids[len(ids) // 2 :]) for ids in texts if len(ids) < 20]
    return pack([
        Example([branched([segment(prompt, end, 1.0, pair), segment(prompt, end[::-1], -1.0, pair)])])
        for pair, (prompt, end) in enumerate(halves)
    ], 32)  # fmt: skip


def make_objective(kind: str) -> Objective:
    train_texts, held_out = documents(0), documents(1)[:11]
    if kind == "classification":
        return Classification(labelled(train_texts), labelled(held_out))
    if kind == "instruction":
        return Instruction(answered(train_texts), answered(held_out))
    if kind == "preference":
        return Preference(compared(train_texts), compared(held_out), "sigmoid", 0.3, 0.0, 0.1)
    rows = {"train": pack_documents(train_texts, 0, 32), "validation": pack_documents(held_out, 0, 32)}
    return StruckNextToken(rows, torch.ones(64, dtype=torch.int64), 0)


class StruckNextToken(NextToken):
    """The process `rank` sends itself the signal `number` in its `at`-th loss."""

    rank, at, number, calls = -1, 0, 0, 0

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        type(self).calls += 1
        if self.calls == self.at and int(os.environ["RANK"]) == self.rank:
            os.kill(os.getpid(), self.number)
        return super().loss(model, batch)


def soap_of_a_matrix() -> Tensor:
    """A matrix, in several processes sharded by its rows, after some steps."""
    world, generator = current_world(), torch.Generator().manual_seed(0)
    mesh = init_device_mesh("cpu", (world.size,)) if world.size > 1 else None

    def placed(tensor: Tensor) -> Tensor:
        return tensor if mesh is None else distribute_tensor(tensor, mesh, [Shard(0)])

    weight = placed(torch.randn(6, 6, generator=generator)).requires_grad_()
    optimizer = SOAP([weight], lr=0.01)
    for _ in range(2 * REFRESH_EVERY + 2):
        weight.grad = placed(torch.randn(6, 6, generator=generator) + torch.eye(6))
        optimizer.step()
    return gather(weight.detach()).contiguous()


def run(settings: dict[str, Any], folder: Path) -> None:
    world, out = current_world(), folder / settings["name"]
    out.mkdir(exist_ok=True)
    if settings.get("objective") == "matrix":
        save_file({"weight": soap_of_a_matrix()}, out / f"{world.rank}.safetensors")
        (out / "result.json").write_text("{}")
        return
    model = DecoderLM(FamilyConfig.parse(settings["model"]), seed=1)
    objective = make_objective(settings.get("objective", ""))
    if isinstance(objective, StruckNextToken):
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
