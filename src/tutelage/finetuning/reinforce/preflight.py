"""Account of the data before reinforcement: problems, room for answers, rewards of the reference answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from tutelage.finetuning.context import keeps
from tutelage.finetuning.data import Audit, Row
from tutelage.finetuning.data.problems import problem_key
from tutelage.finetuning.preflight.account import asked_text, begun, concluded
from tutelage.finetuning.preflight.figures import duplicate_figures, repeated_figures
from tutelage.finetuning.preflight.findings import LOST, Finding, Found, finding
from tutelage.finetuning.preflight.sample import runs
from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.grading import constant_solves, passing, shown_gold
from tutelage.finetuning.reinforce.problems import prompt_ids
from tutelage.finetuning.reinforce.rewards import GOLD, Answer, scores
from tutelage.finetuning.reinforce.rows import limited, own_rows, with_rewards
from tutelage.model.config import ModelConfig
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer

CONSTANT = 0.4  # warn if one constant answer solves this share of the problems
SHOWN = 3


def preflight(
    config: ReinforceConfig, tok: Tokenizer, model: ModelConfig, log: EventLog, data_seed: int
) -> dict[str, Any]:
    """Account of the user's problems. Raises InputError if they are unusable."""
    split, audit = own_rows(config, log, data_seed)
    config = with_rewards(config, [*split.train, *split.heldout], log)
    rows = limited(config, split.train, split.heldout, log, data_seed)
    context = min(config.context_length, model.max_position_embeddings)
    return problems_account(tok, *rows, config, context, audit)


def problems_account(
    tok: Tokenizer, train: Sequence[Row], heldout: Sequence[Row], config: ReinforceConfig, context: int,
    audit: Audit | None,
) -> Found:  # fmt: skip
    """Account of the training and held-out problems; `config.rewards` must be set."""
    found = begun("problems", train, heldout, audit, config.columns)
    prompts = [prompt_ids(tok, row, config.chat) for row in train]
    found["length"] = _room([len(ids) + config.max_tokens for ids in prompts], context, config.max_tokens)
    asked = [asked_text(row) for row in train]
    found["duplicates"] = duplicate_figures(asked, [asked_text(row) for row in heldout])
    found["repeated"] = repeated_figures(asked)
    found["contradicting"] = contradicting(train, config)
    found["references"] = reference_figures(tok, train, config)
    found["rewards"] = {name: {"rule": one.rule, "weight": one.weight} for name, one in config.rewards.items()}
    found["solved_by"] = next(iter(passing(config)))
    if constant := constant_solves(config, train, train):
        found["constant"] = {"answer": constant[0], "share": round(sum(constant[1]) / len(train), 4)}
    found["lines"] = _lines(found, config)
    rules = ", ".join(f"{name} ({one.rule}, {one.weight:g})" for name, one in config.rewards.items())
    found["said"] = (
        f"{config.training.batch_rows} problems a step, {config.num_generations} answers to each of up to "
        f"{config.max_tokens} tokens; rewarded by {rules}"
    )
    at = next(at for at, ids in enumerate(prompts) if len(ids) + config.max_tokens <= context)
    answer = _reference(train[at]) or "..."
    shown = [*runs(tok, prompts[at], [0.0] * len(prompts[at])), (answer, True)]
    title = "answered by the reference" if _reference(train[at]) else ""
    found["sample"] = [{"title": title, "how": "rewarded", "runs": shown}]
    return concluded(found, _findings(found, config))


def reference_figures(tok: Tokenizer, rows: Sequence[Row], config: ReinforceConfig) -> dict[str, Any]:
    """Mean reward of the reference answers by each rule (`rewards`), share of them that solves its own problem
    (`solve`), and their lengths in tokens. Empty if no row has a reference answer."""
    known = [row for row in rows if _reference(row)]
    if not known:
        return {}
    texts = [_reference(row) for row in known]
    lengths = [len(ids) + 1 for ids in tok.encode_batch(texts)]  # and the end token
    answers = [Answer(text, length, True) for text, length in zip(texts, lengths, strict=True)]
    given = scores(config.rewards, answers, known, config.task)
    solved = [value >= 1 - 1e-9 for value in given[next(iter(passing(config)))]]
    return {
        "answers": len(known),
        "rewards": {name: round(sum(values) / len(values), 4) for name, values in given.items()},
        "solve": round(sum(solved) / len(solved), 4),
        "unsolved": [
            [asked_text(row), text] for row, text, right in zip(known, texts, solved, strict=True) if not right
        ][:SHOWN],
        "median": round(median(lengths)),
        "longest": max(lengths),
        "keeps_95": keeps(lengths, 0.95),
        "over_max_tokens": sum(length > config.max_tokens for length in lengths),
    }


