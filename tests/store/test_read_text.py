"""Every encoding people have is read and named; what is not text is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tutelage.store.errors import InputError
from tutelage.store.text import decode_text, read_text, without_compression

ENGLISH = "One line of plain text.\nAnother line, with “quotes” and a café.\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (ENGLISH.encode("utf-8"), "utf-8"),
        (b"plain", "ascii"),
        (b"", "ascii"),
        (b"\xef\xbb\xbf" + ENGLISH.encode("utf-8"), "utf-8"),
        (ENGLISH.encode("utf-16"), "utf-16-le"),
        (b"\xfe\xff" + ENGLISH.encode("utf-16-be"), "utf-16-be"),
        (ENGLISH.encode("utf-32"), "utf-32-le"),
        (b"\0\0\xfe\xff" + ENGLISH.encode("utf-32-be"), "utf-32-be"),
        (ENGLISH.encode("utf-16-le"), "utf-16-le"),
        (ENGLISH.encode("utf-16-be"), "utf-16-be"),
        (ENGLISH.encode("utf-32-le"), "utf-32-le"),
        (ENGLISH.encode("utf-32-be"), "utf-32-be"),
        ("Старая река несёт лодку.\nВот так.\n".encode("utf-16-le"), "utf-16-le"),
        (ENGLISH.encode("cp1252"), "cp1252"),
        ("Un été".encode("latin-1"), "cp1252"),
        (b"caf\xe9 \x81", "latin-1"),  # 0x81 is nothing in Windows-1252
    ],
)
def test_encodings_are_found(data: bytes, encoding: str) -> None:
    decoded = decode_text(data, "a.txt")
    assert (decoded.encoding, decoded.replaced) == (encoding, 0)
    expected = data.decode("utf-8-sig" if encoding in ("utf-8", "ascii") else encoding).removeprefix("\ufeff")
    assert decoded.text == expected
    assert decoded.guessed == (encoding in ("cp1252", "latin-1"))


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("Привет, мир. Это обычный текст на русском языке, он довольно короткий.", "cp1251", "cp1251"),
        ("Привет, мир. Это обычный текст на русском языке.", "koi8-r", "koi8-r"),
        ("これは日本語の文章です。とても短い。", "shift_jis", "shift_jis"),
        ("这是一个中文句子，很短。", "gbk", "gb18030"),
        ("이것은 한국어 문장입니다. 매우 짧습니다.", "euc-kr", "cp949"),
    ],
)
def test_other_scripts_are_told_by_their_letters(text: str, encoding: str, found: str) -> None:
    decoded = decode_text(text.encode(encoding), "a.txt")
    assert (decoded.text, decoded.encoding, decoded.guessed) == (text, found, True)
    assert decoded.remark == f"read as {found} (guessed)"


def test_newlines_of_every_system() -> None:
    assert decode_text(b"a\r\nb\rc\nd\r\n", "a.txt").text == "a\nb\nc\nd\n"
    assert decode_text("a\r\nb".encode("utf-16"), "a.txt").text == "a\nb"


def test_damaged_utf8_keeps_its_text_and_counts_the_damage() -> None:
    data = "Ein schöner Text über Wölfe.\n".encode() * 20
    decoded = decode_text(data + b"cut \xc3", "a.txt")
    assert (decoded.encoding, decoded.replaced, decoded.guessed) == ("utf-8", 1, False)
    assert decoded.text.startswith("Ein schöner Text") and decoded.text.endswith("cut \ufffd")
    assert decoded.remark == "read as utf-8, 1 damaged characters replaced by U+FFFD"


def test_utf16_cut_in_a_character() -> None:
    decoded = decode_text("abcdef".encode("utf-16")[:-1], "a.txt")
    assert (decoded.text, decoded.encoding, decoded.replaced) == ("abcde\ufffd", "utf-16-le", 1)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0",
        b"\x7fELF\2\1\1\0" + bytes(range(256)) * 4,
        bytes(1000),
        b"\1\2\3\4\5abc" * 50,
        b"hello\0world",
        b"A text of several words, with one stray byte.\0 And it goes on after it.",
        b"a\0b c d\0",
        b"\xff\xfe" + b"\0\xd8" * 400,  # the mark of UTF-16, then halves of pairs only
    ],
)
def test_binary_content_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.bin is not text"):
        decode_text(data, "a.bin")


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstandard.compress)],
)
def test_compressed_files_and_those_cut_short(tmp_path: Path, suffix: str, compress: object) -> None:
    data = compress(ENGLISH.encode() * 500)  # type: ignore[operator]
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(data)
    assert read_text(path).text == ENGLISH * 500
    path.write_bytes(data[:-6])
    with pytest.raises(InputError, match="cannot be read") as error:
        read_text(path)
    assert str(tmp_path) not in str(error.value)
    assert without_compression("A.TXT" + suffix.upper()) == "a.txt"


def test_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt cannot be read: No such file"):
        read_text(tmp_path / "none.txt")


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=200))
def test_utf8_and_marked_encodings_round_trip(text: str) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert decode_text(text.encode(encoding), "a").text == text
    assert decode_text(text.encode("utf-8"), "a").text == text.removeprefix("\ufeff")


def test_what_windows_writes_is_no_iso_encoding() -> None:
    # ž, š and ť stand where ISO 8859-2, which is what the letter frequencies say, has control characters.
    text = "The lamp is bad příliš žluťoučký kůň,neg\nThe chair is fine šťastný,pos\n" * 30
    decoded = decode_text(text.encode("cp1250"), "a.txt")
    assert (decoded.text, decoded.encoding) == (text, "cp1250")


def test_of_two_encodings_that_read_alike_the_common_one_is_named() -> None:
    assert decode_text(("café, número. " * 40).encode("cp1252"), "a.txt").encoding == "cp1252"
    assert decode_text(("The lamp number 7 is bad café\n" * 60).encode("cp1252"), "a.txt").encoding == "cp1252"
