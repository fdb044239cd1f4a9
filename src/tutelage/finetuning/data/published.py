"""Layouts of published datasets that are no question with its answers, as ones that are: one step before reading.

What a record holds is only named or arranged otherwise; a record of any other layout is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from tutelage.finetuning.data.fields import is_empty
from tutelage.finetuning.data.records import Source
from tutelage.finetuning.data.tools import parsed

Record = dict[str, Any]
Wanted = Literal["answers", "pairs"]
TIED = "no answer is judged better than another"
_SEVERAL = ("completions", "responses", "generations", "answers")
_BEST_FIRST = ("ranked_responses", "ranked_answers", "ranked_completions", "ranked_outputs")
_SCORES = ("overall_score", "score", "rating")
_ANSWERS = ("response", "text", "completion", "answer", "content")


def usual(source: Source, wanted: Wanted) -> Source:
    """The source with its records in a layout that the readers know, and a note of which was read how.

    wanted: of rated answers and of trees, one conversation each (`answers`) or the best and the worst (`pairs`).
    """
    records, notes = _trees(source, wanted)
    made: list[tuple[int, Record | str]] = []
    for line, record in records:
        if isinstance(record, dict):
            try:
                for said, rearrange in _LAYOUTS if wanted == "pairs" else _LAYOUTS[:1]:
                    if (found := rearrange(record)) is not None:
                        record = found
                        notes.setdefault(said, 0)
                        notes[said] += 1
                        break
            except ValueError as error:
                record = str(error)
        made.append((line, record))
    counted = [f"{layout}: {count} rows" for layout, count in notes.items()]
    return replace(source, records=made, notes=[*source.notes, *counted])


def _contents(record: Mapping[str, Any]) -> Record | None:
    """Gemini: {"systemInstruction": {"parts"}, "contents": [{"role", "parts": [{"text"}]}]}."""
    contents = parsed(record.get("contents"))
    if not isinstance(contents, list) or not all(isinstance(one, dict) and "parts" in one for one in contents):
        return None
    made = {key: value for key, value in record.items() if key not in ("contents", "systemInstruction")}
    system = parsed(record.get("systemInstruction"))
    turns = [{"role": one.get("role"), "content": one["parts"]} for one in contents]
    if isinstance(system, dict) and not is_empty(system.get("parts")):
        turns.insert(0, {"role": "system", "content": system["parts"]})
    return {**made, "messages": turns}


def _openai_preference(record: Mapping[str, Any]) -> Record | None:
    """OpenAI: {"input": {"messages"}, "preferred_output": [...], "non_preferred_output": [...]}."""
    given = parsed(record.get("input"))
    if not isinstance(given, dict) or not {"preferred_output", "non_preferred_output"} <= record.keys():
        return None
    rest = {key: value for key, value in record.items() if key not in ("input", "preferred_output",
            "non_preferred_output")}  # fmt: skip
    tools = {"tools": given["tools"]} if not is_empty(given.get("tools")) else {}
    sides = {"chosen": record["preferred_output"], "rejected": record["non_preferred_output"]}
    return {**rest, **tools, "messages": given.get("messages"), **sides}


def _rated(record: Mapping[str, Any]) -> Record | None:
    """UltraFeedback: {"instruction", "completions": [{"response", "overall_score"}]}; or lists of answers and scores
    beside each other. The best and the worst become a pair."""
    answers, scores, used = _rated_answers(record)
    if len(answers) < 2 or len(scores) != len(answers) or "chosen" in record:
        return None
    best, worst = max(scores), min(scores)
    if best == worst:
        raise ValueError(TIED)
    rest = {key: value for key, value in record.items() if key not in used}
    return {**rest, "chosen": answers[scores.index(best)], "rejected": answers[scores.index(worst)],
            "chosen_score": best, "rejected_score": worst}  # fmt: skip


def _rated_answers(record: Mapping[str, Any]) -> tuple[list[Any], list[float], tuple[str, ...]]:
    """(answers, their scores, the fields that hold them) of a record; empty where it has none."""
    for name in _SEVERAL:
        given = parsed(record.get(name))
        if not isinstance(given, list) or len(given) < 2:
            continue
        if all(isinstance(one, dict) for one in given):
            answers = [next((one[key] for key in _ANSWERS if not is_empty(one.get(key))), None) for one in given]
            numbers = [next((_number(one[key]) for key in _SCORES if key in one), None) for one in given]
            both = [
                (answer, number)
                for answer, number in zip(answers, numbers, strict=True)
                if answer and number is not None
            ]
            return [answer for answer, _ in both], [number for _, number in both], (name,)
        for beside in ("ratings", "scores", "rating", "score"):
            numbers = [_number(one) for one in parsed(record.get(beside)) or []] if beside in record else []
            if len(numbers) == len(given) and None not in numbers:
                return given, [number for number in numbers if number is not None], (name, beside)
    return [], [], ()


def _number(value: Any) -> float | None:
    try:
        return float(value) if not is_empty(value) else None
    except (TypeError, ValueError):
        return None


def _ranked(record: Mapping[str, Any]) -> Record | None:
    """Several answers from the best to the worst (`ranked_responses`), or with the rank of each (`ranks`: the least is
    the best)."""
    rest = dict(record)
    best_first = next((name for name in _BEST_FIRST if name in record), None)
    if best_first is not None:
        answers = parsed(rest.pop(best_first))
        if "chosen" in record or not isinstance(answers, list) or len(answers) < 2:
            return None
        return {**rest, "chosen": answers[0], "rejected": answers[-1]}
    name = next((name for name in _SEVERAL if isinstance(parsed(record.get(name)), list)), None)
    ranked = next((name for name in ("ranks", "rank", "ranking") if isinstance(parsed(record.get(name)), list)), None)
    if name is None or ranked is None or "chosen" in record:
        return None
    if ranked == "ranking":
        raise ValueError("'ranking' may be the rank of each answer or their order: name it 'ranks' (1 is the best)")
    answers, numbers = parsed(rest.pop(name)), [_number(one) for one in parsed(rest.pop(ranked))]
    ranks = [number for number in numbers if number is not None]
    if len(ranks) != len(answers) or len(ranks) != len(numbers) or len(ranks) < 2:
        raise ValueError(f"{ranked!r} does not hold a number for each of {name!r}")
    if min(ranks) == max(ranks):
        raise ValueError(TIED)
    return {**rest, "chosen": answers[ranks.index(min(ranks))], "rejected": answers[ranks.index(max(ranks))]}


def _either(record: Mapping[str, Any]) -> Record | None:
    """PKU-SafeRLHF: {"response_0", "response_1", "better_response_id"}; Stanford's SHP: {"history", "human_ref_A",
    "human_ref_B", "labels"}, where 1 stands for A."""
    for asked, names, told, best in (("prompt", ("response_0", "response_1"), "better_response_id", ("0", "1")),
                                     ("history", ("human_ref_A", "human_ref_B"), "labels", ("1", "0"))):  # fmt: skip
        if "chosen" in record or not {asked, *names, told} <= record.keys():
            continue
        said = str(record[told]).removesuffix(".0")
        if said not in best:
            raise ValueError(TIED)
        good, bad = names if said == best[0] else names[::-1]
        rest = {key: value for key, value in record.items() if key not in (asked, *names, told)}
        return {**rest, "prompt": record[asked], "chosen": record[good], "rejected": record[bad]}
    return None


def _battle(record: Mapping[str, Any]) -> Record | None:
    """Chatbot Arena: two answers or conversations, a and b, and which of them won (`winner`, or `winner_model_a`)."""
    names = next((pair for pair in (("response_a", "response_b"), ("conversation_a", "conversation_b"))
                  if all(name in record for name in pair)), None)  # fmt: skip
    winner = str(record.get("winner", "")).lower()
    if names is None or ("winner" not in record and "winner_model_a" not in record):
        return None
    first = winner in ("model_a", "a") or str(record.get("winner_model_a")) in ("1", "True", "true")
    second = winner in ("model_b", "b") or str(record.get("winner_model_b")) in ("1", "True", "true")
    if first == second:
        raise ValueError(TIED)
    good, bad = names if first else names[::-1]
    gone = {*names, "winner", "winner_model_a", "winner_model_b", "winner_tie"}
    rest = {key: value for key, value in record.items() if key not in gone}
    return {**rest, "chosen": record[good], "rejected": record[bad]}


def _two_answers(record: Mapping[str, Any]) -> Record | None:
    """LLaMA-Factory: {"instruction", "output": [good, bad]}."""
    given = parsed(record.get("output"))
    if (
        "chosen" in record
        or not isinstance(given, list)
        or len(given) != 2
        or not all(isinstance(a, str) for a in given)
    ):
        return None
    rest = {key: value for key, value in record.items() if key != "output"}
    return {**rest, "chosen": given[0], "rejected": given[1]}


_LAYOUTS: tuple[tuple[str, Callable[[Mapping[str, Any]], Record | None]], ...] = (
    ("contents with parts (Gemini)", _contents),
    ("a preferred and a non-preferred output (OpenAI)", _openai_preference),
    ("of several rated answers the best and the worst are a pair", _rated),
    ("of several ranked answers the best and the worst are a pair", _ranked),
    ("of two answers the one that won is the chosen one", _battle),
    ("of two answers the one that is said to be better is the chosen one", _either),
    ("of two outputs the first is the chosen one", _two_answers),
)


def _trees(source: Source, wanted: Wanted) -> tuple[list[tuple[int, Record | str]], dict[str, int]]:
    """Records of OpenAssistant's trees, nested or as single messages, as conversations; any other records as they are.

    Of each question the answer with the best rank goes on; in `pairs` its rival is the one with the worst.
    """
    rows = source.rows
    nested = [row for row in rows if isinstance(row.get("prompt"), dict) and "replies" in row["prompt"]]
    flat = [row for row in rows if {"message_id", "parent_id", "text", "role"} <= row.keys()]
    if not rows or len(rows) not in (len(nested), len(flat)):
        return list(source.records), {}
    replies: dict[Any, list[Record]] = {}
    roots: list[tuple[int, Record]] = []
    for line, record in source.records:
        if isinstance(record, dict):
            node = record["prompt"] if nested else record
            if nested or is_empty(node["parent_id"]):
                roots.append((line, node))
            else:
                replies.setdefault(node["parent_id"], []).append(node)
    made: list[tuple[int, Record | str]] = [one for one in source.records if isinstance(one[1], str)]
    for line, node in roots:
        made += [(line, found) for found in _grown(node, replies, wanted)]
    what = "pairs of the best and the worst ranked answer" if wanted == "pairs" else "the best ranked answers"
    return made, {f"trees of messages (OpenAssistant), read as {what}": len(roots)}


def _grown(root: Record, replies: Mapping[Any, Sequence[Record]], wanted: Wanted) -> list[Record | str]:
    """The conversation along the best ranked messages of a tree; of `pairs`, one pair for each answer on the way."""
    turns: list[Record] = []
    pairs: list[Record | str] = []
    node: Record | None = root
    while node is not None:
        turns.append({"role": node.get("role"), "content": node.get("text")})
        following = [*(node.get("replies") or ()), *replies.get(node.get("message_id"), ())]
        following = [one for one in following if not one.get("deleted")]
        ranked = sorted(following, key=lambda one: (is_empty(one.get("rank")), one.get("rank") or 0))
        told = [one for one in ranked if not is_empty(one.get("rank"))]
        if len(told) > 1 and told[0]["rank"] != told[-1]["rank"] and told[0].get("role") == "assistant":
            pairs.append({"messages": list(turns), "chosen": told[0].get("text"), "rejected": told[-1].get("text")})
        node = ranked[0] if ranked else None
    if wanted == "answers":
        return [{"messages": turns}]
    return pairs or ["no question has two ranked answers"]
