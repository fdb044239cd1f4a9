"""Rules of thumb for the shape of a fresh model: embeddings, depth, heads, context."""

from __future__ import annotations

import math
from typing import Any

from tutelage.pretraining.sizing import HEAD_PAYS
from tutelage.store.errors import TutelageError
from tutelage.store.stage import Facts, Finding, Rule

SMALL, MEDIUM = 1e6, 50e6  # parameters; smaller models only show that everything works
MOST_OF_SMALL, MOST_OF_MEDIUM = 0.75, 0.4  # of the parameters, in embeddings; below and from HEAD_PAYS parameters on
LONGEST_ADVISED = 2048  # tokens of context


def embedding_share(f: Facts) -> Finding | None:
    total = f["result.parameters"]
    share = (f["result.embedding_parameters"] + f["result.head_parameters"]) / total
    most = MOST_OF_SMALL if total < HEAD_PAYS else MOST_OF_MEDIUM
    fix = smaller_vocabulary(f, most / (1 - most))
    if not SMALL <= total < MEDIUM or share <= most or not fix:
        return None
    return (
        "warning",
        f"{share:.0%} of the parameters are embeddings, more than {most:.0%}: too little is left for the blocks",
        fix,
    )


def vocabulary(f: Facts) -> Finding | None:
    share = f["result.embedding_parameters"] / f["result.parameters"]
    fix = smaller_vocabulary(f, 1 / 3)
    if f["result.parameters"] < HEAD_PAYS or share <= 1 / 3 or not fix or embedding_share(f) is not None:
        return None
    return "note", f"vocabulary times width is {share:.0%} of the parameters, more than a third", fix


def smaller_vocabulary(f: Facts, most: float) -> str:
    """The power of two with which the embeddings are at most `most` times the blocks; empty if that is not smaller."""
    embeddings = f["result.embedding_parameters"] + f["result.head_parameters"]
    each = embeddings / f["result.vocab_size"]
    wanted = max(512, int(2 ** math.floor(math.log2(max(512.0, most * f["result.block_parameters"] / each)))))
    if wanted >= f["result.vocab_size"]:
        return ""
    free = f" --set {_MODEL}.vocab_size=0" if f["model.vocab_size"] else ""
    return f"--set tokenizer.vocab_size={wanted}{free}"


def tying(f: Facts) -> Finding | None:
    total, embedding, head = f["result.parameters"], f["result.embedding_parameters"], f["result.head_parameters"]
    tied = head == 0
    if not tied and total - head >= HEAD_PAYS and total < 1e9 and _possible(f, tie_word_embeddings=True):
        return (
            "warning",
            f"an untied output head costs {head / total:.0%} of the parameters and gains nothing below about 1B",
            f"--set {_MODEL}.tie_word_embeddings=true",
        )
    untied = total + embedding
    if tied and untied < HEAD_PAYS and 2 * embedding / untied <= 0.4 and _possible(f, tie_word_embeddings=False):
        return (
            "note",
            "the output head is tied to the token embedding; a model below 10M parameters learns faster with an untied "
            "head and a higher learning rate for the embedding (pretrain.training.embedding_rate)",
            f"--set {_MODEL}.tie_word_embeddings=false",
        )
    return None


def aspect(f: Facts) -> Finding | None:
    width, depth = f["model.hidden_size"], f["model.num_layers"]
    ratio = width / depth
    if 16 <= ratio <= 128:
        return None
    layers = math.ceil(width / 64) if ratio > 128 else max(1, width // 32)
    if layers == depth:
        return None
    shape = "wide and shallow" if ratio > 128 else "narrow and deep"
    return (
        "note",
        f"width / depth is {ratio:.0f}: {shape}; between 16 and 128 is best at equal cost",
        f"--set {_MODEL}.num_layers={layers}",
    )


def grouped_queries(f: Facts) -> Finding | None:
    heads, groups = f["model.num_heads"], f["model.num_kv_heads"]
    fewer = heads // 4 if heads % 4 == 0 else 1
    if heads < 8 or groups < heads or not _possible(f, num_kv_heads=fewer):
        return None
    return (
        "note",
        f"{heads} heads, each with its own keys and values; with {fewer} KV heads the model is as good and its cache "
        f"{heads // fewer} times smaller",
        f"--set {_MODEL}.num_kv_heads={fewer}",
    )


def context(f: Facts) -> Finding | None:
    context, length, longest = (
        f["pretrain.context_length"],
        f["result.document_tokens"],
        f["model.max_position_embeddings"],
    )
    wanted = min(LONGEST_ADVISED, 2 ** math.ceil(math.log2(max(1.0, length))))
    room = f" --set {_MODEL}.max_position_embeddings={wanted}" if wanted > longest else ""
    if length > context and wanted > context:
        return (
            "warning",
            f"documents have {length:.0f} tokens on average and the context {context}: most are cut",
            f"--set {f['key']}.context_length={wanted}{room}",
        )
    enough = max(64, 2 ** math.ceil(math.log2(max(1.0, 4 * length))))
    if context > max(256, 16 * length, enough):
        return (
            "note",
            f"a context of {context} fits {context / length:.0f} documents of average length, which do not attend to "
            f"each other: {enough} would be enough",
            f"--set {f['key']}.context_length={enough}",
        )
    return None


_MODEL = "model"  # the section of a recipe that sets the shape


def _possible(f: Facts, **changes: Any) -> bool:
    """Whether the family of the model supports this."""
    try:
        f["result.model"].with_(**changes)
    except TutelageError:
        return False
    return True


_SIZES = (
    "result.parameters", "result.embedding_parameters", "result.head_parameters", "result.block_parameters",
    "result.vocab_size", "result.model", "model.vocab_size",
)  # fmt: skip

RULES = (
    Rule(
        "embedding-share",
        "Embeddings below 75 % of a model of 1M to 10M, below 40 % of one of 10M to 50M",
        "Kaplan et al. 2020, nanochat: count what multiplies; below 10M our own measurement (docs/pretraining.md)",
        _SIZES,
        embedding_share,
    ),
    Rule(
        "vocabulary",
        "Vocabulary times width below a third of the parameters, from 10M on",
        "minimind: 6,400 tokens for 64M parameters",
        _SIZES,
        vocabulary,
    ),
    Rule(
        "tying",
        "Tied embeddings from 10M to about 1B parameters",
        "SmolLM playbook: 17 % of 1.2B for no gain; below 10M our own measurement (docs/pretraining.md)",
        _SIZES,
        tying,
    ),
    Rule(
        "aspect",
        "Width / depth between 16 and 128",
        "MobileLLM (Liu et al. 2024): 18 at 125M; nanochat: 64 beats 128 at equal FLOPs",
        ("model.hidden_size", "model.num_layers"),
        aspect,
    ),
    Rule(
        "grouped-queries",
        "Grouped queries from 8 heads on",
        "Ainslie et al. 2023; SmolLM playbook",
        ("model.num_heads", "model.num_kv_heads", "result.model"),
        grouped_queries,
    ),
    Rule(
        "context",
        "A context that fits a document, not dozens",
        "SmolLM playbook: documents in a row do not attend to each other",
        ("key", "pretrain.context_length", "result.document_tokens", "model.max_position_embeddings"),
        context,
    ),
)
