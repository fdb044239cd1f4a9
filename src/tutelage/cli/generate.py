"""`tutelage generate`: continue a text, with any decoding strategy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.choosing import named, refuse, sampling_of, search_of
from tutelage.cli.options import RUNS, Adapter, Json, Out, Source, WeightsOption, open_model, print_json
from tutelage.cli.speculating import Draft, Speculate, drafts, drafts_line, set_up
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel
    from tutelage.inference.results import Generation
    from tutelage.inference.sampling import Sampling
    from tutelage.inference.search import Beam, Contrastive

LENGTH, DRAWING, REPEATING, FORM, SEARCH, SHOWN = (
    "Stopping", "Sampling", "Repetition", "Constraints", "Search",
    "Output",
)  # fmt: skip


def _option(help: str, panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


def register(app: typer.Typer) -> None:
    app.command()(generate)


def generate(
    prompt: Annotated[str, typer.Argument(help="Text to continue; '-' reads standard input.")],
    model: Source = None,
    base: Annotated[
        bool,
        typer.Option(help="Of a run, take the pretrained model; `--no-base` takes the chat model."),
    ] = True,
    adapter: Adapter = None,
    weights: WeightsOption = "auto",
    speculate: Speculate = None,
    draft: Draft = None,
    out: Out = RUNS,
    max_tokens: Annotated[int, _option("Longest answer in tokens, e.g. `--max-tokens 40`; default 100.", LENGTH)] = 100,
    min_tokens: Annotated[
        int | None, _option("No stop token before this many tokens, e.g. `--min-tokens 20`.", LENGTH)
    ] = None,
    ignore_eos: Annotated[bool, _option("Never generate a stop token.", LENGTH, "--ignore-eos")] = False,
    stop: Annotated[list[str] | None, _option("Stop at this text; repeatable, e.g. `--stop END`.", LENGTH)] = None,
    stop_id: Annotated[list[int] | None, _option("Stop at this token id; repeatable.", LENGTH)] = None,
    temperature: Annotated[
        float | None,
        _option("0 is greedy, 1 samples as trained, e.g. `-t 0.7`; default 0.8.", DRAWING, "--temperature", "-t"),
    ] = None,
    top_k: Annotated[int | None, _option("Only the K most likely tokens, e.g. `--top-k 40`.", DRAWING)] = None,
    top_p: Annotated[
        float | None,
        _option(
            "Only the smallest set of tokens with this probability, e.g. `--top-p 0.9`; default 0.95 (1 is off).",
            DRAWING,
        ),
    ] = None,
    min_p: Annotated[
        float | None,
        _option("Only tokens with at least this fraction of the top probability, e.g. `--min-p 0.1`.", DRAWING),
    ] = None,
    typical_p: Annotated[
        float | None, _option("Only tokens about as surprising as expected, e.g. `--typical-p 0.9`.", DRAWING)
    ] = None,
    top_n_sigma: Annotated[
        float | None,
        _option("Only tokens within this many standard deviations of the top logit, e.g. `--top-n-sigma 1`.", DRAWING),
    ] = None,
    xtc_probability: Annotated[
        float | None, _option("How often XTC leaves out the most likely tokens, e.g. `--xtc-probability 0.5`.", DRAWING)
    ] = None,
    xtc_threshold: Annotated[
        float | None,
        _option(
            "Probability from which XTC counts a token as likely, e.g. `--xtc-threshold 0.1`, the default.", DRAWING
        ),
    ] = None,
    mirostat_tau: Annotated[
        float | None, _option("Target surprise per token in bits, e.g. `--mirostat-tau 5`.", DRAWING)
    ] = None,
    mirostat_eta: Annotated[
        float | None, _option("How fast mirostat adapts, e.g. `--mirostat-eta 0.1`, the default.", DRAWING)
    ] = None,
    logit_bias: Annotated[
        list[str] | None,
        _option(
            "Add to a token's logit (-inf bans it); repeatable, e.g. `--logit-bias 42=-5`.", DRAWING, metavar="ID=BIAS"
        ),
    ] = None,
    seed: Annotated[int | None, _option("Same seed, same text, e.g. `--seed 7`; default 0.", DRAWING)] = None,
    repetition_penalty: Annotated[
        float | None,
        _option("Penalise tokens that occurred before, by this factor, e.g. `--repetition-penalty 1.1`.", REPEATING),
    ] = None,
    presence_penalty: Annotated[
        float | None,
        _option("Subtract this from logits of tokens in the answer so far, e.g. `--presence-penalty 0.5`.", REPEATING),
    ] = None,
    frequency_penalty: Annotated[
        float | None,
        _option("Subtract this for each occurrence in the answer, e.g. `--frequency-penalty 0.2`.", REPEATING),
    ] = None,
    no_repeat_ngram: Annotated[
        int | None, _option("No N-gram of tokens twice, e.g. `--no-repeat-ngram 3`.", REPEATING)
    ] = None,
    dry_multiplier: Annotated[
        float | None, _option("DRY: penalise continuing a repetition, e.g. `--dry-multiplier 0.8`.", REPEATING)
    ] = None,
    dry_base: Annotated[
        float | None, _option("How the DRY penalty grows with the length, e.g. `--dry-base 1.75`.", REPEATING)
    ] = None,
    dry_allowed_length: Annotated[
        int | None, _option("Longest repetition that DRY allows, in tokens, e.g. `--dry-allowed-length 2`.", REPEATING)
    ] = None,
    dry_breaker: Annotated[
        list[str] | None, _option("Text at which DRY stops matching; repeatable, e.g. `--dry-breaker .`.", REPEATING)
    ] = None,
    json_schema: Annotated[Path | None, _option("JSON that matches this schema (a file).", FORM)] = None,
    regex: Annotated[
        str | None, _option("Text that matches this regular expression, e.g. `--regex '[0-9]+'`.", FORM)
    ] = None,
    grammar: Annotated[Path | None, _option("Text of this grammar (a file in Lark's notation).", FORM)] = None,
    choice: Annotated[
        list[str] | None, _option("One of these texts; repeatable, e.g. `--choice yes --choice no`.", FORM)
    ] = None,
    beams: Annotated[int | None, _option("Beam search with this many beams, e.g. `--beams 4`.", SEARCH)] = None,
    length_penalty: Annotated[
        float | None, _option("With beams: above 0 favours longer texts, e.g. `--length-penalty 1`.", SEARCH)
    ] = None,
    beam_groups: Annotated[
        int | None, _option("Groups of diverse beams, e.g. `--beam-groups 2 --diversity 1`.", SEARCH)
    ] = None,
    diversity: Annotated[float | None, _option("Penalty on tokens that an earlier group chose.", SEARCH)] = None,
    contrastive: Annotated[
        float | None,
        _option("Contrastive search with this alpha, over --top-k tokens (4), e.g. `--contrastive 0.6`.", SEARCH),
    ] = None,
    n: Annotated[int, _option("Number of texts, e.g. `--n 3`; with --beams the best ones.", SHOWN, "--n", min=1)] = 1,
    logprobs: Annotated[
        int | None,
        _option(
            "Show each token's log-probability, and this many of the most likely alternatives, e.g. `--logprobs 3`.",
            SHOWN,
            min=0,
        ),
    ] = None,
    compare: Annotated[
        bool,
        _option("Compare several decoding strategies side by side, with measures of coherence.", SHOWN, "--compare"),
    ] = False,
    strategies: Annotated[
        str | None,
        _option("The strategies to compare, e.g. `--strategies greedy,top_p=0.9,beam=4`; default: six.", SHOWN),
    ] = None,
    as_json: Json = False,
) -> None:
    """Continue a text: by sampling, by search, or constrained to a format; the options say how.

    Example: `tutelage generate "Return the number of" --temperature 0.7`, or every way at once:
    `tutelage generate "Return the number of" --compare`
    """
    drawing: dict[str, Any] = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical_p,
        "top_n_sigma": top_n_sigma, "xtc_probability": xtc_probability, "xtc_threshold": xtc_threshold,
        "mirostat_tau": mirostat_tau, "mirostat_eta": mirostat_eta, "logit_bias": logit_bias,
        "repetition_penalty": repetition_penalty, "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty, "no_repeat_ngram": no_repeat_ngram, "dry_multiplier": dry_multiplier,
        "dry_base": dry_base, "dry_allowed_length": dry_allowed_length, "dry_breaker": dry_breaker,
        "min_tokens": min_tokens, "ignore_eos": ignore_eos or None, "stop": stop, "stop_id": stop_id,
    }  # fmt: skip
    form: dict[str, Any] = {"json_schema": json_schema, "regex": regex, "grammar": grammar, "choice": choice}
    search: dict[str, Any] = {
        "beams": beams, "length_penalty": length_penalty, "beam_groups": beam_groups, "diversity": diversity,
        "contrastive": contrastive,
    }  # fmt: skip
    drawing, form, search = (
        {name: value for name, value in group.items() if value is not None} for group in (drawing, form, search)
    )
    drafting = {name: value for name, value in (("speculate", speculate), ("draft", draft)) if value is not None}
    if compare:
        refuse(
            "--compare",
            {**drafting, **drawing, **form, **search, **({} if logprobs is None else {"logprobs": logprobs})},
        )
    elif strategies is not None:
        raise ConfigError("--strategies goes with --compare")
    how: Sampling | Beam | Contrastive | None = None
    if search:
        refuse(named(next(iter(search))), drafting)
        how = search_of(search, drawing | ({} if seed is None else {"seed": seed}), form, max_tokens, n, logprobs)
    elif not compare:
        how = sampling_of(drawing, form, max_tokens, seed or 0, logprobs)
        if n > 1 and how.temperature == 0:
            raise ConfigError("--n and temperature 0 exclude each other: the texts would all be the same")
    text = sys.stdin.read() if prompt == "-" else prompt
    lm = open_model(model, out, "base" if base else None, adapter, weights=weights)
    set_up(lm, speculate, draft, out, weights)
    if how is None:
        from tutelage.cli.side_by_side import show

        show(lm, text, strategies, max_tokens, seed or 0, n, as_json)
        return
    made = _made(lm, text, how, n)
    if as_json:
        rows = [_row(lm, one, logprobs) for one in made]
        print_json((rows[0] if n == 1 else {"generations": rows}) | drafts(lm))
        return
    for number, one in enumerate(made):
        if n > 1:
            print(f"{'' if not number else chr(10)}-- {number + 1} of {n}")
        print(one.text if form else text + one.text)
        if form and one.stop_reason != "stop":
            print(f"cut off after {max_tokens} tokens, before its format was complete", file=sys.stderr)
        if logprobs is not None:
            _print_logprobs(lm, one)
    if drafting and lm.speculation is not None:
        print(drafts_line(lm), file=sys.stderr)


def _made(lm: LanguageModel, text: str, how: Sampling | Beam | Contrastive, n: int) -> list[Generation]:
    from tutelage.inference.sampling import Sampling

    return lm.generate([text] * n, how) if isinstance(how, Sampling) else lm.search([text], how)[0][:n]


def _row(lm: LanguageModel, made: Generation, logprobs: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {"text": made.text, "stop_reason": made.stop_reason, "tokens": len(made.ids)}
    if made.score is not None:
        row["score"] = made.score
    if logprobs is not None:
        row["logprobs"] = [
            {**_token(lm, index, logprob), "top": [_token(lm, *one) for one in top]}
            for index, logprob, top in zip(made.ids, made.logprobs, made.top or [()] * len(made.ids), strict=True)
        ]
    return row


def _token(lm: LanguageModel, index: int, logprob: float) -> dict[str, Any]:
    return {"id": index, "token": lm.tokenizer.decode([index], skip_special=False), "logprob": logprob}


def _print_logprobs(lm: LanguageModel, made: Generation) -> None:
    for index, logprob, top in zip(made.ids, made.logprobs, made.top or [()] * len(made.ids), strict=True):
        others = "  ".join(f"{_token(lm, *one)['token']!r} {one[1]:.3f}" for one in top)
        print(f"{_token(lm, index, logprob)['token']!r:>16} {logprob:8.3f}  {others}".rstrip())