def contradicting(rows: Sequence[Row], config: ReinforceConfig) -> int:
    """Number of problems that occur several times with different gold answers."""
    (one,) = passing(config).values()
    golds: dict[str, set[str | None]] = defaultdict(set)
    for row in rows:
        golds[problem_key(row)].add(shown_gold(one, row))
    return sum(len(different) > 1 for different in golds.values())


def _reference(row: Row) -> str:
    """The reference answer of a row, with its reasoning if there is any: the longest of the gold columns."""
    return max((str(row[name]).strip() for name in GOLD if row.get(name) is not None), key=len, default="")


def _room(needs: Sequence[int], context: int, room: int) -> dict[str, Any]:
    """Lengths of prompts with room for an answer, and how many exceed the context."""
    dropped = sum(need > context for need in needs)
    if dropped == len(needs):
        raise InputError(
            f"none of the {len(needs)} prompts leaves room for an answer of {room} tokens in {context}",
            hint="raise context_length, or lower max_tokens",
        )
    return {
        "context": context, "rows": len(needs), "median": round(median(needs)), "longest": max(needs),
        "keeps_95": keeps(needs, 0.95), "keeps_99": keeps(needs, 0.99), "dropped": dropped,
        "learned_lost_share": round(dropped / len(needs), 4),
    }  # fmt: skip


def _lines(found: Found, config: ReinforceConfig) -> list[tuple[str, list[str]]]:
    longest = found["length"]["longest"] - config.max_tokens
    said = [f"up to {longest} tokens, and {config.max_tokens} for the answer; these lengths include both"]
    lines = [("Prompts", said)]
    references = found["references"]
    rewards = []
    for name, one in found["rewards"].items():
        solves = ", decides what counts as solved" if name == found["solved_by"] else ""
        given = f": {references['rewards'][name]:.3g} on average for the reference answers" if references else ""
        rewards.append(f"{name} (rule {one['rule']}, weight {one['weight']:g}{solves}){given}")
    lines.append(("Rewards", rewards))
    if references:
        lines.append(("Answers", [
            f"reference answers: median {references['median']} tokens, longest {references['longest']}; "
            f"{references['over_max_tokens']} of {references['answers']} exceed max_tokens ({config.max_tokens})"
        ]))  # fmt: skip
    if constant := found.get("constant"):
        lines.append(("Constant", [f"always answering {constant['answer']!r} would solve {constant['share']:.1%}"]))
    return lines


def _findings(found: Found, config: ReinforceConfig) -> list[Finding]:
    made, references = [], found["references"]
    if references and references["solve"] < 1:
        asked, text = (" ".join(part.split())[:60] for part in references["unsolved"][0])
        said = (
            f"by reward {found['solved_by']!r} only {references['solve']:.1%} of the reference answers solve their own "
            f"problem; one that does not: {text!r} for {asked!r}"
        )
        made.append(finding("warning", said, "choose a rule, pattern or column that fits the reference answers"))
    for name, value in (references["rewards"] if references else {}).items():
        if name != found["solved_by"] and value <= 0 and config.rewards[name].rule != "length":
            said = f"no reference answer has a positive reward by {name!r}"
            made.append(finding("note", said, "expected if the references are final answers only"))
        if value < 0:
            said = f"reward {name!r} penalises reference answers by {-value:.2g} on average"
            made.append(finding("warning", said, "raise its limit"))
    if references and (over := references["over_max_tokens"]):
        said = f"{over} of {references['answers']} reference answers are longer than max_tokens ({config.max_tokens})"
        worth = over > LOST * references["answers"]
        advice = f"max_tokens={references['keeps_95']} is enough for 95 %" if worth else ""
        made.append(finding("warning" if worth else "note", said, advice))
    if (constant := found.get("constant")) and constant["share"] >= CONSTANT:
        said = f"always answering {constant['answer']!r} would solve {constant['share']:.0%} of the problems"
        made.append(finding("warning", said, "the model may learn just that; balance the answers"))
    if count := found["contradicting"]:
        said = f"problems that occur several times with different gold answers: {count}"
        made.append(finding("warning", said, "keep the right one"))
    return made
