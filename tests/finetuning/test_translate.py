"""Translation: parallel text in every layout, asked in one way in training and after."""

from __future__ import annotations

import json

import pytest
from tests.finetuning.conftest import job, quick

from tutelage.cli.main import main
from tutelage.finetuning.data.translations import as_questions, read_translations
from tutelage.finetuning.translate.config import TranslateConfig
from tutelage.finetuning.translate.spec import SPEC
from tutelage.finetuning.translate.stage import preflight, translate
from tutelage.inference.language_model import LanguageModel, load
from tutelage.inference.sampling import Sampling
from tutelage.inference.search import Beam
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.translation import Translation, translation_of, with_translation

PAIRS = [(f"{n} dogs run.", f"{n} Hunde laufen.") for n in range(20)]


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def tsv(*head):
    rows = [head, *PAIRS] if head else PAIRS
    return "".join("\t".join(row) + "\n" for row in rows)


def lines(*names):
    return "".join(json.dumps(dict(zip(names, pair, strict=True))) + "\n" for pair in PAIRS)


@pytest.mark.parametrize(
    ("name", "content", "columns", "named"),
    [
        ("a.tsv", tsv("en", "de"), None, ("English", "German")),
        ("a.tsv", tsv("English", "german"), None, ("English", "German")),
        ("a.tsv", tsv("eng", "deu"), None, ("English", "German")),
        ("a.tsv", tsv("eng_Latn", "deu_Latn"), None, ("English", "German")),
        ("a.tsv", tsv("sentence_en", "sentence_de"), None, ("English", "German")),
        ("a.tsv", tsv("source", "target"), None, ("", "")),
        ("a.tsv", tsv(), None, ("", "")),
        ("a.jsonl", lines("src", "tgt"), None, ("", "")),
        ("a.jsonl", lines("en_GB", "de-DE"), None, ("English", "German")),
        ("a.jsonl", lines("x", "y"), {"source": "x", "target": "y"}, ("", "")),
        ("a.jsonl", lines("de", "en"), {"source": "de"}, ("German", "English")),
        (
            "a.jsonl",
            "".join(json.dumps({"translation": dict(zip(("en", "de"), pair, strict=True))}) + "\n" for pair in PAIRS),
            None,
            ("English", "German"),
        ),
    ],
)
def test_parallel_text_in_every_layout(name, content, columns, named, tmp_path, heard):
    rows, audit, found = read_translations(write(tmp_path / name, content), heard.log, columns)
    assert [(row["source"], row["target"]) for row in rows] == PAIRS and found == named and not audit.dropped


def test_two_aligned_files(tmp_path, heard):
    one = write(tmp_path / "train.en", "".join(f"{a}\n" for a, _ in PAIRS))
    other = write(tmp_path / "train.de", "".join(f"{b}\n" for _, b in PAIRS))
    rows, _, named = read_translations(one, heard.log, None, other)
    assert [(row["source"], row["target"]) for row in rows] == PAIRS and named == ("English", "German")
    with pytest.raises(InputError, match=r"holds one language.*--target"):
        read_translations(one, heard.log)
    write(other, "nur eine\n")
    with pytest.raises(InputError, match=r"20 lines, train.de 1: they are not aligned"):
        read_translations(one, heard.log, None, other)


def test_what_is_no_pair_is_dropped_and_columns_that_cannot_be_told_are_asked_for(tmp_path, heard):
    content = tsv("en", "de") + "empty\t\nsame\tsame\n" + "\t".join(PAIRS[0]) + "\n"
    rows, audit, _ = read_translations(write(tmp_path / "a.tsv", content), heard.log)
    assert len(rows) == 21 and sum(audit.dropped.values()) == 2 and "are equal" in heard.messages("note")
    three = write(tmp_path / "b.jsonl", json.dumps({"a": "x", "b": "y", "c": "z"}) + "\n")
    with pytest.raises(InputError, match=r"cannot be told from 'a', 'b', 'c'.*--column source=NAME"):
        read_translations(three, heard.log)


def test_it_is_asked_as_it_was_trained():
    how = Translation("From {source} to {target}: {text}!", "English", "German", both=True)
    assert how.ask("a {target} b") == "From English to German: a {target} b!"  # a text is never read as a pattern
    assert how.ask("x", backwards=True) == "From German to English: x!"
    assert not how.backwards(None) and not how.backwards("german") and how.backwards(" English ")
    with pytest.raises(ConfigError, match="does not translate into 'French'"):
        how.backwards("French")
    with pytest.raises(ConfigError, match="does not translate into 'English'"):
        Translation("{text}", "English", "German").backwards("English")


def test_both_directions_are_rows_of_their_own():
    rows = [{"id": "1", "source": "dog", "target": "Hund"}]
    there, back = as_questions(rows, Translation("to {target}: {text}", "English", "German", True).ask, True)
    assert (there["prompt"], there["response"], there["source"]) == ("to German: dog", "Hund", "dog")
    assert (back["prompt"], back["response"], back["source"]) == ("to English: Hund", "dog", "Hund")
    assert there["id"] != back["id"]


