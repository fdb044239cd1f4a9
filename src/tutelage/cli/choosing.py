"""The options of `tutelage generate` as settings of sampling, search or constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from tutelage.inference.constraint import Constraint
    from tutelage.inference.sampling import Sampling
    from tutelage.inference.search import Beam, Contrastive


def sampling_of(
    drawing: dict[str, Any], form: dict[str, Any], max_tokens: int, seed: int, logprobs: int | None
) -> Sampling:
    from tutelage.inference.sampling import Sampling

    for name, needed in (("xtc_threshold", "xtc_probability"), ("mirostat_eta", "mirostat_tau"),
                         ("dry_base", "dry_multiplier"), ("dry_allowed_length", "dry_multiplier"),
                         ("dry_breaker", "dry_multiplier")):  # fmt: skip
        if name in drawing and not drawing.get(needed):
            raise ConfigError(f"{named(name)} does nothing without {named(needed)}")
    settings: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95} | drawing
    if "top_p" not in drawing and (drawing.get("mirostat_tau") or settings["temperature"] == 0):
        del settings["top_p"]
    settings["logit_bias"] = dict(map(_bias, settings.pop("logit_bias", [])))
    for plural, name in (("stop", "stop"), ("stop_ids", "stop_id"), ("dry_breakers", "dry_breaker")):
        if name in settings:
            settings[plural] = tuple(settings.pop(name))
    return Sampling(
        max_tokens=max_tokens, seed=seed, top_logprobs=logprobs or 0, constraint=_constraint(form), **settings
    )


def _bias(given: str) -> tuple[int, float]:
    index, _, bias = given.partition("=")
    try:
        return int(index), float(bias)
    except ValueError:
        raise ConfigError(f"--logit-bias {given}: expected an id and a number", hint="e.g. 42=-5") from None


def _constraint(form: dict[str, Any]) -> Constraint | None:
    from tutelage.inference.constraint import Constraint

    if not form:
        return None
    if len(form) > 1:
        raise ConfigError(f"{' and '.join(map(named, form))} exclude each other: an answer has one format")
    ((name, value),) = form.items()
    if name == "regex":
        return Constraint.regex(value)
    if name == "choice":
        return Constraint.choices(value)
    try:
        text = value.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{named(name)} {value} cannot be read: {error}") from None
    return Constraint.json_schema(text) if name == "json_schema" else Constraint.grammar(text)


def search_of(
    search: dict[str, Any], drawing: dict[str, Any], form: dict[str, Any], max_tokens: int, n: int,
    logprobs: int | None,
) -> Beam | Contrastive:  # fmt: skip
    from tutelage.inference.search import Beam, Contrastive

    if "contrastive" in search:
        beside = {name: value for name, value in search.items() if name != "contrastive"}
        refuse("--contrastive", {**beside, **{k: v for k, v in drawing.items() if k != "top_k"}, **form})
        if n > 1:
            raise ConfigError("--n and --contrastive exclude each other: it finds one text")
        how: Beam | Contrastive = Contrastive(drawing.get("top_k", 4), search["contrastive"], max_tokens)
    else:
        if "beams" not in search:
            raise ConfigError(f"{named(next(iter(search)))} does nothing without --beams")
        refuse("--beams", {**{k: v for k, v in drawing.items() if k != "no_repeat_ngram"}, **form})
        if n > search["beams"]:
            raise ConfigError(f"--n {n} is more than --beams {search['beams']}: there are no more texts than beams")
        how = Beam(
            search["beams"], max_tokens, search.get("length_penalty", 1.0), groups=search.get("beam_groups", 1),
            diversity=search.get("diversity", 0.0), no_repeat_ngram=drawing.get("no_repeat_ngram", 0),
        )  # fmt: skip
    if logprobs:
        raise ConfigError("beam search has log-probabilities of its own tokens only", hint="--logprobs 0")
    return how


def refuse(what: str, given: dict[str, Any]) -> None:
    if given:
        raise ConfigError(f"{what} and {named(next(iter(given)))} exclude each other")


def named(option: str) -> str:
    return "--" + option.replace("_", "-")
