"""Results of a judge with its reliability: pairwise win rates, bias measured and corrected, ratings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.judging.annotate import Votes
from tutelage.evaluation.judging.answers import Matched
from tutelage.evaluation.judging.arena import Game, standings
from tutelage.evaluation.judging.bias import agreement, length_controlled, position_bias, rate_interval, win_rates
from tutelage.evaluation.judging.judges import Judge
from tutelage.evaluation.judging.run import judge_pairs, judge_single
from tutelage.evaluation.statistics import Interval, bootstrap_mean, paired_difference
from tutelage.evaluation.verdicts import MIN_SHARE_ITEMS, verdict
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

Floats = NDArray[np.float64]
_CLEARLY = 0.05  # distance from 0.5 at which position bias gives a warning
PAIR_CAUTION = "Win rates hold for these prompts and opponents; others may reverse them."
PEOPLE_CAUTION = "People also prefer long and confident answers and disagree with each other; this is a small sample."
RATING_CAUTION = "Ratings of single answers depend on the judge and cluster at a few values; prefer paired comparisons."


def judge_all(
    judge: Judge, matched: Matched, out: Path, log: EventLog, votes: Votes | None = None, confidence: float = 0.95
) -> dict[str, Any]:
    """Judge every pair of systems in both orders, audit the judge and, for more than two, rank them. Plain data.

    Raises InputError if a pair has no readable verdict.
    """
    pairs, games = [], []
    for a, b in combinations(range(len(matched.names)), 2):
        outcomes = judge_pairs(judge, matched.items, a, b, out, log)
        pairs.append(_pair(judge, matched, a, b, outcomes, (votes or {}).get((a, b)), confidence))
        for item, each in zip(matched.items, outcomes, strict=True):
            games += [Game(item.id, matched.names[a], matched.names[b], float(one)) for one in each if one == one]
    ranked = standings(games, confidence=confidence) if len(matched.names) > 2 else []
    return {
        "judge": judge.name, "identity": judge.identity, "items": len(matched.items), "left_out": matched.left_out,
        "pairs": pairs, "standings": [asdict(one) for one in ranked],
        "warnings": [text for pair in pairs for text in pair["warnings"]], "cautions": [*judge.cautions, PAIR_CAUTION],
    }  # fmt: skip


def people_all(matched: Matched, votes: Votes, confidence: float = 0.95) -> dict[str, Any]:
    """Results of human votes alone: win rates, paired verdicts, and a ranking for more than two systems."""
    pairs, games = [], []
    for (a, b), voted in votes.items():
        first, second = matched.names[a], matched.names[b]
        rates = np.array(list(voted.values()))
        difference = paired_difference(100 * (2 * rates - 1), np.zeros(len(rates)), confidence=confidence)
        said = verdict(first, second, difference, unit="points of wins", confidence=confidence, digits=1, shares=True)
        pairs.append({
            "a": first, "b": second, "n": len(rates), "win_rate": _plain(rate_interval(rates, confidence)),
            "p": difference.p, "outcome": said.outcome, "verdict": said.text, "warnings": [],
        })  # fmt: skip
        games += [Game(matched.items[at].id, first, second, outcome) for at, outcome in voted.items()]
    met = {name for game in games for name in (game.a, game.b)}
    ranked = standings(games, confidence=confidence) if len(met) > 2 else []
    return {
        "judge": "people", "identity": "people", "items": len(matched.items), "left_out": matched.left_out,
        "pairs": pairs, "standings": [asdict(one) for one in ranked], "warnings": [],
        "cautions": [PEOPLE_CAUTION, PAIR_CAUTION],
    }  # fmt: skip


def rate_all(judge: Judge, matched: Matched, out: Path, log: EventLog, confidence: float = 0.95) -> dict[str, Any]:
    """Rate every answer individually, 1 to 10: means with intervals, and paired comparisons with the first system."""
    ratings = {name: judge_single(judge, matched.items, at, out, log) for at, name in enumerate(matched.names)}
    means = []
    for name, values in ratings.items():
        read = values[~np.isnan(values)]
        if not len(read):
            raise InputError(f"no rating of {judge.name} for {name} can be read", hint="see judgements.jsonl")
        means.append({"who": name, **_plain(bootstrap_mean(read, confidence=confidence)), "n": len(read),
                      "unreadable": int(np.isnan(values).sum())})  # fmt: skip
    first = matched.names[0]
    compared = []
    for name in matched.names[1:]:
        both = ~np.isnan(ratings[name]) & ~np.isnan(ratings[first])
        if both.any():
            difference = paired_difference(ratings[name][both], ratings[first][both], confidence=confidence)
            said = verdict(name, first, difference, confidence=confidence)
            compared.append(
                {"a": name, "b": first, **asdict(difference), "outcome": said.outcome, "verdict": said.text}
            )
    flagged = [text for name in matched.names if (text := self_preference(judge.name, name))]
    return {
        "judge": judge.name, "identity": judge.identity, "items": len(matched.items), "left_out": matched.left_out,
        "ratings": means, "comparisons": compared, "warnings": flagged, "cautions": [*judge.cautions, RATING_CAUTION],
    }  # fmt: skip


def _pair(
    judge: Judge, matched: Matched, a: int, b: int, outcomes: Floats, votes: Mapping[int, float] | None,
    confidence: float,
) -> dict[str, Any]:  # fmt: skip
    first, second = matched.names[a], matched.names[b]
    rates = win_rates(outcomes)
    if not len(rates):
        raise InputError(
            f"no verdict of {judge.name} on {first} and {second} can be read",
            hint="see judgements.jsonl; use a stronger judge model",
        )
    difference = paired_difference(100 * (2 * rates - 1), np.zeros(len(rates)), confidence=confidence)
    said = verdict(first, second, difference, unit="points of wins", confidence=confidence, digits=1, shares=True)
    lengths = [np.array([len(item.answers[at]) for item in matched.items], dtype=np.float64) for at in (a, b)]
    position = position_bias(outcomes, confidence)
    controlled = length_controlled(outcomes, *lengths, confidence=confidence)
    rate = rate_interval(rates, confidence)
    found: dict[str, Any] = {
        "a": first, "b": second, "n": len(rates), "unreadable": int(np.isnan(outcomes).sum()),
        "win_rate": _plain(rate), "p": difference.p, "outcome": said.outcome, "verdict": said.text,
        "position": {"first": _plain(position.first), "flips": position.flips and _plain(position.flips),
                     "p": position.p},
        "lengths": [float(one.mean()) for one in lengths],
        "longer_wins": _longer(outcomes, lengths[0] - lengths[1]),
        "length_controlled": controlled and {
            "win_rate": _plain(controlled.rate), "coefficient": _plain(controlled.coefficient),
            "planted": controlled.planted, "recovered": controlled.recovered},
    }  # fmt: skip
    if controlled and said.outcome in ("better", "worse"):
        low, high = controlled.rate.low or 0.0, controlled.rate.high or 1.0
        if low <= 0.5 <= high:
            found["verdict"] += "; at equal length it is not resolved"
    found["warnings"] = _warnings(judge, found)
    if votes:
        found["agreement"] = _agreement(outcomes, votes, confidence)
    return found


def _warnings(judge: Judge, found: Mapping[str, Any]) -> list[str]:
    a, b = found["a"], found["b"]
    said = [text for name in (a, b) if (text := self_preference(judge.name, name))]
    first = found["position"]["first"]
    if found["position"]["p"] < 0.05 and abs(first["value"] - 0.5) > _CLEARLY:
        place = "first" if first["value"] > 0.5 else "second"
        share = max(first["value"], 1 - first["value"])
        said.append(
            f"the judge prefers the answer shown {place} ({100 * share:.0f} % of verdicts); both orders are averaged"
        )
    flips = found["position"]["flips"]
    if flips and flips["value"] > 0.3:
        said.append(f"{100 * flips['value']:.0f} % of its verdicts flip with the order: the judge is unreliable")
    controlled = found["length_controlled"]
    if controlled and controlled["coefficient"]["low"] is not None:
        coefficient = controlled["coefficient"]
        if coefficient["low"] > 0 or coefficient["high"] < 0:
            what = "longer" if coefficient["low"] > 0 else "shorter"
            said.append(
                f"the judge prefers {what} answers: at equal length {a} wins "
                f"{100 * controlled['win_rate']['value']:.1f} % instead of {100 * found['win_rate']['value']:.1f} %"
            )
    if found["unreadable"]:
        said.append(f"{found['unreadable']} verdicts are missing or unreadable and were not counted")
    return said


def self_preference(judge: str, party: str) -> str:
    """A warning if the judge is the system itself or of the same family by name; else ""."""
    if judge == party:
        return f"{judge} judges its own answers"
    mine, theirs = family(judge), family(party)
    if mine and mine == theirs:
        return f"{judge} judges answers of its own family ({party}), which judges tend to prefer"
    return ""


def family(name: str) -> str:
    """The first word of a model's own name: `meta-llama/Llama-3.1-8B` -> `llama`; "" if it has none of 3 letters."""
    if name.startswith("rule:"):
        return ""
    found = re.match(r"[a-z]{3,}", name.rstrip("/").rsplit("/", 1)[-1].lower())
    return found[0] if found else ""


def _longer(outcomes: Floats, difference: Floats) -> dict[str, Any] | None:
    """How often the longer answer wins, ties counting half; None if lengths are equal."""
    rates = np.array([np.nan if np.isnan(one).all() else np.nanmean(one) for one in outcomes])
    there = ~np.isnan(rates) & (difference != 0)
    if not there.any():
        return None
    wins = np.where(difference > 0, rates, 1 - rates)[there]
    return {**_plain(rate_interval(wins)), "n": len(wins)}


def _agreement(outcomes: Floats, votes: Mapping[int, float], confidence: float) -> dict[str, Any] | None:
    at = [one for one in votes if not np.isnan(outcomes[one]).all()]
    if not at:
        return None
    sampled = np.array([np.nanmean(outcomes[one]) for one in at])
    people = np.array([votes[one] for one in at])
    found = agreement(win_rates(outcomes), sampled, people, confidence)
    return {
        "n": found.n, "share": _plain(found.share), "kappa": found.kappa, "judge": found.judge, "people": found.people,
        "corrected_win_rate": _plain(found.rate), "few": found.n < MIN_SHARE_ITEMS,
    }  # fmt: skip


def _plain(interval: Interval) -> dict[str, float | None]:
    return asdict(interval)