def test_the_tokenizer_keeps_it(tok, tmp_path):
    how = Translation("{text}", "English", "German")
    with_translation(tok, how).save(tmp_path)
    assert translation_of(Tokenizer.load(tmp_path)) == how and translation_of(tok) is None
    assert Tokenizer.load(tmp_path).encode("a b") == tok.encode("a b")
    pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path)


def test_a_model_is_trained_and_translates_as_it_was_asked(tmp_path, base, heard):
    data = write(tmp_path / "pairs.tsv", tsv("en", "de"))
    config = TranslateConfig(data=str(data), reverse=True, training=quick(3))
    made = job(config, tmp_path, heard.log, model=base)
    metrics = translate(made)
    assert metrics["languages"] == ["English", "German"] and metrics["rows"] == 2 * (20 - metrics["heldout_rows"] // 2)
    train, held = ([json.loads(line) for line in (made.out / "data" / f"{part}.jsonl").read_text().splitlines()]
                   for part in ("train", "heldout"))  # fmt: skip
    # Both directions of a pair stand on the same side.
    assert not {row["id"].removesuffix("b") for row in train} & {row["id"].removesuffix("b") for row in held}
    lm = load(made.out)
    sampling = Sampling(max_tokens=4)
    prompt = "Translate from English to German:\n3 dogs run."
    (direct,) = lm.chat_batch([[{"role": "user", "content": prompt}]], sampling)
    (translated,) = lm.translate(["3 dogs run."], sampling=sampling)
    assert translated.ids == direct.ids and prompt in {row["prompt"] for row in train + held}
    assert lm.translate(["3 Hunde laufen."], "English", sampling)[0].ids
    lm.save(tmp_path / "saved")
    assert load(tmp_path / "saved").translate(["3 dogs run."], sampling=sampling)[0].ids == translated.ids
    with pytest.raises(ConfigError, match="not trained for translation"):
        load(base).translate(["x"])


def test_wrong_settings_are_said(tmp_path, tok, shape):
    data = str(write(tmp_path / "pairs.tsv", tsv("source", "target")))
    with pytest.raises(ConfigError, match="reverse requires the names"):
        preflight(TranslateConfig(data=data, reverse=True, training=quick(1)), tok, shape, EventLog(), 1)
    named = {"source_language": "English", "target_language": "German", "reverse": True, "data": data}
    with pytest.raises(ConfigError, match="is the same for both directions"):
        preflight(TranslateConfig(**named, prompt="Do: {text}", training=quick(1)), tok, shape, EventLog(), 1)
    with pytest.raises(ConfigError, match=r"must contain .text. once"):
        TranslateConfig.parse({"data": data, "prompt": "Translate"}, "finetune.t")
    with pytest.raises(ConfigError, match=r"no rows to learn from"):
        TranslateConfig.parse({}, "finetune.t")
    found = preflight(TranslateConfig(data=data, training=quick(1)), tok, shape, EventLog(), 1)
    assert any("Translate:\n" in text for text, _ in found["sample"][0]["runs"])
    assert set(SPEC.files(TranslateConfig(data=data, target_file="b.de"))) == {"data", "target_file"}


def test_beams_translate_too_and_a_file_is_put_together_again(tmp_path, base, capsys):
    lm = load(base)
    lm = LanguageModel(lm.model, with_translation(lm.tokenizer, Translation("{text}", "English", "German")))
    one = lm.translate(["3 dogs run."], sampling=Beam(1, 6))[0]
    assert one.ids == lm.translate(["3 dogs run."], sampling=Sampling(max_tokens=6))[0].ids
    assert lm.translate(["3 dogs run."], sampling=Beam(3, 6))[0].score is not None
    lm.save(tmp_path / "model")
    (tmp_path / "a.txt").write_text("One dog. Two dogs.\n\nThree.\n")
    given = ["--file", str(tmp_path / "a.txt"), "-m", str(tmp_path / "model"), "--max-tokens", "3", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["translate", *given])
    assert ended.value.code == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["text"] for one in told] == ["One dog. Two dogs.", "", "Three."] and told[1]["translation"] == ""
    first = lm.translate(["One dog.", "Two dogs."], sampling=Sampling(max_tokens=3))
    assert told[0]["translation"] == " ".join(one.text.strip() for one in first)
    for wrong in (["x", "--file", "a.txt"], [], ["x", "--length-penalty", "2"]):
        with pytest.raises(SystemExit) as ended:
            main(["translate", *wrong])
        assert ended.value.code == 2


def test_an_identifier_is_no_indonesian(tmp_path, heard):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"id": "a1", "en": "lamp", "de": "Lampe"}\n{"id": "a2", "en": "tree", "de": "Baum"}\n')
    rows, audit, languages = read_translations(path, heard.log)
    assert [(row["source"], row["target"]) for row in rows] == [("lamp", "Lampe"), ("tree", "Baum")]
    assert languages == ("English", "German") and audit.ignored == {"id": 2}
    path.write_text('{"id": "lampu", "en": "lamp"}\n')
    assert read_translations(path, heard.log)[2] == ("Indonesian", "English")
