"""JSON lines: a bad line costs itself only and is named; what is written reads back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tutelage.store.errors import InputError
from tutelage.store.jsonl import Malformed, RepeatedKeys, parse_line, read_json_lines, read_rows, write_json_lines


def read(path: Path, **settings: Any) -> list[tuple[int, Any]]:
    return list(read_json_lines(path, **settings))


def test_values_blank_lines_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n[2]\r"\xc3\xa9"')
    assert read(tmp_path / "a.jsonl") == [(1, {"a": 1}), (4, [2]), (5, "é")]
    (tmp_path / "empty.jsonl").write_bytes(b"")
    assert read(tmp_path / "empty.jsonl") == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"text": "cut', "not JSON: Unterminated string"),
        (b'{"a": 1} {"b": 2}', "not JSON: Extra data at character 9"),
        (b'{"caf\xc3\xa9": "\xff"}', "not UTF-8 at byte 11 of the line"),
        (b'{"a": NaN}', "not JSON: NaN is not allowed"),
        (b'{"a": -Infinity}', "not JSON: -Infinity is not allowed"),
        (b'{"a": "\\ud800 half"}', "half of a surrogate pair"),
        (b'{"\\uDFFF": 1}', "half of a surrogate pair"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deep"),
        (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        (b"1" * 5000, "digits"),
    ],
)
def test_a_bad_line_is_named_and_costs_itself_only(tmp_path: Path, line: bytes, why: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n' + line + b'\n{"n": 3}\n')
    (first, good), (second, bad), (third, last) = read(path)
    assert (first, second, third, good, last) == (1, 2, 3, {"n": 1}, {"n": 3})
    assert isinstance(bad, Malformed) and (bad.file, bad.line) == ("rows.jsonl", 2) and why in bad.why


def test_whole_surrogate_pairs_and_literal_backslashes_are_text() -> None:
    assert parse_line('"\\ud83d\\ude00"', 1, "a") == "😀"
    assert parse_line('"\\\\ud800"', 1, "a") == "\\ud800"


def test_long_lines_are_skipped_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('"abcdefgh"\n"' + "x" * 1000 + '"\n"after"\n"abcdefghi"', encoding="utf-8")
    found = read(path, longest=10)
    assert [number for number, _ in found] == [1, 2, 3, 4]
    assert found[0][1] == "abcdefgh" and found[2][1] == "after"
    assert [found[index][1].why for index in (1, 3)] == ["longer than 10 characters"] * 2


def test_utf16_lines(tmp_path: Path) -> None:
    data = '{"text": "é"}\r\n{"text": "b"}\r\n'
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        (tmp_path / "a.jsonl").write_bytes(data.encode(encoding))
        assert read(tmp_path / "a.jsonl") == [(1, {"text": "é"}), (2, {"text": "b"})]


def test_binary_missing_and_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="is not text"):
        read(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"b\.jsonl cannot be read: No such file"):
        read(tmp_path / "b.jsonl")


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_a_file_cut_short_gives_its_lines_and_then_an_error(tmp_path: Path, suffix: str, compress: Any) -> None:
    # Lines that do not compress, so that what is left after the cut holds whole ones.
    rows = [json.dumps({"n": n, "x": str(hash((n, n * n)))}) for n in range(30_000)]
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compress("\n".join(rows).encode())[:-9])
    found = []
    with pytest.raises(InputError, match=r"part cannot be read"):
        found += read_all_into(found, path)
    assert found[0][1]["n"] == 0 and len(found) > 1000


def read_all_into(found: list[Any], path: Path) -> list[Any]:
    for pair in read_json_lines(path, name="part"):
        found.append(pair)
    return []


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\u2028é\n"), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(PLAIN, max_size=6))
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for suffix in ("", ".gz", ".zst"):
        path = folder / f"a.jsonl{suffix}"
        assert write_json_lines(path, values) == len(values)
        assert [value for _, value in read_json_lines(path)] == values
        once = path.read_bytes()
        write_json_lines(path, values)
        assert path.read_bytes() == once


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}, "\ud800", {1, 2}])
def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.jsonl"
    write_json_lines(path, ["old"])
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: cannot be written as JSON"):
        write_json_lines(path, ["new", value])
    assert read(path) == [(1, "old")]


def test_a_users_file_that_is_none_gets_a_hint_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, not a file") as error:
        read_rows(tmp_path, "give JSON lines")
    assert error.value.hint == "give JSON lines"
    with pytest.raises(InputError, match="is missing") as error:
        read_rows(tmp_path / "gone")
    assert "result of that stage" in str(error.value)


def test_keys_given_twice_are_counted_at_every_depth(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1, "b": {"c": 1, "c": 2}}\n{"a": 1, "a": 2, "a": 3}\n')
    repeated = RepeatedKeys()
    rows = [row for _, row in read_json_lines(tmp_path / "a.jsonl", repeated=repeated)]
    assert rows == [{"a": 1, "b": {"c": 2}}, {"a": 3}] and repeated.names == {"a": 1, "c": 1}
