"""Personal data and secrets in text: e-mail and IP addresses, phone and card numbers, keys and tokens.

By patterns with a check where there is one (Luhn's checksum, ranges of addresses), not by a model: names and street
addresses are not looked for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

KINDS = {
    "email": "e-mail addresses",
    "ip": "public IP addresses, version 4 and 6",
    "phone": "phone numbers that are written internationally or as in North America",
    "card": "payment card numbers whose checksum (Luhn) is right",
    "key": "keys and tokens of services, JSON web tokens, private keys",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of personal data: its kind, and where it stands."""

    kind: str
    begin: int
    end: int


def _is_public(text: str) -> bool:
    if ":" in text and len([part for part in text.split(":") if part]) < 3:  # a::b is a name of C++ more often
        return False
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def luhn(text: str) -> bool:
    """Whether the digits of a number have the checksum of ISO/IEC 7812-1, annex B."""
    digits = [int(char) for char in reversed(text) if char.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_card(text: str) -> bool:
    digits = [char for char in text if char.isdigit()]
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and len(set(digits)) > 1 and luhn(text)


def _is_phone(text: str) -> bool:
    return 8 <= sum(map(str.isdigit, text)) <= 15


def _always(text: str) -> bool:
    return True


_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
# (kind, pattern, check, what a text must contain to be worth the search)
_PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool], re.Pattern[str]], ...] = (
    (
        "key",
        re.compile(
            r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----.*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\Z)"
            r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{40,}|\bglpat-[\w-]{20,}"
            r"|\bxox[abeprs]-[\w-]{10,}|\bAIza[\w-]{35}|\b[sr]k_live_[A-Za-z0-9]{16,}|\bsk-[\w-]{20,}"
            r"|\bhf_[A-Za-z0-9]{30,}|\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{50,}"
            r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
            re.DOTALL,
        ),
        _always,
        re.compile(r"-----BEGIN|AKIA|ASIA|gh[pousr]_|github_pat|glpat-|xox|AIza|k_live_|sk-|hf_|npm_|pypi-|eyJ"),
    ),
    (
        "email",
        re.compile(
            r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b"
        ),
        _always,
        re.compile("@"),
    ),
    (
        "card",
        re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){12,18}(?![\w-])"),
        _is_card,
        re.compile(r"\d{4}"),
    ),
    (
        "phone",
        re.compile(
            r"(?<![\w.+])\+\d{1,3}(?:[ .-]?(?:\(\d{1,4}\)|\d{1,4})){2,5}(?!\w)"
            r"|(?<![\w.+-])(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"
        ),
        _is_phone,
        re.compile(r"\d\d"),
    ),
    (
        "ip",
        re.compile(
            rf"(?<![\w.])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w]|\.\d)"
            r"|(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){1,7}(?::?[0-9A-Fa-f]{1,4}){1,7}(?![\w:])"
        ),
        _is_public,
        re.compile(r"\d\.\d|:[0-9A-Fa-f]{1,4}:|::"),
    ),
)


def find_pii(text: str, kinds: Collection[str] = tuple(KINDS)) -> list[Found]:
    """Personal data of the given kinds, in the order of the text; of two that overlap, the first kind of the table."""
    found: list[Found] = []
    for kind, pattern, check, worth in _PATTERNS:
        if kind in kinds and worth.search(text):
            found += [
                Found(kind, match.start(), match.end())
                for match in pattern.finditer(text)
                if check(match[0]) and not any(one.begin < match.end() and match.start() < one.end for one in found)
            ]
    return sorted(found, key=lambda one: one.begin)


def redact(text: str, found: Collection[Found]) -> str:
    """The text with `[email]`, `[phone]` and so on in place of what was found."""
    return "".join(_redacted(text, found))


def _redacted(text: str, found: Collection[Found]) -> Iterator[str]:
    place = 0
    for one in found:
        yield text[place : one.begin]
        yield f"[{one.kind}]"
        place = one.end
    yield text[place:]
