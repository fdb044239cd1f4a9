"""The pairs stage: preference pairs sampled from the instruction-tuned model and ranked by a rule or a reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.finetuning.common import task_rows
from tutelage.finetuning.data import Row, stratified_split, write_rows
from tutelage.finetuning.prefer.config import PairsConfig
from tutelage.model.io import weights_identity
from tutelage.store.chunks import append_chunk, finished_chunks
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash, sha256_json
from tutelage.store.stage import Job
from tutelage.tasks import Grade, task
from tutelage.tokenizer.messages import Message


@dataclass(frozen=True)
class Candidate:
    """An answer to a prompt: text, score, whether it satisfies every rule, and length in words."""

    text: str
    score: float
    perfect: bool
    words: int


def make_pairs(job: Job) -> dict[str, Any]:
    """Sample answers to training prompts of the task and write preference pairs to `train.jsonl` and `heldout.jsonl`.

    Rows are {"id","prompt","chosen","rejected","chosen_score","rejected_score"}. Only training prompts
    are used, so that evaluation prompts stay unseen. Finished chunks are kept in `work`, so that a killed run resumes.
    Raises InputError if there are fewer than two prompts or pairs.
    """
    config, out, log = job.config, job.out, job.log
    chosen_task = task(config.task)
    examples = task_rows(chosen_task, job.inputs["corpus"], job.data_seed).train
    prompts = by_hash(examples, job.data_seed)[: config.prompts]
    if len(prompts) < 2:
        raise InputError(f"the corpus has {len(prompts)} training prompts for {config.task}; two or more are needed")
    sampled = list(_sampled(config, job.inputs["model"], prompts, job.work, log, job.seed))
    grade = _by_reward(config.reward, prompts, sampled) if config.reward else chosen_task.grade
    assert grade is not None  # checked by the config
    pairs: list[Row] = []
    kept_reference = 0
    judged: list[Candidate] = []
    references: list[Candidate] = []
    truncated = 0
    for row, answers in zip(prompts, sampled, strict=True):
        ended = [answer["text"] for answer in answers if answer["stop_reason"] == "stop"]
        truncated += len(answers) - len(ended)
        samples = [judge(text, row, grade) for text in ended if text.strip()]
        reference = judge(row["response"], row, grade)
        judged += samples
        references.append(reference)
        pair = choose(reference, [*samples, reference] if config.reward else samples)
        if pair is not None:
            pairs.append(_pair_row(row, *pair))
            kept_reference += pair[0] is reference
    if len(pairs) < 2:
        raise InputError(
            f"{len(prompts)} prompts yield {len(pairs)} preference pairs: the sampled answers differ too little",
            hint="raise pairs.samples, pairs.prompts or pairs.temperature",
        )
    parts = stratified_split(pairs, job.data_seed, config.heldout, near=True)
    train, heldout = parts.train, parts.heldout
    write_rows(out / "train.jsonl", train)
    write_rows(out / "heldout.jsonl", heldout)
    metrics = {
        "prompts": len(prompts),
        "pairs": len(train),
        "heldout_pairs": len(heldout),
        "samples": len(judged) + truncated,
        "truncated_samples": truncated,
        "sample_score": _mean([candidate.score for candidate in judged]),
        "sample_perfect": _mean([float(candidate.perfect) for candidate in judged]),
        "reference_score": _mean([candidate.score for candidate in references]),
        "chosen_is_reference": round(kept_reference / len(pairs), 4),
        **length_bias(pairs),
    }
    log.note(
        f"{len(pairs)} pairs from {len(prompts)} prompts; chosen answers have {metrics['chosen_words']} words "
        f"and rejected ones {metrics['rejected_words']}; {truncated} samples that reached max_tokens were not used"
    )
    if abs(metrics["chosen_longer"] - metrics["chosen_shorter"]) > 0.5:
        log.warn("chosen and rejected answers differ mostly in length: the model may learn length itself")
    return metrics


def _by_reward(directory: str, prompts: list[Row], sampled: list[list[Row]]) -> Callable[[str, Row], Grade]:
    """Grades by a reward model, run once over all answers; no answer counts as perfect."""
    from tutelage.inference.language_model import load

    asked = {
        (row["id"], text.strip()): [Message("user", row["prompt"]), Message("assistant", text.strip())]
        for row, answers in zip(prompts, sampled, strict=True)
        for text in [row["response"], *(answer["text"] for answer in answers)]
        if text.strip()
    }
    rewards = dict(zip(asked, load(Path(directory).expanduser()).rewards(list(asked.values())), strict=True))
    return lambda text, row: Grade(rewards[row["id"], text.strip()], {"none is better": False})


def judge(text: str, row: Row, grade: Callable[[str, Row], Grade]) -> Candidate:
    """Grade one answer to the prompt of `row`."""
    text = text.strip()
    found = grade(text, row)
    return Candidate(text, found.score, found.perfect, len(text.split()))


def choose(reference: Candidate, samples: Sequence[Candidate]) -> tuple[Candidate, Candidate] | None:
    """(chosen, rejected) for one prompt; None if no sample is worse than the chosen answer.

    Chosen is the reference if it satisfies every rule, else the best sample. Rejected is the worst sample; among equal
    ones the closest in length to the chosen, so that length is no shortcut.
    """
    if not samples:
        return None
    best = reference if reference.perfect else max(samples, key=lambda sample: sample.score)
    worst = min(samples, key=lambda sample: (sample.score, abs(sample.words - best.words)))
    return (best, worst) if best.score > worst.score else None


def length_bias(pairs: Sequence[Row]) -> dict[str, float]:
    """Mean number of words of chosen and rejected answers; shares of pairs with a longer or a shorter chosen answer."""
    lengths = [(len(pair["chosen"].split()), len(pair["rejected"].split())) for pair in pairs]
    return {
        "chosen_words": _mean([float(chosen) for chosen, _ in lengths], 2),
        "rejected_words": _mean([float(rejected) for _, rejected in lengths], 2),
        "chosen_longer": _mean([float(chosen > rejected) for chosen, rejected in lengths]),
        "chosen_shorter": _mean([float(chosen < rejected) for chosen, rejected in lengths]),
    }


def _sampled(
    config: PairsConfig, instructed: Path, prompts: list[Row], work: Path, log: EventLog, seed: int
) -> Iterator[list[Row]]:
    """Answers [{"text","stop_reason"}] to each prompt, in order; finished chunks are read from `work`."""
    identity = sha256_json([config.plain(), seed, [row["id"] for row in prompts], weights_identity(instructed)])
    path = work / "samples.jsonl"
    finished: list[list[list[Row]]] = finished_chunks(path, identity)
    for chunk in finished:
        yield from chunk
    done = len(finished) * config.chunk
    if done >= len(prompts):
        return
    from tutelage.inference.language_model import load
    from tutelage.inference.sampling import Sampling

    model = load(instructed)
    for at in range(done, len(prompts), config.chunk):
        rows = prompts[at : at + config.chunk]
        # Every chunk has its own seed, so the samples do not depend on where a run was interrupted.
        sampling = Sampling(
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=(seed * 1_000_003 + at) % 2**31,
        )
        asked = [[Message("user", row["prompt"])] for row in rows for _ in range(config.samples)]
        found = [
            {"text": answer.text, "stop_reason": answer.stop_reason} for answer in model.chat_batch(asked, sampling)
        ]
        chunk = [found[i : i + config.samples] for i in range(0, len(found), config.samples)]
        append_chunk(path, chunk)
        log.progress("sampling answers", min(at + config.chunk, len(prompts)), len(prompts), "prompts")
        yield from chunk


def _pair_row(row: Row, chosen: Candidate, rejected: Candidate) -> Row:
    return {
        "id": row["id"],
        "prompt": row["prompt"],
        "chosen": chosen.text,
        "rejected": rejected.text,
        "chosen_score": round(chosen.score, 6),
        "rejected_score": round(rejected.score, 6),
    }


def _mean(values: Sequence[float], digits: int = 4) -> float:
    return round(sum(values) / len(values), digits) if values else 0.0
