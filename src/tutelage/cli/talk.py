"""`tutelage chat`: a conversation in the terminal, or one question."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tutelage.cli.options import RUNS, Adapter, Json, Out, Source, WeightsOption, open_model, print_json
from tutelage.cli.speculating import Draft, Speculate, drafts, set_up

Temperature = Annotated[
    float, typer.Option("--temperature", "-t", help="0 is greedy; 1 samples as trained, e.g. `-t 0.7`.")
]
TopP = Annotated[
    float, typer.Option(help="Sample from the smallest set of tokens with this probability, e.g. `--top-p 0.9`.")
]
Seed = Annotated[int, typer.Option(help="Seed of sampling: same seed, same text, e.g. `--seed 7`.")]


def register(app: typer.Typer) -> None:
    app.command()(chat)


def chat(
    name: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="The model, as with --model; e.g. `smollm2`.")
    ] = None,
    model: Source = None,
    message: Annotated[
        str | None,
        typer.Option(
            "--message",
            help='Send this message, print the answer and exit, e.g. `--message "What does close(self) do?"`; '
            "default: a conversation.",
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help='System prompt, e.g. `--system "Answer in one line."`; default: none.')
    ] = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Longest answer in tokens, e.g. `--max-tokens 400`; default: as long as the context allows."
        ),
    ] = None,
    seed: Seed = 0,
    adapter: Adapter = None,
    weights: WeightsOption = "auto",
    speculate: Speculate = None,
    draft: Draft = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Chat with a model in the terminal; answers are streamed. Type /help there for more.

    The quickstart's model writes docstrings: try "Write a one-line docstring for `read_rows(path, limit=10)`."

    `tutelage chat smollm2` downloads a model of 135M parameters (98 MB, once) and chats with it.

    Example: `tutelage chat --message "What does close(self) do? Answer in one line."`
    """
    from tutelage.cli.conversation import converse
    from tutelage.inference.sampling import Sampling
    from tutelage.tokenizer.messages import Message

    lm = open_model(name or model, out, adapter=adapter, weights=weights)
    lm.require_text()
    set_up(lm, speculate, draft, out, weights)
    sampling = Sampling(max_tokens=max_tokens or lm.context, temperature=temperature, top_p=top_p, seed=seed)
    opening = [Message("system", system)] if system else []
    if message is None:
        converse(lm, sampling, opening)
        return
    answer = lm.chat([*opening, Message("user", message)], sampling)
    if as_json:
        shown = {"text": answer.text, "stop_reason": answer.stop_reason, "tokens": len(answer.ids)}
        print_json(shown | drafts(lm))
        return
    print(answer.text)
    if answer.stop_reason == "length":
        why = "the context of the model is full" if len(answer.ids) != max_tokens else "raise --max-tokens"
        print(f"the answer was cut off after {len(answer.ids)} tokens: {why}", file=sys.stderr)
