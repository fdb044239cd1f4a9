"""Words of English as the FineWeb rules count them: punctuation and contractions apart, as spaCy's tokenizer does it.

The rules are those of spaCy's English (affixes are taken off a chunk until none is left, then it is cut at infixes), by
Unicode classes instead of its tables. What depends on several chunks (an emoticon with a space) is left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

# Scripts without case count as both cases.
_UNCASED = "\u0591-\u05f4\u0620-\u06ff\u0900-\u0dff\u1100-\u137f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_LETTER = r"[^\W\d_]"
_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_MARKS = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_MONEY = r"US\$|C\$|A\$|[$£€¥฿₽﷼\u20a0-\u20bf]"
_UNITS = (
    "km[²³]? m[²³]? dm[²³]? cm[²³]? mm[²³]? ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa mbar mb MB kb "
    "KB gb GB tb TB T G M K %"
)
_URL = re.compile(
    r"(?:[\w+.-]{2,}://)?(?:\S+@)?(?:(?:[A-Za-z0-9\u00a1-\uffff][\w\u00a1-\uffff-]{0,62})?[A-Za-z0-9\u00a1-\uffff]\.)+"
    rf"(?:[a-z\u00df-\u00f6\u00f8-\u00ff{_UNCASED}]{{2,63}})(?::\d{{2,5}})?(?:[/?#]\S*)?"
)

# Who | what is joined to them; `|` in an ending cuts it in two.
_JOINED = (
    ("i", "'m m 'm|a m|a"),
    ("i you he she it we they", "'ll ll 'll|'ve ll|ve 'd d 'd|'ve d|ve"),
    ("i you we they", "'ve ve"),
    ("you we they", "'re re"),
    ("he she it", "'s s"),
    ("who what when where why how there that this", "'s s"),
    ("who what when where why how there that this these those", "'ll ll 'll|'ve ll|ve 'd d 'd|'ve d|ve"),
    ("who what when where why how there these those", "'re re 've ve"),
    ("ca could do does did had may might must need ought sha should wo would", "n't nt n't|'ve nt|ve"),
    ("could might must should would not", "'ve ve"),
    ("ai are is was were have has dare", "n't nt"),
)
_NOT_JOINED = "ill its hell shell shed were well whore"  # words of their own
_CUT = "can|not gon|na got|ta let|'s c'm|on how|'d|'y"
_CUT_AS_IT_STANDS = "y'|all y|all"
_WHOLE = """
    'd 's 'S ‘s ‘S 're 'em 'll 'nuff 'cause 'Cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout and/or w/o ma'am Ma'am
    o'clock O'clock doin' Doin' goin' Goin' nothin' Nothin' nuthin' Nuthin' ol' Ol' somethin' Somethin' lovin'
    Lovin' havin' Havin' ' '' \\") C++ \\n \\t — <space> Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec.
    Del. Feb. Fla. Ga. Ia. Id. Ill. Ind. Jan. Jul. Jun. Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D.
    N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. Wis. a.m. p.m. Adm.
    Bros. co. Co. Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr. Ltd. Md. Messrs. Mo. Mont. Mr.
    Mrs. Ms. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s. ä. ö. ü. :) :-) :)) :-)) (: (-: =) (= :] :-] [: [-: :} :-} 8)
    8-) ;) ;-) (; (-; :( :-( :(( ): )-: =( :') :'( :/ :-/ =/ :| :-| :P :-P :p :-p :O :-O :o :-o :0 :* :3 :> :-> :X
    :x :D :-D ;D =D xD XD <3 </3 ^_^ -_- o_o O_O >.< @_@ 0.0 0.o o.0
"""


def fineweb_words(chunk: str) -> list[str]:
    """Words of a chunk of text without white space."""
    before, after, special_cores = _single_affixes()
    middle = chunk.lstrip(before)
    begin = len(chunk) - len(middle)
    core = middle.rstrip(after)
    while core and core not in special_cores:  # else some rule for a whole chunk may speak
        end = begin + len(core)
        if core.isalpha():
            return [*chunk[:begin], core, *chunk[end:]]
        last = core[-1]
        if not core.isascii() or core[0] in ".+" or last in "+%" or "$" in core:
            break
        if last == ".":
            if core[-2:-1] not in _BEFORE_FULL_STOP:
                break
            core = core[:-1].rstrip(after)
        elif last.isalpha() and not _NO_ENDING.issuperset(core[-5:-1]):
            break
        else:
            return [*chunk[:begin], *_cut_at_infixes(core), *chunk[end:]]
    return by_all_rules(chunk)


def by_all_rules(chunk: str) -> list[str]:
    """What `fineweb_words` gives, without its short ways."""
    ahead: list[str] = []
    behind: list[str] = []
    chunk = _without_affixes(chunk, ahead, behind)
    return [*ahead, *_middle(chunk), *reversed(behind)]


@cache
def _single_affixes() -> tuple[str, str, frozenset[str]]:
    """(characters that are always a prefix of their own, those that are always a suffix of their own, what is left of
    special chunks without both).

    Why the short way of `fineweb_words` gives the same words: affixes of one character may be taken off in any order as
    long as no chunk on the way is special. A special chunk would be one of the third by then, and is looked for.
    """
    marks = _MARKS.replace("…", "") + _QUOTES
    before, after = "§%=—–$£€¥฿₽﷼" + marks, "—–" + marks
    return before, after, frozenset(chunk.lstrip(before).rstrip(after) for chunk in _special())


# Before the full stop that is a suffix, among ASCII without upper case: there two letters count, or what stands before.
_BEFORE_FULL_STOP = frozenset("abcdefghijklmnopqrstuvwxyz0123456789%-+,:;!?()[]{}<>_#*&'\"`")
# Not in `'s`, and no digit of a number with a unit.
_NO_ENDING = frozenset(map(chr, range(128))) - frozenset("0123456789'")


def _without_affixes(chunk: str, before: list[str], after: list[str]) -> str:
    special, (prefix, suffix, _) = _special(), _affixes()
    length = -1
    while chunk and len(chunk) != length and chunk not in special:
        length = len(chunk)
        found = prefix.match(chunk)
        head = found.end() if found else 0
        if head and chunk[head:] in special:
            before.append(chunk[:head])
            return chunk[head:]
        ending = suffix.search(chunk[head:])  # a copy: the rules do not look back into the prefix
        tail = len(chunk) - head - ending.start() if ending else 0
        if tail and chunk[: len(chunk) - tail] in special:
            after.append(chunk[len(chunk) - tail :])
            return chunk[: len(chunk) - tail]
        if head:
            before.append(chunk[:head])
        if tail and head + tail <= length:
            after.append(chunk[length - tail :])
            chunk = chunk[: length - tail]
        chunk = chunk[head:]
    return chunk


def _middle(chunk: str) -> list[str]:
    special = _special()
    if chunk in special:
        return list(special[chunk])
    return _cut_at_infixes(chunk) if chunk else []


def _cut_at_infixes(chunk: str) -> list[str]:
    if "." in chunk and _URL.fullmatch(chunk):
        return [chunk]
    parts = _affixes()[2].split(chunk)  # text and infixes in turn
    if len(parts) > 2 and not parts[0]:  # one at the begin does not cut
        parts[:3] = [parts[1] + parts[2]]
    return [part for part in parts if part]


@cache
def _special() -> dict[str, tuple[str, ...]]:
    """Chunks with words of their own."""
    words: dict[str, tuple[str, ...]] = {}

    def add(*parts: str) -> None:
        words["".join(parts)] = parts
        if "'" in "".join(parts):  # and with the curly apostrophe
            curly = tuple(part.replace("'", "’") for part in parts)
            words["".join(curly)] = curly

    for heads, endings in _JOINED:
        for head in heads.split():
            for ending in endings.split():
                for begin in (head, head.title()):
                    add(begin, *ending.split("|"))
    for word in _NOT_JOINED.split():
        words.pop(word, None)
        words.pop(word.title(), None)
    for line in _CUT.split():
        head, *rest = line.split("|")
        add(head, *rest)
        add(head[:1].upper() + head[1:], *rest)
    for line in _CUT_AS_IT_STANDS.split():
        add(*line.split("|"))
    for hour in range(1, 13):
        for half in ("a.m.", "am", "p.m.", "pm"):
            add(str(hour), half)
    for word in (*_WHOLE.split(), *(f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyz")):
        add(word)
    return words


@cache
def _affixes() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """(prefixes, suffixes, infixes)."""
    lower = _ranges(str.islower) + _UNCASED
    upper = _ranges(str.isupper) + _UNCASED
    icons = _ranges(lambda char: unicodedata.category(char) == "So")
    quotes, marks = re.escape(_QUOTES), re.escape(_MARKS)
    prefix = rf"[§%=—–]|\+(?![0-9])|……|[{marks}]|\.\.+|[{quotes}]|{_MONEY}|[{icons}]"
    units = "|".join(_UNITS.split())
    suffix = (
        rf"(?:……|[{marks}]|\.\.+|[{quotes}]|[{icons}]|['’][sS]|[—–]|(?<=[0-9])\+|(?<=[0-9])(?:{_MONEY})|"
        rf"(?<=[0-9])(?:{units})|(?<=[0-9{lower}%²\-+{marks}{quotes}])\.|(?<=[{upper}][{upper}])\.)$"
    )
    # Each alternative of an infix looks back at its first character, so that places without such a one are passed over.
    infix = (
        rf"([.…+\-*^,–—~:<>=/{icons}](?:(?<=\.)\.+|(?<=[…{icons}])|(?<=[0-9][+\-*^])(?=[0-9-])|"
        rf"(?<=[{lower}{quotes}]\.)(?=[{upper}{quotes}])|(?<={_LETTER},)(?={_LETTER})|"
        rf"(?<=[^\W_]-)--?(?={_LETTER})|(?<=[^\W_]—)—(?={_LETTER})|(?<=[^\W_][-–—~:<>=/])(?={_LETTER})))"
    )
    return re.compile(prefix), re.compile(suffix), re.compile(infix)


def _ranges(test: Callable[[str], bool]) -> str:
    """A character class of what passes a test, below U+3400 and among the pictographs."""
    codes = [code for code in (*range(0x80, 0x3400), *range(0x1F000, 0x1FB00)) if test(chr(code))]
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    ascii_ones = "".join(chr(code) for code in range(0x80) if test(chr(code)))
    return re.escape(ascii_ones) + "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges)
