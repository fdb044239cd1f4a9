"""Send every question to a judge once: replies are stored as they arrive, and an interrupted run resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.judging.answers import Item
from tutelage.evaluation.judging.judges import Judge, Reply
from tutelage.evaluation.judging.prompts import Question
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json
from tutelage.store.jsonl import read_json_lines
from tutelage.store.progress import ticker

Floats = NDArray[np.float64]
FILE = "judgements.jsonl"


def judge_pairs(judge: Judge, items: Sequence[Item], a: int, b: int, out: Path, log: EventLog) -> Floats:
    """Outcomes of system `a` against `b` [items, 2]: a shown first, and b shown first; NaN: unreadable."""
    questions = []
    for item in items:
        first, second = item.answers[a], item.answers[b]
        questions.append(Question(item.prompt, first, second, item.reference))
        questions.append(Question(item.prompt, second, first, item.reference))
    values = np.array([np.nan if one.value is None else one.value for one in ask_all(judge, questions, out, log)])
    outcomes = values.reshape(-1, 2)
    return np.column_stack([outcomes[:, 0], 1 - outcomes[:, 1]])


def judge_single(judge: Judge, items: Sequence[Item], party: int, out: Path, log: EventLog) -> Floats:
    """The rating of each answer of a system, 1 to 10 [items]; NaN: unreadable."""
    questions = [Question(item.prompt, item.answers[party], None, item.reference) for item in items]
    return np.array([np.nan if one.value is None else one.value for one in ask_all(judge, questions, out, log)])


def ask_all(judge: Judge, questions: Sequence[Question], out: Path, log: EventLog) -> list[Reply]:
    """The reply to each question. Each one is appended to judgements.jsonl in `out` when it arrives; replies of the
    same judge on the same texts that are already there are reused.

    Raises InputError if the judge stops answering; the replies so far are kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / FILE
    known = _known(path)
    keys = [sha256_json([judge.identity, asdict(question)]) for question in questions]
    open_keys = {key: question for key, question in zip(keys, questions, strict=True) if key not in known}
    if len(open_keys) < len(set(keys)):
        log.note(f"{len(set(keys)) - len(open_keys)} of {len(set(keys))} judgements are already in {path}")
    tick = ticker(log, f"judging by {judge.name}", len(open_keys), "judgements")
    done = 0
    with path.open("a", encoding="utf-8") as file, ThreadPoolExecutor(max(1, judge.parallel)) as pool:
        waiting: dict[Future[Reply], str] = {}
        left = iter(open_keys.items())
        failed: BaseException | None = None
        while True:
            while failed is None and len(waiting) < judge.parallel and (one := next(left, None)) is not None:
                waiting[pool.submit(judge.judge, one[1])] = one[0]
            if not waiting:
                break
            ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                key = waiting.pop(future)
                if (error := future.exception()) is not None:
                    failed = failed or error
                    continue
                known[key] = future.result()
                file.write(
                    json.dumps({"key": key, "judge": judge.name, **asdict(known[key])}, ensure_ascii=False) + "\n"
                )
                file.flush()
                done += 1
                tick(done)
    if isinstance(failed, InputError):
        raise InputError(
            f"{failed.message}; {done} of {len(open_keys)} new judgements are kept in {path}",
            hint="run the same command again to resume",
        ) from None
    if failed is not None:
        raise failed
    return [known[key] for key in keys]


def _known(path: Path) -> dict[str, Reply]:
    """Replies of an earlier run; a truncated last line is dropped and terminated, and its question is asked again."""
    if not path.is_file():
        return {}
    found = {
        row["key"]: Reply(row["value"], row["text"])
        for _, row in read_json_lines(path)
        if isinstance(row, dict) and {"key", "value", "text"} <= row.keys()
    }
    with path.open("rb+") as file:
        if file.seek(0, 2) and (file.seek(-1, 2), file.read(1))[1] != b"\n":
            file.write(b"\n")
    return found
