"""The values of a recipe that follow from a proposal, each with its reason; and remarks on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tutelage.pretraining.expected import reference
from tutelage.pretraining.forecast import BESIDE_STEPS, sizes
from tutelage.pretraining.proposal import Candidate, Proposal
from tutelage.pretraining.rules import COMPUTE_OPTIMAL, FREE_PASSES
from tutelage.pretraining.shape_rules import MOST_OF_MEDIUM, MOST_OF_SMALL
from tutelage.pretraining.sizing import WIDTHS, batch_tokens, embedding_rate, learning_rate, warmup_steps
from tutelage.store.stage import Facts
from tutelage.tokenizer.config import LARGEST_CHOSEN, OCCURRENCES

VALIDATIONS = 10
BEYOND = 4.0  # times the largest reference run
SHORT_OF = 0.9  # of the time; above this the text is not the limit
_DEFAULT = "docs/pretraining.md"


@dataclass(frozen=True)
class Choice:
    """A value of the recipe by its key, and the reason with its source."""

    key: str
    value: Any
    reason: str


def choices(proposal: Proposal, corpus: Facts) -> tuple[Choice, ...]:
    """All values that the proposal sets in a recipe."""
    return (_vocabulary(proposal.taken, corpus), *_model(proposal), *_training(proposal.taken, corpus))


def remarks(proposal: Proposal, corpus: Facts) -> tuple[str, ...]:
    """What other than the time limits the proposal, and how reliable it is."""
    taken, said = proposal.taken, list[str]()
    needed = taken.tokens * taken.seconds_per_token * BESIDE_STEPS
    if text_ends(taken) and needed < SHORT_OF * proposal.seconds:
        said.append(
            f"the text runs out before the time: {FREE_PASSES} passes take {needed / 3600:.2g} h with this model, "
            "and no larger one is expected to do better on so little text; more text would help more than more hours"
        )
    if "ppmd_bits" not in corpus:
        said.append(
            "the difficulty of the text is unknown before it is read: the expected bits per byte assume medium "
            "difficulty"
        )
    known = reference()
    read = taken.tokens * taken.bytes_per_token
    if read > BEYOND * known.largest_bytes or sizes(taken.model)["block_parameters"] > BEYOND * known.largest_blocks:
        said.append(
            f"the expected bits per byte rest on {known.runs} small runs, the largest of "
            f"{known.largest_blocks / 1e6:.1f}M parameters in its blocks and {known.largest_bytes / 1e6:.0f} MB read: "
            "this is an extrapolation"
        )
    if taken.width == WIDTHS[-1]:
        said.append(f"widths beyond {WIDTHS[-1]} are not considered")
    return tuple(said)


def text_ends(taken: Candidate) -> bool:
    """Whether the text, not the time, is the limit."""
    return taken.passes >= 0.98 * FREE_PASSES


def _vocabulary(taken: Candidate, corpus: Facts) -> Choice:
    times = corpus["train_bytes"] / taken.bytes_per_token / taken.vocab_size
    return Choice(
        "tokenizer.vocab_size",
        taken.vocab_size,
        f"a token occurs {times:,.0f} times in the text on average, at least {OCCURRENCES} (Gowda & May 2020), "
        f"{LARGEST_CHOSEN:,} at most; embeddings take up to {MOST_OF_SMALL:.0%} of a model below 10M, "
        f"{MOST_OF_MEDIUM:.0%} of a larger one ({_DEFAULT})",
    )


def _model(proposal: Proposal) -> list[Choice]:
    taken, keys = proposal.taken, proposal.taken.keys
    others = ", ".join(f"{one.width}: {one.bits.middle:.2f}" for one in proposal.looked_at if one is not taken)
    beside = f"; other widths {others}" if others else ""
    reasons = {
        "hidden_size": f"{taken.parameters / 1e6:.2f}M parameters: of the widths tried on this machine the lowest "
        f"expected bits per byte in the time, {taken.bits.middle:.2f}{beside}",
        "intermediate_size": "2.75 times the width, as in the default shape",
        "num_layers": f"width / depth {taken.width / keys['num_layers']:.0f}; 16 to 128 (MobileLLM, nanochat)",
        "num_heads": f"heads of 64 from width 128 on ({_DEFAULT})",
        "num_kv_heads": "grouped queries: as good, with a smaller cache (Ainslie et al. 2023)",
        "tie_word_embeddings": f"an untied output head pays off below 10M parameters ({_DEFAULT})",
    }
    positions = Choice("model.max_position_embeddings", taken.model.max_position_embeddings, "the context")
    return [*(Choice(f"model.{key}", keys[key], reason) for key, reason in reasons.items()), positions]


def _training(taken: Candidate, corpus: Facts) -> list[Choice]:
    context, tied = taken.model.max_position_embeddings, taken.model.tie_word_embeddings
    rows = max(1, round(batch_tokens(taken.tokens) / context))
    steps = max(1, round(taken.tokens / (rows * context)))
    document = corpus["document_bytes"] / taken.bytes_per_token
    limit = "four passes over the text; more repetition helps little (Muennighoff et al. 2023)"
    length = (
        f"{taken.tokens / 1e6:.2f}M tokens: {taken.passes:.1f} passes over the text, "
        f"{taken.tokens / taken.parameters:.1f} for each parameter ({COMPUTE_OPTIMAL} are compute-optimal, "
        f"Hoffmann et al. 2022); limited by {limit if text_ends(taken) else 'the time'}"
    )
    found = [
        ("steps", steps, length),
        ("batch_rows", rows, f"{rows * context:,} tokens in a step: 1,536 at 1.5M tokens ({_DEFAULT}), growing "
                             "as D^0.383 (Bergsma et al. 2025)"),
        ("learning_rate", round(learning_rate(taken.parameters), 5),
         f"0.006 at 1.45M parameters ({_DEFAULT}), falling as N^(-1/3) (Porian et al. 2024)"),
        ("embedding_rate", embedding_rate(tied), f"times the learning rate, with an untied head ({_DEFAULT})"),
        ("warmup_steps", warmup_steps(taken.parameters, rows * context, steps),
         "about a token for each parameter, at most a tenth of the run (OLMo ladder)"),
        ("schedule", "linear", "falls over the whole run, so that the learning rate has decayed by the end"),
        ("validate_every", max(1, steps // VALIDATIONS), f"{VALIDATIONS} evaluations on the held-out text"),
    ]  # fmt: skip
    training = [Choice(f"pretrain.training.{key}", value, reason) for key, value, reason in found]
    return [
        Choice("pretrain.context_length", context, f"256 at least; a document has {document:,.0f} tokens on average"),
        *training,
    ]
