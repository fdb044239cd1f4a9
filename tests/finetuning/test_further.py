"""Continued pretraining: what is read, what is replayed, what is sampled, and a vocabulary that grows."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.stage import build_corpus
from tutelage.finetuning.common import chats
from tutelage.finetuning.data import read_rows
from tutelage.finetuning.further.config import FurtherConfig, SamplingConfig
from tutelage.finetuning.further.objective import Further
from tutelage.finetuning.further.rows import document_examples, mixed, replay_examples
from tutelage.finetuning.further.sampled import make_samples
from tutelage.finetuning.further.stage import audit, further
from tutelage.interchange.export import export_gguf
from tutelage.interchange.gguf.load import read_gguf
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model, save_model
from tutelage.model.lora_config import LoraConfig
from tutelage.store.errors import ConfigError, InputError
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import pack

from .conftest import corpus_rows, job, quick

SAMPLED = SamplingConfig(
    tokens=200, heldout_tokens=100, chats=6, questions=4, max_tokens=24, prompt_tokens=40, answer_tokens=16, chunk=8
)
FURTHER = FurtherConfig(context_length=64, max_heldout=20, replay={"share": 0.25}, sampled=SAMPLED, training=quick(30))


def contents(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def chat_tok(tok) -> Tokenizer:
    """As adopted chat models have it: eos_token ends a turn, bos_token opens one."""
    return Tokenizer(tok.definition, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, tok.chat_template)


@pytest.fixture(scope="module")
def chat_base(tmp_path_factory, chat_tok, shape):
    directory = tmp_path_factory.mktemp("chat")
    save_model(DecoderLM(shape, seed=1), directory)
    chat_tok.save(directory)
    (directory / "adopt.json").write_text('{"source": "elsewhere", "chat": true}')
    return directory


@pytest.fixture(scope="module")
def sampled(tmp_path_factory, chat_base):
    out = tmp_path_factory.mktemp("sampled")
    make_samples(job(SAMPLED, out, model=chat_base))
    return out / "out"


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    directory = tmp_path_factory.mktemp("texts")
    (directory / "in").mkdir()
    lines = [" ".join(row["summary"] for row in corpus_rows()[at : at + 6]) for at in range(0, 180, 6)]
    (directory / "in" / "a.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    config = CorpusConfig(source=str(directory / "in"), prose=False, heldout=0.2, max_overlap=1.0,
                          near_duplicate_threshold=1.0, measure_selection=False)  # fmt: skip
    from tutelage.store.events import EventLog

    build_corpus(config, directory / "out", EventLog(), seed=1, workers=1)
    return directory / "out"


@pytest.fixture(scope="module")
def made(tmp_path_factory, chat_base, texts, sampled):
    out = tmp_path_factory.mktemp("further")
    return out / "out", further(job(FURTHER, out, model=chat_base, texts=texts, sampled=sampled))


def test_a_document_of_a_chat_model_ends_with_the_end_of_text_and_not_of_a_turn(chat_tok):
    assert chat_tok.eos_id == chat_tok.token_to_id("<|im_end|>") != chat_tok.end_of_text_id
    (one,) = document_examples(chat_tok, [{"text": "Sort the lines."}], 64)
    (segment,) = one.segments
    assert segment.tokens[0] == chat_tok.token_to_id("<|endoftext|>") and segment.tokens[1:] == chat_tok.encode(
        "Sort the lines."
    )
    assert segment.targets[-1] == chat_tok.token_to_id("<|endoftext|>")
    assert chat_tok.bos_id not in segment.tokens and set(segment.weights) == {1.0}


def test_what_begins_a_text_stands_once(tok):
    settings = {"eos_token": "<|endoftext|>", "bos_token": "<|im_start|>"}
    data = json.loads(tok.definition)
    data["post_processor"] = {
        "type": "TemplateProcessing", "pair": [], "special_tokens": {
            "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    }  # fmt: skip
    begins = Tokenizer(json.dumps(data), settings, tok.chat_template)
    (one,) = document_examples(begins, [{"text": "lines"}], 64)
    assert [one.segments[0].tokens[0], *one.segments[0].targets].count(1) == 1


def test_a_cut_text_does_not_learn_to_end_and_a_long_one_loses_nothing(chat_tok):
    (cut,) = document_examples(chat_tok, [{"text": "lines", "ended": False}], 64)
    assert cut.segments[0].targets == chat_tok.encode("lines")
    text = "Merge the paths of the open store. " * 20
    pieces = document_examples(chat_tok, [{"text": text}], 16)
    targets = [target for piece in pieces for target in piece.segments[0].targets]
    assert targets == [*chat_tok.encode(text), chat_tok.end_of_text_id] and len(pieces) > 3
    chat = {"prompt": "Sort?", "response": "Yes.", "ended": True}
    (ended,), (open_,) = (replay_examples(chat_tok, [{**chat, "ended": flag}], 64) for flag in (True, False))
    assert ended.segments[0].targets[-1] in chat_tok.stop_ids
    assert open_.segments[0].targets == ended.segments[0].targets[:-1]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_replay_is_the_share_that_was_asked_for(chat_tok, share):
    new = document_examples(chat_tok, [{"text": row["summary"]} for row in corpus_rows()[:100]], 64)
    old = document_examples(chat_tok, [{"text": "Count the words."}, {"text": "Sort all the letters."}], 64)
    mix = mixed(new, old, share)
    longest = max(example.length for example in old)
    assert share * (mix.new_tokens + mix.old_tokens) <= mix.old_tokens + 1e-6
    assert mix.old_tokens < share / (1 - share) * mix.new_tokens + longest
    assert mix.old_passes == pytest.approx((len(mix.examples) - len(new)) / 2)
    assert mixed(new, [], 0.5).examples == new


def test_samples_have_the_length_that_was_asked_for_and_split_by_question(sampled):
    train, heldout = (read_rows(sampled / f"{split}.jsonl") for split in ("train", "heldout"))
    assert [row for row in train if "text" in row] and [row for row in train if "response" in row]
    questions = {row["prompt"] for row in heldout if "text" not in row}
    assert questions and not questions & {row["prompt"] for row in train if "prompt" in row}
    assert all("response" not in row for row in heldout)


def test_what_is_held_out_does_not_depend_on_how_much_is_replayed(sampled, chat_base, tmp_path):
    make_samples(job(SAMPLED.model_copy(update={"tokens": 0, "chats": 0}), tmp_path, model=chat_base))
    assert (tmp_path / "out" / "heldout.jsonl").read_bytes() == (sampled / "heldout.jsonl").read_bytes()
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == b""


def test_a_model_that_does_not_chat_is_asked_nothing(base, tmp_path):
    metrics = make_samples(job(SAMPLED, tmp_path, model=base))
    assert not chats(base) and metrics["questions"] == metrics["conversations"] == 0 < metrics["documents"]


@pytest.mark.parametrize("torn", ["", '[{"text": "half'])
def test_killed_sampling_ends_with_the_same_files(torn, sampled, chat_base, tmp_path, heard):
    def dies(event):
        if event["event"] == "progress" and event["what"] == "sampling train documents":
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        make_samples(job(SAMPLED, tmp_path, type(heard.log)(listeners=(dies,)), model=chat_base))
    path = tmp_path / "work" / "train-documents.jsonl"
    finished = path.read_text()
    with path.open("a") as file:
        file.write(torn)
    make_samples(job(SAMPLED, tmp_path, model=chat_base))
    assert contents(tmp_path / "out") == contents(sampled)
    assert path.read_text().startswith(finished) and finished.count("\n") == 2


def test_the_stage_leaves_a_model_that_knows_the_text_and_what_to_measure_it_by(made, chat_base, chat_tok):
    out, metrics = made
    curve = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    assert metrics["heldout_loss"] < curve[0]["loss"] and metrics["heldout_bits_per_byte"] > 0
    assert metrics["replayed_tokens"] / (metrics["replayed_tokens"] + metrics["new_tokens"]) == pytest.approx(
        0.25, abs=0.03
    )
    assert {row["set"] for row in read_rows(out / "data" / "heldout.jsonl")} == {"new text", "own text", "asked"}
    assert Tokenizer.load(out).definition == chat_tok.definition
    assert chats(out) and json.loads((out / "adopt.json").read_text()) == {"source": "elsewhere", "chat": True}
    assert json.dumps(metrics, allow_nan=False)


def test_a_killed_run_ends_as_an_uninterrupted_one(made, chat_base, texts, sampled, tmp_path, heard):
    def dies(event):
        if event["event"] == "step" and event["step"] >= 7:
            raise RuntimeError("killed")

    inputs = {"model": chat_base, "texts": texts, "sampled": sampled}
    often = FURTHER.model_copy(update={"training": quick(30, checkpoint_seconds=0.0)})
    with pytest.raises(RuntimeError, match="killed"):
        further(job(often, tmp_path, type(heard.log)(listeners=(dies,)), **inputs))
    further(job(FURTHER, tmp_path, heard.log, **inputs))
    assert "resuming from step" in heard.messages("note")
    assert contents(tmp_path / "out") == contents(made[0])


def test_gradients_of_four_microbatches_add_up_to_those_of_one(chat_base, chat_tok):
    rows = [{"text": row["summary"]} for row in corpus_rows()[:40]]
    packed = pack(document_examples(chat_tok, rows, 48), 48, chat_tok.pad_id)
    sizes = torch.ones(chat_tok.vocab_size, dtype=torch.int64)
    gradients = []
    for parts in (1, 4):
        model = load_model(chat_base).train()
        losses = [Further(packed, packed, sizes).loss(model, batch) for batch in quarters(packed, parts)]
        (sum(loss.sum for loss in losses) / sum(loss.weight for loss in losses)).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, four in zip(*gradients, strict=True):
        torch.testing.assert_close(one, four, rtol=1e-4, atol=1e-6)


def quarters(packed, parts) -> list[Batch]:
    import numpy as np

    size = 8 // parts
    return [packed.batch(np.arange(at, at + size)) for at in range(0, 8, size)]


def test_bits_per_byte_leaves_out_what_ends_a_text(chat_base, chat_tok):
    text = "Sort the lines of the first table."
    packed = pack(document_examples(chat_tok, [{"text": text}], 48), 48, chat_tok.pad_id)
    sizes = torch.tensor(
        [0 if t in chat_tok.control_ids else len(chat_tok.token_bytes(t)) for t in range(chat_tok.vocab_size)]
    )
    import numpy as np

    from tutelage.inference.language_model import LanguageModel

    model = load_model(chat_base)
    bits, size = Further(packed, packed, sizes).loss(model, packed.batch(np.arange(1))).metrics["bits_per_byte"]
    assert int(size) == len(text)
    whole = -LanguageModel(model, chat_tok).rolling([text])[0] / torch.log(torch.tensor(2.0))
    torch.testing.assert_close(bits, whole, rtol=1e-5, atol=1e-4)


def test_a_longer_vocabulary_is_trained_and_written_as_gguf_too(chat_base, chat_tok, texts, sampled, tmp_path, heard):
    config = FURTHER.model_copy(update={"extend_vocabulary": 12, "min_count": 5})
    metrics = further(job(config, tmp_path, heard.log, model=chat_base, texts=texts, sampled=sampled))
    out, found = tmp_path / "out", metrics["vocabulary"]
    tok, model = Tokenizer.load(out), load_model(out)
    assert (
        model.config.vocab_size == tok.vocab_size == chat_tok.vocab_size + found["tokens_added"] > chat_tok.vocab_size
    )
    assert found["bytes_per_token_extended"] > found["bytes_per_token_before"]
    assert "tokens are added" in heard.messages("note")
    from tutelage.tokenizer.extend import extend_tokenizer

    rows = sorted(row["text"] for row in read_texts(texts))
    pieces = extend_tokenizer(chat_tok, rows, 12, 5).pieces
    before = load_model(chat_base).embed_tokens.weight
    for index, old in pieces.items():  # they began as the mean of their pieces and were trained from there
        assert not torch.allclose(model.embed_tokens.weight[index], before[list(old)].mean(0), atol=1e-3)
    export_gguf(model, tok, tmp_path / "model.gguf", heard.log, "f32")  # with its own check of parity
    again, their_tok = read_gguf(tmp_path / "model.gguf")
    ids = tok.encode(rows[0])
    assert their_tok.encode(rows[0]) == ids and set(ids) & set(pieces)
    torch.testing.assert_close(again(torch.tensor([ids])), model(torch.tensor([ids])), rtol=1e-4, atol=1e-4)


def read_texts(corpus):
    import pyarrow.parquet as pq

    return pq.read_table(corpus / "train.parquet", columns=["text"]).to_pylist()


def test_adapters_leave_the_embedding_as_it_was_and_the_merged_model_knows_the_text(
    chat_base, texts, sampled, tmp_path, made
):
    config = FURTHER.model_copy(update={"lora": LoraConfig(rank=4), "training": quick(30, learning_rate=2e-2)})
    metrics = further(job(config, tmp_path, model=chat_base, texts=texts, sampled=sampled))
    before, after = load_model(chat_base), load_model(tmp_path / "out")
    assert torch.equal(before.embed_tokens.weight, after.embed_tokens.weight)
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").is_file()
    curve = [json.loads(line) for line in (tmp_path / "out" / "curve.jsonl").read_text().splitlines()]
    assert metrics["heldout_loss"] < curve[0]["loss"]


@pytest.mark.parametrize(
    ("kind", "talks"), [("instruct", True), ("prefer", True), ("classify", False), ("adopt", False)]
)
def test_a_model_that_learned_to_chat_here_chats(kind, talks, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": kind}))
    assert chats(tmp_path) is talks


def test_settings_that_cannot_be_meant_are_refused(tmp_path):
    for wrong, said in (
        ({"task": "labels"}, "not the rows of a task"),
        ({"columns": {"text": "body"}}, "remove columns"),
        ({"extend_vocabulary": 10, "lora": {"rank": 4}}, "which must be trained"),
        ({"sampled": {"tokens": 0, "chats": 0}}, "there is nothing to replay"),
    ):
        with pytest.raises(ConfigError, match=said):
            FurtherConfig.parse(wrong)
    with pytest.raises(ConfigError, match="there is no file or folder"):
        audit(FurtherConfig(general=str(tmp_path / "missing.txt")), None)
    with pytest.raises(InputError, match="holds no file that can be read"):
        audit(FurtherConfig(data=str(tmp_path)), None)
    (tmp_path / "a.txt").write_text("word " * 2000)
    assert audit(FurtherConfig(data=str(tmp_path)), None) == 5
