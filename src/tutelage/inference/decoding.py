"""Generate from prompts of ids with an engine of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tutelage.inference.choosing import TokenTable
from tutelage.inference.engine import TOKEN_BUDGET, Engine
from tutelage.inference.prefill import check_prompt
from tutelage.inference.sampling import Sampling
from tutelage.inference.sequences import Failure, Output, Token
from tutelage.inference.speculation import Speculation
from tutelage.model.decoder import DecoderLM


def generate_ids(
    model: DecoderLM,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    stop_ids: Sequence[int],
    on_token: Callable[[Token], bool] | None = None,
    token_budget: int = TOKEN_BUDGET,
) -> list[Output]:
    """Generate for every prompt; outputs in the order of the prompts. Errors as `decode`.

    `on_token` is called with each token; if it returns True the row ends there, with reason "stop".
    """
    outputs = [Output() for _ in prompts]
    ended: set[int] = set()
    for token in decode(model, prompts, sampling, stop_ids, ended, token_budget):
        output = outputs[token.row]
        output.ids.append(token.id)
        output.logprobs.append(token.logprob)
        if token.stop_reason is not None:
            output.stop_reason = token.stop_reason
        if on_token is not None and on_token(token):
            output.stop_reason = "stop"
            ended.add(token.row)
    return outputs


def decode(
    model: DecoderLM,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    stop_ids: Sequence[int],
    ended: set[int] | None = None,
    token_budget: int = TOKEN_BUDGET,
    table: TokenTable | None = None,
    engine: Engine | None = None,
    speculation: Speculation | None = None,
) -> Iterator[Token]:
    """Stream the tokens of all rows, step by step; a finished row makes room for another.

    The log-probability is the model's own, before temperature, penalty and filters. A row ends with "stop" at a stop
    id, and with "length" after `max_tokens` or when the context is full. A caller may add a row to `ended` to end it
    early. `table`, `speculation`: see `Engine`. `engine`: an idle engine to reuse across calls, with its cached
    prompts. Raises InputError for a prompt that is empty or fills the context.
    """
    engine = engine or Engine(model, stop_ids, token_budget=token_budget, table=table, speculation=speculation)
    ended = set() if ended is None else ended
    for row, prompt in enumerate(prompts):
        check_prompt(prompt, engine.context, model.config.vocab_size, f"prompt {row}")
    # Longest first, so that running out of memory shows immediately. Equal prompts are prefilled once.
    asked: dict[tuple[int, ...], list[int]] = {}
    for row in sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row)):
        asked.setdefault(tuple(prompts[row]), []).append(row)
    made = {
        one.row: one
        for ids, rows in asked.items()
        for one in engine.add(ids, [(row, sampling, row) for row in rows])
    }  # fmt: skip
    try:
        while True:
            for row in ended:
                engine.cancel(made[row])
            if not engine.busy:
                return
            for token in engine.step():
                if isinstance(token, Failure):
                    raise token.error
                if token.row not in ended:
                    yield token
    finally:
        for one in made.values():
            engine.cancel(one)
