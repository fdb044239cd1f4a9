"""Read text files: determine the encoding by fixed rules, and reject files that are not text.

The rules, in this order:

1. a byte order mark (UTF-8, UTF-16, UTF-32) determines it;
2. NUL bytes in every second or fourth place are UTF-16 or UTF-32 without a mark; any others are binary content;
3. more than one control character in ten is binary content;
4. text that decodes strictly as UTF-8 is UTF-8, whatever it declares;
5. text that declares an encoding (a page's `charset`) and decodes strictly as such has that encoding;
6. UTF-8 with more whole multi-byte characters than faults is damaged UTF-8: each fault becomes U+FFFD and is counted;
7. everything else is a one-byte or East Asian encoding: the detector of resiliparse (uchardet) decides by letter
   frequencies if there are enough letters, else Windows-1252 is assumed.

The same bytes give the same answer on every machine.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tutelage.store.errors import InputError

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_SNIFFED = 1 << 16  # bytes that determine the kind of content
_DETECTED = 1 << 20  # bytes given to the detector
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b")) + b"\x7f"
_CONTROL_SHARE = 0.1
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_ASCII_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HIGH_BYTES = bytes(range(128, 256))
_WEB = {  # what these names mean on web pages: https://encoding.spec.whatwg.org/#names-and-labels
    "iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252", "iso-8859-9": "cp1254",
    "gb2312": "gb18030", "gbk": "gb18030", "ks_c_5601-1987": "cp949", "euc-kr": "cp949", "shift_jis": "cp932",
}  # fmt: skip
_WINDOWS = {
    "iso8859-1": "cp1252", "iso8859-2": "cp1250", "iso8859-5": "cp1251", "iso8859-6": "cp1256", "iso8859-7": "cp1253",
    "iso8859-8": "cp1255", "iso8859-9": "cp1254", "iso8859-13": "cp1257", "iso8859-15": "cp1252",
}  # fmt: skip
_FEW_HIGH_BYTES = 32  # with fewer, Latin-script encodings cannot be distinguished ...
_FEW_FOREIGN_BYTES = 8  # ... and other scripts, where most letters are high bytes, need a word or two
_LATIN_SHARE = 0.35  # of letters that are high bytes; European languages in Latin script stay below it


@dataclass(frozen=True, slots=True)
class DecodedText:
    """A text with `\\n` newlines and no byte order mark, and how it was decoded.

    `encoding`: its Python name. `guessed`: by letter frequencies, not by a mark or by strict decoding. `replaced`:
    bytes that were invalid in that encoding and became U+FFFD.
    """

    text: str
    encoding: str
    guessed: bool = False
    replaced: int = 0

    @property
    def remark(self) -> str | None:
        """A note for the user on the decoding; None for valid UTF-8."""
        said = f"read as {self.encoding}" + (" (guessed)" if self.guessed else "")
        if self.replaced:
            return f"{said}, {self.replaced:,} damaged characters replaced by U+FFFD"
        return None if self.encoding in ("ascii", "utf-8") else said


def open_compressed(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressed if its name ends in .gz, .bz2, .xz or .zst.

    A truncated compressed file raises OSError or EOFError at its end; see `UNREADABLE`.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if suffix == ".bz2":
        return bz2.open(path, "rb")  # type: ignore[return-value]
    if suffix == ".xz":
        return lzma.open(path, "rb")  # type: ignore[return-value]
    if suffix == ".zst":
        import pyarrow as pa  # imported late, as it is slow; unlike zstandard's stream it detects truncation

        return io.BufferedReader(pa.input_stream(path, compression="zstd"))  # type: ignore[type-var,return-value]
    return path.open("rb")


LFS_POINTER = "is a Git LFS pointer, not the file itself"
FETCH_LFS = "fetch it in its repository: git lfs pull"

# Exceptions for a missing, unreadable or damaged file; those of gzip and pyarrow are OSErrors.
UNREADABLE = (OSError, EOFError, lzma.LZMAError)


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file is a Git LFS pointer instead of the file itself."""
    return head.startswith(b"version https://git-lfs")


def without_compression(name: str) -> str:
    """A file's name in lower case without .gz, .bz2, .xz or .zst at its end."""
    name = name.lower()
    return next((name.removesuffix(suffix) for suffix in COMPRESSIONS if name.endswith(suffix)), name)


def read_bytes(path: Path) -> bytes:
    """The whole content of a file, decompressed. Raises InputError if it is missing or damaged."""
    try:
        with open_compressed(path) as file:
            return file.read()
    except UNREADABLE as error:
        raise InputError(f"{path.name} cannot be read: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """One line of why a file could not be read, without its path."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).split("\n", 1)[0][:200]


def read_text(path: Path) -> DecodedText:
    """Text of a file, compressed or not. Raises InputError if it cannot be read or is not text."""
    return decode_text(read_bytes(path), path.name)


def decode_text(data: bytes, name: str, declared: str | None = None) -> DecodedText:
    """Decode the content of a file by the rules above; `name` is for the error message, `declared` the encoding that
    the content itself names."""
    encoding = sniff(data[:_SNIFFED], name)
    if encoding is not None:
        body = data
        for mark, _ in _MARKS:
            if data.startswith(mark):
                body = data[len(mark) :]
                break
        return _decoded(body, encoding, name)
    try:
        return DecodedText(_newlines(data.decode("utf-8")), "ascii" if data.isascii() else "utf-8")
    except UnicodeDecodeError:
        pass
    if declared and (text := _as_declared(data, declared)) is not None:
        return DecodedText(_newlines(text), _WEB.get(declared.lower(), declared.lower()))
    whole = len(_MULTIBYTE.findall(data))
    text = data.decode("utf-8", "replace")
    faults = text.count("\ufffd") - data.count("\ufffd".encode())
    if whole > faults:
        return DecodedText(_newlines(text), "utf-8", replaced=faults)
    guess = _guess(data)
    text = data.decode(guess, "replace")
    return DecodedText(_newlines(text), guess, guessed=True, replaced=text.count("\ufffd"))


def _as_declared(data: bytes, declared: str) -> str | None:
    try:
        return data.decode(_WEB.get(declared.lower(), declared))
    except (UnicodeDecodeError, LookupError):
        return None


def _decoded(body: bytes, encoding: str, name: str) -> DecodedText:
    try:
        return DecodedText(_newlines(body.decode(encoding)), encoding)
    except UnicodeDecodeError:
        text = body.decode(encoding, "replace")
    faults = text.count("\ufffd")
    if faults > _CONTROL_SHARE * len(text) + 1:
        raise InputError(f"{name} is not text: only its beginning is {encoding}")
    return DecodedText(_newlines(text), encoding, replaced=faults)


def sniff(head: bytes, name: str) -> str | None:
    """Encoding that the first bytes of a file show (a mark, or UTF-16/32 by its NUL bytes); None for all others.

    Raises InputError for binary content.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        if wide := _wide(head):
            return wide
        raise InputError(f"{name} is not text: it has NUL bytes", hint="only text can be read")
    controls = len(head) - len(head.translate(None, _CONTROL))
    if controls > _CONTROL_SHARE * len(head):
        share = controls / len(head)
        raise InputError(f"{name} is not text: {share:.0%} of it is control characters", hint="only text can be read")
    return None


def _wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: nearly all NUL bytes are high bytes, and it decodes as text."""
    quarter = len(head) // 4
    zeros = [head[offset::4].count(0) for offset in range(4)]
    if quarter and min(zeros[2:]) > 0.9 * quarter:
        encoding = "utf-32-le"
    elif quarter and min(zeros[:2]) > 0.9 * quarter:
        encoding = "utf-32-be"
    elif zeros[1] + zeros[3] >= zeros[0] + zeros[2]:
        encoding = "utf-16-le"
    else:
        encoding = "utf-16-be"
    if encoding.startswith("utf-16"):
        # The high bytes of all alphabets and of punctuation are below 0x21; in a text with stray NUL bytes they would
        # be letters.
        first = encoding == "utf-16-le"
        high, low = head[first::2], head[not first :: 2]
        if sum(byte <= 0x20 for byte in high) < 0.95 * len(high) or low.count(0) > 0.05 * len(low):
            return None
    text = head[: len(head) // 4 * 4].decode(encoding, "replace")
    odd = sum(not (char.isprintable() or char in "\t\n\v\f\r\u2028\u2029") or char == "\ufffd" for char in text)
    return encoding if odd <= 0.02 * len(text) + 1 else None


def _guess(data: bytes) -> str:
    """A one-byte or East Asian encoding, by letter frequencies; Windows-1252 if there are too few letters."""
    from resiliparse.parse.encoding import detect_encoding  # imported late, as it is slow

    high = len(data) - len(data.translate(None, _HIGH_BYTES))
    letters = high + len(data) - len(data.translate(None, _ASCII_LETTERS))
    enough = high >= (_FEW_HIGH_BYTES if high < _LATIN_SHARE * letters else _FEW_FOREIGN_BYTES)
    guess = str(detect_encoding(data[:_DETECTED], html5_compatible=False)) if enough else "cp1252"
    for encoding in (_windows(guess, data), guess, "cp1252"):
        try:
            text = data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
        if encoding not in ("utf-8", "ascii"):
            return "cp1252" if data.decode("cp1252", "replace") == text else encoding
    return "latin-1"


def _windows(guess: str, data: bytes) -> str:
    """The Windows variant of an ISO encoding, if the text contains bytes that are control characters in ISO."""
    controls = len(data) > len(data.translate(None, bytes(range(0x80, 0xA0))))
    return _WINDOWS.get(guess.lower().replace("iso-8859", "iso8859"), guess) if controls else guess


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
